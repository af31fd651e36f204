"""What a run tells of its own pile: a ranking, the picture of the diseased share, and lines to print."""

from pathlib import Path

import numpy as np
from scipy.special import expit

from healthygan.common.csv_text import CsvWriter
from healthygan.common.files import atomic_path
from healthygan.common.run_folder import Run
from healthygan.detectors.contrast.findings import PileFindings
from healthygan.stats.arrays import Floats

COLUMNS = ("rank", "path", "frame", "score", "probability", "patient_id")


def write_mixed_report(run: Run, findings: PileFindings) -> None:
    """Write ``mixed_scores.csv``, ``share.png`` and ``notes.json`` into a run folder."""
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
            f"scores of the mixed set itself, each by a model that never saw the patient: {run.mixed_scores.name}",
        ]
    )


def crossfitted_ranking(run: Run) -> Path | None:
    """The list that ranks the run's own mixed set, each image by a model that did not learn from it; none without."""
    parts = (part for whole in (run, run.member(0)) for part in (whole, whole.part("contrast")))
    return next((part.mixed_scores for part in parts if part.mixed_scores.exists()), None)


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
