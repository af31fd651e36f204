"""Files through decoding threads and a detector, batch by batch."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from healthygan.common.errors import UnreadableImage
from healthygan.common.processors import usable_cores
from healthygan.data.preprocessing import Preprocessing
from healthygan.data.readers.reading import read_frames
from healthygan.data.store import Failure

WORKERS = usable_cores()
"""Threads that read files and write maps."""
BATCH_PIXELS = {"cpu": 2**17, "cuda": 2**21, "mps": 2**20}
"""Pixels of a batch: enough to fill the device, few enough for the caches of a CPU and for any memory."""
Decoded = list[tuple[int, NDArray[np.uint16]]]
"""Numbers and pixels, C x H x W, of a file's frames."""


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


def batch_size(side: int, device: torch.device) -> int:
    """Images of side x side pixels that go through the network together."""
    return max(1, BATCH_PIXELS[device.type] // side**2)


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
