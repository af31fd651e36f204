"""Whether swapped folders are noticed, and whether right ones are left in peace, by how wide either set spreads.

    python benchmarks/swapped_sets.py COHORT/manifest.csv [...] [--size 128]

The interval of ``spread_difference`` of a cohort as it is, with the two sets swapped, and with a pile of its healthy
images alone. `train` warns where it lies below 0. Labels draw the last pile; nothing learns from them.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from healthygan import load_cohort, load_config
from healthygan.common.batching import in_batches
from healthygan.data.cohort import CohortImage, Label, Split
from healthygan.data.preprocessing import Preprocessing, to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors.contrast.detector import Contrast, ContrastConfig, _means
from healthygan.detectors.contrast.spread import spread_difference
from healthygan.runs.aggregation import Units
from healthygan.runs.config import SelectionConfig
from healthygan.stats.intervals import Interval

FEWEST = 20
"""Healthy images of a mixed set from which a pile of its own is made."""


@dataclass(frozen=True)
class Part:
    """Measured features, (N, D), their patients, and who is diseased."""

    features: NDArray[np.float32]
    patients: list[str]
    diseased: NDArray[np.bool_]

    def healthy(self) -> "Part":
        """Its healthy images alone."""
        places = np.flatnonzero(~self.diseased)
        return Part(self.features[places], [self.patients[n] for n in places], self.diseased[places])


def main() -> None:
    """Print a line a cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    preprocessing = load_config("contrast", [f"preprocessing.size={options.size}"]).preprocessing
    detector = Contrast(ContrastConfig(), preprocessing.channels, preprocessing.size)
    measured = detector._is_measured()
    scale = detector._layer_scale()[measured]
    print("| cohort | as it is | swapped | pile of healthy images alone |\n|---|---|---|---|")
    for location in options.cohorts:
        cohort = load_cohort(location)
        healthy, mixed = (
            part(detector, cohort.split(split), preprocessing, measured) for split in (Split.HEALTHY, Split.MIXED)
        )
        print(line(location.parent.name, healthy, mixed, scale), flush=True)


def part(
    detector: Contrast, images: tuple[CohortImage, ...], preprocessing: Preprocessing, measured: NDArray[np.bool_]
) -> Part:
    """Pooled features of some images."""
    store = ImageStore.build([image.path for image in images], preprocessing)
    units = Units.of(images, store.owner, SelectionConfig())
    with torch.no_grad():
        features = [
            _means(detector._maps(to_tensor(store.read(batch)))).numpy() for batch in in_batches(len(store), 32)
        ]
    diseased = np.array([image.label is Label.DISEASED for image in units.frames])
    return Part(np.concatenate(features)[:, measured], units.patients, diseased)


def line(name: str, healthy: Part, mixed: Part, scale: NDArray[np.float32]) -> str:
    """One line of the table."""
    alone = mixed.healthy()
    cells = [cell(healthy, mixed, scale), cell(mixed, healthy, scale)]
    cells.append(cell(healthy, alone, scale) if len(alone.features) >= FEWEST else "too few")
    return f"| {name} | {' | '.join(cells)} |"


def cell(healthy: Part, mixed: Part, scale: NDArray[np.float32]) -> str:
    """An interval; bold where `train` would warn."""
    groups = (healthy.patients, mixed.patients)
    interval: Interval | None = spread_difference(
        healthy.features, mixed.features, scale, groups, np.random.default_rng(0)
    )
    if interval is None:
        return "unknown"
    text = f"{interval.low:+.2f} to {interval.high:+.2f}"
    return f"**{text}**" if interval.high < 0 else text


if __name__ == "__main__":
    main()
