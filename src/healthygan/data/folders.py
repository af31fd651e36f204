"""The files in folders: all that are not hidden, linked folders followed once."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from healthygan.common.errors import InputError
from healthygan.data.readers.reading import DICOM_INDEX, is_image_name

KINDS_NAMED = 6
"""Of skipped files, the commonest first."""
NO_SUFFIX = "without a suffix"


@dataclass(frozen=True)
class Scan:
    """What a folder and all folders below it hold."""

    images: tuple[Path, ...]
    """Sorted."""
    skipped: Mapping[str, int]
    """How many other files there are, by kind: the suffix in small letters, ``DICOMDIR``, or ``NO_SUFFIX``."""


def scan(folder: Path) -> Scan:
    """Tell the image files in a folder and in all folders below it from others; what is hidden is left out.

    Raises:
        InputError: a folder cannot be listed.
    """
    images: list[Path] = []
    skipped: Counter[str] = Counter()
    for path in walk(folder):
        if is_image_name(path):
            images.append(path)
        else:
            skipped[_kind(path)] += 1
    return Scan(tuple(sorted(images)), skipped)


def image_files(folder: Path) -> list[Path]:
    """The images of ``scan``."""
    return list(scan(folder).images)


def describe_skipped(skipped: Mapping[str, int]) -> str:
    """One line that counts and names the kinds of files skipped; empty where there are none."""
    if not skipped:
        return ""
    kinds = [f"{count:,} {kind}" for kind, count in Counter(skipped).most_common(KINDS_NAMED)]
    if len(skipped) > KINDS_NAMED:
        kinds.append(f"{len(skipped) - KINDS_NAMED} further kinds")
    return f"{sum(skipped.values()):,} files beside the images are of no kind that is read: {', '.join(kinds)}"


def _kind(path: Path) -> str:
    if path.name.upper() == DICOM_INDEX:
        return DICOM_INDEX
    suffix = path.suffix.lower()
    return NO_SUFFIX if not suffix or suffix[1:].isdigit() else suffix


def walk(root: Path) -> Iterator[Path]:
    """All files below ``root`` that are not hidden; linked folders are followed, each folder once."""
    return (Path(folder, name) for folder, name in walk_names(root))


def walk_names(root: Path) -> Iterator[tuple[str, str]]:
    """``walk`` as folder and name: making paths of a hundred thousand files takes seconds."""
    visited: set[Path] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_refuse_unlistable):
        real = Path(folder).resolve()
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from ((folder, name) for name in names if not name.startswith("."))


def _refuse_unlistable(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be listed ({error.strerror}); make it readable") from error
