"""Scoring a pile of images: a ranked list and difference maps, in memory that does not grow with the pile."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from healthygan.common.errors import Argument, InputError
from healthygan.common.files import atomic_path
from healthygan.common.memory import memory_kept
from healthygan.common.progress import Progress, silent
from healthygan.common.run_folder import Run
from healthygan.data.cohort import Cohort, CohortImage, Split
from healthygan.data.folders import image_files
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import Failure
from healthygan.detectors.prediction import device_of
from healthygan.inference.engines import Engine, Precision, Predict, load_engine
from healthygan.inference.map_files import _Options, _write_maps
from healthygan.inference.partial import _Partial
from healthygan.inference.predictor import WORKERS, _Batch, _batches, _decoded, _Frame, batch_size
from healthygan.inference.score_table import write_scores
from healthygan.inference.validity import drift_warnings
from healthygan.runs import train as workflow
from healthygan.runs.aggregation import Units
from healthygan.runs.config import SelectionConfig
from healthygan.runs.reference import Reference, load_reference
from healthygan.stats.conformal import healthy_needed_for_worklist, worklist
from healthygan.stats.conformal import p_values as p_values_of
from healthygan.stats.metrics import called_diseased


@dataclass(frozen=True)
class Scored:
    """What scoring a pile came to."""

    table: Path
    images: int
    flagged: int | None
    failures: tuple[Failure, ...]
    listed: int | None = None
    """On the worklist, if one was asked for."""
    warnings: tuple[str, ...] = ()
    noun: str = "images"
    """What ``flagged`` and ``listed`` count: images or patients."""


def score(
    run: Run,
    images: Sequence[Path],
    output: Path,
    *,
    overlays: bool = True,
    arrays: bool = False,
    strict: bool = False,
    device: str = "auto",
    fdr: float | None = None,
    engine: Engine = "torch",
    precision: Precision = "32",
    progress: Progress = silent,
) -> Scored:
    """Score images with a finished run; an interrupted call goes on where it was.

    Writes ``scores.csv`` (highest score first), ``failures.txt`` where files could not be read, and under
    ``maps/`` an overlay (PNG) of each image and, with ``arrays``, its difference map (float32 .npy, H x W in
    [0, 1]).

    Args:
        images: files, folders, or manifests (.csv), which tell the patients too.
        output: the folder to write to.
        strict: refuse the first unreadable file instead of listing it.
        fdr: mark a worklist of which on average at most this share is healthy (``conformal.worklist``).
        engine: what computes; onnx and openvino do on the CPU, after an export at their first use.
        precision: bf16 is up to twice as fast where the processor has units for it, and moves a score by about a
            hundredth of their spread.

    Raises:
        InputError: nothing to score, the run is not finished, ``output`` holds another run's scores, the engine is
            not there, or a worklist is asked for and the run holds no healthy images' scores.
    """
    if engine != "torch":
        if device not in ("auto", "cpu"):
            raise InputError(
                Argument("engine", engine),
                f": computes on the CPU, not on {device}; leave ",
                Argument("device"),
                " out",
            )
        device = "cpu"
    detector, config, decision = workflow.load(run, device)
    reference = load_reference(run, config.selection)
    _check_worklist(run, reference, fdr)
    paths, patients = collect(images)
    predict = load_engine(engine, run, detector, precision)
    partial = _Partial(output, run)
    todo = [path for path in paths if str(path) not in partial.done]
    failures: list[Failure] = []
    options = _Options(output, overlays, arrays, decision.map_top)
    with (
        memory_kept(),
        partial,
        ThreadPoolExecutor(WORKERS) as pool,
        progress("scoring", len(paths), len(paths) - len(todo)) as advance,
    ):
        size = batch_size(config.preprocessing.size, device_of(detector))
        frames = _decoded(pool, todo, config.preprocessing, size, failures, strict)
        for batch in _written(_score(pool, predict, some, options) for some in _batches(frames, size)):
            partial.keep(batch)
            advance(sum(frame.last for frame in batch.frames))
    _list_failures(output / "failures.txt", failures)
    if len(failures) == len(paths):
        partial.remove()
        raise InputError(f"none of {len(paths)} files could be read; first: {failures[0].reason}")
    ranked = _rank(partial, output, patients, decision.threshold, reference, fdr, config.selection)
    partial.remove()
    return replace(ranked, failures=tuple(failures))


def _check_worklist(run: Run, reference: Reference, fdr: float | None) -> None:
    if fdr is None:
        return
    if not 0 < fdr < 1:
        raise InputError(Argument("fdr", fdr), ": must lie strictly between 0 and 1, such as 0.1")
    if not len(reference.threshold):
        raise InputError(
            f"{run.path}: holds no scores of healthy images kept out of training, so that no worklist can be promised; "
            "train with selection.holdout above 0 or with healthy validation images"
        )


def _list_failures(path: Path, failures: Sequence[Failure]) -> None:
    """One line a file; no list where every file could be read."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        lines = "".join(f"{failure.reason}\n" for failure in failures)
        temporary.write_text(lines, encoding="utf-8", errors="surrogateescape")


def collect(images: Sequence[Path]) -> tuple[list[Path], dict[str, str]]:
    """The image files named, found under folders, or listed in manifests; and their patients where known.

    Raises:
        InputError: a path does not exist, or there is no image.
    """
    found: dict[Path, None] = {}
    patients: dict[str, str] = {}
    for place in images:
        if place.suffix.lower() == ".csv":
            for image in Cohort.from_manifest(place).images:
                found[image.path] = None
                if image.patient_id:
                    patients[str(image.path)] = image.patient_id
        elif place.is_dir():
            found.update(dict.fromkeys(image_files(place)))
        elif place.exists():
            found[place] = None
        else:
            raise InputError(f"{place}: no such file or folder; correct the path")
    if not found:
        raise InputError(f"{', '.join(map(str, images))}: no image there; give PNG, JPEG, TIFF, BMP, DICOM or NIfTI")
    return list(found), patients


def _score(pool: ThreadPoolExecutor, predict: Predict, frames: list[_Frame], options: _Options) -> _Batch:
    x = to_tensor(np.stack([frame.pixels for frame in frames]))
    found = predict(x)
    for frame, finite in zip(frames, found.score.isfinite().tolist(), strict=True):
        if not finite:
            raise InputError(
                f"{frame.path}: its score is not a finite number, so the model is damaged; "
                "copy the run again or train anew"
            )
    maps = []
    if found.difference is not None and (options.overlays or options.arrays):
        for frame, image, difference in zip(frames, x, found.difference, strict=True):
            maps.append(pool.submit(_write_maps, frame, image, difference[0], options))
    return _Batch(frames, found.score.tolist(), maps)


def _written(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """The same batches, each once its maps are on disk; meanwhile the network works on the next one."""
    before: _Batch | None = None
    for batch in chain(batches, (None,)):
        if before is not None:
            for part in before.maps:
                part.result()
            yield before
        before = batch


def _rank(
    partial: _Partial,
    output: Path,
    patients: dict[str, str],
    threshold: float | None,
    reference: Reference,
    fdr: float | None,
    selection: SelectionConfig,
) -> Scored:
    """Write scores.csv, and count what is above the threshold and on the worklist."""
    rows = list(partial.rows())
    values = np.array([value for _, _, value in rows])
    images = [CohortImage(Path(path), Split.TEST, patient_id=patients.get(path)) for path, _, _ in rows]
    units = Units(images, selection)
    judged = units.scores(values)
    flags = None if threshold is None else called_diseased(judged, threshold)
    p_values = p_values_of(judged, reference.threshold) if len(reference.threshold) else None
    listed = None if fdr is None or p_values is None else worklist(p_values, fdr)
    marks = {
        name: [""] * len(rows) if marked is None else [str(int(mark)) for mark in units.spread(marked)]
        for name, marked in (("flagged", flags), ("worklist", listed))
    }
    table = output / "scores.csv"
    write_scores(table, units, [frame for _, frame, _ in rows], values, p_values, marks)
    flagged, on_list = (None if marked is None else int(marked.sum()) for marked in (flags, listed))
    warnings = (*drift_warnings(judged, reference), *_short_warnings(len(units), fdr, on_list, reference))
    return Scored(table, len(rows), flagged, (), on_list, warnings, units.noun)


def _short_warnings(judged: int, fdr: float | None, listed: int | None, reference: Reference) -> Iterator[str]:
    """An empty worklist that more held-out healthy images or patients might have filled."""
    held_out = len(reference.threshold)
    if fdr is None or listed or not judged:
        return
    tenth = max(judged // 10, 1)
    needed = healthy_needed_for_worklist(judged, fdr, tenth)
    if held_out < needed:
        yield (
            f"the worklist is empty: with {held_out} held-out healthy {reference.noun} no p-value is small enough; to "
            f"list {tenth} of {judged} {reference.noun} at a false discovery rate of {fdr} takes {needed}"
        )
