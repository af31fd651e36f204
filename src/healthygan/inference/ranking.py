"""From scores to a ranked list: what is flagged, what is on the worklist, and what must be said of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from healthygan.data.cohort import CohortImage, Split
from healthygan.inference.partial import ScoredFrame
from healthygan.inference.predictor import Predictor
from healthygan.inference.score_table import write_scores
from healthygan.inference.validity import drift_warnings
from healthygan.runs.aggregation import Units
from healthygan.runs.reference import Reference
from healthygan.stats.conformal import healthy_needed_for_worklist, worklist
from healthygan.stats.metrics import called_diseased


@dataclass(frozen=True)
class Ranking:
    """Scores of N frames, and what they say of M units, images or patients."""

    units: Units
    numbers: Sequence[int]
    """(N,): number of each frame in its file."""
    scores: NDArray[np.float64]
    """(N,)."""
    p_values: NDArray[np.float64] | None
    """(M,), conformal; none where no healthy images were held out."""
    flagged: NDArray[np.bool_] | None
    """(M,): above the threshold; none where there is no threshold."""
    listed: NDArray[np.bool_] | None
    """(M,): on the worklist; none where none was asked for."""
    warnings: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Write ``scores.csv``, the highest score first."""
        marks = {"flagged": self.flagged, "worklist": self.listed}
        columns = {name: self._cells(marked) for name, marked in marks.items()}
        write_scores(path, self.units, self.numbers, self.scores, self.p_values, columns)

    def _cells(self, marked: NDArray[np.bool_] | None) -> list[str]:
        if marked is None:
            return [""] * len(self.scores)
        return [str(int(mark)) for mark in self.units.spread(marked)]


def rank(rows: Sequence[ScoredFrame], patients: Mapping[str, str], predictor: Predictor, fdr: float | None) -> Ranking:
    """Judge scored frames.

    Args:
        patients: of the files whose patient is known, by path.
        fdr: wanted false discovery rate of the worklist, if one is wanted.
    """
    scores = np.array([row.score for row in rows])
    images = [CohortImage(Path(row.path), Split.TEST, patient_id=patients.get(row.path)) for row in rows]
    units = Units(images, predictor.config.selection)
    judged, reference = units.scores(scores), predictor.reference
    p_values = predictor.p_values(judged)
    listed = None if fdr is None or p_values is None else worklist(p_values, fdr)
    return Ranking(
        units=units,
        numbers=[row.frame for row in rows],
        scores=scores,
        p_values=p_values,
        flagged=None if predictor.threshold is None else called_diseased(judged, predictor.threshold),
        listed=listed,
        warnings=(*drift_warnings(judged, reference), *_short_warnings(len(units), fdr, listed, reference)),
    )


def _short_warnings(
    judged: int, fdr: float | None, listed: NDArray[np.bool_] | None, reference: Reference
) -> Iterator[str]:
    """An empty worklist that more held-out healthy images or patients might have filled."""
    held_out = len(reference.threshold)
    if fdr is None or listed is None or listed.any() or not judged:
        return
    tenth = max(judged // 10, 1)
    needed = healthy_needed_for_worklist(judged, fdr, tenth)
    if held_out < needed:
        yield (
            f"the worklist is empty: with {held_out} held-out healthy {reference.noun} no p-value is small enough; to "
            f"list {tenth} of {judged} {reference.noun} at a false discovery rate of {fdr} takes {needed}"
        )
