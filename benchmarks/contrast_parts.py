"""What `contrast` chooses without labels beside what labels say of it: regularisation, and parts of the score.

    python benchmarks/contrast_parts.py COHORT [COHORT ...] [--set FIELD=VALUE] [--seeds 3] [--divisions 20]

Two tables a cohort, means over seeds, and false alarms. By strength: three criteria that cross-fitted scores of pile
and healthy set give, of which the detector minimises the misfit, and the AUC of the contrast on the pile's own labels.
By share: piles drawn with these shares of diseased images, and the AUC of distance, contrast and both together on
labelled images that nothing learned from: the validation set, or without one the rest of the mixed set and the healthy
images held out for the threshold. False alarms are piles of healthy images alone, drawn from all that there are,
patients kept together, in which diseased ones are believed. Mixed sets with fewer than 40 healthy images are too small
for the last two. Labels draw the piles and judge; nothing learns from them. The test set is not looked at.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from healthygan import load_cohort, load_config
from healthygan.common.run_folder import Run
from healthygan.data.cohort import Label
from healthygan.data.store import ImageStore
from healthygan.detectors.contrast.detector import STRENGTHS, Contrast, ContrastConfig
from healthygan.detectors.contrast.positive_unlabelled import PRIORS, PUProblem, crossfitted, learn
from healthygan.detectors.contrast.prevalence import fit_mixture
from healthygan.nn.backbones import load_backbone
from healthygan.runs.partition import Stores, partition_cohort
from healthygan.stats.arrays import Floats
from healthygan.training.loop import Training, launch

SHARES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
SMALLEST = 40
"""Healthy images of a mixed set from which piles with small shares can be drawn."""
ALARM = 0.01
"""Share of diseased images above which a pile is not taken for healthy."""
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """Some images."""

    features: Features
    patients: NDArray[Any]
    diseased: NDArray[np.bool_]


@dataclass(frozen=True)
class Problem:
    """A cohort's images by what they are for."""

    healthy: Part
    mixed: Part
    judged: Part
    """Labelled images outside the mixed set."""
    has_validation: bool
    scale: Features
    measured: NDArray[np.bool_]


def main() -> None:
    """Print two tables a cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--set", action="append", default=[], help="beside the preset contrast; repeatable")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--divisions", type=int, default=20, help="of the healthy images, to count false alarms in")
    options = parser.parse_args()
    for location in options.cohorts:
        problem = read(location, options.set)
        print(f"\n{location.parent.name}\n\n| strength | AUC, pile : healthy | log loss | misfit | AUC by labels |")
        print("|---:|---:|---:|---:|---:|")
        for strength, found in by_strength(problem, options.seeds).items():
            row(found, f"{strength:g}")
        if (~problem.mixed.diseased).sum() < SMALLEST:
            continue
        print("\n| share | images | distance | contrast | both | share estimated |\n|---:|---:|---:|---:|---:|---:|")
        for share in SHARES:
            row([by_share(problem, seed, share) for seed in range(options.seeds)], f"{share:g}", counts=1)
        believed = [share_by_chance(problem, seed) for seed in range(options.divisions)]
        alarms = [f"{share:.2f}" for share in believed if share > ALARM]
        print(f"\nfalse alarms: {len(alarms)} of {len(believed)} (shares {', '.join(alarms) or 'none'})", flush=True)


def row(found: list[list[float]], name: str, counts: int = 0) -> None:
    """One line of a table, of which the first ``counts`` are whole numbers."""
    cells = [f"{value:.{0 if place < counts else 3}f}" for place, value in enumerate(np.mean(found, axis=0))]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def read(location: Path, settings: list[str]) -> Problem:
    """Pooled features of all images but the test set's."""
    cohort, config = load_cohort(location), load_config("contrast", settings)
    size = config.preprocessing.size
    parts = partition_cohort(cohort, config.selection, config.early_stopping_share)
    stores = Stores.build(parts, config.preprocessing, strict=False)
    diseased = {image.path for image in cohort.images if image.label is Label.DISEASED}
    detector = Contrast(ContrastConfig(), config.preprocessing.channels, size)
    detector.backbone = load_backbone(size=size)
    training = Training(config.training, Run(location.parent), launch(config.training))  # of which nothing is written

    def part(store: ImageStore) -> Part:
        features = torch.cat(list(detector._pooled(training, store, "images", np.arange(len(store)), 0))).numpy()
        return Part(features, np.array(store.frame_groups), np.array([path in diseased for path in store.paths]))

    judged = stores.validation or stores.threshold
    assert judged is not None
    return Problem(
        part(stores.healthy),
        part(stores.mixed),
        part(judged.store),
        bool(parts.validation),
        detector._layer_scale(),
        detector._is_measured(),
    )


def task_of(problem: Problem, pile: NDArray[np.int64], seed: int) -> PUProblem:
    """Telling some of the mixed images from the healthy set."""
    features = np.concatenate([problem.healthy.features, problem.mixed.features[pile]])
    groups = np.concatenate([problem.healthy.patients, problem.mixed.patients[pile]])
    is_mixed = np.arange(len(features)) >= len(problem.healthy.features)
    return PUProblem(features, is_mixed, groups, problem.scale, problem.measured, seed)


def by_strength(problem: Problem, seeds: int) -> dict[float, list[list[float]]]:
    """By strength, seed by seed: AUC, log loss and misfit of pile against healthy set; AUC by the pile's labels."""
    tasks = [task_of(problem, np.arange(len(problem.mixed.features)), seed) for seed in range(seeds)]
    scores = [crossfitted(task, ContrastConfig()) for task in tasks]
    is_mixed = tasks[0].is_mixed
    return {strength: [figures(problem, is_mixed, found[strength]) for found in scores] for strength in STRENGTHS}


def figures(problem: Problem, is_mixed: NDArray[np.bool_], scores: Floats) -> list[float]:
    """What cross-fitted distances and contrasts, (N, 2), are worth."""
    contrast = scores[:, 1]
    weights = np.where(is_mixed, 1 / is_mixed.sum(), 1 / (~is_mixed).sum())
    return [
        float(roc_auc_score(is_mixed, contrast)),
        float(log_loss(is_mixed, expit(contrast), sample_weight=weights)),
        fit_mixture(scores[~is_mixed], scores[is_mixed], PRIORS).misfit,
        float(roc_auc_score(problem.mixed.diseased, contrast[is_mixed])),
    ]


def by_share(problem: Problem, seed: int, share: float) -> list[float]:
    """Size of a pile with this share; AUC of distance, contrast and both; its share as estimated."""
    pile, rest = drawn(problem, seed, share)
    found = learn(task_of(problem, pile, seed), ContrastConfig())
    features = np.concatenate([problem.judged.features, problem.mixed.features[rest]])
    diseased = np.concatenate([problem.judged.diseased, problem.mixed.diseased[rest]])
    weight, bias = found.head
    scores: Floats = np.stack([found.distance.of(features[:, problem.measured]), features @ weight + bias], axis=1)
    kinds = (scores[:, 0], scores[:, 1], found.mixture.log_odds(scores))
    return [len(pile), *(float(roc_auc_score(diseased, kind)) for kind in kinds), found.mixture.share]


def share_by_chance(problem: Problem, seed: int) -> float:
    """The share believed of a pile that is a part, as large as the mixed set's healthy one, of all healthy images."""
    well = ~problem.mixed.diseased
    features = np.concatenate([problem.healthy.features, problem.mixed.features[well]])
    patients = np.concatenate([problem.healthy.patients, problem.mixed.patients[well]])
    _, numbers = np.unique(patients, return_inverse=True)
    # Whole patients in a drawn order; the first ones' images are the healthy set.
    order = np.argsort(np.random.default_rng(seed).permutation(numbers.max() + 1)[numbers], kind="stable")
    is_mixed = np.arange(len(features)) >= len(problem.healthy.features)
    task = PUProblem(features[order], is_mixed, patients[order], problem.scale, problem.measured, seed)
    return learn(task, ContrastConfig()).mixture.share


def drawn(problem: Problem, seed: int, share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of a pile with this share in the mixed set; and those of the rest, where it is to be judged."""
    random = np.random.default_rng(seed)
    healthy, diseased = (random.permutation(np.flatnonzero(problem.mixed.diseased == side)) for side in (False, True))
    usable = 1.0 if problem.has_validation else 0.5
    well = int(usable * len(healthy))
    ill = min(round(share / (1 - share) * well), int(usable * len(diseased)))
    well = round(ill * (1 - share) / share) if share else well
    rest = [] if problem.has_validation else [healthy[well:], diseased[ill:]]
    return np.concatenate([healthy[:well], diseased[:ill]]), np.concatenate([np.empty(0, np.int64), *rest])


if __name__ == "__main__":
    main()
