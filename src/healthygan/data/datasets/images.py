"""Finding the listed images under the user's folders; a missing, extra or doubled one is told by name."""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from healthygan.common.errors import Argument, InputError
from healthygan.common.messages import shorten_list
from healthygan.data.folders import walk_names
from healthygan.data.readers.reading import IMAGE_SUFFIXES, is_image_name

SUFFIXES = tuple(IMAGE_SUFFIXES)


@dataclass(frozen=True)
class Problems:
    """Names that do not fit, each kind sorted."""

    missing: tuple[str, ...] = ()
    """Listed and drawn, but no such file."""
    doubled: tuple[str, ...] = ()
    """Several files of one name."""
    extra: tuple[str, ...] = ()
    """Files that no list names."""
    listed_twice: tuple[str, ...] = ()
    """Lines that repeat an earlier one word for word."""
    unreadable: tuple[str, ...] = ()
    """Reasons, one a file or participant."""

    def lines(self) -> list[str]:
        """One line a name, for a file."""
        kinds = {
            "missing": self.missing,
            "several files of this name": self.doubled,
            "in no list": self.extra,
            "listed twice": self.listed_twice,
            "left out": self.unreadable,
        }
        return [f"{kind}: {name}" for kind, names in kinds.items() for name in names]


def find_images(folders: Sequence[Path]) -> dict[str, list[str]]:
    """The image files below ``folders`` by file name.

    Raises:
        InputError: a folder is missing or holds no image.
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: is not a folder; give the folder that holds the images")
        before = len(by_name)
        for place, name in walk_names(folder.absolute()):
            path = os.path.join(place, name)
            if (name.lower().endswith(SUFFIXES) or is_image_name(Path(path))) and path not in by_name[name]:
                by_name[name].append(path)
        if len(by_name) == before:
            raise InputError(f"{folder}: holds no image file; unpack the images there or give another folder")
    return {name: paths for name, paths in by_name.items() if paths}


def check_names(
    wanted: Collection[str],
    listed: Collection[str],
    present: Mapping[str, Sequence[str]],
    listed_twice: Iterable[str] = (),
) -> Problems:
    """Compare lists with folders.

    Args:
        wanted: the names a cohort needs.
        listed: all names the lists know.
        present: files by name.
    """
    return Problems(
        missing=tuple(sorted(name for name in wanted if name not in present)),
        doubled=tuple(sorted(name for name in wanted if len(present.get(name, ())) > 1)),
        extra=tuple(sorted(name for name in present if name not in listed)),
        listed_twice=tuple(sorted(listed_twice)),
    )


def refuse_problems(problems: Problems, allow_missing: bool, listing: Path, advice: str) -> None:
    """Refuse names that are missing or stand for several files.

    Args:
        allow_missing: go on without missing files.
        listing: the file that holds all names.
        advice: where the files come from.

    Raises:
        InputError: names the first few, and ``listing``.
    """
    if problems.doubled:
        raise InputError(
            f"{len(problems.doubled):,} name(s) stand for several files each: {shorten_list(problems.doubled)}; "
            f"keep one of each (all in {listing})"
        )
    if problems.missing and not allow_missing:
        raise InputError(
            f"{len(problems.missing):,} listed image(s) missing: {shorten_list(problems.missing)} (all in {listing}); "
            f"{advice}, or go on without them: ",
            Argument("allow_missing", True),
        )


def repeated(names: Iterable[str]) -> list[str]:
    """Names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]
