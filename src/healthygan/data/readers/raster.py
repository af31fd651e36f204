"""PNG, JPEG and BMP."""

from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import DecodedImage, ImageInfo, ReaderOptions, _start, value_range

GREY_MODES = ("1", "L", "LA", "I", "F", "I;16", "I;16L", "I;16B")
"""Pillow's modes of one channel."""


class PlainReader:
    """PNG, JPEG and BMP; 8 and 16 bits, grey or colour; an alpha channel is dropped.

    Args:
        sufficient: as in ``read_frames``.
    """

    def __init__(self, sufficient: int = 0) -> None:
        self.sufficient = sufficient

    def probe(self, path: Path, options: ReaderOptions) -> ImageInfo:
        """The header, by Pillow."""
        try:
            with Image.open(path) as image:
                deep = self._deep_samples(path)
                depth = 16 if deep or image.mode.startswith(("I", "F")) else 8
                grey = deep <= 2 if deep else image.mode in GREY_MODES
                return ImageInfo(str(image.format), image.height, image.width, 1 if grey else 3, depth, (0,))
        except UnidentifiedImageError as error:
            raise UnreadableImage(f"{path}: damaged header; copy it again or leave it out") from error

    def frames(self, path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        """The one frame."""
        pixels = self._deep(path) if self._deep_samples(path) else self._shallow(path)
        low, high = (0.0, 65535.0) if pixels.dtype == np.int32 else value_range(pixels)
        yield DecodedImage(pixels, low, high)

    def _deep_samples(self, path: Path) -> int:
        """Samples a pixel of a 16-bit PNG with several, which Pillow would cut down to 8 bits; else 0."""
        start = _start(path)
        if start[:4] != b"\x89PNG" or start[24] != 16:
            return 0
        return {2: 3, 4: 2, 6: 4}.get(start[25], 0)

    def _deep(self, path: Path) -> NDArray[np.generic]:
        pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
        return pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]

    def _shallow(self, path: Path) -> NDArray[np.generic]:
        with Image.open(path) as image:
            if self.sufficient:
                image.draft(None, (self.sufficient, self.sufficient))  # JPEG alone has such a thing
            image.load()
            if image.mode in ("1", "LA"):
                return np.asarray(image.convert("L"))
            return np.asarray(image if image.mode in GREY_MODES else image.convert("RGB"))
