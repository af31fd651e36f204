"""Images decoded once, into a memory-mapped file that later runs reuse.

A store's folder is named by the content of its files and the preprocessing, so it never goes stale. It holds
``pixels.npy`` (frames x C x H x W, uint16) and ``index.json`` (which frame came from which file, which files
failed). While it is being made it is ``<name>.partial``, with a flag for each file that is done.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from healthygan.data.preprocessing import Preprocessing
from healthygan.data.readers import probe, read_frames
from healthygan.errors import InputError, UnreadableImage
from healthygan.files import atomic_path, content_hash, write_json
from healthygan.progress import progress


@dataclass(frozen=True)
class Failure:
    """A file that could not be used, and why."""

    path: Path
    reason: str


class ImageStore:
    """Preprocessed frames of a list of files, read from disk as they are asked for."""

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.folder = folder
        self.paths = tuple(paths)
        self.owner: NDArray[np.int64] = np.array(index["owner"], dtype=np.int64)
        """(frames,): index into ``paths`` of each frame."""
        self.frame: NDArray[np.int64] = np.array(index["frame"], dtype=np.int64)
        """(frames,): number of each frame in its file."""
        self._places: NDArray[np.int64] = np.array(index["place"], dtype=np.int64)
        self.failures = tuple(
            Failure(self.paths[number], f"{self.paths[number]}: {reason}") for number, reason in index["failures"]
        )
        self._pixels: NDArray[np.uint16] = np.load(folder / "pixels.npy", mmap_mode="r")

    @classmethod
    def build(
        cls,
        paths: Sequence[Path],
        preprocessing: Preprocessing,
        *,
        cache: Path | None = None,
        workers: int | None = None,
        strict: bool = False,
        title: str = "images",
    ) -> "ImageStore":
        """Decode ``paths``, or reuse what an earlier call decoded; an interrupted call goes on where it was.

        Args:
            cache: folder of all stores; by default $HEALTHYGAN_CACHE, else healthygan in the user's cache folder.
            workers: threads that decode (the libraries leave Python's lock while they do); by default one a core.
            strict: refuse the first unreadable file instead of counting it.
            title: what the progress bar calls it.

        Raises:
            InputError: there is no file, none could be read, or the cache cannot be written.
            UnreadableImage: under ``strict``.
        """
        if not paths:
            raise InputError(f"{title}: no files to read; check the cohort")
        workers = workers or os.cpu_count() or 1
        home = cache or default_cache()
        with ThreadPoolExecutor(workers) as pool, progress(f"{title}: reading", len(paths)) as advance:
            hashes = []
            for digest in pool.map(_hash_or_nothing, paths):
                hashes.append(digest)
                advance()
        folder = home / _key(hashes, preprocessing)
        with _locked(folder):
            if not _complete(folder):
                _Builder(folder, paths, preprocessing, workers, title).run()
        store = cls(folder, paths)
        if strict and store.failures:
            raise UnreadableImage(store.failures[0].reason)
        if not len(store):
            raise InputError(f"{title}: none of {len(paths)} files could be read; first: {store.failures[0].reason}")
        return store

    @property
    def key(self) -> str:
        """Changes whenever the files' content or the preprocessing does."""
        return self.folder.name

    def __len__(self) -> int:
        return len(self._places)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Copy n frames: n x C x H x W, 0 to 65,535."""
        return np.asarray(self._pixels[self._places[indices]])

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "paths": self.paths}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"], state["paths"])  # type: ignore[misc]


def default_cache() -> Path:
    """Where stores go unless told otherwise."""
    if chosen := os.environ.get("HEALTHYGAN_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "healthygan"


class _Builder:
    """Makes one store's folder."""

    def __init__(
        self, folder: Path, paths: Sequence[Path], preprocessing: Preprocessing, workers: int, title: str
    ) -> None:
        self.folder = folder
        self.partial = folder.with_name(folder.name + ".partial")
        self.paths = paths
        self.preprocessing = preprocessing
        self.workers = workers
        self.title = title

    def run(self) -> None:
        self.partial.mkdir(parents=True, exist_ok=True)
        self._decode()
        _remove(self.folder)
        self.partial.rename(self.folder)

    def _decode(self) -> None:
        plan = self._plan()
        starts = np.concatenate([[0], np.cumsum([len(frames) for frames in plan["frames"]])])
        pixels, done = self._arrays(int(starts[-1]))
        failures: dict[int, str] = {int(number): reason for number, reason in plan["failures"].items()}
        todo = [number for number in range(len(self.paths)) if not done[number] and number not in failures]

        def decode(number: int) -> str | None:
            place = pixels[starts[number] : starts[number + 1]]
            reason = self._decode_file(number, plan["frames"][number], place)
            done[number] = reason is None  # here, so that an interruption loses no finished file
            return reason

        with ThreadPoolExecutor(self.workers) as pool, self._progress(len(self.paths) - len(todo)) as advance:
            for number, reason in zip(todo, pool.map(decode, todo), strict=True):
                if reason is not None:
                    failures[number] = reason
                advance()
        if isinstance(pixels, np.memmap):
            pixels.flush()
        self._write_index(plan["frames"], starts, failures)
        (self.partial / "done.npy").unlink(missing_ok=True)
        (self.partial / "plan.json").unlink()

    def _plan(self) -> dict[str, Any]:
        """Frame numbers of each file, from the headers; kept, so that going on needs no second look."""
        path = self.partial / "plan.json"
        with suppress(FileNotFoundError, ValueError):
            plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return plan
        frames: list[list[int]] = []
        failures: dict[int, str] = {}
        with ThreadPoolExecutor(self.workers) as pool:
            for number, found in enumerate(pool.map(partial(_frames_or_reason, self.preprocessing), self.paths)):
                frames.append([] if isinstance(found, str) else found)
                if isinstance(found, str):
                    failures[number] = found
        write_json(path, {"frames": frames, "failures": failures})
        return {"frames": frames, "failures": failures}

    def _decode_file(self, number: int, frames: list[int], place: NDArray[np.uint16]) -> str | None:
        """Fill ``place``; give the reason where the file cannot be used."""
        path = self.paths[number]
        try:
            count = 0
            for count, image in enumerate(read_frames(path, self.preprocessing.reader), start=1):
                if count > len(frames):
                    break
                place[count - 1] = self.preprocessing(image)
            if count != len(frames):
                return f"{count} frames where its header tells of {len(frames)}; leave it out"
        except UnreadableImage as error:
            return _without_path(error, path)
        return None

    def _write_index(self, frames: list[list[int]], starts: NDArray[np.int64], failures: dict[int, str]) -> None:
        rows = [
            (number, frame, int(starts[number]) + place)
            for number, numbers in enumerate(frames)
            if number not in failures
            for place, frame in enumerate(numbers)
        ]
        owner, frame, place = zip(*rows, strict=True) if rows else ((), (), ())
        write_json(
            self.partial / "index.json",
            {"owner": owner, "frame": frame, "place": place, "failures": sorted(failures.items())},
        )

    def _shape(self) -> tuple[int, int, int]:
        return self.preprocessing.channels, self.preprocessing.size, self.preprocessing.size

    def _arrays(self, frames: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """Pixels, and flags of the files that are done: what an interrupted build left, or zeros."""
        shape = (frames, *self._shape())
        if not frames:
            np.save(self.partial / "pixels.npy", np.empty(shape, np.uint16))
            return np.empty(shape, np.uint16), np.zeros(len(self.paths), np.uint8)
        kept_pixels, kept_done = self.partial / "pixels.npy", self.partial / "done.npy"
        try:
            return open_memmap(kept_pixels, mode="r+"), open_memmap(kept_done, mode="r+")
        except (OSError, ValueError, EOFError):  # none or damaged
            kept_done.unlink(missing_ok=True)
        _make_array(kept_pixels, shape, np.uint16)
        _make_array(kept_done, (len(self.paths),), np.uint8)
        return open_memmap(kept_pixels, mode="r+"), open_memmap(kept_done, mode="r+")

    def _progress(self, done: int) -> Any:
        return progress(f"{self.title}: decoding", len(self.paths), done)


def _make_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """Zeros, their place on the disk taken: writing to mapped memory on a full disk would kill the process."""
    with atomic_path(path) as temporary:
        open_memmap(temporary, mode="w+", dtype=dtype, shape=shape).flush()
        if hasattr(os, "posix_fallocate"):
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)


def _hash_or_nothing(path: Path) -> str:
    try:
        return content_hash(path)
    except OSError:
        return ""  # reported when it is decoded


def _frames_or_reason(preprocessing: Preprocessing, path: Path) -> list[int] | str:
    try:
        return list(probe(path, preprocessing.reader).frames)
    except UnreadableImage as error:
        return _without_path(error, path)


def _without_path(error: UnreadableImage, path: Path) -> str:
    """The same content may lie elsewhere when the store is used again."""
    return str(error).removeprefix(f"{path}: ")


def _key(hashes: list[str], preprocessing: Preprocessing) -> str:
    text = "\n".join([preprocessing.fingerprint(), *hashes])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _complete(folder: Path) -> bool:
    """Whether the folder holds a whole store; a damaged one is made anew."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        pixels = np.load(folder / "pixels.npy", mmap_mode="r")
        columns = [index[name] for name in ("owner", "frame", "place")]
        return "failures" in index and len(pixels) > max(columns[2], default=-1)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return False


def _remove(folder: Path) -> None:
    for path in folder.glob("*"):
        path.unlink()
    if folder.exists():
        folder.rmdir()


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
