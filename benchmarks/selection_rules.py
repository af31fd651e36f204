"""What choosing a checkpoint without labels costs: test AUC and realised specificity by rule, from finished runs.

    python benchmarks/selection_rules.py RUN [RUN ...] [--extractor NAME [--extractor-weights FILE]]

Runs are grouped by the name of their folder without its last part, as benchmarks/cohorts.py names them:
COHORT_SEED. The test labels serve measuring alone; "oracle" is what a rule that saw them would take. The runs'
models stay as they are.
"""

import argparse
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

import numpy as np

from healthygan import InputError, Run, load_config
from healthygan.common.tensors import load_tensors
from healthygan.data.cohort import Cohort, Label, Split
from healthygan.data.store import ImageStore
from healthygan.detectors.prediction import best_device, scores
from healthygan.nn.backbones import load_backbone
from healthygan.runs import train as workflow
from healthygan.runs.aggregation import Units
from healthygan.runs.checkpoint_metrics import Extractor
from healthygan.runs.partition import partition_cohort
from healthygan.runs.selection import ORACLE
from healthygan.stats.conformal import threshold_for_specificity
from healthygan.stats.intervals import over_seeds
from healthygan.stats.metrics import called_diseased

RULES = ("fid", "aucp", "validation_auc", "last", ORACLE)


@dataclass
class Row:
    """One rule on one cohort; a value for each seed."""

    areas: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    specificities: list[float] = field(default_factory=list)
    held_out: list[int] = field(default_factory=list)


def main() -> None:
    """Print one line a cohort and rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="finished run folders, or folders of them")
    parser.add_argument("--extractor", help="by default each run's own setting")
    parser.add_argument("--extractor-weights", type=Path)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    found: dict[str, dict[str, Row]] = defaultdict(lambda: defaultdict(Row))
    for path in run_folders(options.runs):
        run = Run(path)
        selection = load_config(run.config).selection
        name, weights = options.extractor or selection.extractor, options.extractor_weights
        extractor = load_backbone(name, weights or selection.extractor_weights)
        judge(run, extractor, options.device, found[path.name.rpartition("_")[0] or path.name])
    print(
        "| cohort | rule | test AUC by seed | mean (spread) | lost against the oracle | specificity for 0.90, by seed "
        "| held-out healthy |\n|---|---|---|---:|---:|---|---:|"
    )
    for cohort, rows in found.items():
        for rule in (rule for rule in RULES if rule in rows):
            print(line(cohort, rule, rows[rule]))


def run_folders(places: list[Path]) -> list[Path]:
    """The runs named, and those found one level below the folders named."""
    found = []
    for place in places:
        inside = [place] if (place / "config.yaml").exists() else sorted(place.glob("*/config.yaml"))
        found += [path.parent if path.name == "config.yaml" else path for path in inside]
    if not found:
        raise SystemExit(f"{', '.join(map(str, places))}: no run folder there")
    return found


def judge(run: Run, extractor: Extractor, device: str, rows: dict[str, Row]) -> None:
    """Add one run's figures to its cohort's rows."""
    try:
        selection = workflow.select(run, extractor=extractor, measure=True, device=device)
    except InputError as error:
        raise SystemExit(str(error)) from None
    if selection.test_auc is None:
        raise SystemExit(f"{run.path}: its cohort's test set has no labels of both kinds; nothing to measure")
    for choice in selection.choices():
        if choice.rule in RULES:
            row = rows[choice.rule]
            row.areas.append(choice.test_auc or 0.0)
            row.lost.append(-(choice.from_best or 0.0))
            specificity, count = realised(run, choice.rule, choice.iteration, device)
            row.specificities.append(specificity)
            row.held_out.append(count)


def realised(run: Run, rule: str, iteration: int, device: str) -> tuple[float, int]:
    """Specificity on the test set's healthy images of the threshold for 0.90, and from how many images that comes."""
    # What the oracle takes is cut as what the last takes: on healthy images that chose nothing.
    config = load_config(run.config, [f"selection.rule={'last' if rule == ORACLE else rule}"])
    cohort = Cohort.from_manifest(run.cohort)
    detector = workflow.build(config).to(best_device(device))
    detector.load_state_dict(load_tensors(run.candidates()[iteration]))
    tests = cohort.split(Split.TEST)
    marks = Units(tests, config.selection)
    of_healthy = marks.spread(np.array([label is Label.HEALTHY for label in marks.labels()]))
    healthy = tuple(compress(tests, of_healthy))
    held_out_healthy = partition_cohort(cohort, config.selection, config.early_stopping_share).threshold
    found = []
    for images, title in ((held_out_healthy, "held-out healthy"), (healthy, "test healthy")):
        store = ImageStore.build([image.path for image in images], config.preprocessing)
        units = Units.of(images, store.owner, config.selection)
        found.append(units.scores(scores(detector, store, title)))
    held_out, tested = found
    return float((~called_diseased(tested, threshold_for_specificity(held_out, 0.9))).mean()), len(held_out)


def line(cohort: str, rule: str, row: Row) -> str:
    """One line of the table."""
    seeds = over_seeds(row.areas)
    spread = "" if len(row.areas) == 1 else f" ({seeds.deviation:.3f})"
    areas, specificities = (
        " ".join(f"{value:.{digits}f}" for value in values)
        for values, digits in ((row.areas, 3), (row.specificities, 2))
    )
    return (
        f"| {cohort} | {rule} | {areas} | {seeds.mean:.3f}{spread} | {np.mean(row.lost):.3f} | {specificities} "
        f"| {min(row.held_out)} |"
    )


if __name__ == "__main__":
    main()
