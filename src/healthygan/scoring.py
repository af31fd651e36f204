"""Scoring a pile of images: a ranked list and difference maps, in memory that does not grow with the pile."""

import csv
import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata

from healthygan import prediction, workflow
from healthygan.config import SelectionConfig
from healthygan.conformal import healthy_needed_for_worklist, worklist
from healthygan.conformal import p_values as p_values_of
from healthygan.data.cohort import Cohort, CohortImage, Split
from healthygan.data.preprocessing import Preprocessing, to_tensor
from healthygan.data.readers import is_image_name, read_frames
from healthygan.data.store import Failure
from healthygan.detectors.base import Detector, Prediction
from healthygan.errors import InputError, UnreadableImage
from healthygan.figures import overlay
from healthygan.files import atomic_path, content_hash, write_text
from healthygan.metrics import called_diseased
from healthygan.progress import progress
from healthygan.reference import Reference, load_reference
from healthygan.run import Run
from healthygan.trust import drift_warnings
from healthygan.units import Units

BATCH = 32
FIELDS = ("path", "frame", "score")
COLUMNS = ("rank", "path", "frame", "score", "p_value", "flagged", "worklist", "patient_id", "patient_score")


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


@dataclass(frozen=True)
class _Options:
    overlays: bool
    arrays: bool
    map_top: float


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

    Raises:
        InputError: nothing to score, the run is not finished, ``output`` holds another run's scores, or a worklist
            is asked for and the run holds no healthy images' scores.
    """
    detector, config, decision = workflow.load(run, device)
    reference = load_reference(run, config.selection)
    _check_worklist(run, reference, fdr)
    paths, patients = collect(images)
    partial = _Partial(output, run)
    todo = [path for path in paths if str(path) not in partial.done]
    failures: list[Failure] = []
    options = _Options(overlays, arrays, decision.map_top)
    with partial, progress("scoring", len(paths), len(paths) - len(todo)) as advance:
        for path, frames in _decoded(todo, config.preprocessing, failures, strict):
            for start in range(0, len(frames), BATCH):
                partial.keep(path, _score(detector, path, frames[start : start + BATCH], output, options))
            advance()
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
        raise InputError(f"--fdr {fdr}: must lie strictly between 0 and 1, such as 0.1")
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
            found.update(dict.fromkeys(sorted(path for path in place.rglob("*") if _wanted(path))))
        elif place.exists():
            found[place] = None
        else:
            raise InputError(f"{place}: no such file or folder; correct the path")
    if not found:
        raise InputError(f"{', '.join(map(str, images))}: no image there; give PNG, JPEG, TIFF, BMP, DICOM or NIfTI")
    return list(found), patients


def _wanted(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and is_image_name(path)


Frames = list[tuple[int, NDArray[np.uint16]]]


def _decoded(
    paths: Sequence[Path], preprocessing: Preprocessing, failures: list[Failure], strict: bool
) -> Iterator[tuple[Path, Frames]]:
    """Files in order with their frames; a few are decoded ahead in threads."""
    workers = os.cpu_count() or 1

    def decode(path: Path) -> Frames:
        return [(image.frame, preprocessing(image)) for image in read_frames(path, preprocessing.reader)]

    waiting: deque[tuple[Path, Future[Frames]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for path in [*paths, *[None] * 4 * workers]:
            if path is not None:
                waiting.append((path, pool.submit(decode, path)))
            if waiting and (path is None or len(waiting) >= 4 * workers):
                first, future = waiting.popleft()
                try:
                    yield first, future.result()
                except UnreadableImage as error:
                    if strict:
                        raise
                    failures.append(Failure(first, str(error)))


def _score(detector: Detector, path: Path, frames: Frames, output: Path, options: _Options) -> list[tuple[int, float]]:
    x = to_tensor(np.stack([pixels for _, pixels in frames]))
    found = prediction.predict_batch(detector, x)
    if not found.score.isfinite().all():
        raise InputError(
            f"{path}: its score is not a finite number; the model is damaged: copy the run again or train anew"
        )
    for number, (frame, _) in enumerate(frames):
        if found.difference is not None and (options.overlays or options.arrays):
            _write_maps(output / "maps" / f"{_map_name(path)}_{frame:04d}", x[number], found, number, options)
    return [(frame, float(value)) for (frame, _), value in zip(frames, found.score, strict=True)]


def _map_name(path: Path) -> str:
    """The file's name and a few digits that keep namesakes of other folders apart."""
    return f"{path.stem[:80]}_{format(_number_of(path), '08x')}"


def _number_of(path: Path) -> int:
    """A short number of a path, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=4).digest())


def _write_maps(stem: Path, x: torch.Tensor, found: Prediction, number: int, options: _Options) -> None:
    assert found.difference is not None
    difference = found.difference[number, 0].numpy()
    if options.overlays:
        with atomic_path(stem.with_name(stem.name + ".png")) as temporary:
            Image.fromarray(overlay(x.mean(dim=0).numpy(), difference, options.map_top)).save(temporary)
    if options.arrays:
        with atomic_path(stem.with_name(stem.name + ".npy")) as temporary:
            np.save(temporary, difference)


class _Partial:
    """Scores as they come, kept in the output folder until the list is whole."""

    def __init__(self, output: Path, run: Run) -> None:
        self.path = output / "scores.partial.csv"
        self._model = output / "model.json"
        mark = json.dumps({"model": content_hash(run.model), "config": content_hash(run.config)})
        if self._model.exists() and self._model.read_bytes() != mark.encode():
            raise InputError(f"{output}: holds scores of another model; choose another folder with -o")
        write_text(self._model, mark)
        self.done = self._read_done()

    def _read_done(self) -> set[str]:
        """Files scored before; the last one may be incomplete and is scored again."""
        if not self.path.exists():
            return set()
        with self.path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            # A line cut off in its middle can only be the last.
            rows = [row for row in csv.reader(file) if len(row) == len(FIELDS)]
        last = rows[-1][0] if rows else ""
        kept = [row for row in rows if row[0] != last]
        with (
            atomic_path(self.path) as temporary,
            temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            csv.writer(file).writerows(kept)
        return {path for path, _, _ in kept}

    def rows(self) -> Iterator[tuple[str, int, float]]:
        """Path, frame and score of each frame so far."""
        with self.path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            for row in csv.reader(file):
                try:
                    path, frame, value = row
                    yield path, int(frame), float(value)
                except ValueError as error:
                    raise InputError(f"{self.path}: damaged ({error}); remove it to score anew") from error

    def keep(self, path: Path, found: Sequence[tuple[int, float]]) -> None:
        """Append a file's scores."""
        self._writer.writerows((path, frame, repr(value)) for frame, value in found)
        self._file.flush()

    def remove(self) -> None:
        """The list is whole."""
        self.path.unlink()

    def __enter__(self) -> None:
        self._file = self.path.open("a", newline="", encoding="utf-8", errors="surrogateescape")
        self._writer = csv.writer(self._file)

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _rank(
    partial: _Partial,
    output: Path,
    patients: dict[str, str],
    threshold: float | None,
    reference: Reference,
    fdr: float | None,
    selection: SelectionConfig,
) -> Scored:
    """Write scores.csv, highest first; equal scores share the better rank.

    Where patients are judged, a file of unknown patient stands for one, and all images of one have the same
    p-value and the same marks.
    """
    rows = list(partial.rows())
    values = np.array([value for _, _, value in rows])
    ranks = rankdata(-values, method="min").astype(int) if rows else np.empty(0, int)
    images = [CohortImage(Path(path), Split.TEST, patient_id=patients.get(path)) for path, _, _ in rows]
    units = Units(images, selection)
    judged, of_patient = units.scores(values), units.patient_scores(values)
    flags = None if threshold is None else called_diseased(judged, threshold)
    p_values = p_values_of(judged, reference.threshold) if len(reference.threshold) else None
    listed = None if fdr is None or p_values is None else worklist(p_values, fdr)
    shown_p = None if p_values is None else units.spread(p_values)
    marks = [None if marked is None else units.spread(marked) for marked in (flags, listed)]
    table = output / "scores.csv"
    with (
        atomic_path(table) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in np.argsort(ranks, kind="stable"):
            path, frame, value = rows[number]
            patient = patients.get(path, "")
            p_value = "" if shown_p is None else f"{shown_p[number]:.6g}"
            shown = ["" if marked is None else int(marked[number]) for marked in marks]
            own = f"{of_patient[number]:.6f}" if patient or units.by_patient else ""
            writer.writerow([ranks[number], path, frame, f"{value:.6f}", p_value, *shown, patient, own])
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
            f"list {tenth} of {judged} {reference.noun} at --fdr {fdr} takes {needed}"
        )
