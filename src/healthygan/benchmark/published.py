"""The HealthyGAN paper's own results, to stand beside ours.

Rahman Siddiquee et al., HealthyGAN (SASHIMI 2022), table 1. Which of its last two columns is PatchCore and which
PaDiM is not certain in the text at hand: both are given for either.
"""

from collections.abc import Mapping

METRICS = ("auc", "precision", "recall", "specificity", "f1")
PublishedResult = tuple[float, float, float, float, float]
"""In the order of ``METRICS``; precision and so on at a threshold chosen on the test labels."""

_COLUMNS = ("alad", "alocc", "fanogan", "ganomaly", "first", "second", "healthygan")
_TABLE_1: Mapping[str, tuple[tuple[float, ...], ...]] = {
    "covidx": (
        (0.58, 0.63, 0.64, 0.58, 0.56, 0.52, 0.84),
        (0.49, 0.63, 0.55, 0.59, 0.56, 0.52, 0.76),
        (0.89, 0.63, 0.53, 0.60, 0.56, 0.53, 0.76),
        (0.09, 0.63, 0.56, 0.59, 0.56, 0.51, 0.76),
        (0.64, 0.63, 0.54, 0.60, 0.56, 0.52, 0.76),
    ),
    "chestxray14": (
        (0.53, 0.48, 0.55, 0.49, 0.54, 0.53, 0.56),
        *[(0.53, 0.48, 0.55, 0.49, 0.54, 0.53, 0.55)] * 4,
    ),
    "migraine": (
        (0.60, 0.40, 0.50, 0.70, 0.35, 0.60, 0.75),
        (0.60, 0.40, 0.50, 0.70, 0.36, 0.60, 0.78),
        (0.60, 0.40, 0.50, 0.70, 0.40, 0.60, 0.70),
        (0.60, 0.40, 0.50, 0.70, 0.30, 0.60, 0.80),
        (0.60, 0.40, 0.50, 0.70, 0.38, 0.60, 0.74),
    ),
}
PAPERS = tuple(_TABLE_1)
"""The paper's cohorts."""


def published_results(cohort: str, method: str) -> tuple[PublishedResult, ...]:
    """What the paper reports for a method: nothing, one column, or the two of which one is the method's.

    Args:
        cohort: one of ``PAPERS``.
        method: name of a detector.
    """
    columns = dict(zip(_COLUMNS, zip(*_TABLE_1[cohort], strict=True), strict=True))
    wanted = ("first", "second") if method in ("padim", "patchcore") else (method,)
    return tuple(_five(columns[name]) for name in wanted if name in columns)


def _five(column: tuple[float, ...]) -> PublishedResult:
    area, precision, recall, specificity, f1 = column
    return area, precision, recall, specificity, f1
