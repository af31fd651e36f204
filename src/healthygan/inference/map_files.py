"""Difference maps as files: overlays to look at, arrays to compute with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from healthygan.common.files import atomic_path
from healthygan.common.score_names import map_stem
from healthygan.viz.overlays import overlay


@dataclass(frozen=True)
class MapFiles:
    """Which files of a frame's map are wanted, and where.

    Args:
        folder: to write to.
        overlays: a PNG of the map over its image.
        arrays: the map itself as .npy, float32, H x W in [0, 1].
        top: difference that an overlay shows at full strength, in [0, 1].
    """

    folder: Path
    overlays: bool
    arrays: bool
    top: float

    def write(self, path: Path, frame: int, image: NDArray[np.float32], difference: NDArray[np.float32]) -> None:
        """Write one frame's.

        Args:
            path: of its image file.
            frame: its number there.
            image: H x W in [-1, 1].
            difference: H x W in [0, 1].
        """
        stem = self.folder / map_stem(path, frame)
        if self.overlays:
            with atomic_path(stem.with_name(stem.name + ".png")) as temporary:
                Image.fromarray(overlay(image, difference, self.top)).save(temporary)
        if self.arrays:
            with atomic_path(stem.with_name(stem.name + ".npy")) as temporary:
                np.save(temporary, difference)
