"""``scores.csv``, the list that ``score`` and ``evaluate`` write."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from healthygan.common.csv_text import CsvWriter
from healthygan.common.files import atomic_path
from healthygan.runs.aggregation import Units

BEFORE, AFTER = ("rank", "path", "frame", "score", "p_value"), ("patient_id", "patient_score")


def write_scores(
    path: Path,
    units: Units,
    numbers: Sequence[int] | NDArray[np.int64],
    scores: NDArray[np.float64],
    p_values: NDArray[np.float64] | None,
    columns: Mapping[str, Sequence[str]],
) -> None:
    """Write one row a frame, the highest score first; equal scores share the better rank.

    Where patients are judged, a file of unknown patient stands for one, and all images of one have its p-value.

    Args:
        path: the .csv to write.
        units: of the N frames.
        numbers: (N,): which frame of its file each one is.
        scores: (N,).
        p_values: (M,), those of the units, nan where none holds; none where no healthy images were held out.
        columns: further ones by name, (N,) cells each; they stand before the patient.
    """
    ranks = rankdata(-scores, method="min").astype(int)
    of_patient = units.patient_scores(scores)
    shown = [""] * len(scores) if p_values is None else [_shown(value) for value in units.spread(p_values)]
    with (
        atomic_path(path) as temporary,
        # Names of files need not be UTF-8.
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = CsvWriter(file)
        writer.writerow((*BEFORE, *columns, *AFTER))
        for n in np.argsort(ranks, kind="stable"):
            image = units.frames[n]
            own = f"{of_patient[n]:.6f}" if image.patient_id or units.by_patient else ""
            more = (cells[n] for cells in columns.values())
            row = (ranks[n], image.path, numbers[n], f"{scores[n]:.6f}", shown[n])
            writer.writerow((*row, *more, image.patient_id or "", own))


def _shown(p_value: float) -> str:
    return "" if math.isnan(p_value) else f"{p_value:.6g}"
