"""Where in an image the body is: letters, calipers and the dark background beside it are no place for disease."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate, max_pool2d

SIDE = 128
"""Of the small image that is looked at."""
DARK = 10 / 255
"""Of black to white: what is darker is background, whatever the image."""
SHARE = 0.08
"""Of the image's bright end (its 99th percentile): what is darker is background."""
TOP = SIDE * SIDE // 100
THIN = 5
"""Pixels of ``SIDE``: what is thinner in either direction is no body; strokes of letters are."""


def body_share(x: Tensor, grid: int) -> Tensor:
    """How much of each patch of a grid is body, N x 1 x grid x grid in [0, 1].

    Body is what is bright and not thin, and what has such to its left, right, above and below, as lungs have (dark
    organs inside a bright body). All is body where nothing stands out from the background. Made of operations that an
    export can hold.

    Args:
        x: N x C x H x W in [-1, 1].
    """
    grey = (x.mean(dim=1, keepdim=True) + 1) / 2
    small = _small(grey)
    level = small.flatten(1).topk(TOP).values[:, -1].view(-1, 1, 1, 1)
    bright = (small > (SHARE * level).clamp_min(DARK)).float()
    body = _opened(bright)
    enclosed = _seen(body, 2) * _seen(body, 3) * _seen(body.flip(2), 2).flip(2) * _seen(body.flip(3), 3).flip(3)
    filled = torch.maximum(body, enclosed)
    filled = torch.where(filled.amax(dim=(2, 3), keepdim=True) > 0, filled, torch.ones_like(filled))
    return avg_pool2d(filled, SIDE // grid) if SIDE % grid == 0 else adaptive_avg_pool2d(filled, grid)


def _small(grey: Tensor) -> Tensor:
    """N x 1 x S x S at ``SIDE``: means over squares of pixels where they are whole."""
    if grey.shape[-1] % SIDE == 0:
        return avg_pool2d(grey, grey.shape[-1] // SIDE)
    return interpolate(grey, (SIDE, SIDE), mode="bilinear")


def _opened(mask: Tensor) -> Tensor:
    """The union of all squares of ``THIN`` pixels that lie inside the mask, N x 1 x h x w of 0 and 1."""
    inner = 1 - max_pool2d(1 - mask, THIN, 1, THIN // 2)
    return max_pool2d(inner, THIN, 1, THIN // 2)


def _seen(mask: Tensor, dim: int) -> Tensor:
    """1 where the mask has a 1 at the place or before it along ``dim``."""
    return (mask.cumsum(dim) > 0).float()
