"""From a decoded image to what the networks see; travels with the model, so scoring never asks for it again."""

import hashlib
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn.functional import interpolate, pad

from healthygan.data.readers import DecodedImage, ReaderOptions

FORMAT_VERSION = 1
"""Raised when the same settings would give other pixels, so that old stores are not reused."""
WHITE = 65535
SMALLEST_SPAN = 1e-30
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey, Rec. ITU-R BT.601."""


class Preprocessing(BaseModel):
    """Grey or colour, crop, shape, size. Flips are training's business and random."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(256, ge=8, le=4096, description="side of the square that the networks see, in pixels")
    channels: Literal[1, 3] = Field(1, description="1 = grey, 3 = colour")
    crop_top: float = Field(0.0, ge=0, lt=0.9, description="share of the height cut off at the top first")
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

        Scaled in 32-bit floating point before the resize, so that 16 bits of depth survive until here.
        """
        span = max(image.high - image.low, SMALLEST_SPAN)
        pixels = (image.pixels.astype(np.float32) - np.float32(image.low)) / np.float32(span)
        planes = torch.from_numpy(np.ascontiguousarray(self._channels(pixels.clip(0, 1))))
        resized = self._geometry(planes).clamp(0, 1)
        quantised: NDArray[np.uint16] = (resized.numpy() * WHITE + 0.5).astype(np.uint16)
        return quantised

    def apply_to_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Bring an H x W mask to size x size by the same geometry; true where at least half a pixel is covered."""
        covered = self._geometry(torch.from_numpy(mask.astype(np.float32))[None])
        result: NDArray[np.bool_] = covered[0].numpy() >= 0.5
        return result

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change whenever the resulting pixels would."""
        text = f"{FORMAT_VERSION} {self.model_dump_json()}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def _channels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """H x W or H x W x 3 to channels x H x W."""
        if pixels.ndim == 2:
            return np.repeat(pixels[None], self.channels, axis=0)
        if self.channels == 3:
            return np.moveaxis(pixels, 2, 0)
        return np.asarray(pixels @ np.array(LUMA, dtype=np.float32))[None]

    def _geometry(self, planes: Tensor) -> Tensor:
        """C x H x W to C x size x size, in [0, 1]."""
        planes = planes[:, int(planes.shape[1] * self.crop_top) :]
        height, width = planes.shape[1:]
        if self.shape == "square":
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            planes = planes[:, top : top + side, left : left + side]
        elif self.shape == "pad":
            side = max(height, width)
            above, before = (side - height) // 2, (side - width) // 2
            planes = pad(planes, (before, side - width - before, above, side - height - above))
        if planes.shape[1:] == (self.size, self.size):
            return planes
        return interpolate(planes[None], (self.size, self.size), mode="bilinear", antialias=True)[0]


def to_tensor(stored: NDArray[np.uint16]) -> Tensor:
    """Stored pixels, 0 to 65,535, to float32 in [-1, 1] of the same shape."""
    return torch.from_numpy(stored.astype(np.float32)).mul_(2 / WHITE).sub_(1)
