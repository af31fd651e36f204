"""Several trainings of one configuration as one detector: scores vary by seed, and their mean less so."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from healthygan.data.store import ImageStore
from healthygan.detectors.base import Detector, DetectorConfig, Prediction
from healthygan.stats.arrays import Floats
from healthygan.training.loop import Training


class Ensemble(Detector):
    """The mean of its members' scores, each standardised by its scores of held-out healthy images.

    Maps and translated images are the members' plain means.

    Args:
        members: untrained detectors of one kind, one a seed.
    """

    name: ClassVar[str] = "ensemble"
    Config: ClassVar[type[DetectorConfig]] = DetectorConfig

    centre: Tensor
    scale: Tensor

    def __init__(self, members: Sequence[Detector]) -> None:
        first = members[0]
        super().__init__(first.config, first.channels, first.size, first.seed)
        for number, member in enumerate(members):
            self.add_module(str(number), member)
        self.register_buffer("centre", torch.zeros(len(members)))
        self.register_buffer("scale", torch.ones(len(members)))

    @property
    def members(self) -> list[Detector]:
        """In the order of their seeds."""
        return cast(list[Detector], [*self.children()])

    def fit(self, healthy: ImageStore, mixed: ImageStore, training: Training) -> None:
        """Members are trained one by one, each in a run folder of its own (``workflow.train``), and then joined."""
        raise TypeError("an ensemble is joined from trained members, not fitted")

    def join(self, weights: Sequence[dict[str, Tensor]], healthy_scores: Sequence[Floats]) -> None:
        """Take trained members' weights, and each one's (n,) scores of healthy images that no member trained on.

        Raises:
            ValueError: a member has fewer than two scores, or all of them are the same.
        """
        for member, own in zip(self.members, weights, strict=True):
            member.load_state_dict(own)
        for number, scores in enumerate(healthy_scores):
            if len(scores) < 2 or not scores.std() > 0:
                raise ValueError(f"member {number} has {len(scores)} differing healthy scores; two or more are needed")
        self.centre = torch.tensor([float(scores.mean()) for scores in healthy_scores])
        self.scale = torch.tensor([float(scores.std(ddof=1)) for scores in healthy_scores])

    def predict(self, x: Tensor) -> Prediction:
        """Score x, N x C x H x W in [-1, 1]; 0 = like the average healthy image, in its standard deviations."""
        predictions = [member.predict(x) for member in self.members]
        scores = torch.stack([prediction.score for prediction in predictions])
        return Prediction(
            _standardised(scores, self.centre, self.scale),
            *(_mean([getattr(prediction, name) for prediction in predictions]) for name in MAPS),
        )

    def scorer(self) -> nn.Module | None:
        """Score, difference map, x' and M of x; none where a member has none."""
        parts = [member.scorer() for member in self.members]
        known = [part for part in parts if part is not None]
        return _Scorer(known, self.centre, self.scale) if len(known) == len(parts) else None


MAPS = ("difference", "translated", "mask", "evidence")


class _Scorer(nn.Module):
    centre: Tensor
    scale: Tensor

    def __init__(self, members: Sequence[nn.Module], centre: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        scores, *maps = zip(*(member(x) for member in self.members), strict=True)
        means = (torch.stack(part).mean(dim=0) for part in maps)
        return (_standardised(torch.stack(scores), self.centre, self.scale), *means)


def _standardised(scores: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """(N,): the mean over members of their scores, members x N, each less its centre and over its scale."""
    return ((scores - centre[:, None]) / scale[:, None]).mean(dim=0)


def _mean(parts: list[Any]) -> Tensor | None:
    return None if any(part is None for part in parts) else torch.stack(parts).mean(dim=0)
