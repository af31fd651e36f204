"""What each split holds: every file's header read, and counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from healthygan.common.errors import UnreadableImage
from healthygan.common.processors import usable_cores
from healthygan.common.progress import Progress, silent
from healthygan.data.checks import same_bytes
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.inspection.controls import UNKNOWN
from healthygan.data.readers.base import ImageInfo, ReaderOptions
from healthygan.data.readers.reading import probe


@dataclass(frozen=True)
class SplitSummary:
    """What one split holds; sizes, formats, bit depths and channels are those of the readable files.

    ``labels`` of the mixed set serve measuring only. ``sizes`` are width and height in pixels of the
    smallest, the median and the largest image by area, none where no file is readable. ``copies`` are the
    groups of files with the same bytes, ``unreadable`` the reason for each file that would be skipped.
    """

    split: Split
    images: int
    labels: Mapping[Label | None, int]
    patients: int
    without_patient: int
    frames: int
    sizes: tuple[tuple[int, int], ...]
    distinct_sizes: int
    formats: Mapping[str, int]
    bit_depths: Mapping[int, int]
    channels: Mapping[int, int]
    sources: Mapping[str, int]
    copies: tuple[tuple[Path, ...], ...]
    unreadable: Mapping[Path, str]


class Probed(NamedTuple):
    """An image and what its header tells."""

    image: CohortImage
    info: ImageInfo


def probe_all(
    cohort: Cohort, options: ReaderOptions, progress: Progress = silent
) -> tuple[list[Probed], dict[Path, str]]:
    """The images whose header can be read, and the reason for each file whose cannot."""

    def probe_or_reason(image: CohortImage) -> ImageInfo | str:
        try:
            return probe(image.path, options)
        except UnreadableImage as error:
            return str(error)

    probed: list[Probed] = []
    unreadable: dict[Path, str] = {}
    threads = min(32, usable_cores() + 4)
    with ThreadPoolExecutor(threads) as pool, progress("reading headers", len(cohort.images)) as advance:
        for image, result in zip(cohort.images, pool.map(probe_or_reason, cohort.images), strict=True):
            if isinstance(result, str):
                unreadable[image.path] = result
            else:
                probed.append(Probed(image, result))
            advance()
    return probed, unreadable


def summarise(
    split: Split, images: Sequence[CohortImage], probed: Sequence[Probed], unreadable: Mapping[Path, str]
) -> SplitSummary:
    """Count one split; ``probed`` are its readable images."""
    by_area = sorted((info.width * info.height, info.width, info.height) for _, info in probed)
    sizes = [(width, height) for _, width, height in by_area]
    patients = [image.patient_id for image in images if image.patient_id is not None]
    return SplitSummary(
        split=split,
        images=len(images),
        labels=Counter(image.label for image in images),
        patients=len(set(patients)),
        without_patient=len(images) - len(patients),
        frames=sum(len(info.frames) for _, info in probed),
        sizes=(sizes[0], sizes[(len(sizes) - 1) // 2], sizes[-1]) if sizes else (),
        distinct_sizes=len(set(sizes)),
        formats=Counter(info.format for _, info in probed),
        bit_depths=Counter(info.bit_depth for _, info in probed),
        channels=Counter(info.channels for _, info in probed),
        sources=Counter(_source(image) for image in images),
        copies=tuple(tuple(image.path for image in group) for group in same_bytes([image for image, _ in probed])),
        unreadable={image.path: unreadable[image.path] for image in images if image.path in unreadable},
    )


def extra_copies(summary: SplitSummary) -> int:
    """How many files copy another one of their split."""
    return sum(len(group) - 1 for group in summary.copies)


def _source(image: CohortImage) -> str:
    return image.source or UNKNOWN
