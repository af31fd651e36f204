"""Judging a run on a cohort's test set: numbers, controls, pictures and the report."""

import csv
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from healthygan import metrics, report, workflow
from healthygan.config import Config
from healthygan.controls import control_aucs, controls
from healthygan.data.cohort import Cohort, CohortImage, Label, Split, verify
from healthygan.data.store import ImageStore
from healthygan.detectors.base import Detector
from healthygan.errors import InputError
from healthygan.files import atomic_path, write_json
from healthygan.inspection import source_scores
from healthygan.run import Decision, Run

CASES = 4
QUANTUM = 4096
"""Images whose shallow statistics are computed at a time."""
SOURCE_CONTROL = "source alone"


def evaluate(
    run: Run, cohort: Cohort | None, output: Path, *, device: str = "auto", strict: bool = False
) -> report.Evaluation:
    """Score a cohort's test set and write ``metrics.json``, ``scores.csv`` and ``report.html``.

    Args:
        cohort: by default the run's own. Without labels in its test set there is a report, but no metrics.
        output: the folder to write to.

    Raises:
        InputError: the run is not finished, or there is no test set.
    """
    detector, config, decision = workflow.load(run, device)
    own = replace(Cohort.from_manifest(run.cohort), name=run.path.resolve().name)
    cohort = cohort or own
    verify(cohort, needs=(Split.TEST,))
    test = cohort.split(Split.TEST)
    store = ImageStore.build([image.path for image in test], config.preprocessing, strict=strict, title="test set")
    frames = [test[owner] for owner in store.owner]
    found = workflow.scores(detector, store, "test set")
    if not np.isfinite(found).all():
        raise InputError(f"{run.model}: gives scores that are not finite; copy the run again or train anew")
    evaluation = _evaluation(run, config, decision, (own, cohort), detector, store, frames, found)
    _write_scores(output / "scores.csv", frames, store, found)
    write_json(output / "metrics.json", report.to_json(evaluation))
    report.write_report(output / "report.html", evaluation)
    return evaluation


def _evaluation(
    run: Run,
    config: Config,
    decision: Decision,
    cohorts: tuple[Cohort, Cohort],
    detector: Detector,
    store: ImageStore,
    frames: list[CohortImage],
    found: NDArray[np.float64],
) -> report.Evaluation:
    own, cohort = cohorts
    labels = _labels(frames)
    pixel_auroc, best_dice = _localisation(detector, store, frames, config)
    warnings = [f"{failure.reason} (left out)" for failure in store.failures[:5]]
    if decision.threshold is None:
        warnings.append(f"no honest threshold: {decision.threshold_rule}")
    return report.Evaluation(
        title=f"{detector.name} on {cohort.name}",
        detector=detector.name,
        cohort=cohort.name,
        scores=found,
        labels=labels,
        performance=None if labels is None else _measure(found, labels, frames, decision),
        honest_threshold=decision.threshold,
        honest_rule=decision.threshold_rule,
        pixel_auroc=pixel_auroc,
        best_dice=best_dice,
        controls={} if labels is None else _controls(own, store, frames, labels),
        warnings=tuple(warnings),
        cases=_cases(detector, store, frames, found, labels, config),
        settings=_settings(run, config, decision),
        training=_training_log(run),
    )


def _labels(frames: list[CohortImage]) -> NDArray[np.bool_] | None:
    """True = diseased; none unless every test image has a label and there are both kinds."""
    if any(image.label is None for image in frames) or len({image.label for image in frames}) < 2:
        return None
    return np.array([image.label is Label.DISEASED for image in frames])


def _measure(
    found: NDArray[np.float64], labels: NDArray[np.bool_], frames: list[CohortImage], decision: Decision
) -> metrics.Performance:
    known = all(image.patient_id for image in frames)
    patients = [str(image.patient_id) for image in frames] if known else [str(image.path) for image in frames]
    generator = np.random.default_rng(0)
    return metrics.measure(found, labels, honest_threshold=decision.threshold, patients=patients, generator=generator)


def _controls(own: Cohort, store: ImageStore, frames: list[CohortImage], labels: NDArray[np.bool_]) -> dict[str, float]:
    """AUC of shallow statistics on the test set, and of the source as the training sets know it."""
    parts = []
    for start in range(0, len(store), QUANTUM):
        pixels = store.read(np.arange(start, min(start + QUANTUM, len(store))))
        parts.append(controls(pixels.astype(np.float32).mean(axis=1)))
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    values["file size"] = np.array([image.path.stat().st_size for image in frames], dtype=np.float64)
    areas = control_aucs(values, labels)
    if all(image.source for image in frames):
        sources = {split: [str(image.source) for image in own.split(split)] for split in (Split.HEALTHY, Split.MIXED)}
        known = source_scores(sources[Split.HEALTHY], sources[Split.MIXED])
        areas[SOURCE_CONTROL] = metrics.auc(np.array([known.get(str(image.source), 0.5) for image in frames]), labels)
    return areas


def _localisation(
    detector: Detector, store: ImageStore, frames: list[CohortImage], config: Config
) -> tuple[float | None, float | None]:
    """Pixel AUROC and best Dice over the diseased images with a mask and all healthy ones."""
    if not any(image.mask for image in frames):
        return None, None
    chosen = [number for number, image in enumerate(frames) if image.mask or image.label is Label.HEALTHY]

    def maps() -> Iterator[NDArray[np.float32]]:
        for number in chosen:
            difference = workflow.predict(detector, store, np.array([number])).difference
            assert difference is not None
            yield difference[0, 0].numpy()

    def truth() -> Iterator[NDArray[np.bool_]]:
        return (_lesion(frames[number], config) for number in chosen)

    return metrics.pixel_auroc(maps(), truth()), metrics.best_dice(maps(), truth())


def _lesion(image: CohortImage, config: Config) -> NDArray[np.bool_]:
    """The ground truth in the networks' geometry; nothing where there is none."""
    size = config.preprocessing.size
    if image.mask is None:
        return np.zeros((size, size), dtype=np.bool_)
    try:
        with Image.open(image.mask) as file:
            return config.preprocessing.apply_to_mask(np.asarray(file.convert("L")) > 127)
    except OSError as error:
        raise InputError(f"{image.mask}: cannot be read as a mask ({error}); give an 8-bit PNG") from error


def _cases(
    detector: Detector,
    store: ImageStore,
    frames: list[CohortImage],
    found: NDArray[np.float64],
    labels: NDArray[np.bool_] | None,
    config: Config,
) -> dict[str, tuple[report.Case, ...]]:
    ranks = np.empty(len(found), dtype=np.int64)
    ranks[np.argsort(-found, kind="stable")] = np.arange(1, len(found) + 1)

    def case(number: int) -> report.Case:
        image = frames[number]
        seen = workflow.predict(detector, store, np.array([number]))
        x = store.read(np.array([number]))[0].mean(axis=0) / 32767.5 - 1
        return report.Case(
            name=image.path.name,
            score=float(found[number]),
            rank=int(ranks[number]),
            label=image.label,
            source=image.source,
            original=x,
            translated=None if seen.translated is None else seen.translated[0].mean(dim=0).numpy(),
            mask=None if seen.mask is None else seen.mask[0, 0].numpy(),
            difference=None if seen.difference is None else seen.difference[0, 0].numpy(),
            lesion=_lesion(image, config) if image.mask else None,
        )

    groups = report.choose_cases(found, labels, CASES)
    return {name: tuple(case(int(number)) for number in numbers) for name, numbers in groups.items()}


def _settings(run: Run, config: Config, decision: Decision) -> dict[str, str]:
    shown = {"run": run.path.name, "chosen iteration": f"{decision.iteration:,}", "chosen by": decision.rule}
    shown |= {f"note {number}": note for number, note in enumerate(run.load_notes(), start=1)}
    for section, fields in config.model_dump(mode="json").items():
        shown |= {f"{section}.{name}": str(value) for name, value in fields.items()}
    return shown


def _training_log(run: Run) -> report.TrainingSeries | None:
    if not run.log.exists():
        return None
    names = ("critic", "adversarial", "identity", "reconstruction", "focus", "mask")
    try:
        with run.log.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            return None
        series = {
            name: [float(row[name]) if row.get(name) else math.nan for row in rows] for name in names if name in rows[0]
        }
        return report.TrainingSeries([int(row["iteration"]) for row in rows], series)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(
            f"{run.log}: damaged ({error}); copy it again, or remove it for a report without curves"
        ) from error


def _write_scores(path: Path, frames: list[CohortImage], store: ImageStore, found: NDArray[np.float64]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("rank", "path", "frame", "score", "label", "patient_id", "source"))
        for rank, number in enumerate(np.argsort(-found, kind="stable"), start=1):
            image = frames[number]
            row = (rank, image.path, store.frame[number], f"{found[number]:.6f}")
            writer.writerow((*row, image.label or "", image.patient_id or "", image.source or ""))
