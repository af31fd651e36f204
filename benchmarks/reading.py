"""Images read until 95 % of a pile's diseased are found: at random, by the ranking, and ranked anew by what was read.

    python benchmarks/reading.py CACHE COHORT [COHORT ...] [--every 20] [--seeds 3] [--found 0.95]

The reader is the mixed set's labels. The ranking is that of `contrast`, cross-fitted; anew it is ranked after every so
many images by `detectors/contrast/relearn.py`. No case is drawn at random. Pooled features are kept in CACHE. The mean
over seeds; the test set is not looked at.
"""

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from healthygan import load_cohort, load_config
from healthygan.common.progress import silent
from healthygan.data.cohort import Label
from healthygan.data.store import ImageStore
from healthygan.detectors.contrast.detector import Contrast, ContrastConfig
from healthygan.detectors.contrast.positive_unlabelled import PUProblem, learn
from healthygan.detectors.contrast.relearn import UNREAD, PartlyRead, relearn
from healthygan.detectors.pretrained import batches
from healthygan.nn.backbones import load_backbone
from healthygan.runs.partition import Stores, partition_cohort

Arrays = dict[str, NDArray[Any]]


def main() -> None:
    """Print one line a cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="folder for features and first rankings")
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--found", type=float, default=0.95)
    options = parser.parse_args()
    print(
        "| pile | images, diseased | fewest possible | at random | as ranked | anew | by seed | anew : as ranked | s |"
    )
    print("|---|---:|---:|---:|---:|---:|---|---:|---:|")
    for location in options.cohorts:
        print(row(location, options), flush=True)


def row(location: Path, options: argparse.Namespace) -> str:
    """One cohort's line."""
    images = kept(options.cache / f"{location.parent.name}.npz", lambda: pooled(location))
    is_pile = images["is_mixed"]
    diseased = images["diseased"] & is_pile
    wanted = math.ceil(options.found * diseased.sum() - 1e-9)
    counts, seconds = [], []
    for seed in range(options.seeds):
        first = kept(options.cache / f"{location.parent.name}_{seed}.npz", lambda seed=seed: ranked(images, seed))[
            "odds"
        ]
        generator = np.random.default_rng(seed)
        static = read_until(diseased, np.flatnonzero(is_pile)[np.argsort(-first[is_pile], kind="stable")], wanted)
        shuffled = [read_until(diseased, generator.permutation(np.flatnonzero(is_pile)), wanted) for _ in range(100)]
        anew, slowest = read_anew(images, diseased, first, wanted, options.every, seed)
        counts.append([np.mean(shuffled), static, anew])
        seconds.append(slowest)
    random, static, anew = np.mean(counts, axis=0)
    by_seed = ", ".join(f"{line[1]} to {line[2]}" for line in counts)
    return (
        f"| {location.parent.name} | {is_pile.sum()}, {diseased.sum()} | {wanted} | {random:.0f} | {static:.1f} "
        f"| {anew:.1f} | {by_seed} | {anew / static:.2f} | {max(seconds):.1f} |"
    )


def read_until(diseased: NDArray[np.bool_], order: NDArray[np.int64], wanted: int) -> int:
    """Images read in this order until so many diseased are found."""
    return int(np.searchsorted(np.cumsum(diseased[order]), wanted)) + 1


def read_anew(
    images: Arrays, diseased: NDArray[np.bool_], first: NDArray[np.float64], wanted: int, every: int, seed: int
) -> tuple[int, float]:
    """Images read until so many diseased are found where the unread are ranked anew; seconds of the slowest ranking."""
    verdicts = np.full(len(first), UNREAD, dtype=np.int8)
    odds, slowest = first, 0.0
    while True:
        unread = np.flatnonzero(images["is_mixed"] & (verdicts == UNREAD))
        batch = unread[np.argsort(-odds[unread], kind="stable")][:every]
        lacking = wanted - int((verdicts == 1).sum())
        if diseased[batch].sum() >= lacking:
            return int((verdicts != UNREAD).sum()) + read_until(diseased, batch, lacking), slowest
        verdicts[batch] = diseased[batch]
        start = time.perf_counter()
        odds = relearn(
            PartlyRead(images["features"], ~images["is_mixed"], verdicts, images["groups"], first, images["scale"]),
            seed,
        )
        slowest = max(slowest, time.perf_counter() - start)


def kept(path: Path, make: Any) -> Arrays:
    """Arrays from a file, made where it is missing."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **make())
    with np.load(path) as arrays:
        return dict(arrays)


def ranked(images: Arrays, seed: int) -> Arrays:
    """Cross-fitted log odds of the contrast, (N,)."""
    names = ("features", "is_mixed", "groups", "scale", "measured")
    fit = learn(PUProblem(*(images[name] for name in names), seed), ContrastConfig())
    return {"odds": fit.mixture.log_odds(fit.crossfitted)}


def pooled(location: Path) -> Arrays:
    """Features (N, D), is_mixed, groups and diseased (N,), scale and measured (D,) of a cohort's training images."""
    cohort, config = load_cohort(location), load_config("contrast")
    parts = partition_cohort(cohort, config.selection, config.early_stopping_share)
    stores = Stores.build(parts, config.preprocessing, strict=False)
    size = config.preprocessing.size
    detector = Contrast(ContrastConfig(), config.preprocessing.channels, size)
    detector.backbone = load_backbone(size=size)
    ill = {image.path for image in cohort.images if image.label is Label.DISEASED}

    def features(store: ImageStore) -> NDArray[np.float32]:
        means = []
        with torch.no_grad():
            for x in batches(store, detector.device, "features", silent):
                means.append(torch.cat([part.mean(dim=(2, 3)) for part in detector._maps(x)], dim=1))
        return torch.cat(means).numpy()

    both = (stores.healthy, stores.mixed)
    return {
        "features": np.concatenate([features(store) for store in both]),
        "is_mixed": np.repeat([False, True], [len(store) for store in both]),
        "groups": np.concatenate([np.array(store.frame_groups) for store in both]),
        "diseased": np.array([store.paths[owner] in ill for store in both for owner in store.owner]),
        "scale": detector._layer_scale(),
        "measured": detector._is_measured(),
    }


if __name__ == "__main__":
    main()
