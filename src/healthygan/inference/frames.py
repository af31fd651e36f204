"""Files decoded ahead in threads, frame by frame and ready for the networks."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from healthygan.common.errors import UnreadableImage
from healthygan.data.preprocessing import Preprocessing
from healthygan.data.readers.reading import read_frames


@dataclass(frozen=True)
class Frame:
    """One frame of a file, on its way through the network."""

    path: Path
    number: int
    """Of the frame in its file."""
    pixels: NDArray[np.uint16]
    """C x S x S, 0 to 65,535."""
    is_last: bool
    """Whether the file has no further one."""
    shorter_side: int
    """Of what was decoded, in pixels; a large file may be decoded smaller, never near the model's size."""


def decode(path: Path, preprocessing: Preprocessing) -> list[Frame]:
    """All frames of one file.

    Raises:
        UnreadableImage: the file cannot be used.
    """
    images = read_frames(path, preprocessing.reader, preprocessing.sufficient)
    decoded = [(image.frame, preprocessing(image), min(image.pixels.shape[:2])) for image in images]
    return [
        Frame(path, number, pixels, is_last=place == len(decoded), shorter_side=side)
        for place, (number, pixels, side) in enumerate(decoded, start=1)
    ]


def decode_ahead(
    pool: ThreadPoolExecutor,
    workers: int,
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    batch: int,
    on_failure: Callable[[Path, UnreadableImage], None],
) -> Iterator[Frame]:
    """Frames in the order of their files; about two batches are decoded ahead in threads.

    Args:
        workers: threads of the pool.
        batch: frames that go through the network together.
        on_failure: told of a file that cannot be used; what it raises ends the work.
    """
    waiting: deque[tuple[Path, Future[list[Frame]]]] = deque()
    upcoming = iter(paths)
    ahead = 2 * workers
    while True:
        more = islice(upcoming, max(0, ahead - len(waiting)))
        waiting.extend((path, pool.submit(decode, path, preprocessing)) for path in more)
        if not waiting:
            return
        path, future = waiting.popleft()
        try:
            frames = future.result()
        except UnreadableImage as error:
            on_failure(path, error)
            continue
        # Fewer files where each holds many frames: a volume fills a batch by itself.
        ahead = max(workers, 2 * batch // max(1, len(frames)))
        yield from frames


def in_lists(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """``size`` frames at a time, from one file or from many."""
    while batch := list(islice(frames, size)):
        yield batch
