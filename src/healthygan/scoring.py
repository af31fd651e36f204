"""Scoring a pile of images: a ranked list and difference maps, in memory that does not grow with the pile."""

import csv
import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from healthygan import workflow
from healthygan.config import SelectionConfig
from healthygan.conformal import healthy_needed_for_worklist, worklist
from healthygan.conformal import p_values as p_values_of
from healthygan.data.cohort import Cohort, CohortImage, Split
from healthygan.data.folders import image_files
from healthygan.data.preprocessing import Preprocessing, to_tensor
from healthygan.data.readers import read_frames
from healthygan.data.store import Failure
from healthygan.errors import InputError, UnreadableImage
from healthygan.export import Engine, Precision, Predict, load_engine
from healthygan.figures import overlay
from healthygan.files import atomic_path, content_hash, write_text
from healthygan.memory import memory_kept
from healthygan.metrics import called_diseased
from healthygan.prediction import device_of
from healthygan.progress import progress
from healthygan.reference import Reference, load_reference
from healthygan.run import Run
from healthygan.score_table import write_scores
from healthygan.trust import drift_warnings
from healthygan.units import Units

WORKERS = os.cpu_count() or 1
"""Threads that read files and write maps."""
BATCH_PIXELS = {"cpu": 2**17, "cuda": 2**21, "mps": 2**20}
"""Pixels of a batch: enough to fill the device, few enough for the caches of a CPU and for any memory."""
Decoded = list[tuple[int, NDArray[np.uint16]]]
"""Numbers and pixels, C x H x W, of a file's frames."""
FIELDS = ("path", "frame", "score")


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
    output: Path
    overlays: bool
    arrays: bool
    map_top: float


@dataclass(frozen=True)
class _Frame:
    """One frame of a file, on its way through the network."""

    path: Path
    number: int
    pixels: NDArray[np.uint16]
    last: bool
    """Whether the file has no further one."""


@dataclass(frozen=True)
class _Batch:
    """Frames, their scores, and what is still to be done before they may count as scored."""

    frames: list[_Frame]
    scores: list[float]
    maps: list[Future[None]]


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
            raise InputError(f"--engine {engine}: computes on the CPU, not on {device}; leave --device out")
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
        raise InputError(f"--fdr {fdr}: must lie strictly between 0 and 1, such as 0.1")
    if not len(reference.threshold):
        raise InputError(
            f"{run.path}: holds no scores of healthy images kept out of training, so that no worklist can be promised; "
            "train with selection.holdout above 0 or with healthy validation images"
        )


def batch_size(side: int, device: torch.device) -> int:
    """Images of side x side pixels that go through the network together."""
    return max(1, BATCH_PIXELS[device.type] // side**2)


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


def _decoded(
    pool: ThreadPoolExecutor,
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    batch: int,
    failures: list[Failure],
    strict: bool,
) -> Iterator[_Frame]:
    """Frames in the order of their files; about two batches are decoded ahead in threads."""

    def decode(path: Path) -> Decoded:
        frames = read_frames(path, preprocessing.reader, preprocessing.sufficient)
        return [(image.frame, preprocessing(image)) for image in frames]

    waiting: deque[tuple[Path, Future[Decoded]]] = deque()
    upcoming = iter(paths)
    ahead = 2 * WORKERS
    while True:
        waiting.extend((path, pool.submit(decode, path)) for path in islice(upcoming, max(0, ahead - len(waiting))))
        if not waiting:
            return
        path, future = waiting.popleft()
        try:
            frames = future.result()
        except UnreadableImage as error:
            if strict:
                raise
            failures.append(Failure(path, str(error)))
            continue
        # Fewer files where each holds many frames: a volume fills a batch by itself.
        ahead = max(WORKERS, 2 * batch // max(1, len(frames)))
        for place, (number, pixels) in enumerate(frames, start=1):
            yield _Frame(path, number, pixels, last=place == len(frames))


def _batches(frames: Iterator[_Frame], size: int) -> Iterator[list[_Frame]]:
    """``size`` frames at a time, from one file or from many."""
    while batch := list(islice(frames, size)):
        yield batch


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


def _map_name(path: Path) -> str:
    """The file's name and a few digits that keep namesakes of other folders apart."""
    return f"{path.stem[:80]}_{format(_number_of(path), '08x')}"


def _number_of(path: Path) -> int:
    """A short number of a path, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=4).digest())


def _write_maps(frame: _Frame, x: torch.Tensor, difference: torch.Tensor, options: _Options) -> None:
    stem = options.output / "maps" / f"{_map_name(frame.path)}_{frame.number:04d}"
    if options.overlays:
        with atomic_path(stem.with_name(stem.name + ".png")) as temporary:
            picture = overlay(x.mean(dim=0).numpy(), difference.numpy(), options.map_top)
            Image.fromarray(picture).save(temporary)
    if options.arrays:
        with atomic_path(stem.with_name(stem.name + ".npy")) as temporary:
            np.save(temporary, difference.numpy())


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

    def keep(self, batch: _Batch) -> None:
        """Append a batch's scores."""
        rows = zip(batch.frames, batch.scores, strict=True)
        self._writer.writerows((frame.path, frame.number, repr(value)) for frame, value in rows)
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
            f"list {tenth} of {judged} {reference.noun} at --fdr {fdr} takes {needed}"
        )
