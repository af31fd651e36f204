"""From a decoded image to what the networks see; travels with the model, so scoring never asks for it again."""

import hashlib
import math
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
        planes = self._planes(image)
        resized = self._geometry(torch.from_numpy(planes), self._margins(image, planes)).clamp(0, 1)
        quantised: NDArray[np.uint16] = (resized.numpy() * WHITE + 0.5).astype(np.uint16)
        return quantised

    @property
    def sufficient(self) -> int:
        """Pixels a side above which a file brings next to nothing more (``readers.read_frames``).

        Half as many for each that the resize makes are there still where margins of a half are cut off.
        """
        return math.ceil(OVERSAMPLING * self.size / (1 - self.crop_top))

    def margins(self, image: DecodedImage) -> Margins:
        """What is cut off ``image``, besides its top; nothing unless that is wanted."""
        return self._margins(image, self._planes(image)) if self.trim else NO_MARGINS

    def apply_to_mask(self, mask: NDArray[np.bool_], margins: Margins = NO_MARGINS) -> NDArray[np.bool_]:
        """Bring an H x W mask to size x size by the same geometry; true where at least half a pixel is covered.

        Args:
            margins: of its image.
        """
        covered = self._geometry(torch.from_numpy(mask.astype(np.float32))[None], margins)
        result: NDArray[np.bool_] = covered[0].numpy() >= 0.5
        return result

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change whenever the resulting pixels would."""
        # Not while it is off, so that stores from before there was such a setting are still good.
        text = f"{FORMAT_VERSION} {self.model_dump_json(exclude=None if self.trim else {'trim'})}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def _planes(self, image: DecodedImage) -> NDArray[np.float32]:
        """C x H x W in [0, 1]."""
        # Beyond 16 bits a narrow range far from 0 would not survive 32-bit floating point.
        precision: type[np.floating] = np.float64 if image.pixels.dtype.itemsize > 2 else np.float32
        pixels: NDArray[np.floating] = image.pixels.astype(precision) - precision(image.low)
        pixels = np.where(np.isfinite(pixels), pixels, 0) / max(image.high - image.low, SMALLEST_SPAN)
        return np.ascontiguousarray(self._channels(pixels.clip(0, 1).astype(np.float32)))

    def _margins(self, image: DecodedImage, planes: NDArray[np.float32]) -> Margins:
        """Of the volume where the image is a slice of one; what is cut off the top counts as dark."""
        if not self.trim:
            return NO_MARGINS
        if image.margins is not None:
            return image.margins
        bright = is_bright(planes, 0, 1)
        bright[:, : self._top(planes.shape[1])] = False
        return find_margins(bright)

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

    def _geometry(self, planes: Tensor, margins: Margins) -> Tensor:
        """C x H x W to C x size x size, in [0, 1]."""
        planes = _without(planes, margins, self._top(planes.shape[1]))
        height, width = planes.shape[1:]
        if self.shape == "pad":
            return self._padded(planes)
        if self.shape == "square":
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            planes = planes[:, top : top + side, left : left + side]
        return _resized(planes, self.size, self.size)

    def _padded(self, planes: Tensor) -> Tensor:
        """Resized first: a long thin image would need a square too large for memory."""
        longest = max(planes.shape[1:])
        height, width = (max(1, round(side * self.size / longest)) for side in planes.shape[1:])
        above, before = (self.size - height) // 2, (self.size - width) // 2
        borders = (before, self.size - width - before, above, self.size - height - above)
        return pad(_resized(planes, height, width), borders)


def _without(planes: Tensor, margins: Margins, least: int) -> Tensor:
    """The planes without their margins, and ``least`` rows or more off the top; a row and a column stay."""
    height, width = planes.shape[1:]
    top, left = max(round(margins.top * height), least), round(margins.left * width)
    bottom, right = height - round(margins.bottom * height), width - round(margins.right * width)
    return planes[:, top : max(bottom, top + 1), left : max(right, left + 1)]


def _resized(planes: Tensor, height: int, width: int) -> Tensor:
    """Antialiased: a pixel is the mean of all that it covers."""
    if planes.shape[1:] == (height, width):
        return planes
    return interpolate(planes[None], (height, width), mode="bilinear", antialias=True)[0]


def to_tensor(stored: NDArray[np.uint16]) -> Tensor:
    """Stored pixels, 0 to 65,535, to float32 in [-1, 1] of the same shape."""
    return torch.from_numpy(stored.astype(np.float32)).mul_(2 / WHITE).sub_(1)
