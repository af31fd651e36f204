"""Judging a run on a cohort's test set: numbers, controls, pictures and the report."""

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from healthygan.common.batching import in_batches
from healthygan.common.errors import Argument, InputError
from healthygan.common.files import write_json
from healthygan.common.progress import Progress, silent
from healthygan.common.run_folder import Decision, Run
from healthygan.data.checks import check_columns, verify
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.inspection.controls import control_aucs, controls, told_scores
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors import prediction
from healthygan.detectors.base import Detector
from healthygan.evaluation.cases import _cases
from healthygan.evaluation.map_quality import _stability, _write_regions, localisation_of
from healthygan.evaluation.report.page import write_report
from healthygan.evaluation.result import Evaluation, TrainingSeries, to_json
from healthygan.inference import validity as trust
from healthygan.inference.score_table import write_scores
from healthygan.runs import train as workflow
from healthygan.runs.aggregation import Units
from healthygan.runs.config import Config
from healthygan.runs.reference import Reference, load_reference
from healthygan.runs.selection import Selection
from healthygan.stats import conformal, localisation, metrics
from healthygan.stats.drift import describe
from healthygan.stats.intervals import Comparison, delong

QUANTUM = 4096
"""Images whose shallow statistics are computed at a time."""


def evaluate(
    run: Run,
    cohort: Cohort | None,
    output: Path,
    *,
    control: Sequence[str] = (),
    against: Run | None = None,
    device: str = "auto",
    strict: bool = False,
    progress: Progress = silent,
) -> Evaluation:
    """Score a cohort's test set; write ``metrics.json``, ``scores.csv``, ``report.html`` and ``regions.csv``.

    The regions are the connected parts of the difference maps that lie above nearly all of healthy images' maps
    (``localisation.regions``); the file is left out for a detector without maps or a run without held-out images.

    Args:
        cohort: by default the run's own. Without labels in its test set there is a report, but no metrics.
        output: the folder to write to.
        control: columns of the manifest whose AUC alone is wanted beside that of ``source``.
        against: another finished run, whose AUC on the same cases is tested against this one's (``intervals.delong``).

    Raises:
        InputError: a run is not finished, there is no test set, no image has anything in a control column, or the
            two runs cannot judge the same labelled cases.
    """
    detector, config, decision = workflow.load(run, device)
    rival = workflow.load(against, device)[:2] if against else None
    own = replace(Cohort.from_manifest(run.cohort), name=run.path.resolve().name)
    cohort = cohort or own
    verify(cohort, needs=(Split.TEST,), progress=progress)
    test = cohort.split(Split.TEST)
    check_columns(own, (Split.HEALTHY, Split.MIXED), control)
    check_columns(cohort, (Split.TEST,), control)
    store = ImageStore.build(
        [image.path for image in test], config.preprocessing, strict=strict, title="test set", progress=progress
    )
    units = Units.of(test, store.owner, config.selection)
    if rival and labels_of(units) is None:
        raise InputError(
            Argument("against"),
            ": needs a test set with labels of both kinds; leave it out for a pile without",
        )
    found, regions = _look(run, detector, store, decision.region_cut, progress)
    reference = load_reference(run, config.selection)
    evaluation = _evaluation(run, config, decision, reference, (own, cohort), control, detector, store, units, found)
    if against and rival:
        compared = _compare(against, rival, test, store, units, found, progress)
        evaluation = replace(evaluation, rival=against.path.resolve().name, comparison=compared)
    healthy = reference.threshold
    p_values = conformal.p_values(evaluation.scores, healthy) if len(healthy) else None
    known = {
        "label": [image.label or "" for image in units.frames],
        "source": [image.source or "" for image in units.frames],
    }
    write_scores(output / "scores.csv", units, store.frame, found, p_values, known)
    if regions is not None:
        _write_regions(output / "regions.csv", units.frames, store, regions)
    write_json(output / "metrics.json", to_json(evaluation))
    write_report(output / "report.html", evaluation)
    return evaluation


def _evaluation(
    run: Run,
    config: Config,
    decision: Decision,
    reference: Reference,
    cohorts: tuple[Cohort, Cohort],
    control: Sequence[str],
    detector: Detector,
    store: ImageStore,
    units: Units,
    found: NDArray[np.float64],
) -> Evaluation:
    own, cohort = cohorts
    judged, labels = units.scores(found), labels_of(units)
    located = localisation_of(detector, store, units.frames, config)
    warnings = [f"{failure.reason} (left out)" for failure in store.failures[:5]]
    if decision.threshold is None:
        warnings.append(f"no honest threshold: {decision.threshold_rule}")
    warnings += _trust(config, decision, reference, store, units, judged, labels)
    return Evaluation(
        title=f"{detector.name} on {cohort.name}",
        detector=detector.name,
        cohort=cohort.name,
        scores=judged,
        labels=labels,
        unit=units.noun,
        performance=None if labels is None else _measure(judged, labels, units, decision),
        honest_threshold=decision.threshold,
        honest_rule=decision.threshold_rule,
        held_out_healthy=reference.threshold if len(reference.threshold) else None,
        pixel_auroc=located.get("pixel_auroc"),
        best_dice=located.get("best_dice"),
        aupro=located.get("aupro"),
        flip_stability=_stability(detector, store) if config.training.flip else None,
        selection=Selection.load(run.selection),
        controls={} if labels is None else controls_of(own, control, store, units, labels),
        warnings=tuple(warnings),
        cases=_cases(detector, store, units, found, labels, config),
        settings=_settings(run, config, decision),
        training=_training_log(run),
    )


def _look(
    run: Run, detector: Detector, store: ImageStore, cut: float | None, progress: Progress, title: str = "test set"
) -> tuple[NDArray[np.float64], list[list[localisation.Region]] | None]:
    """(frames,) scores, and each frame's regions if there is a cut."""
    scores: list[NDArray[np.float64]] = []
    regions: list[list[localisation.Region]] = []
    with progress(f"{title}: scoring", len(store)) as advance:
        for found in prediction.predictions(detector, store, advance):
            if not found.score.isfinite().all():
                raise InputError(f"{run.model}: gives scores that are not finite; copy the run again or train anew")
            scores.append(found.score.double().numpy())
            if cut and found.difference is not None:
                regions += [localisation.regions(difference, cut) for difference in found.difference[:, 0].numpy()]
    return np.concatenate(scores), regions if cut and regions else None


def _compare(
    against: Run,
    rival: tuple[Detector, Config],
    test: Sequence[CohortImage],
    store: ImageStore,
    units: Units,
    found: NDArray[np.float64],
    progress: Progress,
) -> Comparison:
    """DeLong's test by patient: images of one patient are no independent cases."""
    detector, config = rival
    other = ImageStore.build([image.path for image in test], config.preprocessing, title="test set", progress=progress)
    if not (np.array_equal(other.owner, store.owner) and np.array_equal(other.frame, store.frame)):
        raise InputError(f"{against.path}: cannot read the very same test images as this run; compare with another")
    theirs, _ = _look(against, detector, other, None, progress, against.path.resolve().name)
    patients = Units(units.frames, units.selection.model_copy(update={"unit": "patient"}))
    try:
        return delong(patients.scores(found), patients.scores(theirs), patients.diseased())
    except ValueError as error:
        raise InputError(Argument("against"), f": {error} (counted by patient); add cases") from error


def labels_of(units: Units) -> NDArray[np.bool_] | None:
    """(units,), True = diseased; none unless every unit has a label and there are both kinds."""
    return units.diseased() if {*units.labels()} == {*Label} else None


def _measure(
    judged: NDArray[np.float64], labels: NDArray[np.bool_], units: Units, decision: Decision
) -> metrics.Performance:
    return metrics.measure(
        judged,
        labels,
        honest_threshold=decision.threshold,
        patients=units.groups(),
        generator=np.random.default_rng(0),
        how=units.selection.patient_score,
        top=units.selection.patient_top,
    )


def controls_of(
    own: Cohort, columns: Sequence[str], store: ImageStore, units: Units, labels: NDArray[np.bool_]
) -> dict[str, float]:
    """AUC of shallow statistics on the test set, and of the source as the training sets know it."""
    batches = in_batches(len(store), QUANTUM)
    parts = [controls(store.read(batch).astype(np.float32).mean(axis=1)) for batch in batches]
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    values["file size"] = np.array([image.path.stat().st_size for image in units.frames], dtype=np.float64)
    shallow = {name: units.scores(value) for name, value in values.items()}
    told = told_scores(own, columns, units.frames)
    return control_aucs(shallow, labels) | {
        name: metrics.auc(units.scores(value), labels) for name, value in told.items()
    }


def _trust(
    config: Config,
    decision: Decision,
    reference: Reference,
    store: ImageStore,
    units: Units,
    judged: NDArray[np.float64],
    labels: NDArray[np.bool_] | None,
) -> list[str]:
    warnings: list[str] = []
    if labels is not None:
        warnings += trust.case_warnings(labels, units.noun)
        warnings += trust.prevalence_warnings(labels, decision.diseased_share)
        if decision.threshold is not None and config.selection.threshold == "specificity":
            wanted = config.selection.specificity
            warnings += trust.promise_warnings(judged, labels, decision.threshold, wanted, reference)
    warnings += trust.drift_warnings(judged, reference)
    if reference.appearance is not None:
        parts = in_batches(len(store), prediction.BATCH)
        descriptors = np.concatenate([describe(to_tensor(store.read(part))) for part in parts])
        warnings += trust.unlike_warnings(descriptors, [image.path.name for image in units.frames], reference)
    return warnings


def _settings(run: Run, config: Config, decision: Decision) -> dict[str, str]:
    shown = {"run": run.path.name, "chosen iteration": f"{decision.iteration:,}", "chosen by": decision.rule}
    shown |= {f"note {number}": note for number, note in enumerate(run.load_notes(), start=1)}
    for section, fields in config.model_dump(mode="json").items():
        shown |= {f"{section}.{name}": str(value) for name, value in fields.items()}
    return shown


def _training_log(run: Run) -> TrainingSeries | None:
    if not run.log.exists():
        return None
    try:
        with run.log.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            return None
        names = [name for name in rows[0] if name != "iteration" and not name.endswith("_gradient")]
        series = {name: [float(row[name]) if row.get(name) else math.nan for row in rows] for name in names}
        return TrainingSeries([int(row["iteration"]) for row in rows], series)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(
            f"{run.log}: damaged ({error}); copy it again, or remove it for a report without curves"
        ) from error
