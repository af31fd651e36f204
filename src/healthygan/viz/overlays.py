"""Images as pictures: a difference laid over its image, a lesion's outline, rows of panels."""

import io
from typing import TypeAlias

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

from healthygan.stats.arrays import Booleans, Floats

Picture: TypeAlias = NDArray[np.uint8]
LESION_COLOUR = (0, 229, 255)
EVIDENCE_TITLE = "evidence: where disease shows"
OVERLAY_COLOURS = matplotlib.colormaps["plasma"]
OPACITY = 0.7
"""Of an overlay, where the map is strongest."""


def png(picture: Picture) -> bytes:
    """PNG of an (H, W, 3) panel; one with no colour in it is stored as grey, a third of the size."""
    grey = bool((picture == picture[..., :1]).all())
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if grey else picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def overlay(image: Floats, difference: Floats, top: float) -> Picture:
    """The image in grey with the difference map over it, more opaque and brighter where more was changed.

    Args:
        image: (H, W) in [-1, 1].
        difference: (H, W) in [0, 1].
        top: the difference shown in full colour. Give pictures to be compared the same one.

    Raises:
        ValueError: shapes differ, or ``top`` is not positive.
    """
    if image.shape != difference.shape:
        raise ValueError(f"an image {image.shape} and a difference map {difference.shape} must have one shape")
    if not top > 0:
        raise ValueError(f"the top of the colour scale is {top}; give a positive difference")
    strength = np.clip(difference / top, 0, 1)
    opacity = opacity_of(strength)[..., None]
    blend = (1 - opacity) * _grey(image) + opacity * 255 * np.asarray(OVERLAY_COLOURS(strength))[..., :3]
    return _bytes(blend)


def opacity_of(strength: Floats) -> Floats:
    """How much of the image an overlay covers where the map has a strength in [0, 1]; the same shape.

    A little more than proportional, so that weak changes show without noise tinting the whole picture.
    """
    return np.asarray(OPACITY * np.power(strength, 0.8))


def outline(picture: Picture, lesion: Booleans) -> Picture:
    """The panel with a cyan line just outside a lesion mask (H, W), so that the lesion stays visible."""
    if lesion.shape != picture.shape[:2]:
        raise ValueError(f"a lesion mask {lesion.shape} and a picture {picture.shape} must have one shape")
    edge = binary_dilation(lesion, np.ones((3, 3)), iterations=max(1, round(max(lesion.shape) / 256))) & ~lesion
    outlined = picture.copy()
    outlined[edge] = LESION_COLOUR
    return outlined


def panels(
    original: Floats,
    translated: Floats | None,
    mask: Floats | None,
    difference: Floats | None,
    lesion: Booleans | None,
    top: float,
    *,
    evidence: Floats | None = None,
) -> dict[str, Picture]:
    """What is known of one image, by title: the image, where disease shows, the translated image, the mask and the map.

    The map is a difference map where there is a translated image, else an anomaly map of the detector's own kind.
    A lesion mask is outlined on the image and on the maps. ``top`` as in ``overlay``, for the map; evidence is shown
    on its own scale, 0 to 1.
    """
    shown = {"image": _grey(original)}
    map_title = "anomaly map" if translated is None else "difference |x - x'| / 2"
    if evidence is not None and translated is not None:
        shown[EVIDENCE_TITLE] = overlay(original, evidence, 1.0)
    if translated is not None:
        shown["translated image x'"] = _grey(translated)
    if mask is not None:
        shown["mask M"] = _grey(2 * mask - 1)
    if difference is not None:
        shown[map_title] = overlay(original, difference, top)
    if lesion is not None:
        for title in shown.keys() & {"image", EVIDENCE_TITLE, map_title}:
            shown[title] = outline(shown[title], lesion)
    return shown


def colour_scale(width: int = 256, height: int = 16) -> Picture:
    """The overlay's colours on middle grey, from no difference (left) to the top of the scale (right)."""
    ramp = np.broadcast_to(np.linspace(0, 1, width), (height, width))
    return overlay(np.zeros((height, width)), ramp, 1.0)


def _grey(image: Floats) -> Picture:
    return np.repeat(_bytes(np.clip((image + 1) / 2, 0, 1) * 255)[..., None], 3, axis=-1)


def _bytes(shades: Floats) -> Picture:
    return np.rint(shades).astype(np.uint8)
