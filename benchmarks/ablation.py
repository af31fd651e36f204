"""What each ingredient of HealthyGAN+ is worth: one left out, or put in, at a time; several seeds.

    python benchmarks/ablation.py RUNS COHORT [COHORT ...] [--preset small] [--seeds 3]

The ingredients of the translation are judged by the change in pixels alone, which is what they make; then evidence in
pretrained features joins in, with several weights. Prints the AUC at the last iteration (no choice is made, so none is
flattered), mean and standard deviation over seeds, the mean pixel AUROC on the test set where there are lesion masks,
and the mean processor time of training. AUC is that of the validation set, or without one of the mixed set, whose
labels no training reads; its evidence is cross-fitted, its translation has seen the images. Runs that are finished
are not trained again, and have no time.
"""

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from healthygan import evaluate, load_cohort, load_config, train
from healthygan.common.batching import in_batches
from healthygan.common.run_folder import Run
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors.base import Detector
from healthygan.detectors.healthygan_plus import BATCH, HealthyGANPlus, JoinedScorer
from healthygan.detectors.prediction import scores
from healthygan.runs import train as workflow
from healthygan.runs.config import Config
from healthygan.runs.partition import partition_cohort
from healthygan.stats import metrics
from healthygan.stats.arrays import Floats

ALONE = "detector.evidence=0"
WITHOUT = {
    "change in pixels alone": (),
    "without the start near the identity (M = 0.5)": ("detector.mask_start=0",),
    "without the critic's warm-up": ("detector.warm_up=0",),
    "healthy images change as freely as mixed ones": ("detector.change_healthy=1",),
    "without the gradient penalty": ("detector.gradient_penalty=0",),
    "without shifts of what the critic sees": ("detector.shift=0",),
    "with averaged weights": ("detector.ema_decay=0.995",),
}
WEIGHTS = (0.5, 1.0, 2.0, 3.0, 4.0, np.inf)
"""Of the evidence; the last one is the evidence alone."""


class Clock:
    """Processor time between entry and exit."""

    seconds = float("nan")

    def __enter__(self) -> None:
        self._start = time.process_time()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.process_time() - self._start


@dataclass(frozen=True)
class Judged:
    """Labelled images that nothing learned the labels of."""

    images: tuple[CohortImage, ...]
    store: ImageStore
    crossfitted: bool
    """Whether the evidence must come from models that never saw them."""

    @classmethod
    def of(cls, cohort: Cohort, config: Config) -> "Judged":
        parts = partition_cohort(cohort, config.selection, config.early_stopping_share)
        mixed = {image.path for image in parts.mixed}
        # As the cohort has them: a partition's mixed images have no labels.
        images = parts.validation or tuple(image for image in cohort.split(Split.MIXED) if image.path in mixed)
        store = ImageStore.build([image.path for image in images], config.preprocessing, title="judged images")
        return cls(images, store, not parts.validation)

    def auc(self, scored: Floats) -> float:
        diseased = [self.images[place].label is Label.DISEASED for place in self.store.owner]
        return metrics.auc(scored, np.array(diseased))


def main() -> None:
    """Print one table a cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder for the run folders")
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for location in options.cohorts:
        cohort = load_cohort(location)
        print(f"\n| {cohort.name} | AUC (sd) | pixel AUROC | processor time, s |\n|---|---:|---:|---:|")
        for name, settings in WITHOUT.items():
            print(line(name, [alone(cohort, settings, seed, options) for seed in range(options.seeds)]), flush=True)
        joined = np.array([with_evidence(cohort, seed, options) for seed in range(options.seeds)])
        for weight, areas in zip(WEIGHTS, joined.T, strict=True):
            name = f"change + {weight:g} x evidence" if weight < np.inf else "evidence alone"
            print(line(name, [(area, None, np.nan) for area in areas]), flush=True)


def line(name: str, found: Sequence[tuple[float, float | None, float]]) -> str:
    """One line of a cohort's table: AUC, pixel AUROC and seconds of each seed."""
    areas = [area for area, _, _ in found]
    pixels = [pixel for _, pixel, _ in found if pixel is not None]
    shown = f"{np.mean(pixels):.3f}" if pixels else ""
    seconds = np.mean([took for _, _, took in found])
    return f"| {name} | {np.mean(areas):.3f} ({np.std(areas):.3f}) | {shown} | {seconds:.0f} |"


def trained(
    cohort: Cohort, settings: Sequence[str], seed: int, options: argparse.Namespace
) -> tuple[Run, Config, float]:
    """A run, what it was told, and the seconds it learned."""
    more = ["selection.rule=last", *settings]
    config, clock = load_config(options.preset, [*more, f"training.seed={seed}"]), Clock()
    folder = options.runs / cohort.name / f"{'_'.join(settings) or 'all'}_{seed}"
    # A finished run is left as it is, its clock unused.
    run = train(config, cohort, folder, clock=None if (folder / "decision.json").exists() else clock)
    return run, config, clock.seconds


def alone(
    cohort: Cohort, settings: Sequence[str], seed: int, options: argparse.Namespace
) -> tuple[float, float | None, float]:
    """AUC, pixel AUROC and seconds of the change in pixels."""
    run, config, seconds = trained(cohort, [ALONE, *settings], seed, options)
    judged = Judged.of(cohort, config)
    area = judged.auc(scores(workflow.load(run)[0], judged.store, "judged images"))
    return area, evaluate(run, None, run.path / "evaluation").pixel_auroc, seconds


def with_evidence(cohort: Cohort, seed: int, options: argparse.Namespace) -> list[float]:
    """AUC by the weight of evidence, beside the change of one training."""
    run, config, _ = trained(cohort, (), seed, options)
    judged, detector = Judged.of(cohort, config), workflow.load(run, "cpu")[0]
    change, evidence = apart(detector, judged.store)
    if judged.crossfitted:
        evidence = crossfitted(run, judged)
    (mean, deviation), (usual, spread) = detector.state_dict()["healthy"].tolist()
    change, evidence = (change - mean) / deviation, (evidence - usual) / spread
    return [judged.auc(evidence if weight == np.inf else change + weight * evidence) for weight in WEIGHTS]


@torch.no_grad()
def apart(detector: Detector, store: ImageStore) -> tuple[Floats, Floats]:
    """The change in pixels and the log odds by pretrained features, before they are joined."""
    assert isinstance(detector, HealthyGANPlus)
    scorer = detector.scorer()
    assert isinstance(scorer, JoinedScorer)
    batches = [to_tensor(store.read(places)) for places in in_batches(len(store), BATCH)]
    change = torch.cat([scorer.change(x)[0] for x in batches])
    return change.double().numpy(), torch.cat([scorer.evidence(x) for x in batches]).double().numpy()


def crossfitted(run: Run, judged: Judged) -> Floats:
    """The mixed set's log odds, each by a model that never saw the patient."""
    with run.part("contrast").mixed_scores.open(newline="", encoding="utf-8") as file:
        odds = {row["path"]: float(row["score"]) for row in csv.DictReader(file)}
    return np.array([odds[str(judged.store.paths[place])] for place in judged.store.owner])


if __name__ == "__main__":
    main()
