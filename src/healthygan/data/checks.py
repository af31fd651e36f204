"""A cohort's checks: what would fail later, or make its results worth nothing, is refused."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from healthygan.common.errors import Argument, InputError
from healthygan.common.files import content_hash
from healthygan.common.messages import hint, shorten_list
from healthygan.common.progress import Progress, silent
from healthygan.data.cohort import Cohort, CohortImage, Split
from healthygan.data.near_duplicates import NearDuplicate, near_duplicates
from healthygan.data.readers.base import DEFAULTS, ReaderOptions

BEGINNING_BYTES = 4096
THREADS = 16
LARGEST_BATCH = 256
ORDER = {split: number for number, split in enumerate(Split)}
Result = TypeVar("Result")


def verify(cohort: Cohort, needs: Iterable[Split] = (Split.HEALTHY, Split.MIXED), progress: Progress = silent) -> None:
    """Refuse a cohort that would fail later, or whose results would be worth nothing.

    Args:
        cohort: what was read.
        needs: the splits that must hold at least one image.

    Raises:
        InputError: a needed split is empty, files are missing or may not be read, a patient or the same bytes
            are in two splits.
    """
    _check_needed_splits(cohort, needs)
    _check_files(cohort)
    _check_patients(cohort)
    _check_copies(cohort, progress)


def check_near_duplicates(
    cohort: Cohort, options: ReaderOptions = DEFAULTS, progress: Progress = silent
) -> tuple[str, ...]:
    """Refuse pictures that training would meet again elsewhere, pixel by pixel; warn of those that are only near.

    Equal pixels are certain. Near-duplicates are a judgement, so that they are told and not refused.

    Returns:
        A warning, of one line, for each pair of splits that share pictures, and for each split that holds one twice.

    Raises:
        InputError: the same pixels are in two splits, and one of them trains.
    """
    duplicates = near_duplicates(cohort, options, progress)
    refuse_same_pixels(cohort.name, duplicates)
    return near_duplicate_warnings(duplicates)


def refuse_same_pixels(name: str, duplicates: Iterable[NearDuplicate]) -> None:
    """Refuse pictures in two splits, one of which trains, whose pixels are equal in other bytes.

    Raises:
        InputError: names the pictures.
    """
    in_several_splits = [
        _both(pair.first, pair.second)
        for pair in duplicates
        if pair.same_pixels
        and pair.first.split is not pair.second.split
        and {pair.first.split, pair.second.split} & {Split.HEALTHY, Split.MIXED}
    ]
    if in_several_splits:
        raise InputError(
            f"{name}: {len(in_several_splits)} image(s) with the same pixels in two splits: "
            f"{shorten_list(in_several_splits)}; keep each image in one split"
        )


def near_duplicate_warnings(duplicates: Iterable[NearDuplicate]) -> tuple[str, ...]:
    """A line for each pair of splits, in the splits' order: how many pairs, and their names."""
    names: dict[tuple[Split, ...], list[str]] = defaultdict(list)
    for pair in duplicates:
        one, other = sorted((pair.first, pair.second), key=lambda image: ORDER[image.split])
        names[tuple(dict.fromkeys((one.split, other.split)))].append(f"{one.path.name} = {other.path.name}")
    return tuple(
        f"{' and '.join(splits)}: {len(pairs)} pair(s) of near-duplicates, one picture encoded, resized or cropped "
        f"anew: {shorten_list(pairs)}; {'keep each picture in one split' if len(splits) > 1 else 'keep one of each'}"
        for splits, pairs in sorted(names.items(), key=lambda item: [ORDER[split] for split in item[0]])
    )


def check_columns(cohort: Cohort, splits: Iterable[Split], columns: Iterable[str]) -> None:
    """Refuse columns of which the images of a split have nothing.

    Raises:
        InputError: names the column, and those there are.
    """
    for split in splits:
        for name in columns:
            if not any(cohort.column(name, split)):
                known = sorted({"source", *(column for image in cohort.images for column in image.more)})
                raise InputError(
                    Argument("control", name),
                    f": the {split} images of {cohort.name} have nothing in a column of that name"
                    f"{hint(name, known)}; its columns are {', '.join(known)}",
                )


def same_bytes(images: Sequence[CohortImage], progress: Progress = silent) -> list[tuple[CohortImage, ...]]:
    """Group the images whose files hold the same bytes; empty files and those without a twin are left out.

    Only files equal in size and in their first bytes are read whole, so that it is cheap on a large cohort.

    Raises:
        InputError: a file cannot be read.
    """
    try:
        groups = _divide([tuple(images)], _size)
        groups = _divide([group for group in groups if _size(group[0].path) > 0], _beginning)
        if not groups:
            return []
        with progress("comparing files of equal size", sum(map(len, groups))) as advance:
            return _divide(groups, content_hash, advance)
    except OSError as error:
        raise InputError(f"{error.filename or 'an image file'}: cannot be read ({error.strerror})") from error


def _divide(
    groups: Sequence[tuple[CohortImage, ...]],
    feature: Callable[[Path], object],
    advance: Callable[[], None] = lambda: None,
) -> list[tuple[CohortImage, ...]]:
    """Divide each group into the groups of two and more whose files share ``feature``."""
    members = [(number, image) for number, group in enumerate(groups) for image in group]
    alike: dict[tuple[int, object], list[CohortImage]] = defaultdict(list)
    values = _in_threads(feature, [image.path for _, image in members])
    for (number, image), value in zip(members, values, strict=True):
        alike[number, value].append(image)
        advance()
    return [tuple(group) for group in alike.values() if len(group) > 1]


def _in_threads(function: Callable[[Path], Result], paths: Sequence[Path]) -> Iterator[Result]:
    """Apply ``function`` to each path, in order; in batches, as handing one over costs more than a look."""
    batch = min(LARGEST_BATCH, len(paths) // (4 * THREADS) + 1)
    batches = [paths[start : start + batch] for start in range(0, len(paths), batch)]
    with ThreadPoolExecutor(THREADS) as pool:
        for results in pool.map(lambda part: [function(path) for path in part], batches):
            yield from results


def _size(path: Path) -> int:
    return path.stat().st_size


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(BEGINNING_BYTES)


def _check_needed_splits(cohort: Cohort, needs: Iterable[Split]) -> None:
    filled = {image.split for image in cohort.images}
    empty = [split for split in needs if split not in filled]
    if empty:
        raise InputError(f"{cohort.name}: no image in the split {shorten_list(empty)}; add some, it is needed here")


def _check_files(cohort: Cohort) -> None:
    files = [path for image in cohort.images for path in (image.path, image.mask) if path is not None]
    usable = _in_threads(_is_readable_file, files)
    bad = [str(path) for path, good in zip(files, usable, strict=True) if not good]
    if bad:
        raise InputError(
            f"{cohort.name}: {len(bad)} of {len(files)} files missing or not readable: {shorten_list(bad)}; "
            "mend the paths (relative ones start at the manifest's folder) or remove those rows"
        )


def _is_readable_file(path: Path) -> bool:
    return os.path.isfile(path) and os.access(path, os.R_OK)


def _check_patients(cohort: Cohort) -> None:
    seen: dict[str, CohortImage] = {}
    in_several_splits: dict[str, str] = {}
    for image in cohort.images:
        if image.patient_id is None:
            continue
        first = seen.setdefault(image.patient_id, image)
        if first.split is not image.split:
            in_several_splits.setdefault(image.patient_id, f"{image.patient_id!r} {_both(first, image)}")
    if in_several_splits:
        raise InputError(
            f"{cohort.name}: {len(in_several_splits)} patient(s) in two splits: "
            f"{shorten_list(list(in_several_splits.values()))}; keep each "
            "patient in one split (where sources number their patients alike, put the source before the id)"
        )


def _check_copies(cohort: Cohort, progress: Progress) -> None:
    in_several_splits = []
    for first, *others in same_bytes(cohort.images, progress):
        elsewhere = [image for image in others if image.split is not first.split]
        if elsewhere:
            in_several_splits.append(_both(first, elsewhere[0]))
    if in_several_splits:
        raise InputError(
            f"{cohort.name}: {len(in_several_splits)} image(s) with the same bytes in two splits: "
            f"{shorten_list(in_several_splits)}; keep each image in one split"
        )


def _both(one: CohortImage, other: CohortImage) -> str:
    return f"({one.path} in {one.split}, {other.path} in {other.split})"
