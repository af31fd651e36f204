"""What picks `contrast`'s regularisation without labels: criteria side by side, and what labels say of each strength.

    python benchmarks/regularisation.py COHORT [COHORT ...] [--size 160] [--seeds 3]

Cross-fitted scores of pile and healthy set give the three criteria: AUC, log loss (balanced), and the misfit of the
mixture, which the detector minimises. The labels of the mixed set, which no training reads, give the AUC that a
criterion should find. Figures are means over the folds' seeds.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from healthygan import load_cohort, load_config
from healthygan.arrays import Floats
from healthygan.backbones import load_backbone
from healthygan.decision import Stores
from healthygan.detectors.contrast import STRENGTHS, Contrast, ContrastConfig
from healthygan.holdout import divide
from healthygan.pile_share import fit_mixture
from healthygan.positive_unlabelled import Task, crossfitted


def main() -> None:
    """Print one table a cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for location in options.cohorts:
        tasks, diseased = problems(location, options.size, options.seeds)
        print(
            f"\n{location.parent.name}\n\n| strength | AUC, pile : healthy | log loss | misfit | AUC by mixed labels |"
        )
        print("|---:|---:|---:|---:|---:|")
        for strength in STRENGTHS:
            found = np.mean([figures(task, diseased, strength) for task in tasks], axis=0)
            print(f"| {strength:g} | {' | '.join(f'{value:.4f}' for value in found)} |", flush=True)


def problems(location: Path, size: int, seeds: int) -> tuple[list[Task], list[bool]]:
    """The cohort's task with several seeds of its folds, and who in the pile is diseased."""
    cohort = load_cohort(location)
    config = load_config("contrast", [f"preprocessing.size={size}"])
    parts = divide(cohort, config)
    stores = Stores.build(parts, config, strict=False)
    detector = Contrast(ContrastConfig(), config.preprocessing.channels, size)
    detector.backbone = load_backbone(size=size)
    healthy, mixed = (
        torch.cat(list(detector._pooled(store, "images", 0))).numpy() for store in (stores.healthy, stores.mixed)
    )
    groups = np.array([*stores.healthy.frame_groups, *stores.mixed.frame_groups])
    features = np.concatenate([healthy, mixed])
    is_mixed = np.arange(len(features)) >= len(healthy)
    scale = detector._layer_scale()
    tasks = [Task(features, is_mixed, groups, scale, seed) for seed in range(seeds)]
    return tasks, [str(image.label) == "diseased" for image in parts.mixed]


def figures(task: Task, diseased: list[bool], strength: float) -> Floats:
    """AUC, log loss and misfit of pile against healthy set; AUC of diseased against healthy in the pile."""
    scores = crossfitted(task, ContrastConfig(strengths=(strength,)))[strength]
    healthy, mixed = scores[~task.is_mixed], scores[task.is_mixed]
    weights = np.where(task.is_mixed, 1 / len(mixed), 1 / len(healthy))
    return np.array(
        [
            roc_auc_score(task.is_mixed, scores),
            log_loss(task.is_mixed, expit(scores), sample_weight=weights),
            fit_mixture(healthy, mixed).misfit,
            roc_auc_score(diseased, mixed),
        ]
    )


if __name__ == "__main__":
    main()
