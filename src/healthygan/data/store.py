"""Images decoded once, into a memory-mapped file that later runs reuse.

A store's folder is named by the content of its files and the preprocessing, so it never goes stale. It holds
``pixels.npy`` (frames x C x H x W, uint16) and ``index.json`` (which frame came from which file, which files
failed). While it is being made it is ``<name>.partial``, with a flag for each file that is done.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from healthygan.common.errors import InputError, UnreadableImage
from healthygan.common.files import write_json
from healthygan.common.processors import usable_cores
from healthygan.common.progress import Progress, silent
from healthygan.data.file_hashes import default_cache, file_hashes
from healthygan.data.preprocessing import Preprocessing
from healthygan.data.readers.reading import probe, read_frames

BATCH = 256
"""Files after which what is decoded is brought to disk and counts as done."""
DAMAGED = (OSError, EOFError, ValueError, TypeError, KeyError, IndexError)
"""What opening a half-written or half-deleted file of the cache raises."""


@dataclass(frozen=True)
class Failure:
    """A file that could not be used, and why (one line that names the file)."""

    path: Path
    reason: str


class ImageStore:
    """Preprocessed frames of a list of files, read from disk as they are asked for."""

    def __init__(self, folder: Path, paths: Sequence[Path], groups: Sequence[str] | None = None) -> None:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.folder = folder
        self.paths = tuple(paths)
        self.groups = tuple(map(str, paths)) if groups is None else tuple(groups)
        """Of each path: what must stay together where frames are divided, such as the patient."""
        self.owner: NDArray[np.int64] = np.array(index["owner"], dtype=np.int64)
        """(frames,): index into ``paths`` of each frame."""
        self.frame: NDArray[np.int64] = np.array(index["frame"], dtype=np.int64)
        """(frames,): number of each frame in its file."""
        self._places: NDArray[np.int64] = np.array(index["place"], dtype=np.int64)
        self._failed: dict[int, str] = dict(index["failures"])
        self._pixels: NDArray[np.uint16] = np.load(folder / "pixels.npy", mmap_mode="r")

    @classmethod
    def build(
        cls,
        paths: Sequence[Path],
        preprocessing: Preprocessing,
        *,
        groups: Sequence[str] | None = None,
        cache: Path | None = None,
        workers: int | None = None,
        strict: bool = False,
        title: str = "images",
        progress: Progress = silent,
    ) -> "ImageStore":
        """Decode ``paths``, or reuse what an earlier call decoded; an interrupted call goes on where it was.

        Args:
            groups: patient of each path; by default each file is its own. No part of what is stored.
            cache: folder of all stores; by default $HEALTHYGAN_CACHE, else healthygan in the user's cache folder
                (Linux: $XDG_CACHE_HOME, else ~/.cache).
            workers: threads that decode (the libraries leave Python's lock while they do); by default one a core.
            strict: refuse the first unreadable file instead of counting it.
            title: what progress and errors call it.
            progress: shows how far it is.

        Raises:
            InputError: no file could be read, or the cache cannot be written or has no room.
            UnreadableImage: under ``strict``.
            ValueError: there are not as many groups as paths.
        """
        if not paths:
            raise InputError(f"{title}: no image file is given; name at least one")
        if groups is not None and len(groups) != len(paths):
            raise ValueError(f"{len(groups)} groups for {len(paths)} paths; give one each")
        workers = workers or usable_cores()
        home = cache or default_cache()
        folder = home / _key(file_hashes(paths, title, progress, home=home, workers=workers), preprocessing)
        store = _whole_store(folder, paths, groups, preprocessing)
        if store is None:
            with _locked(folder):
                store = _whole_store(folder, paths, groups, preprocessing)
                if store is None:
                    _Builder(folder, paths, preprocessing, workers, strict, title, progress).run()
                    store = cls(folder, paths, groups)
        if strict and store.failures:
            raise UnreadableImage(store.failures[0].reason)
        if not len(store):
            raise InputError(f"{title}: none of {len(paths)} files could be read; first: {store.failures[0].reason}")
        return store

    @property
    def key(self) -> str:
        """Changes whenever the files' content or the preprocessing does."""
        return self.folder.name

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The files that own no frame, in the order of ``paths``."""
        return tuple(
            Failure(self.paths[number], f"{self.paths[number]}: {reason}")
            for number, reason in sorted(self._failed.items())
        )

    @property
    def frame_groups(self) -> tuple[str, ...]:
        """(frames,): the group of each frame's file."""
        return tuple(self.groups[number] for number in self.owner)

    def __len__(self) -> int:
        return len(self._places)

    def __reduce__(self) -> tuple[type["ImageStore"], tuple[Path, tuple[Path, ...], tuple[str, ...]]]:
        """Pickled by its place: the copy maps the same file."""
        return ImageStore, (self.folder, self.paths, self.groups)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Copy n frames: n x C x H x W, 0 to 65,535."""
        return np.asarray(self._pixels[self._places[indices]])

    def is_whole(self, shape: tuple[int, ...]) -> bool:
        """Whether frames have ``shape``, each has its pixels, and each file has frames or a reason for none."""
        return (
            self._pixels.dtype == np.uint16
            and self._pixels.shape[1:] == shape
            and len(self.owner) == len(self.frame) == len(self._places)
            and bool(np.isin(self._places, np.arange(len(self._pixels))).all())
            and {*self.owner.tolist(), *self._failed} == set(range(len(self.paths)))
        )


class _Builder:
    """Makes one store's folder."""

    def __init__(
        self,
        folder: Path,
        paths: Sequence[Path],
        preprocessing: Preprocessing,
        workers: int,
        strict: bool,
        title: str,
        progress: Progress,
    ) -> None:
        self.folder = folder
        self.partial = folder.with_name(folder.name + ".partial")
        self.paths = paths
        self.preprocessing = preprocessing
        self.workers = workers
        self.strict = strict
        self.title = title
        self.progress = progress
        self.frames: list[list[int]] = []
        """Frame numbers of each file, as its header tells."""
        self.failures: dict[int, str] = {}

    def run(self) -> None:
        pixels, done = self._resume() or self._start()
        starts = np.cumsum([0, *(len(frames) for frames in self.frames)])
        self._decode(pixels, done, starts)
        self._write_index(starts)
        (self.partial / "done.npy").unlink()
        (self.partial / "plan.json").unlink()
        _remove(self.folder)
        self.partial.rename(self.folder)

    def _resume(self) -> tuple[np.memmap, np.memmap] | None:
        """The arrays of an interrupted build, or none where it left nothing usable."""
        try:
            plan = json.loads((self.partial / "plan.json").read_text(encoding="utf-8"))
            self.frames, self.failures = plan["frames"], dict(plan["failures"])
            arrays = tuple(
                np.lib.format.open_memmap(self.partial / name, mode="r+") for name in ("pixels.npy", "done.npy")
            )
            fits = tuple(array.shape for array in arrays) == self._shapes()
        except DAMAGED:
            return None
        if not fits:
            return None
        self._reserve()
        return arrays[0], arrays[1]

    def _start(self) -> tuple[np.memmap, np.memmap]:
        """New arrays, sized by all files' headers. The plan comes last: with it, the rest is there."""
        _remove(self.partial)
        self.partial.mkdir(parents=True)
        self.frames, self.failures = [], {}
        with ThreadPoolExecutor(self.workers) as pool:
            for number, frames in enumerate(pool.map(self._frames_or_reason, self.paths)):
                self.frames.append([] if isinstance(frames, str) else frames)
                if isinstance(frames, str):
                    self._fail(number, frames)
        pixels_shape, done_shape = self._shapes()
        _check_room(self.partial, int(np.prod(pixels_shape)) * 2)
        make = np.lib.format.open_memmap
        pixels = make(self.partial / "pixels.npy", mode="w+", dtype=np.uint16, shape=pixels_shape)
        done = make(self.partial / "done.npy", mode="w+", dtype=np.uint8, shape=done_shape)
        self._reserve()
        write_json(self.partial / "plan.json", {"frames": self.frames, "failures": list(self.failures.items())})
        return pixels, done

    def _reserve(self) -> None:
        """Take the arrays' whole room on the disk, where another process may fill it before they are."""
        for name in ("pixels.npy", "done.npy"):
            _reserve_room(self.partial / name)

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of the pixels (an empty file cannot be mapped, so at least one frame) and of the flags."""
        frames = max(1, sum(len(numbers) for numbers in self.frames))
        return (frames, *_frame_shape(self.preprocessing)), (len(self.paths),)

    def _decode(self, pixels: np.memmap, done: np.memmap, starts: NDArray[np.int64]) -> None:
        todo = [number for number in range(len(self.paths)) if not done[number] and number not in self.failures]

        def decode(number: int) -> str | None:
            return self._decode_file(number, pixels[starts[number] : starts[number + 1]])

        with (
            ThreadPoolExecutor(self.workers) as pool,
            self.progress(f"{self.title}: decoding", len(self.paths), len(self.paths) - len(todo)) as advance,
        ):
            for start in range(0, len(todo), BATCH):
                batch = todo[start : start + BATCH]
                good = []
                for number, reason in zip(batch, pool.map(decode, batch), strict=True):
                    if reason is None:
                        good.append(number)
                    else:
                        self._fail(number, reason)
                    advance()
                # In this order, so that a flag never tells of pixels that a power cut took.
                pixels.flush()
                done[good] = 1

    def _decode_file(self, number: int, place: NDArray[np.uint16]) -> str | None:
        """Fill ``place``; give the reason where the file cannot be used."""
        path = self.paths[number]
        count = 0
        try:
            for image in read_frames(path, self.preprocessing.reader, self.preprocessing.sufficient):
                if count < len(place):
                    place[count] = self.preprocessing(image)
                count += 1
        except UnreadableImage as error:
            return _without_path(error, path)
        if count != len(place):
            return f"{count} frames where its header tells of {len(place)}; copy it again or leave it out"
        return None

    def _frames_or_reason(self, path: Path) -> list[int] | str:
        try:
            return list(probe(path, self.preprocessing.reader).frames)
        except UnreadableImage as error:
            return _without_path(error, path)

    def _fail(self, number: int, reason: str) -> None:
        if self.strict:
            raise UnreadableImage(f"{self.paths[number]}: {reason}")
        self.failures[number] = reason

    def _write_index(self, starts: NDArray[np.int64]) -> None:
        rows = [
            (number, frame, int(starts[number]) + place)
            for number, numbers in enumerate(self.frames)
            if number not in self.failures
            for place, frame in enumerate(numbers)
        ]
        owner, frame, place = zip(*rows, strict=True) if rows else ((), (), ())
        failures = sorted(self.failures.items())
        write_json(self.partial / "index.json", {"owner": owner, "frame": frame, "place": place, "failures": failures})


def _key(hashes: list[str], preprocessing: Preprocessing) -> str:
    text = "\n".join([preprocessing.fingerprint(), *hashes])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _frame_shape(preprocessing: Preprocessing) -> tuple[int, int, int]:
    return preprocessing.channels, preprocessing.size, preprocessing.size


def _whole_store(
    folder: Path, paths: Sequence[Path], groups: Sequence[str] | None, preprocessing: Preprocessing
) -> ImageStore | None:
    """The store in ``folder``; none where there is none, or a damaged one."""
    try:
        store = ImageStore(folder, paths, groups)
    except DAMAGED:
        return None
    return store if store.is_whole(_frame_shape(preprocessing)) else None


def _without_path(error: UnreadableImage, path: Path) -> str:
    """The same content may be found under another name next time."""
    return str(error).removeprefix(f"{path}: ")


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise _no_room(folder, needed, free)


def _reserve_room(path: Path) -> None:
    """Have the file system set aside all of a file's bytes; nothing happens to those it holds.

    Writing to a mapped file on a full disk would end the process without a word (SIGBUS), since ``open_memmap`` makes
    files of holes.

    Raises:
        InputError: there is no room for them.
    """
    size = path.stat().st_size
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except AttributeError:  # macOS has no such call
            _check_room(path.parent, size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise _no_room(path.parent, size, shutil.disk_usage(path.parent).free) from error
            _check_room(path.parent, size - path.stat().st_blocks * 512)  # a file system that reserves nothing


def _no_room(folder: Path, needed: int, free: int) -> InputError:
    return InputError(
        f"{folder.parent}: the decoded images need {needed / 1e9:.1f} GB where {free / 1e9:.1f} GB are free; "
        "make room or set HEALTHYGAN_CACHE to a folder on another disk"
    )


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one process at a time makes a store; the others wait and find it made."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            yield
    except OSError as error:
        raise InputError(
            f"{folder.parent}: cannot be written ({error.strerror or error}); "
            "set HEALTHYGAN_CACHE to a folder of yours with room"
        ) from error
