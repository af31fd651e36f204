"""The files in folders: all that are not hidden, linked folders followed once."""

import os
from collections.abc import Iterator
from pathlib import Path

from healthygan.common.errors import InputError
from healthygan.data.readers.reading import is_image_name


def image_files(folder: Path) -> list[Path]:
    """The image files in a folder and in all folders below it, sorted; hidden files and folders are left out.

    Raises:
        InputError: a folder cannot be listed.
    """
    return sorted(path for path in walk(folder) if is_image_name(path))


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
