"""An image's own pixels for the page: all of its bits, and small pictures for lists."""

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import DecodedImage, ReaderOptions
from healthygan.data.readers.reading import read_frames

KEPT_BYTES = 64 << 20
"""Of decoded images, for readers who go back and forth."""
THUMBNAIL = 96


@dataclass(frozen=True)
class Samples:
    """Pixels as they travel: native value = offset + step x sample."""

    data: bytes
    """Row by row, unsigned, little-endian; red, green, blue next to each other."""
    height: int
    width: int
    channels: int
    bits: int
    """8 or 16."""
    offset: float
    step: float
    low: float
    """Native value that is black at first."""
    high: float
    """Native value that is white at first."""


def samples(image: DecodedImage) -> Samples:
    """8 and 16 bits as they are, signed ones shifted; what is finer is spread over 16 bits, from least to greatest."""
    values, offset, step = _unsigned(image.pixels)
    height, width = values.shape[:2]
    return Samples(
        data=np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes(),
        height=height,
        width=width,
        channels=1 if values.ndim == 2 else values.shape[2],
        bits=8 * values.dtype.itemsize,
        offset=offset,
        step=step,
        low=float(image.low),
        high=float(image.high),
    )


def _unsigned(pixels: NDArray[np.generic]) -> tuple[NDArray[np.generic], float, float]:
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels, 0.0, 1.0
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8), 0.0, 1.0
    values = pixels.astype(np.float64)
    finite = values[np.isfinite(values)]
    least, greatest = float(finite.min()), float(finite.max())
    whole = np.issubdtype(pixels.dtype, np.integer) and greatest - least <= 65535
    step = 1.0 if whole else (greatest - least) / 65535
    values = np.where(np.isfinite(values), values, least)
    return np.rint((values - least) / step).astype(np.uint16), least, step


def thumbnail(picture: Image.Image) -> bytes:
    """A small JPEG."""
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL * 2, THUMBNAIL * 2))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def picture(image: DecodedImage) -> Image.Image:
    """8 bits, from black to white as the file says."""
    scaled = (image.pixels.astype(np.float32) - image.low) / (image.high - image.low)
    return Image.fromarray((np.nan_to_num(scaled).clip(0, 1) * 255).astype(np.uint8))


class Decoder:
    """Reads frames of files; keeps the last ones, a few MB.

    Args:
        options: what files leave open.
    """

    def __init__(self, options: ReaderOptions) -> None:
        self._options = options
        self._kept: OrderedDict[tuple[Path, int, int], DecodedImage] = OrderedDict()
        self._lock = threading.Lock()

    def frame(self, path: Path, number: int, sufficient: int = 0) -> DecodedImage:
        """One frame.

        Args:
            sufficient: as of ``read_frames``.

        Raises:
            UnreadableImage: the file cannot be read, or has no such frame.
        """
        key = (path, number, sufficient)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        wanted = None
        for image in read_frames(path, self._options, sufficient):
            self._keep((path, image.frame, sufficient), image)
            if image.frame == number:
                wanted = image
                if sufficient:
                    break
        if wanted is None:
            raise UnreadableImage(f"{path}: has no frame {number}; score the pile again")
        return wanted

    def _keep(self, key: tuple[Path, int, int], image: DecodedImage) -> None:
        with self._lock:
            self._kept[key] = image
            while sum(kept.pixels.nbytes for kept in self._kept.values()) > KEPT_BYTES and len(self._kept) > 1:
                self._kept.popitem(last=False)
