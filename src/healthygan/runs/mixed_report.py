"""What a run tells of its own pile: a ranking, the picture of the diseased share, and lines to print."""

from collections.abc import Iterator

import numpy as np
from scipy.special import expit

from healthygan.common.csv_text import CsvWriter
from healthygan.common.files import atomic_path
from healthygan.common.run_folder import Run
from healthygan.detectors.contrast.findings import PileFindings
from healthygan.stats.arrays import Floats

BOUND = 0.005
"""Nearer to 0 or 1 an estimated share is at the end of its scale (``prevalence.SHARE_BOUNDS``)."""
WIDEST = 0.9
"""Width of a share's interval above which it tells nothing."""
FEW = 20
"""Healthy or mixed patients below which nothing is well learned."""
COLUMNS = ("rank", "path", "frame", "score", "probability", "patient_id")


def write_mixed_report(run: Run, findings: PileFindings) -> None:
    """Write ``mixed_scores.csv``, ``share.png``, ``notes.json`` and ``warnings.json`` into a run folder."""
    from healthygan.viz.charts import histogram  # scoring starts sooner without matplotlib

    of_healthy: Floats = expit(findings.healthy)
    of_pile: Floats = expit(findings.pile)
    _write_scores(run, findings, of_pile)
    with atomic_path(run.share_picture) as temporary:
        temporary.write_bytes(histogram(healthy=of_healthy, unlabelled=of_pile, thresholds={}))
    low, high, level = findings.share_interval
    run.save_notes(
        [
            f"diseased share of the mixed set, estimated without labels: {findings.share:.3f} "
            f"({level:.0%} interval {low:.3f} to {high:.3f})",
            f"mixed against healthy, cross-fitted: AUC {findings.auc:.3f} at strength {findings.strength:g}",
            _made_of(findings.weights),
            f"scores of the mixed set itself, {_learned_without(findings)}: {run.mixed_scores.name}",
        ]
    )
    run.save_warnings(list(_warnings(findings)))


def _learned_without(findings: PileFindings) -> str:
    """What the model that ranks an image had not seen."""
    known, every = findings.known_patients, len(findings.frames)
    if known == every:
        return "each by a model that never saw its patient"
    which = "no patient is known" if not known else f"the patients of {every - known} of {every} are unknown"
    return (
        f"each by a model that never saw the image ({which}: if several images are of one patient, name patients in a "
        "manifest's column patient_id)"
    )


def _warnings(findings: PileFindings) -> Iterator[str]:
    """Why the numbers may be worth nothing."""
    low, high, _ = findings.share_interval
    if findings.spread is not None and findings.spread.high < 0:
        yield (
            "the healthy set spreads wider than the mixed set, which should hold healthy images and others too: are "
            "the two swapped, or diseased images or other machines among the healthy ones?"
        )
    if not BOUND < findings.share < 1 - BOUND:
        yield (
            f"the estimated diseased share of the mixed set, {findings.share:.3f}, is as {_extreme(findings.share)} as "
            "the estimate can get: either the scores tell no disease, or something other than disease tells the sets "
            "apart, such as another machine or swapped folders"
        )
    if high - low > WIDEST:
        yield f"the diseased share's interval, {low:.3f} to {high:.3f}, tells nothing: add images"
    patients = (findings.healthy_patients, len({patient for _, _, patient in findings.frames}))
    if min(patients) < FEW:
        noun = "patients" if findings.known_patients else "images"
        yield (
            f"only {patients[0]} healthy and {patients[1]} mixed {noun} to learn from: share, ranking and threshold "
            f"are little better than guesses; give {FEW} or more of either"
        )


def _extreme(share: float) -> str:
    return "high" if share > 0.5 else "low"


def pile_report(run: Run) -> Run | None:
    """The folder that ``write_mixed_report`` wrote to for a run: its own, its contrast's or its first member's."""
    parts = (part for whole in (run, run.member(0)) for part in (whole, whole.part("contrast")))
    return next((part for part in parts if part.mixed_scores.exists()), None)


def _made_of(weights: Floats) -> str:
    """What the score is made of."""
    distance, contrast, patches = weights
    remark = "" if contrast > 0 or patches > 0 else ": the pile tells nothing beyond it"
    return (
        f"log odds for each standard deviation of healthy images: distance from them {distance:.2f}, "
        f"contrast with the pile {contrast:.2f}, both at single places {patches:.2f}{remark}"
    )


def _write_scores(run: Run, findings: PileFindings, probability: Floats) -> None:
    """The mixed set, highest score first."""
    odds = findings.pile
    with (
        atomic_path(run.mixed_scores) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = CsvWriter(file)
        writer.writerow(COLUMNS)
        for rank, number in enumerate(np.argsort(-odds, kind="stable"), start=1):
            path, frame, patient = findings.frames[number]
            shown = "" if patient == str(path) else patient
            writer.writerow((rank, path, frame, f"{odds[number]:.6f}", f"{probability[number]:.6f}", shown))
