"""Scoring a pile of images: a ranked list and difference maps, in memory that does not grow with the pile."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from healthygan.common.errors import Argument, InputError, UnreadableImage
from healthygan.common.files import atomic_path, remove_leftovers, write_json
from healthygan.common.folder_lock import locked
from healthygan.common.memory import memory_kept
from healthygan.common.processors import usable_cores
from healthygan.common.progress import Progress, silent
from healthygan.common.run_folder import Run
from healthygan.common.score_names import SCORED_WITH
from healthygan.data.cohort import Cohort
from healthygan.data.folders import describe_skipped, scan
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import Failure
from healthygan.inference.engines import Engine, Precision
from healthygan.inference.frames import Frame, decode_ahead, in_lists
from healthygan.inference.map_files import MapFiles
from healthygan.inference.partial import PartialScores, ScoredFrame
from healthygan.inference.predictor import Predictor
from healthygan.inference.ranking import rank
from healthygan.inference.validity import frame_remarks

WORKERS = usable_cores()
"""Threads that read files and write maps."""


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
    remarked: int = 0
    """Frames whose score the column ``remark`` says not to trust."""
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

    It takes over what it scored before of these very files, if they have not changed since.

    Writes ``scores.csv`` (highest score first; ``remark`` says why not to trust a score), ``failures.txt`` where files
    could not be read, and under ``maps/`` an overlay (PNG) of each image and, with ``arrays``, its difference map
    (float32 .npy, H x W in [0, 1]).

    Args:
        images: files, folders, or manifests (.csv), which tell the patients too.
        output: the folder to write to.
        strict: refuse the first unreadable file instead of listing it.
        device, engine, precision: as of ``Predictor``.
        fdr: mark a worklist of which on average at most this share is healthy (``conformal.worklist``).
        progress: shows how far it is.

    Raises:
        InputError: nothing to score, the run is not finished, ``output`` holds scores of another run, engine or
            precision, another process writes to it, the engine is not there, or a worklist is asked for and the run
            holds no healthy images' scores.
    """
    predictor = Predictor(run, device, engine, precision)
    _check_worklist(predictor, fdr)
    paths, patients, skipped = collect(images)
    maps = MapFiles(output / "maps", overlays, arrays, predictor.decision.map_top)
    settings = {"engine": engine, "precision": precision, "overlays": overlays, "arrays": arrays}
    with locked(output, "score"):
        for folder in (output, maps.folder):
            remove_leftovers(folder)
        partial = PartialScores(output, run, paths, settings)
        scored = _score_pile(predictor, paths, patients, partial, maps, output, strict, fdr, progress)
    if skipped:
        scored = replace(scored, warnings=(f"{skipped}; convert those that are images", *scored.warnings))
    return scored


def _score_pile(
    predictor: Predictor,
    paths: Sequence[Path],
    patients: dict[str, str],
    partial: PartialScores,
    maps: MapFiles,
    output: Path,
    strict: bool,
    fdr: float | None,
    progress: Progress,
) -> Scored:
    """All of ``score`` that writes."""
    failures = _score_files(predictor, paths, partial, maps, strict, progress)
    _list_failures(output / "failures.txt", failures)
    if len(failures) == len(paths):
        partial.remove()
        raise InputError(f"none of {len(paths)} files could be read; first: {failures[0].reason}")
    _note_settings(output / SCORED_WITH, predictor)
    ranking = rank(list(partial.rows()), patients, predictor, fdr)
    ranking.write(output / "scores.csv")
    partial.remove()
    flagged, listed = (None if marked is None else int(marked.sum()) for marked in (ranking.flagged, ranking.listed))
    return Scored(
        table=output / "scores.csv",
        images=len(ranking.scores),
        flagged=flagged,
        failures=tuple(failures),
        listed=listed,
        warnings=ranking.warnings,
        remarked=sum(map(bool, ranking.remarks)),
        noun=ranking.units.noun,
    )


def collect(images: Sequence[Path]) -> tuple[list[Path], dict[str, str], str]:
    """The image files named, found under folders, or listed in manifests; their patients where known; and a line
    on what folders hold beside them, empty if nothing.

    Raises:
        InputError: a path does not exist, or there is no image.
    """
    paths: dict[Path, None] = {}
    patients: dict[str, str] = {}
    skipped: Counter[str] = Counter()
    for place in images:
        if place.suffix.lower() == ".csv":
            for image in Cohort.from_manifest(place).images:
                paths[image.path] = None
                if image.patient_id:
                    patients[str(image.path)] = image.patient_id
        elif place.is_dir():
            scanned = scan(place)
            paths.update(dict.fromkeys(scanned.images))
            skipped.update(scanned.skipped)
        elif place.exists():
            paths[place] = None
        else:
            raise InputError(f"{place}: no such file or folder; correct the path")
    others = describe_skipped(skipped)
    if not paths:
        raise InputError(
            f"{', '.join(map(str, images))}: no image there{f' ({others})' if others else ''}; "
            "give PNG, JPEG, BMP, WebP, TIFF, DICOM or NIfTI"
        )
    return list(paths), patients, others


@dataclass(frozen=True)
class _Batch:
    """Frames, their scores, and what is still to be done before they may count as scored."""

    frames: list[Frame]
    scores: list[float]
    remarks: list[str]
    maps: list[Future[None]]

    def rows(self) -> list[ScoredFrame]:
        return [
            ScoredFrame(str(frame.path), frame.number, value, remark)
            for frame, value, remark in zip(self.frames, self.scores, self.remarks, strict=True)
        ]


def _score_files(
    predictor: Predictor,
    paths: Sequence[Path],
    partial: PartialScores,
    maps: MapFiles,
    strict: bool,
    progress: Progress,
) -> list[Failure]:
    """Score all files that ``partial`` does not hold yet, into it; gives those that could not be read."""
    todo = [path for path in paths if str(path) not in partial.done]
    failures: list[Failure] = []

    def fail(path: Path, error: UnreadableImage) -> None:
        if strict:
            raise error
        failures.append(Failure(path, str(error)))

    size = predictor.batch_size
    with (
        memory_kept(),
        partial,
        ThreadPoolExecutor(WORKERS) as pool,
        progress("scoring", len(paths), len(paths) - len(todo)) as advance,
    ):
        frames = decode_ahead(pool, WORKERS, todo, predictor.config.preprocessing, size, fail)
        for batch in _written(_score(pool, predictor, some, maps) for some in in_lists(frames, size)):
            partial.keep(batch.rows())
            advance(sum(frame.is_last for frame in batch.frames))
    return failures


def _score(pool: ThreadPoolExecutor, predictor: Predictor, frames: list[Frame], maps: MapFiles) -> _Batch:
    x = to_tensor(np.stack([frame.pixels for frame in frames]))
    prediction = predictor.predict_batch(x)
    for frame, finite in zip(frames, prediction.score.isfinite().tolist(), strict=True):
        if not finite:
            raise InputError(
                f"{frame.path}: its score is not a finite number, so the model is damaged; "
                "copy the run again or train anew"
            )
    writing = []
    if prediction.where is not None and (maps.overlays or maps.arrays):
        for frame, image, difference in zip(frames, x.mean(dim=1), prediction.where, strict=True):
            writing.append(pool.submit(maps.write, frame.path, frame.number, image.numpy(), difference[0].numpy()))
    remarks = frame_remarks([frame.shorter_side for frame in frames], x, predictor.reference)
    return _Batch(frames, prediction.score.tolist(), remarks, writing)


def _written(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """The same batches, each once its maps are on disk; meanwhile the network works on the next one."""
    before: _Batch | None = None
    for batch in chain(batches, (None,)):
        if before is not None:
            for part in before.maps:
                part.result()
            yield before
        before = batch


def _check_worklist(predictor: Predictor, fdr: float | None) -> None:
    if fdr is None:
        return
    if not 0 < fdr < 1:
        raise InputError(Argument("fdr", fdr), ": must lie strictly between 0 and 1, such as 0.1")
    if not len(predictor.reference.threshold):
        raise InputError(
            f"{predictor.run.path}: holds no scores of healthy images kept out of training, so that no worklist can be "
            "promised; train with selection.holdout above 0 or with healthy validation images"
        )


def _note_settings(path: Path, predictor: Predictor) -> None:
    """What a page on the scores needs to know of the run, which need not be at hand there."""
    write_json(
        path,
        {
            "preprocessing": predictor.config.preprocessing.model_dump(mode="json"),
            "map_top": predictor.decision.map_top,
            "threshold": predictor.threshold,
            "notes": predictor.run.load_notes(),
        },
    )


def _list_failures(path: Path, failures: Sequence[Failure]) -> None:
    """One line a file; no list where every file could be read."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        lines = "".join(f"{failure.reason}\n" for failure in failures)
        temporary.write_text(lines, encoding="utf-8", errors="surrogateescape")
