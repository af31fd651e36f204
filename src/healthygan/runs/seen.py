"""Which images a run has seen: those of its cohort that it was trained, chosen or cut with, told by their content.

What a run says of them is no test: they score better than new images, and no p-value or worklist holds for them.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from healthygan.common.errors import InputError
from healthygan.common.files import atomic_path
from healthygan.common.progress import Progress, silent
from healthygan.common.run_folder import Run
from healthygan.data.cohort import Cohort, Split
from healthygan.data.file_hashes import file_hashes

COLUMNS = ("size", "hash", "split")
TITLE = "images the run has seen"
GONE = -1
"""Size of a file that is not there."""


@dataclass(frozen=True)
class Overlap:
    """What N files have in common with what a run has seen."""

    splits: tuple[Split | None, ...]
    """(N,): the split of the run's cohort whose image holds the same bytes; none for a new image."""
    unchecked: int = 0
    """Images of the cohort that are gone, of a run that kept no hashes: they cannot be compared."""

    @property
    def count(self) -> int:
        """How many of the files the run has seen."""
        return sum(split is not None for split in self.splits)


def save_seen(run: Run, cohort: Cohort, progress: Progress = silent) -> None:
    """Keep size and content hash of every image of a cohort but the test set's, as ``seen.csv``.

    A file that cannot be read has no hash and is left out: nothing was learned from it.
    """
    images = [image for image in cohort.images if image.split is not Split.TEST]
    hashes = file_hashes([image.path for image in images], TITLE, progress)
    with atomic_path(run.seen) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for image, content in zip(images, hashes, strict=True):
            if content:
                writer.writerow((_size(image.path), content, image.split))


def find_seen(run: Run, paths: Sequence[Path], progress: Progress = silent) -> Overlap:
    """Compare files with what a run has seen, by size first: only files as large as a seen one are read.

    A run made before there was ``seen.csv`` is compared with its cohort's files, as far as they are still there.

    Raises:
        InputError: ``seen.csv`` is damaged.
    """
    sizes = [_size(path) for path in paths]
    seen, unchecked = _load(run) if run.seen.exists() else _from_cohort(run, {*sizes}, progress)
    known_sizes = {size for size, _ in seen}
    alike = [number for number, size in enumerate(sizes) if size in known_sizes]
    splits: list[Split | None] = [None] * len(paths)
    for number, content in zip(alike, file_hashes([paths[n] for n in alike], TITLE, progress), strict=True):
        splits[number] = seen.get((sizes[number], content))
    return Overlap(tuple(splits), unchecked)


def _load(run: Run) -> tuple[dict[tuple[int, str], Split], int]:
    try:
        with run.seen.open(newline="", encoding="utf-8") as file:
            return {(int(row["size"]), row["hash"]): Split(row["split"]) for row in csv.DictReader(file)}, 0
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(
            f"{run.seen}: damaged ({error}); remove it, and the run is compared with its cohort's files"
        ) from error


def _from_cohort(run: Run, sizes: set[int], progress: Progress) -> tuple[dict[tuple[int, str], Split], int]:
    """What ``save_seen`` would have kept of files of these sizes; and how many files are gone."""
    images = [image for image in Cohort.from_manifest(run.cohort).images if image.split is not Split.TEST]
    size_of = {image.path: _size(image.path) for image in images}
    alike = [image for image in images if size_of[image.path] in sizes - {GONE}]
    hashes = file_hashes([image.path for image in alike], TITLE, progress)
    known = {
        (size_of[image.path], content): image.split for image, content in zip(alike, hashes, strict=True) if content
    }
    return known, sum(size == GONE for size in size_of.values())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return GONE
