"""What the contrast detector finds of the pile: its share of diseased images and the ranking of every one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from healthygan.data.store import ImageStore
from healthygan.detectors.contrast.positive_unlabelled import PUFit
from healthygan.stats.arrays import Floats
from healthygan.stats.intervals import Interval


@dataclass(frozen=True)
class PileFindings:
    """All there is to tell of a mixed set of M frames, by models that never saw the image or its patient."""

    share: float
    """Estimated share of the diseased, 0 to 1."""
    share_interval: Interval
    spread: Interval | None
    """How much wider the pile spreads than the healthy set, below 0 if less wide; none where that cannot be told."""
    auc: float
    """Of mixed against healthy, cross-fitted."""
    strength: float
    """Inverse regularisation that was chosen."""
    weights: Floats
    """(3,): log odds that a healthy standard deviation of distance, contrast and patch evidence makes up."""
    healthy: Floats
    """(N,): cross-fitted log odds of disease of the healthy images that were learned from."""
    pile: Floats
    """(M,): log odds of disease of the pile."""
    frames: Sequence[tuple[Path, int, str]]
    """(M,): file, frame number and patient of each; a patient that is not known goes by the file's path."""
    healthy_patients: int
    """Of the healthy images that were learned from."""

    @property
    def known_patients(self) -> int:
        """How many of the M frames' patients are known."""
        return sum(patient != str(path) for path, _, patient in self.frames)

    @classmethod
    def of(
        cls, fit: PUFit, healthy: Floats, pile: Floats, mixed: Sequence[ImageStore], healthy_patients: int
    ) -> "PileFindings":
        """Of a fit, the log odds, the stores whose frames the pile's are, in that order, and how many are healthy."""
        frames = [
            (store.paths[owner], int(frame), patient)
            for store in mixed
            for owner, frame, patient in zip(store.owner, store.frame, store.frame_groups, strict=True)
        ]
        return cls(
            fit.mixture.share,
            fit.interval,
            fit.spread,
            fit.auc,
            fit.strength,
            fit.weights,
            healthy,
            pile,
            frames,
            healthy_patients,
        )
