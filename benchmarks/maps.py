"""How well maps point at disease, against outlines and boxes: all detectors that are asked for, in one table.

    python benchmarks/maps.py COHORT [COHORT ...] -o FOLDER [--detectors contrast,padim,patchcore] [--seeds 2]

Each detector is trained as its preset says (healthygan+: preset small), but for ``--set``; a run that is there is kept.
Pixel AUROC is over all pixels of the test images that are healthy or have a mask, and within an image the mean of each
masked image's own; peak is how often the map's highest point lies in the lesion. Where fewer than ``FEWEST`` test
images have a mask (NIH), the mixed set's are judged instead: by contrast's cross-fitted maps, from models that saw no
image of the patient, and by the others' maps as they are (they learn from healthy images alone). Masks judge; nothing
reads them before.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from healthygan import load_cohort, load_config, train
from healthygan.common.run_folder import Run
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.store import ImageStore
from healthygan.detectors.contrast.detector import MAP_SMOOTHING, Contrast
from healthygan.detectors.contrast.evidence import evidence, shown
from healthygan.detectors.pretrained import smooth_map
from healthygan.evaluation.cases import lesion_of
from healthygan.inference.predictor import Predictor
from healthygan.stats import metrics
from healthygan.stats.arrays import Booleans, Floats
from healthygan.stats.localisation import pixel_auroc

PRESETS = {"healthygan+": "small"}
FEWEST = 10
BATCH = 16


class Judged(NamedTuple):
    """One run's figures; not a number where there is nothing to tell it by."""

    auc: float
    pooled: float
    within: float
    peak: float
    bright_healthy: float
    """Share of healthy images' map that is above one half."""


def main() -> None:
    """Print a row a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", type=Path, nargs="+", help="manifests")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--detectors", default="contrast,padim,patchcore")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="for all detectors; repeatable")
    options = parser.parse_args()
    print("| set | detector | seed | AUC | pixel AUROC | within an image | peak in lesion | healthy above 0.5 |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for location in options.cohorts:
        cohort = load_cohort(location)
        for name in options.detectors.split(","):
            for seed in range(options.seeds):
                config = load_config(PRESETS.get(name, name), [f"training.seed={seed}", *options.set])
                run = train(config, cohort, options.output / location.parent.name / f"{name}_{seed}")
                cells = " | ".join(f"{value:.3f}" for value in judge(run, cohort))
                print(f"| {location.parent.name} | {name} | {seed} | {cells} |", flush=True)


def judge(run: Run, cohort: Cohort) -> Judged:
    """One run's figures."""
    predictor = Predictor(run)
    test = cohort.split(Split.TEST)
    store = ImageStore.build([image.path for image in test], predictor.config.preprocessing)
    diseased = np.array([image.label is Label.DISEASED for image in test])
    predictions = [predictor.predict_frames(store, part) for part in _parts(len(test))]
    scores = torch.cat([part.score for part in predictions]).double().numpy()
    maps = torch.cat([_known(part.where) for part in predictions])[:, 0].numpy()
    bright = float((maps[~diseased] > 0.5).mean())
    judged: Sequence[CohortImage] = test
    if sum(image.mask is not None for image in test) < FEWEST:
        judged = cohort.split(Split.MIXED)
        maps = _mixed_maps(predictor, judged)
    chosen = [n for n, image in enumerate(judged) if image.mask or (judged is test and image.label is Label.HEALTHY)]
    lesions = [lesion_of(judged[n], predictor.config.preprocessing) for n in chosen]
    return Judged(metrics.auc(scores, diseased), *localised([maps[n] for n in chosen], lesions), bright)


def localised(maps: Sequence[Floats], lesions: Sequence[Booleans]) -> tuple[float, float, float]:
    """Pixel AUROC of all pixels together, the mean of each image's own, and the share of peaks that lie in lesions."""
    marked = [(where, lesion) for where, lesion in zip(maps, lesions, strict=True) if lesion.any()]
    if not marked:
        return float("nan"), float("nan"), float("nan")
    within = [pixel_auroc([where], [lesion]) for where, lesion in marked]
    peaks = [bool(lesion.ravel()[where.argmax()]) for where, lesion in marked]
    return pixel_auroc(maps, lesions), float(np.mean(within)), float(np.mean(peaks))


def _mixed_maps(predictor: Predictor, images: Sequence[CohortImage]) -> NDArray[np.float32]:
    """Maps of the mixed set, S x S each, in the images' order."""
    store = ImageStore.build([image.path for image in images], predictor.config.preprocessing)
    if not isinstance(predictor.detector, Contrast):
        parts = [_known(predictor.predict_frames(store, part).where) for part in _parts(len(images))]
        return torch.cat(parts)[:, 0].numpy()
    return crossfitted_maps(predictor.detector, predictor.run)


def crossfitted_maps(detector: Contrast, run: Run) -> NDArray[np.float32]:
    """Of the mixed set that a contrast run learned from, in its order, by models that saw no image of the patient."""
    rows = (run.load_checkpoint() or {})["mixed patches"].float()
    found = evidence(detector.patches, rows[:, :2].mT, rows[:, 2]).view(-1, 1, detector.grid, detector.grid)
    size = torch.Size((detector.size, detector.size))
    fine = [
        shown(detector.patches, smooth_map(part, size, MAP_SMOOTHING * detector.size)) for part in found.split(BATCH)
    ]
    return torch.cat(fine)[:, 0].numpy()


def _parts(count: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, BATCH):
        yield np.arange(start, min(start + BATCH, count))


def _known(where: Tensor | None) -> Tensor:
    assert where is not None, "this detector makes no maps"
    return where


if __name__ == "__main__":
    main()
