"""From a decoded image to what the networks see; travels with the model, so scoring never asks for it again."""

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn.functional import interpolate, pad

from healthygan.data.margins import NO_MARGINS, Margins, find_margins, is_bright
from healthygan.data.readers.base import DecodedImage, ReaderOptions

FORMAT_VERSION = 2
"""Raised when the same settings would give other pixels, so that old stores are not reused."""
WHITE = 65535
SMALLEST_SPAN = 1e-30
OVERSAMPLING = 4
"""Pixels that must be there for each one that the resize makes, along either axis."""
STRIP_PIXELS = 2**22
"""Pixels that are scaled at a time."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey, Rec. ITU-R BT.601."""


class Preprocessing(BaseModel):
    """Grey or colour, crop, shape, size. Flips are training's business and random."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(256, ge=8, le=4096, description="side of the square that the networks see, in pixels")
    channels: Literal[1, 3] = Field(1, description="1 = grey, 3 = colour")
    crop_top: float = Field(0.0, ge=0, lt=0.9, description="share of the height cut off at the top first")
    trim: bool = Field(
        False, description="cut off dark margins, a quarter of a side at most; a volume's slices are cut alike"
    )
    shape: Literal["square", "pad", "squash"] = Field(
        "square", description="central square | black borders up to a square | both sides squashed alike"
    )
    reader: ReaderOptions = ReaderOptions()

    @model_validator(mode="after")
    def _fits_the_generator(self) -> Self:
        if self.size % 4:
            raise ValueError(f"size {self.size} is not a multiple of 4, which the networks need")
        return self

    def __call__(self, image: DecodedImage) -> NDArray[np.uint16]:
        """Give ``image`` as channels x size x size, 0 (``image.low`` and below) to 65,535 (``image.high`` and above).

        Pixels that are not finite become black. Scaled in floating point before the resize, so that 16 bits of
        depth survive until here.
        """
        resized = self._geometry(image.pixels.shape[:2], lambda rows: self._strip(image, rows), self.margins(image))
        quantised: NDArray[np.uint16] = (resized.clamp(0, 1).numpy() * WHITE + 0.5).astype(np.uint16)
        return quantised

    @property
    def sufficient(self) -> int:
        """Pixels a side above which a file brings next to nothing more (``readers.read_frames``).

        Half as many for each that the resize makes are there still where margins of a half are cut off.
        """
        return math.ceil(OVERSAMPLING * self.size / (1 - self.crop_top))

    def margins(self, image: DecodedImage) -> Margins:
        """What is cut off ``image``, besides its top; nothing unless that is wanted.

        Of the volume where the image is a slice of one; what is cut off the top counts as dark.
        """
        if not self.trim:
            return NO_MARGINS
        if image.margins is not None:
            return image.margins
        height, width = image.pixels.shape[:2]
        bright = np.empty((self.channels, height, width), dtype=np.bool_)
        for rows in _strips(height, width):
            bright[:, rows] = is_bright(self._strip(image, rows).numpy(), 0, 1)
        bright[:, : self._top(height)] = False
        return find_margins(bright)

    def apply_to_mask(self, mask: NDArray[np.bool_], margins: Margins = NO_MARGINS) -> NDArray[np.bool_]:
        """Bring an H x W mask to size x size by the same geometry; true where at least half a pixel is covered.

        Args:
            margins: of its image.
        """
        covered = self._geometry(
            mask.shape, lambda rows: torch.from_numpy(mask[rows].astype(np.float32))[None], margins
        )
        result: NDArray[np.bool_] = covered[0].numpy() >= 0.5
        return result

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change whenever the resulting pixels would."""
        # Not while they are as by default, so that stores from before there were such settings are still good.
        later: set[str] = set() if self.trim else {"trim"}
        limits = {"max_memory"} if self.reader.max_memory == ReaderOptions().max_memory else set()
        text = f"{FORMAT_VERSION} {self.model_dump_json(exclude=dict.fromkeys(later, True) | {'reader': limits})}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def _strip(self, image: DecodedImage, rows: slice) -> Tensor:
        """Some rows of the image as C x h x W in [0, 1]."""
        pixels = image.pixels[rows]
        # Beyond 16 bits a narrow range far from 0 would not survive 32-bit floating point.
        precision: type[np.floating] = np.float64 if pixels.dtype.itemsize > 2 else np.float32
        shifted: NDArray[np.floating] = pixels.astype(precision) - precision(image.low)
        scaled = np.where(np.isfinite(shifted), shifted, 0) / max(image.high - image.low, SMALLEST_SPAN)
        return torch.from_numpy(np.ascontiguousarray(self._channels(scaled.clip(0, 1).astype(np.float32))))

    def _top(self, height: int) -> int:
        """Rows that are cut off at the top first, never all."""
        return min(round(height * self.crop_top), height - 1)

    def _channels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """H x W or H x W x 3 to channels x H x W."""
        if pixels.ndim == 2:
            return np.repeat(pixels[None], self.channels, axis=0)
        if self.channels == 3:
            return np.moveaxis(pixels, 2, 0)
        return np.asarray(pixels @ np.array(LUMA, dtype=np.float32))[None]

    def _geometry(self, shape: tuple[int, ...], strip: Callable[[slice], Tensor], margins: Margins) -> Tensor:
        """Planes of ``shape`` H x W, given some rows at a time, to C x size x size, in [0, 1]."""
        rows, columns = _within(shape, margins, self._top(shape[0]))
        if self.shape == "square":
            rows, columns = _central_square(rows, columns)
        height, width = self.size, self.size
        if self.shape == "pad":
            # Resized first: a long thin image would need a square too large for memory.
            longest = max(len(rows), len(columns))
            height, width = (max(1, round(len(side) * self.size / longest)) for side in (rows, columns))
        resized = _resized(strip, rows, columns, height, width)
        above, before = (self.size - height) // 2, (self.size - width) // 2
        return pad(resized, (before, self.size - width - before, above, self.size - height - above))


def _within(shape: tuple[int, ...], margins: Margins, least: int) -> tuple[range, range]:
    """Rows and columns without their margins, and ``least`` rows or more off the top; one of either stays."""
    height, width = shape
    top, left = max(round(margins.top * height), least), round(margins.left * width)
    bottom, right = height - round(margins.bottom * height), width - round(margins.right * width)
    return range(top, max(bottom, top + 1)), range(left, max(right, left + 1))


def _central_square(rows: range, columns: range) -> tuple[range, range]:
    side = min(len(rows), len(columns))
    top, left = (len(rows) - side) // 2, (len(columns) - side) // 2
    return rows[top : top + side], columns[left : left + side]


def _strips(height: int, width: int, start: int = 0) -> Iterator[slice]:
    """Rows from ``start`` to ``height``, as many at a time as there is working memory for."""
    step = max(1, STRIP_PIXELS // width)
    return (slice(first, min(first + step, height)) for first in range(start, height, step))


def _resized(strip: Callable[[slice], Tensor], rows: range, columns: range, height: int, width: int) -> Tensor:
    """Antialiased: a pixel is the mean of all that it covers.

    Across first, some rows at a time, then down: the same to the bit as all at once, which for a large image would
    take many times its own memory.
    """
    cut = slice(columns.start, columns.stop)
    across = [
        _interpolated(strip(some)[:, :, cut], some.stop - some.start, width)
        for some in _strips(rows.stop, len(columns), rows.start)
    ]
    return _interpolated(across[0] if len(across) == 1 else torch.cat(across, dim=1), height, width)


def _interpolated(planes: Tensor, height: int, width: int) -> Tensor:
    if planes.shape[1:] == (height, width):
        return planes
    return interpolate(planes[None], (height, width), mode="bilinear", antialias=True)[0]


def to_tensor(stored: NDArray[np.uint16]) -> Tensor:
    """Stored pixels, 0 to 65,535, to float32 in [-1, 1] of the same shape."""
    return torch.from_numpy(stored.astype(np.float32)).mul_(2 / WHITE).sub_(1)
