"""The difference map alone, transparent, so that it lies over an image whose contrast a reader changes."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from healthygan.viz.overlays import OPACITY, OVERLAY_COLOURS, opacity_of

LEVELS = 64
"""Strengths that are told apart in an overlay's colours."""


def from_map(difference: NDArray[np.floating], top: float) -> bytes:
    """PNG with transparency of a map (H, W) in [0, 1]; ``top`` as of ``overlays.overlay``."""
    return _png(np.clip(difference / top, 0, 1))


def from_overlay(picture: NDArray[np.uint8]) -> bytes:
    """The same from an overlay (H, W, 3), whose colours tell how strong the map was wherever the image is grey."""
    return _png(strength_of(picture))


def strength_of(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W) in [0, 1]: the strength under which what is below the map's colours comes closest to grey."""
    seen = picture.astype(np.float32)
    best = np.full(picture.shape[:2], np.inf, np.float32)
    strength = np.zeros(picture.shape[:2], np.float32)
    for level in np.linspace(0, 1, LEVELS, dtype=np.float32):
        opacity = opacity_of(np.asarray(level))
        below = seen - opacity * 255 * np.asarray(OVERLAY_COLOURS(float(level)), np.float32)[:3]
        grey = below.mean(axis=2).clip(0, 255 * (1 - opacity))
        distance = np.square(below - grey[..., None]).sum(axis=2)
        closer = distance < best
        best[closer], strength[closer] = distance[closer], level
    return strength


def _png(strength: NDArray[np.floating]) -> bytes:
    colours = np.asarray(OVERLAY_COLOURS(strength))[..., :3] * 255
    layered = np.dstack([colours, opacity_of(strength) / OPACITY * 255])
    buffer = io.BytesIO()
    Image.fromarray(np.rint(layered).astype(np.uint8), "RGBA").save(buffer, "PNG")
    return buffer.getvalue()
