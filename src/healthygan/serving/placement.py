"""Which part of an image its map shows."""

from typing import NamedTuple

import numpy as np

from healthygan.data.margins import NO_MARGINS, Margins, find_margins, is_bright
from healthygan.data.readers.base import DecodedImage
from healthygan.serving.scored_folder import Framing


class Place(NamedTuple):
    """Top left corner, height and width in pixels of the image; beyond its edges where it was padded."""

    top: float
    left: float
    height: float
    width: float


def place_of_map(image: DecodedImage, framing: Framing) -> Place:
    """Where the networks' square lies on the image, as ``Preprocessing`` cuts it."""
    height, width = image.pixels.shape[:2]
    cut = min(round(height * framing.crop_top), height - 1)
    margins = _margins(image, framing, cut)
    top, left = max(round(margins.top * height), cut), round(margins.left * width)
    bottom = max(height - round(margins.bottom * height), top + 1)
    right = max(width - round(margins.right * width), left + 1)
    inner_height, inner_width = bottom - top, right - left
    if framing.shape == "squash":
        return Place(top, left, inner_height, inner_width)
    side = max(inner_height, inner_width) if framing.shape == "pad" else min(inner_height, inner_width)
    return Place(top + (inner_height - side) / 2, left + (inner_width - side) / 2, side, side)


def _margins(image: DecodedImage, framing: Framing, cut: int) -> Margins:
    if not framing.trim:
        return NO_MARGINS
    if image.margins is not None:
        return image.margins
    grey = image.pixels.astype(np.float64)
    planes = grey[None] if grey.ndim == 2 else np.moveaxis(grey, 2, 0)
    bright = is_bright(planes, image.low, image.high)
    bright[:, :cut] = False
    return find_margins(bright)
