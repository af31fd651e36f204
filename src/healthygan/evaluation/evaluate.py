"""Judging a run on a cohort's test set: numbers, controls, pictures and the report."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from healthygan.common.batching import in_batches
from healthygan.common.errors import Argument, InputError
from healthygan.common.files import remove_leftovers, write_json
from healthygan.common.folder_lock import locked
from healthygan.common.messages import shorten_list
from healthygan.common.progress import Progress, silent
from healthygan.common.run_folder import Run
from healthygan.data.checks import check_columns, verify
from healthygan.data.cohort import Cohort, CohortImage, Split
from healthygan.data.preprocessing import to_tensor
from healthygan.detectors.prediction import BATCH
from healthygan.evaluation.cases import cases_of
from healthygan.evaluation.evaluation_set import EvaluationSet
from healthygan.evaluation.map_quality import localisation_of, stability_of, write_regions
from healthygan.evaluation.report.page import write_report
from healthygan.evaluation.result import Evaluation, to_json
from healthygan.evaluation.run_facts import settings_of, training_series
from healthygan.inference import validity
from healthygan.inference.predictor import Predictor
from healthygan.inference.score_table import write_scores
from healthygan.runs.aggregation import Units
from healthygan.runs.mixed_report import pile_report
from healthygan.runs.seen import Overlap, find_seen
from healthygan.runs.selection import Selection
from healthygan.stats import localisation, metrics
from healthygan.stats.drift import describe
from healthygan.stats.intervals import Comparison, delong

NO_PATIENTS = (
    "no patient is known, so that every image counts as a patient of its own: with several images a patient intervals "
    "are too narrow and tests too sure; name patients in a manifest's column patient_id"
)


def evaluate(
    run: Run,
    cohort: Cohort | None,
    output: Path,
    *,
    control: Sequence[str] = (),
    against: Run | None = None,
    device: str = "auto",
    strict: bool = False,
    allow_seen: bool = False,
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
        allow_seen: judge images too that a run was trained, chosen or cut with, and say so (``Evaluation.alarms``).
        progress: shows how far it is.

    Raises:
        InputError: a run is not finished, there is no test set, a run has seen some of it, no image has anything in a
            control column, or the two runs cannot judge the same labelled cases.
    """
    predictor = Predictor(run, device)
    with locked(output, "evaluate"):
        remove_leftovers(output)
        return _evaluate(predictor, cohort, output, control, against, device, strict, allow_seen, progress)


def _evaluate(
    predictor: Predictor,
    cohort: Cohort | None,
    output: Path,
    control: Sequence[str],
    against: Run | None,
    device: str,
    strict: bool,
    allow_seen: bool,
    progress: Progress,
) -> Evaluation:
    run = predictor.run
    rival = Predictor(against, device) if against else None
    own = replace(Cohort.from_manifest(run.cohort), name=run.path.resolve().name)
    cohort = cohort or own
    verify(cohort, needs=(Split.TEST,), progress=progress)
    check_columns(own, (Split.HEALTHY, Split.MIXED), control)
    check_columns(cohort, (Split.TEST,), control)
    tested = cohort.split(Split.TEST)
    overlap, alarms, unchecked = _compare_with_seen(
        (run, *([against] if against else [])), tested, allow_seen, progress
    )
    config = predictor.config
    judged = EvaluationSet.build(tested, config.preprocessing, config.selection, strict=strict, progress=progress)
    if rival and judged.labels is None:
        raise InputError(
            Argument("against"), ": needs a test set with labels of both kinds; leave it out for a pile without"
        )
    scored = _score(predictor, judged, progress)
    evaluation = _evaluation(predictor, (own, cohort), control, judged, scored.scores)
    evaluation = replace(evaluation, alarms=alarms, warnings=(*evaluation.warnings, *unchecked))
    if rival:
        compared = _compare(rival, judged, scored.scores, progress)
        evaluation = replace(evaluation, rival=rival.run.path.resolve().name, comparison=compared)
    seen = {image.path for image, split in zip(tested, overlap.splits, strict=True) if split is not None}
    _write(predictor, judged, scored, evaluation, seen, output)
    return evaluation


def _compare_with_seen(
    runs: Sequence[Run], tested: Sequence[CohortImage], allow_seen: bool, progress: Progress
) -> tuple[Overlap, tuple[str, ...], tuple[str, ...]]:
    """What the first run has seen of a test set, what must be said of it for all runs, and what could not be checked.

    Raises:
        InputError: a run has seen an image, and that is not allowed.
    """
    paths = [image.path for image in tested]
    overlaps = [find_seen(run, paths, progress) for run in runs]
    alarms = []
    for run, overlap in zip(runs, overlaps, strict=True):
        if not overlap.count:
            continue
        names = [path.name for path, split in zip(paths, overlap.splits, strict=True) if split is not None]
        alarm = (
            f"{overlap.count} of {len(paths)} test images are of the cohort that {run.path.resolve().name} was trained "
            f"with ({validity.seen_splits(overlap)}): {shorten_list(names)}; no figure on them tells how good it is"
        )
        if not allow_seen:
            raise InputError(alarm, "; take other images, or judge them all the same with ", Argument("allow_seen"))
        alarms.append(alarm)
    return overlaps[0], tuple(alarms), tuple(validity.unchecked_warnings(overlaps[0]))


@dataclass(frozen=True)
class _Scored:
    """Scores (N,) of the frames, and the regions of each if there is a cut."""

    scores: NDArray[np.float64]
    regions: list[list[localisation.Region]] | None


def _score(predictor: Predictor, judged: EvaluationSet, progress: Progress) -> _Scored:
    cut = predictor.decision.region_cut
    scores: list[NDArray[np.float64]] = []
    regions: list[list[localisation.Region]] = []
    with progress("test set: scoring", len(judged.store)) as advance:
        for prediction in predictor.predict_store(judged.store, advance):
            scores.append(prediction.score.double().numpy())
            if cut and prediction.where is not None:
                regions += [localisation.regions(part, cut) for part in prediction.where[:, 0].numpy()]
    return _Scored(np.concatenate(scores), regions if cut and regions else None)


def _evaluation(
    predictor: Predictor,
    cohorts: tuple[Cohort, Cohort],
    control: Sequence[str],
    judged: EvaluationSet,
    scores: NDArray[np.float64],
) -> Evaluation:
    """All a report tells.

    Args:
        cohorts: the run's own, and the one judged.
        scores: (N,), of the frames.
    """
    own, cohort = cohorts
    units, labels, decision = judged.units, judged.labels, predictor.decision
    of_units, reference = units.scores(scores), predictor.reference
    located = localisation_of(predictor, judged.store, units.frames)
    warnings = [f"{failure.reason} (left out)" for failure in judged.store.failures[:5]]
    if report := pile_report(predictor.run):
        warnings += report.load_warnings()
    if decision.threshold is None:
        warnings.append(f"no honest threshold: {decision.threshold_rule}")
    warnings += _validity_warnings(predictor, judged, of_units, labels)
    return Evaluation(
        title=f"{predictor.detector.name} on {cohort.name}",
        detector=predictor.detector.name,
        cohort=cohort.name,
        scores=of_units,
        labels=labels,
        patients_known=units.patients_known,
        unit=units.noun,
        performance=None if labels is None else _measure(of_units, labels, units, decision.threshold),
        honest_threshold=decision.threshold,
        honest_rule=decision.threshold_rule,
        held_out_healthy=reference.threshold if len(reference.threshold) else None,
        pixel_auroc=located.get("pixel_auroc"),
        best_dice=located.get("best_dice"),
        aupro=located.get("aupro"),
        flip_stability=stability_of(predictor, judged.store) if predictor.config.training.flip else None,
        selection=Selection.load(predictor.run.selection),
        controls={} if labels is None else judged.control_aucs(own, control, labels),
        warnings=tuple(warnings),
        cases=cases_of(predictor, judged, scores, labels),
        settings=settings_of(predictor.run, predictor.config, decision),
        training=training_series(predictor.run),
    )


def _measure(
    scores: NDArray[np.float64], labels: NDArray[np.bool_], units: Units, threshold: float | None
) -> metrics.Performance:
    performance = metrics.measure(
        scores,
        labels,
        honest_threshold=threshold,
        patients=units.groups(),
        generator=np.random.default_rng(0),
        how=units.selection.patient_score,
        top=units.selection.patient_top,
    )
    return performance if units.patients_known else replace(performance, auc_by_patient=None)


def _validity_warnings(
    predictor: Predictor, judged: EvaluationSet, of_units: NDArray[np.float64], labels: NDArray[np.bool_] | None
) -> list[str]:
    decision, reference, selection = predictor.decision, predictor.reference, predictor.config.selection
    units, store = judged.units, judged.store
    warnings: list[str] = [] if units.patients_known else [NO_PATIENTS]
    if labels is not None:
        warnings += validity.case_warnings(labels, units.noun)
        warnings += validity.prevalence_warnings(labels, decision.diseased_share)
        if decision.threshold is not None and selection.threshold == "specificity":
            wanted = selection.specificity
            warnings += validity.promise_warnings(of_units, labels, decision.threshold, wanted, reference)
    warnings += validity.drift_warnings(of_units, units.groups(), reference, units.patients_known)
    if reference.appearance is not None:
        descriptors = np.concatenate([describe(to_tensor(store.read(part))) for part in in_batches(len(store), BATCH)])
        warnings += validity.unlike_warnings(descriptors, [image.path.name for image in units.frames], reference)
    return warnings


def _compare(rival: Predictor, judged: EvaluationSet, scores: NDArray[np.float64], progress: Progress) -> Comparison:
    """DeLong's test by patient: images of one patient are no independent cases."""
    other = EvaluationSet.build(
        judged.images, rival.config.preprocessing, judged.units.selection, progress=progress
    ).store
    store, units = judged.store, judged.units
    if not (np.array_equal(other.owner, store.owner) and np.array_equal(other.frame, store.frame)):
        raise InputError(f"{rival.run.path}: cannot read the very same test images as this run; compare with another")
    theirs = rival.scores(other, rival.run.path.resolve().name, progress)
    patients = Units(units.frames, units.selection.model_copy(update={"unit": "patient"}))
    try:
        return delong(patients.scores(scores), patients.scores(theirs), patients.diseased())
    except ValueError as error:
        raise InputError(
            Argument("against"), f": {error} (counted by patient or, where unknown, by image); add cases"
        ) from error


def _write(
    predictor: Predictor,
    judged: EvaluationSet,
    scored: _Scored,
    evaluation: Evaluation,
    seen: Container[Path],
    output: Path,
) -> None:
    """Write all files; images that the run has ``seen`` have no p-value."""
    units, store = judged.units, judged.store
    known = {
        "label": [image.label or "" for image in units.frames],
        "source": [image.source or "" for image in units.frames],
    }
    p_values = predictor.p_values(evaluation.scores)
    if p_values is not None:
        p_values = np.where(units.any_marked([image.path in seen for image in units.frames]), np.nan, p_values)
    write_scores(output / "scores.csv", units, store.frame, scored.scores, p_values, known)
    if scored.regions is not None:
        write_regions(output / "regions.csv", units.frames, store, scored.regions)
    write_json(output / "metrics.json", to_json(evaluation))
    write_report(output / "report.html", evaluation)
