"""From scores to a ranked list: what is flagged, what is on the worklist, and what must be said of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from healthygan.common.run_folder import Run
from healthygan.data.cohort import CohortImage, Split
from healthygan.inference.partial import ScoredFrame
from healthygan.inference.predictor import Predictor
from healthygan.inference.score_table import write_scores
from healthygan.inference.validity import drift_warnings, seen_splits, unchecked_warnings
from healthygan.runs.aggregation import Units
from healthygan.runs.mixed_report import pile_report
from healthygan.runs.reference import Reference
from healthygan.runs.seen import Overlap, find_seen
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
    """(M,), conformal, nan for units that the run has seen; none where no healthy images were held out."""
    flagged: NDArray[np.bool_] | None
    """(M,): above the threshold; none where there is no threshold."""
    listed: NDArray[np.bool_] | None
    """(M,): on the worklist, never a unit that the run has seen; none where none was asked for."""
    seen: NDArray[np.bool_]
    """(M,): of the run's own cohort, its test set left out."""
    remarks: Sequence[str]
    """(N,): why not to trust each frame's score, or empty."""
    warnings: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Write ``scores.csv``, the highest score first."""
        none = np.zeros_like(self.seen)
        columns = {"flagged": self._cells(self.flagged, none), "worklist": self._cells(self.listed, self.seen)}
        columns["remark"] = list(self.remarks)
        write_scores(path, self.units, self.numbers, self.scores, self.p_values, columns)

    def _cells(self, marked: NDArray[np.bool_] | None, empty: NDArray[np.bool_]) -> list[str]:
        if marked is None:
            return [""] * len(self.scores)
        cells = zip(self.units.spread(marked), self.units.spread(empty), strict=True)
        return ["" if unknown else str(int(mark)) for mark, unknown in cells]


def rank(rows: Sequence[ScoredFrame], patients: Mapping[str, str], predictor: Predictor, fdr: float | None) -> Ranking:
    """Judge scored frames.

    What the run has seen (``runs.seen``) gets neither a p-value nor a place on the worklist, as neither holds for it.

    Args:
        patients: of the files whose patient is known, by path.
        fdr: wanted false discovery rate of the worklist, if one is wanted.
    """
    scores = np.array([row.score for row in rows])
    images = [CohortImage(Path(row.path), Split.TEST, patient_id=patients.get(row.path)) for row in rows]
    units = Units(images, predictor.config.selection)
    judged, reference = units.scores(scores), predictor.reference
    overlap = _overlap(predictor.run, images)
    seen = units.any_marked([split is not None for split in overlap.splits])
    p_values, listed = predictor.p_values(judged), None
    if p_values is not None:
        p_values = np.where(seen, np.nan, p_values)
        if fdr is not None:
            listed = np.zeros_like(seen)
            listed[~seen] = worklist(p_values[~seen], fdr)
    return Ranking(
        units=units,
        numbers=[row.frame for row in rows],
        scores=scores,
        p_values=p_values,
        flagged=None if predictor.threshold is None else called_diseased(judged, predictor.threshold),
        listed=listed,
        seen=seen,
        remarks=[row.remark for row in rows],
        warnings=(
            *_seen_warnings(predictor.run, overlap),
            *drift_warnings(judged[~seen], list(compress(units.groups(), ~seen)), reference, units.patients_known),
            *_short_warnings(int((~seen).sum()), fdr, listed, reference),
        ),
    )


def _overlap(run: Run, images: Sequence[CohortImage]) -> Overlap:
    """Of frames: what the run has seen of their files."""
    paths = list(dict.fromkeys(image.path for image in images))
    of_files = find_seen(run, paths)
    split_of = dict(zip(paths, of_files.splits, strict=True))
    return Overlap(tuple(split_of[image.path] for image in images), of_files.unchecked)


def _seen_warnings(run: Run, overlap: Overlap) -> Iterator[str]:
    """Which images get no promise, where the mixed ones are ranked, and what could not be compared."""
    if overlap.count:
        report = pile_report(run)
        ranked = "ranks the mixed ones by models that did not learn from them"
        elsewhere = f"; {report.mixed_scores} {ranked}" if report else ""
        yield (
            f"{overlap.count} of {len(overlap.splits)} images are of the run's own cohort ({seen_splits(overlap)}): no "
            f"p-value and no worklist holds for what a run has seen, so that they get none{elsewhere}"
        )
    yield from unchecked_warnings(overlap)


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
