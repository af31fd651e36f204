"""Learning the patch evidence (``evidence.py``) in passes over the images, at a memory that they do not set.

First a sketch: moments of healthy and of the pile's patches, and healthy patches for the bank, fold by fold. Then the
scores of every image by a model that saw no image of its patient, and from these all that is measured by place.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from healthygan.common.batching import evenly_spaced
from healthygan.detectors.contrast.evidence import PatchModel, evidence, patch_scores, raw_evidence, summaries
from healthygan.detectors.coreset import coreset

FOLDS = 4
SKETCHED = 2000
"""Images of either set that moments and bank are drawn from."""
MEASURED = 2000
"""Images of either set that the usual, the relevance and the scale are measured on."""
DRAWN = 256
"""Patches of an image that moments are taken of."""
BANK, POOL, AXES = 3000, 20_000, 64
"""Patches of the bank, patches that it is chosen from, principal axes."""
RIDGE = 1.0
"""Of the contrast, in mean variances."""
SMOOTHING = 1.5 / 16
"""Of means by place: standard deviation as a share of the side."""
FEW, RARE = 2.0, 0.02
"""What a place's mean is shrunk to the general one by, in images; to none, in shares of all images."""
MOST_RELEVANT = 4.0
SMALLEST_EXCESS = 0.1
FLOOR, HIGH, TOP = 0.02, 0.99, 0.999
"""Quantiles of evidence: healthy, healthy, and the pile's."""
SMALLEST = 1e-6


@dataclass(frozen=True)
class PatchImages:
    """Images to learn from, N of them."""

    fold: NDArray[np.int64]
    """(N,): which of the folds an image is in; all images of a patient are in one."""
    read: Callable[[NDArray[np.int64], str], Iterator[tuple[Tensor, Tensor]]]
    """Of the images at these places, in their order, batch by batch: features n x P x D, and body n x P in [0, 1].
    The text tells the user what for."""


@dataclass(frozen=True)
class Sketch:
    """Of patches of one set: what a fold at a time can be left out of."""

    moments: tuple["Moments", ...]
    """Of each fold."""
    drawn: tuple[Tensor, ...]
    """Of each fold, n x D, on the CPU: some of the patches."""


@dataclass(frozen=True)
class Moments:
    """Count, sum (D,) and sum of products (D x D) of patches, in double precision."""

    count: float
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> "Moments":
        """Of patches, n x D."""
        rows = rows.double()
        return cls(float(len(rows)), rows.sum(dim=0), rows.T @ rows)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.first + other.first, self.second + other.second)

    @property
    def mean(self) -> Tensor:
        """(D,)."""
        return self.first / self.count

    @property
    def covariance(self) -> Tensor:
        """D x D."""
        return self.second / self.count - torch.outer(self.mean, self.mean)


def sketch(images: PatchImages, folds: int, seed: int, pool: int = 0) -> Sketch:
    """One pass over up to ``SKETCHED`` images.

    Args:
        pool: patches to draw, of all folds together.
    """
    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(len(images.fold))[:SKETCHED])
    each = -(-pool // len(chosen))
    moments, drawn = [], []
    for number in range(folds):
        total: Moments | None = None
        kept = []
        for x, body in images.read(chosen[images.fold[chosen] == number], "patches"):
            rows, some = _of_body(x, body, random, each)
            total = Moments.of(rows) if total is None else total + Moments.of(rows)
            kept.append(some)
        assert total is not None, "each fold has images of either set"
        moments.append(total)
        drawn.append(torch.cat(kept))
    return Sketch(tuple(moments), tuple(drawn))


def _of_body(x: Tensor, body: Tensor, random: np.random.Generator, each: int) -> tuple[Tensor, Tensor]:
    """Up to ``DRAWN`` patches of the body an image, and ``each`` of these an image: n x D on the CPU."""
    places = torch.from_numpy(random.permutation(x.shape[1])[:DRAWN]).to(x.device)
    x, inside = x[:, places], _inside(body)[:, places]
    rows = x[inside].cpu()
    if not len(rows):  # the places drawn lie off the body in all of them
        rows = x.flatten(0, 1).cpu()
    some = torch.from_numpy(random.permutation(len(rows))[: each * len(x)])
    return rows, rows[some]


def _inside(body: Tensor) -> Tensor:
    """Which patches count as body, of shares N x P: N x P. Some do in every image."""
    inside: Tensor = body > body.amax(dim=1, keepdim=True) / 2
    return inside


class Learner:
    """What the sketches tell: the standardisation, the axes, and models that leave folds out."""

    def __init__(self, healthy: Sketch, mixed: Sketch, scale: NDArray[np.float32], seed: int) -> None:
        self.healthy, self.mixed = healthy, mixed
        every = _total(healthy.moments)
        covariance = every.covariance
        deviation = covariance.diagonal().clamp_min(0).sqrt()
        varies = deviation > SMALLEST * every.mean.abs().clamp_min(SMALLEST)
        self.factor = torch.where(varies, torch.from_numpy(scale).double() / torch.where(varies, deviation, 1.0), 0.0)
        standard = covariance * torch.outer(self.factor, self.factor)
        count = min(AXES, len(standard))
        self.axes = self.factor[:, None] * torch.linalg.eigh(standard).eigenvectors[:, -count:]
        self.centre = every.mean @ self.axes
        self.banks = [self._bank(rows, BANK // len(healthy.drawn), seed) for rows in healthy.drawn]

    def without(self, fold: int | None) -> PatchModel:
        """The model that scores patches, of all folds but one; what is measured by place is still to come."""
        kept = [number for number in range(len(self.banks)) if number != fold]
        weight, offset = self._contrast(kept)
        return PatchModel.unlearned()._replace(
            axes=self.axes.float(),
            centre=self.centre.float(),
            bank=torch.cat([self.banks[number] for number in kept]),
            weight=weight,
            offset=offset,
        )

    def _bank(self, rows: Tensor, most: int, seed: int) -> Tensor:
        """One fold's part of the bank, along the axes. Coresets of parts together are one of the whole
        (Indyk et al., PODS 2014)."""
        points = (rows.double() @ self.axes - self.centre).float()
        chosen, _ = coreset(points, min(most, len(points)), torch.Generator().manual_seed(seed))
        bank: Tensor = points[chosen]
        return bank

    def _contrast(self, kept: list[int]) -> tuple[Tensor, Tensor]:
        """Equation 2, and its healthy mean."""
        healthy, mixed = (_total([part.moments[number] for number in kept]) for part in (self.healthy, self.mixed))
        scatter = (healthy.covariance + mixed.covariance) / 2 * torch.outer(self.factor, self.factor)
        scatter.diagonal().add_(RIDGE * scatter.diagonal().mean().clamp_min(SMALLEST))
        weight = self.factor * torch.linalg.solve(scatter, self.factor * (mixed.mean - healthy.mean))
        weight = weight / (weight @ healthy.covariance @ weight).clamp_min(SMALLEST**2).sqrt()
        return weight.float(), (healthy.mean @ weight).float()


def _total(parts: tuple[Moments, ...] | list[Moments]) -> Moments:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


@torch.no_grad()
def crossfitted(images: PatchImages, apart: Sequence[PatchModel], done: int = 0) -> Iterator[Tensor]:
    """Distance, contrast and body of every image behind the first ``done``, n x 3 x P a batch in half precision.

    Args:
        apart: by fold, the model that saw none of its images.
    """
    for x, body in images.read(np.arange(done, len(images.fold)), "evidence"):
        fold = torch.from_numpy(images.fold[done : done + len(x)])
        rows = torch.empty(len(x), 3, x.shape[1], dtype=torch.float16)
        for number in sorted(set(fold.tolist())):
            mine = fold == number
            rows[mine, :2] = patch_scores(apart[number], x[mine.to(x.device)]).mT.half().cpu()
        rows[:, 2] = body.half().cpu()
        done += len(x)
        yield rows


def weighed(model: PatchModel, healthy: Tensor, mixed: Tensor, fold: NDArray[np.int64]) -> PatchModel:
    """The model with all that is measured by place and of the scale (equations 3 to 6).

    Args:
        healthy, mixed: ``crossfitted`` rows, N x 3 x P and M x 3 x P.
        fold: (N,), of the healthy images.
    """
    chosen = evenly_spaced(len(healthy), MEASURED)
    (h, in_h), (a, in_a) = (_scores(part[evenly_spaced(len(part), MEASURED)]) for part in (healthy, mixed))
    usual, spread = _usual(h, _inside(in_h), torch.from_numpy(fold[chosen] % 2 == 0))
    model = model._replace(usual=usual, spread=spread)
    relevance = _relevance(raw_evidence(model, h), raw_evidence(model, a), _inside(in_h), _inside(in_a))
    model = model._replace(relevance=relevance)
    of_healthy = (raw_evidence(model, h) * model.relevance)[_inside(in_h)]
    floor, middle, high = (_quantile(of_healthy, level) for level in (FLOOR, 0.5, HIGH))
    model = model._replace(floor=torch.tensor(floor))
    strongest = _quantile(evidence(model, a, in_a)[_inside(in_a)], TOP)
    # At least as far beyond: where the pile has nothing that healthy images have not, nothing is shown as strong.
    high = max(high, floor + SMALLEST)
    return model._replace(high=torch.tensor(high), top=torch.tensor(max(strongest, 2 * high - middle, high + SMALLEST)))


def summaries_of(model: PatchModel, rows: Tensor) -> NDArray[np.float64]:
    """Summaries of ``crossfitted`` rows, N x 3 x P: N x 2."""
    parts = [summaries(evidence(model, *_scores(part))) for part in torch.split(rows, DRAWN)]
    return torch.cat(parts).double().numpy()


def _scores(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Scores N x P x 2 and body N x P of ``crossfitted`` rows."""
    single = rows.float()
    return single[:, :2].mT, single[:, 2]


def _usual(scores: Tensor, inside: Tensor, even: Tensor) -> tuple[Tensor, Tensor]:
    """What v has taken off at each place, (P,), and the spreads (2,), of healthy scores N x P x 2.

    Args:
        inside: N x P, which patches are body.
        even: (N,): images of one half of the folds, whose means by place are tried on the other half.
    """
    distance = scores[..., 0]
    centre = scores[inside].mean(dim=0)

    def by_place(chosen: Tensor) -> Tensor:
        total = _smooth((distance[chosen] * inside[chosen]).sum(dim=0))
        count = _smooth(inside[chosen].float().sum(dim=0))
        return (total + FEW * centre[0]) / (count + FEW)

    other = inside & ~even[:, None]
    left, whole = ((distance - about)[other].square().mean() for about in (by_place(even), centre[0]))
    told = (1 - left / whole.clamp_min(SMALLEST)).clamp_min(0) if other.any() and even.any() else torch.zeros(())
    usual = centre[0] + told * (by_place(torch.ones_like(even)) - centre[0])
    spread = torch.stack([(distance - usual)[inside].std(), scores[..., 1][inside].std()]).clamp_min(SMALLEST)
    return usual / spread[0] + centre[1] / spread[1], spread


def _relevance(healthy: Tensor, mixed: Tensor, in_healthy: Tensor, in_mixed: Tensor) -> Tensor:
    """The root of a_p (equation 5), (P,), of v of either set, N x P, and which patches are body."""

    def by_place(values: Tensor, inside: Tensor) -> Tensor:
        return _smooth((values * inside).sum(dim=0)) / (_smooth(inside.float().sum(dim=0)) + RARE * len(values))

    general = (mixed[in_mixed].mean() - healthy[in_healthy].mean()).clamp_min(SMALLEST_EXCESS)
    excess = by_place(mixed, in_mixed) - by_place(healthy, in_healthy)
    if not (excess > 0).any():  # the pile tells no place from another
        return torch.ones_like(excess)
    return (excess / general).clamp(0, MOST_RELEVANT).sqrt()


def _smooth(by_place: Tensor) -> Tensor:
    """Means over neighbours of (P,), a square grid row by row."""
    side = round(len(by_place) ** 0.5)
    return torch.from_numpy(gaussian_filter(by_place.view(side, side).numpy(), SMOOTHING * side)).flatten()


def _quantile(values: Tensor, level: float) -> float:
    return float(np.quantile(values.numpy(), level))
