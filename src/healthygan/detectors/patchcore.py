"""PatchCore: patches of pretrained features against a bank of healthy ones (Roth et al., 2022).

The bank is a coreset of all healthy patches, chosen greedily so that no patch lies far from it.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, avg_pool2d, unfold

from healthygan.common.progress import Progress
from healthygan.data.store import ImageStore
from healthygan.detectors.base import DetectorConfig, Prediction
from healthygan.detectors.coreset import coreset
from healthygan.detectors.pretrained import (
    PretrainedConfig,
    PretrainedDetector,
    batches,
    bounded,
    finest_maps,
    smooth_map,
)
from healthygan.training.loop import Training

SMALLEST_DISTANCE = 1e-6
QUERIES = 2048
"""Patches whose distances to the bank are computed at a time."""


class PatchCoreConfig(PretrainedConfig):
    """The paper's values, but for the backbone (paper: wide_resnet50_2) and how patches are pooled."""

    name: Literal["patchcore"] = "patchcore"
    layers: tuple[int, ...] = Field((2, 3), min_length=1, description="feature levels of the backbone, from 0")
    dimensions: int | None = Field(
        None,
        ge=1,
        description="none: mean of each 3 x 3 patch, layers side by side | pooled to so many numbers "
        "(official code: 1024)",
    )
    coreset: float = Field(0.1, gt=0, le=1, description="share of the patches kept in the bank")
    patches: int = Field(250_000, ge=2, description="most patches the bank is chosen from, drawn at random if more")
    projection: int = Field(128, ge=1, description="dimensions in which the bank is chosen, by random projection")
    neighbours: int = Field(
        9, ge=1, description="of the nearest in the bank, for the paper's weight (equation 7); 1 = no weight"
    )
    smoothing: float = Field(4.0, ge=0, description="standard deviation of the map's smoothing, in pixels")


class PatchCore(PretrainedDetector):
    """A bank of healthy patches; score = the greatest distance of a patch to it, weighted.

    Args:
        config: features, coreset and weight.
        channels: image channels C.
        size: side of the images in pixels.
        seed: of the projection, of the patches drawn and of the first one in the bank.
    """

    name: ClassVar[str] = "patchcore"
    Config: ClassVar[type[DetectorConfig]] = PatchCoreConfig
    config: PatchCoreConfig
    bank: Tensor
    """m x d: patches of healthy images."""
    unusual: Tensor
    """A scalar: the distance from the bank that the map shows as one half."""

    def __init__(self, config: PatchCoreConfig, channels: int, size: int, seed: int = 0) -> None:
        super().__init__(config, channels, size, seed)
        self._register_learned({"bank": torch.empty(0, 0), "unusual": torch.ones(())})

    def _learn(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> None:
        """The healthy set alone."""
        random = torch.Generator().manual_seed(self.seed)
        patches = self._drawn(healthy, random, training.progress)
        count = max(1, round(self.config.coreset * len(patches)))
        chosen, radii = coreset(_projected(patches, self.config.projection, random), count, random, training.progress)
        # The last one chosen was the farthest from the bank: no healthy patch lies farther.
        self._keep({"bank": patches[chosen], "unusual": radii[-1].clamp_min(SMALLEST_DISTANCE)})

    def _drawn(self, healthy: ImageStore, random: torch.Generator, progress: Progress) -> Tensor:
        """Patches of the healthy images, at most ``config.patches``: as many at random of each batch, n x d."""
        kept: Tensor | None = None
        filled = 0
        for x in batches(healthy, self.device, "healthy set: features", progress):
            rows = self._rows(self._maps(x)).flatten(0, 1)
            if kept is None:
                total = len(healthy) * len(rows) // len(x)
                share = min(1.0, self.config.patches / total)
                kept = rows.new_empty(min(total, self.config.patches), rows.shape[1])
            wanted = min(round(share * len(rows)), len(kept) - filled)
            picked = rows if wanted == len(rows) else rows[torch.randperm(len(rows), generator=random)[:wanted]]
            kept[filled : filled + wanted] = picked
            filled += wanted
        assert kept is not None
        return kept[:filled]

    @torch.no_grad()
    def predict(self, x: Tensor) -> Prediction:
        """Score = the paper's equations 6 and 7; map = each patch's distance, smoothed and ``bounded``."""
        maps = self._maps(x)
        patches = self._rows(maps)
        distances, places = nearest(patches.flatten(0, 1), self.bank)
        distances, places = distances.view(len(x), -1), places.view(len(x), -1)
        score = self._weighted(patches, distances, places)
        smooth = smooth_map(distances.view(len(x), 1, *maps.shape[-2:]), x.shape[-2:], self.config.smoothing)
        return Prediction(score, bounded(smooth, self.unusual))

    def _weighted(self, patches: Tensor, distances: Tensor, places: Tensor) -> Tensor:
        """(N,): distance of the farthest patch, less where the bank is crowded around the nearest (equation 7)."""
        greatest, which = distances.max(dim=1)
        count = min(self.config.neighbours, len(self.bank))
        if count == 1:
            return greatest
        images = torch.arange(len(patches), device=patches.device)
        support = self.bank[places[images, which]]
        around = torch.cdist(support, self.bank).topk(count, dim=1, largest=False).indices
        others = (patches[images, which][:, None] - self.bank[around]).norm(dim=2)
        weighted: Tensor = greatest * (1 - (greatest - others.logsumexp(dim=1)).exp())
        return weighted

    def _maps(self, x: Tensor) -> Tensor:
        """N x D x h x w: features of the 3 x 3 surroundings of each place, of all layers side by side."""
        maps = self.backbone.features(x, self.config.layers)
        dimensions = self.config.dimensions
        pooled = [avg_pool2d(part, 3, 1, 1) if dimensions is None else _pooled(part, dimensions) for part in maps]
        return finest_maps(pooled, "bilinear")

    def _rows(self, maps: Tensor) -> Tensor:
        """N x P x d: the patch at each of P places of such maps, row by row."""
        rows = maps.flatten(2).transpose(1, 2)
        return rows if self.config.dimensions is None else adaptive_avg_pool1d(rows, self.config.dimensions)


def _pooled(part: Tensor, dimensions: int) -> Tensor:
    """3 x 3 surroundings pooled to ``dimensions`` channels, as the official code does."""
    rows = unfold(part, 3, padding=1).transpose(1, 2)
    pooled: Tensor = adaptive_avg_pool1d(rows, dimensions).transpose(1, 2)
    return pooled.reshape(*pooled.shape[:2], *part.shape[-2:])


def _projected(patches: Tensor, dimensions: int, random: torch.Generator) -> Tensor:
    """Patches in a few random directions, which nearly keep distances; as they are where they have no more."""
    if patches.shape[1] <= dimensions:
        return patches
    directions = torch.randn(patches.shape[1], dimensions, generator=random).to(patches)
    projected: Tensor = patches @ directions / dimensions**0.5
    return projected


def nearest(queries: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of each query, n x d, to its nearest in the bank, m x d, and that one's place: (n,) each.

    Exact but for ties within rounding: products of vectors find the nearest, and the distance to it is computed from
    the difference, where nothing cancels. On a CPU faiss finds it where that is installed: up to twice as fast.
    """
    centre = bank.mean(dim=0)
    about = (queries - centre, bank - centre)
    place = _places_by_faiss(*about) if queries.device.type == "cpu" else None
    if place is None:
        place = _places(*about)
    return (queries - bank[place]).norm(dim=1), place


def _places(queries: Tensor, bank: Tensor) -> Tensor:
    """Of each query's nearest in the bank, (n,), by a matrix product."""
    half = bank.square().sum(dim=1) / 2
    places = [torch.addmm(half, part, bank.T, alpha=-1).argmin(dim=1) for part in torch.split(queries, QUERIES)]
    return torch.cat(places)


def _places_by_faiss(queries: Tensor, bank: Tensor) -> Tensor | None:
    """Of each query's nearest in the bank, (n,); none without faiss."""
    try:
        import faiss
    except ImportError:
        return None
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(bank.numpy())
    return torch.from_numpy(index.search(queries.numpy(), 1)[1][:, 0])
