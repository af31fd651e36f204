"""Judging a run on a cohort's test set: numbers, controls, pictures and the report."""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from healthygan import conformal, localisation, metrics, prediction, trust, workflow
from healthygan.arrays import evenly_spaced, in_batches
from healthygan.config import Config
from healthygan.controls import control_aucs, controls, told_scores
from healthygan.data.checks import check_columns, verify
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.margins import NO_MARGINS
from healthygan.data.preprocessing import WHITE, to_tensor
from healthygan.data.readers import read_frames
from healthygan.data.store import ImageStore
from healthygan.detectors.base import Detector
from healthygan.drift import describe
from healthygan.errors import InputError
from healthygan.files import atomic_path, write_json
from healthygan.intervals import Comparison, delong
from healthygan.progress import progress
from healthygan.reference import Reference, load_reference
from healthygan.report.page import write_report
from healthygan.report.result import Case, Evaluation, TrainingSeries, choose_cases, to_json
from healthygan.run import Decision, Run
from healthygan.score_table import write_scores
from healthygan.selection import Selection
from healthygan.units import Units

CASES = 4
QUANTUM = 4096
"""Images whose shallow statistics are computed at a time."""
FLIPPED = 64
"""Images at most whose maps are compared with those of their mirror images."""


def evaluate(
    run: Run,
    cohort: Cohort | None,
    output: Path,
    *,
    control: Sequence[str] = (),
    against: Run | None = None,
    device: str = "auto",
    strict: bool = False,
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
    verify(cohort, needs=(Split.TEST,))
    test = cohort.split(Split.TEST)
    check_columns(own, (Split.HEALTHY, Split.MIXED), control)
    check_columns(cohort, (Split.TEST,), control)
    store = ImageStore.build([image.path for image in test], config.preprocessing, strict=strict, title="test set")
    units = Units.of(test, store.owner, config.selection)
    if rival and labels_of(units) is None:
        raise InputError("--against: needs a test set with labels of both kinds; leave it out for a pile without")
    found, regions = _look(run, detector, store, decision.region_cut)
    reference = load_reference(run, config.selection)
    evaluation = _evaluation(run, config, decision, reference, (own, cohort), control, detector, store, units, found)
    if against and rival:
        compared = _compare(against, rival, test, store, units, found)
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
    run: Run, detector: Detector, store: ImageStore, cut: float | None, title: str = "test set"
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
) -> Comparison:
    """DeLong's test by patient: images of one patient are no independent cases."""
    detector, config = rival
    other = ImageStore.build([image.path for image in test], config.preprocessing, title="test set")
    if not (np.array_equal(other.owner, store.owner) and np.array_equal(other.frame, store.frame)):
        raise InputError(f"{against.path}: cannot read the very same test images as this run; compare with another")
    theirs, _ = _look(against, detector, other, None, against.path.resolve().name)
    patients = Units(units.frames, units.selection.model_copy(update={"unit": "patient"}))
    try:
        return delong(patients.scores(found), patients.scores(theirs), patients.diseased())
    except ValueError as error:
        raise InputError(f"--against: {error} (counted by patient); add cases") from error


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
    if reference.familiar is not None:
        parts = in_batches(len(store), prediction.BATCH)
        descriptors = np.concatenate([describe(to_tensor(store.read(part))) for part in parts])
        warnings += trust.unlike_warnings(descriptors, [image.path.name for image in units.frames], reference)
    return warnings


def _stability(detector: Detector, store: ImageStore) -> float | None:
    """How alike the maps of images and of their mirror images are; none without maps."""
    chosen = evenly_spaced(len(store), FLIPPED)
    x = to_tensor(store.read(chosen))
    maps, of_flipped = (prediction.predict_batch(detector, images).difference for images in (x, x.flip(3)))
    if maps is None or of_flipped is None:
        return None
    return localisation.flip_stability(maps[:, 0].numpy(), of_flipped[:, 0].numpy())


def localisation_of(
    detector: Detector, store: ImageStore, frames: Sequence[CohortImage], config: Config
) -> dict[str, float]:
    """Pixel AUROC, AUPRO and best Dice over the diseased images with a mask and all healthy ones.

    Args:
        frames: the image of each of the store's frames.

    Returns:
        Nothing without masks, or for a detector without maps.
    """
    if not any(image.mask for image in frames):
        return {}
    if prediction.predict(detector, store, np.zeros(1, dtype=np.int64)).difference is None:
        return {}
    chosen = np.array([number for number, image in enumerate(frames) if image.mask or image.label is Label.HEALTHY])

    def maps() -> Iterator[NDArray[np.float32]]:
        for part in in_batches(len(chosen), prediction.BATCH):
            difference = prediction.predict(detector, store, chosen[part]).difference
            assert difference is not None
            yield from difference[:, 0].numpy()

    return localisation.localised(maps(), (lesion_of(frames[number], config) for number in chosen))


def grey_of(store: ImageStore, frame: NDArray[np.int64]) -> NDArray[np.float64]:
    """The one frame of index ``frame``, (1,), as H x W in [-1, 1]; channels averaged."""
    grey: NDArray[np.float64] = store.read(frame)[0].mean(axis=0) / (WHITE / 2) - 1
    return grey


def lesion_of(image: CohortImage, config: Config) -> NDArray[np.bool_]:
    """The ground truth in the networks' geometry; nothing where there is none."""
    settings = config.preprocessing
    if image.mask is None:
        return np.zeros((settings.size, settings.size), dtype=np.bool_)
    margins = NO_MARGINS
    if settings.trim:
        margins = settings.margins(next(read_frames(image.path, settings.reader, settings.sufficient)))
    try:
        with Image.open(image.mask) as file:
            return settings.apply_to_mask(np.asarray(file.convert("L")) > 127, margins)
    except OSError as error:
        raise InputError(f"{image.mask}: cannot be read as a mask ({error}); give an 8-bit PNG") from error


def _cases(
    detector: Detector,
    store: ImageStore,
    units: Units,
    found: NDArray[np.float64],
    labels: NDArray[np.bool_] | None,
    config: Config,
) -> dict[str, tuple[Case, ...]]:
    """Units worth looking at; of a patient the image with the highest score."""
    judged, highest, known = units.scores(found), units.highest(found), units.labels()
    ranks = np.empty(len(judged), dtype=np.int64)
    ranks[np.argsort(-judged, kind="stable")] = np.arange(1, len(judged) + 1)

    def case(number: int) -> Case:
        image, frame = units.frames[highest[number]], highest[number : number + 1]
        seen = prediction.predict(detector, store, frame)
        name = image.path.name
        return Case(
            name=f"{image.patient_id}: {name}" if units.by_patient and image.patient_id else name,
            score=float(judged[number]),
            rank=int(ranks[number]),
            label=known[number],
            source=image.source,
            original=grey_of(store, frame),
            translated=None if seen.translated is None else seen.translated[0].mean(dim=0).numpy(),
            mask=None if seen.mask is None else seen.mask[0, 0].numpy(),
            difference=None if seen.difference is None else seen.difference[0, 0].numpy(),
            lesion=lesion_of(image, config) if image.mask else None,
        )

    groups = choose_cases(judged, labels, CASES)
    return {name: tuple(case(int(number)) for number in numbers) for name, numbers in groups.items()}


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


def _write_regions(
    path: Path, frames: Sequence[CohortImage], store: ImageStore, regions: list[list[localisation.Region]]
) -> None:
    """One row a region, the highest score of each image first; places in pixels of the networks' images."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "frame", *localisation.Region._fields))
        for image, frame, found in zip(frames, store.frame, regions, strict=True):
            for region in found:
                score, peak = f"{region.score:.6g}", f"{region.peak:.6g}"
                writer.writerow((image.path, frame, score, region.area, peak, *region[3:]))
