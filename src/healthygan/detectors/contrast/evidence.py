"""Patch evidence: how much speaks for disease at each place of an image, from frozen features.

At each place p of a grid a patch has features x (levels of the backbone side by side). Learned from known healthy
images B and the pile A (``patch_learning.py``), without a label:

1. Distance. d(x) = log distance to the nearest of a bank of healthy patches, along the healthy principal axes
   (PatchCore, Roth et al., CVPR 2022, with the axes of a Gaussian model in place of a random projection).
2. Contrast. c(x) = w.x, w = (S + r tr(S)/D I)^-1 (mean_A - mean_B): Fisher's linear discriminant (1936), shrunk, of the
   pile's patches against healthy ones. That the pile holds healthy patches too changes its length, not what it ranks.
3. Place. z_d = (d - usual_p) / s_d: healthy distances vary by place as far as anatomy is registered, and
   usual_p = m + R^2 (m_p - m), R^2 being the share of their variance that places tell of *other* healthy patients.
   z_c = c / s_c.
4. Sum. v = z_d + z_c, both in healthy standard deviations.
5. Relevance. E_p = a_p^(1/2) v with a_p the pile's mean excess of v at p over healthy images', in units of that over
   all places. For two Gaussians of one variance the log likelihood ratio's slope is a_p itself; its root draws less to
   where disease is most frequent.
6. Body. Off the body (``body_mask.py``) evidence falls to a floor, the healthy 2nd percentile.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

GRID = 32
"""Places along a side at most; levels that are finer are averaged."""
AT_ONCE = 256
"""Patches of the bank that all patches of a batch are compared with at a time: memory."""
SMALLEST_DISTANCE = 1e-4
FAINT = 0.05
"""What the map shows healthy images' usual evidence with at most: dark, but its order is kept."""
TOP_SHARE = 0.1
"""Of an image's places, those with most evidence, whose mean its score counts."""


class PatchModel(NamedTuple):
    """All that evidence needs beside the backbone. P = g x g places, D features, A axes, K patches of the bank."""

    axes: Tensor
    """D x A: principal axes of standardised healthy patches, on the features as they are."""
    centre: Tensor
    """(A,): the healthy mean along them."""
    bank: Tensor
    """K x A: healthy patches along the axes, less that mean."""
    weight: Tensor
    """(D,): the contrast, w, on the features as they are; healthy patches of one mean vary by 1."""
    offset: Tensor
    """A scalar: its healthy mean."""
    usual: Tensor
    """(P,): what v would be if nothing were taken off it in a healthy image."""
    spread: Tensor
    """(2,): healthy standard deviations of distance and contrast."""
    relevance: Tensor
    """(P,): the root of a_p."""
    floor: Tensor
    """A scalar: least evidence, and that off the body."""
    high: Tensor
    """A scalar: evidence that few places of healthy images exceed."""
    top: Tensor
    """A scalar: the strongest evidence of the pile."""

    @classmethod
    def unlearned(cls, features: int = 1, places: int = 1) -> "PatchModel":
        """Before anything is learned nothing is evidence."""
        zero = torch.zeros(())
        return cls(
            axes=torch.zeros(features, 1),
            centre=torch.zeros(1),
            bank=torch.zeros(1, 1),
            weight=torch.zeros(features),
            offset=zero.clone(),
            usual=torch.zeros(places),
            spread=torch.ones(2),
            relevance=torch.zeros(places),
            floor=zero.clone(),
            high=torch.ones(()),
            top=torch.full((), 2.0),
        )


def patches_of(maps: list[Tensor], grid: int) -> Tensor:
    """Features of each place, N x P x D, of feature maps N x C_l x h_l x w_l, finest first, D = sum of C_l.

    All but the deepest level are averaged over 3 x 3 places first: neighbours see almost the same there already.
    """
    parts = []
    for number, part in enumerate(maps):
        smooth = avg_pool2d(part, 3, 1, 1, count_include_pad=False) if number < len(maps) - 1 else part
        if smooth.shape[-1] > grid and smooth.shape[-1] % grid == 0:
            smooth = avg_pool2d(smooth, smooth.shape[-1] // grid)
        size = (grid, grid)
        parts.append(smooth if smooth.shape[-2:] == size else interpolate(smooth, size, mode="bilinear"))
    return torch.cat(parts, dim=1).flatten(2).transpose(1, 2)


def patch_scores(model: PatchModel, x: Tensor) -> Tensor:
    """Log distance and contrast (equations 1 and 2) of patches, N x P x D: N x P x 2."""
    rows = x @ model.axes - model.centre
    nearest = torch.stack([_nearest(rows, part) for part in torch.split(model.bank, AT_ONCE)]).amin(dim=0)
    squares = 2 * nearest + rows.square().sum(dim=2)
    distance = squares.clamp_min(SMALLEST_DISTANCE**2).log() / 2
    # As a column: onnxruntime 1.32 multiplies a transposed batch wrongly by a vector.
    contrast = (x @ model.weight[:, None])[..., 0] - model.offset
    return torch.stack([distance, contrast], dim=2)


def _nearest(rows: Tensor, bank: Tensor) -> Tensor:
    """Half the least squared distance of rows, N x P x A, to the bank, K x A, less half of each row's square: N x P."""
    halves: Tensor = bank.square().sum(dim=1) / 2 - rows @ bank.T
    return halves.amin(dim=2)


def raw_evidence(model: PatchModel, scores: Tensor) -> Tensor:
    """v (equations 3 and 4) of such scores, N x P x 2: N x P."""
    return (scores / model.spread).sum(dim=2) - model.usual


def evidence(model: PatchModel, scores: Tensor, body: Tensor) -> Tensor:
    """E (equations 5 and 6), N x P.

    Args:
        scores: N x P x 2.
        body: N x P in [0, 1].
    """
    above = (raw_evidence(model, scores) * model.relevance - model.floor).clamp_min(0)
    return model.floor + above * body.sqrt()


def summaries(found: Tensor) -> Tensor:
    """What an image's score counts of its evidence, N x P: mean of the highest tenth, and mean; N x 2."""
    most = max(1, round(TOP_SHARE * found.shape[1]))
    return torch.stack([found.topk(most, dim=1).values.mean(dim=1), found.mean(dim=1)], dim=1)


def shown(model: PatchModel, found: Tensor) -> Tensor:
    """Evidence of any shape as the map shows it, in [0, 1]: 0 at the floor, ``FAINT`` at ``high``, 1 from ``top``.

    A scale of the training's, not of the image: where nothing stands out the map is dark.
    """
    usual = (found - model.floor) / (model.high - model.floor)
    beyond = (found - model.high) / (model.top - model.high)
    return FAINT * usual.clamp(0, 1) + (1 - FAINT) * beyond.clamp(0, 1)
