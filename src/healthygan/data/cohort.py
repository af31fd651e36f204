"""The cohort: which image is in which split, read from folders or from a manifest, and checked for leaks."""

import csv
import difflib
import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import TypeVar

from healthygan.data.readers import is_image_name
from healthygan.errors import InputError
from healthygan.files import content_hash, write_text
from healthygan.progress import progress

MANIFEST_NAME = "manifest.csv"
REQUIRED_COLUMNS = ("path", "split")
COLUMNS = (*REQUIRED_COLUMNS, "label", "patient_id", "source", "mask")
NAMES_SHOWN = 3
BEGINNING_BYTES = 4096
THREADS = 16
LARGEST_BATCH = 256


class Split(StrEnum):
    """The part an image plays. Healthy set (B) and mixed set (A) train; the others measure."""

    HEALTHY = "healthy"
    MIXED = "mixed"
    VALIDATION = "validation"
    TEST = "test"


class Label(StrEnum):
    """What is known of an image. On the mixed set it serves measuring only: no training may read it."""

    HEALTHY = "healthy"
    DISEASED = "diseased"


Choice = TypeVar("Choice", Split, Label)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class CohortImage:
    """One image file of a cohort; ``None`` where nothing is known.

    Args:
        path: the image file, absolute.
        split: the only split it is in.
        label: healthy or diseased; never diseased in the healthy split.
        patient_id: no patient may be in two splits. Only a manifest gives it.
        source: where the image comes from (hospital, device, collection). Only a manifest gives it.
        mask: an image file that marks the disease, for measuring where a difference map points.
        more: the filled cells of a manifest's further columns, by column.

    Raises:
        InputError: diseased in the healthy split.
    """

    path: Path
    split: Split
    label: Label | None = None
    patient_id: str | None = None
    source: str | None = None
    mask: Path | None = None
    more: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.split is Split.HEALTHY and self.label is Label.DISEASED:
            raise InputError(
                f"{self.path}: is labelled diseased but stands in the healthy split; "
                "move it to mixed, validation or test"
            )


def column_value(image: CohortImage, name: str) -> str | None:
    """What the manifest's column ``name`` says of an image: source, patient_id or a further one."""
    if name == "source":
        return image.source
    return image.patient_id if name == "patient_id" else image.more.get(name)


def check_columns(cohort: "Cohort", splits: Iterable[Split], columns: Iterable[str]) -> None:
    """Refuse columns of which the images of a split have nothing.

    Raises:
        InputError: names the column, and those there are.
    """
    for split in splits:
        for name in columns:
            if not any(cohort.column(name, split)):
                known = sorted({"source", *(column for image in cohort.images for column in image.more)})
                raise InputError(
                    f"--control {name}: the {split} images of {cohort.name} have nothing in a column of that name"
                    f"{hint(name, known)}; its columns are {', '.join(known)}"
                )


@dataclass(frozen=True, slots=True)
class Cohort:
    """The images of one study, each in one split, in the order of the manifest or sorted by path."""

    name: str
    images: tuple[CohortImage, ...]

    @classmethod
    def from_manifest(cls, path: Path) -> "Cohort":
        """Read a CSV file with the columns path and split, and if known label, patient_id, source and mask.

        UTF-8, comma separated, one row an image; empty cells mean unknown, further columns are kept in ``more``.
        Relative paths start at the manifest's folder. The files themselves are looked at by ``verify``.

        Raises:
            InputError: the file or a row of it cannot be used; names the line.
        """
        path = _absolute(path)
        name = path.parent.name if path.name == MANIFEST_NAME else path.stem
        return cls(name=name or "cohort", images=tuple(_manifest_images(path)))

    @classmethod
    def from_folders(
        cls, healthy: Path, mixed: Path, validation: Path | None = None, test: Path | None = None
    ) -> "Cohort":
        """Collect the image files of each folder and of all folders below it, hidden ones left out.

        In the subfolders ``healthy`` and ``diseased`` of mixed, validation and test files get that label, all
        other files there none. Patients and sources stay unknown: only a manifest can tell them.

        Raises:
            InputError: a folder is missing, holds no image, or lies within another one.
        """
        given = {Split.HEALTHY: healthy, Split.MIXED: mixed, Split.VALIDATION: validation, Split.TEST: test}
        folders = {split: _absolute(folder) for split, folder in given.items() if folder is not None}
        for folder in folders.values():
            if not folder.is_dir():
                raise InputError(f"{folder}: is not a folder; give the folder that holds the images")
        for one, other in combinations(folders.items(), 2):
            _refuse_nested(one, other)
        images = [image for split, folder in folders.items() for image in _folder_images(folder, split)]
        name = Path(os.path.commonpath([str(folder) for folder in folders.values()])).name
        return cls(name=name or "cohort", images=tuple(images))

    def column(self, name: str, split: Split) -> list[str | None]:
        """What a column of the manifest says of each image of one split, in order; ``None`` where nothing."""
        return [column_value(image, name) for image in self.split(split)]

    def split(self, split: Split) -> tuple[CohortImage, ...]:
        """The images of one split, in order."""
        return tuple(image for image in self.images if image.split is split)

    def paths(self, split: Split) -> tuple[Path, ...]:
        """The files of one split, in order: the view without labels, all that training may see."""
        return tuple(image.path for image in self.images if image.split is split)

    def write_manifest(self, path: Path) -> None:
        """Write what ``from_manifest`` reads; paths of files within the manifest's folder become relative.

        Raises:
            InputError: the file cannot be written, or an image's name is no valid UTF-8.
        """
        write_text(path, self.manifest_text(path))

    def manifest_text(self, path: Path) -> str:
        """What ``write_manifest`` writes to ``path``."""
        folder = _absolute(path).parent
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        further = list(dict.fromkeys(column for image in self.images for column in image.more))
        writer.writerow((*COLUMNS, *further))
        for image in self.images:
            mask = _relative(image.mask, folder) if image.mask else None
            row = (
                _relative(image.path, folder),
                image.split,
                image.label,
                image.patient_id,
                image.source,
                mask,
                *(image.more.get(column) for column in further),
            )
            _refuse_undecodable(row)
            writer.writerow(row)
        return text.getvalue()


def load_cohort(
    location: Path | None,
    *,
    healthy: Path | None = None,
    mixed: Path | None = None,
    validation: Path | None = None,
    test: Path | None = None,
) -> Cohort:
    """Read a cohort from ``location``, or from one folder a split.

    ``location`` is a manifest (.csv), a folder with a manifest.csv, or a folder with the subfolders healthy
    and mixed and, if wanted, validation and test.

    Raises:
        InputError: nothing, too much or something else was given.
    """
    if location is None:
        if healthy is None or mixed is None:
            missing = " and ".join(f"--{n}" for n, folder in (("healthy", healthy), ("mixed", mixed)) if folder is None)
            raise InputError(f"{missing} not given; {_ways()}")
        return Cohort.from_folders(healthy, mixed, validation, test)
    if any(folder is not None for folder in (healthy, mixed, validation, test)):
        raise InputError(f"{location}: given together with folders for single splits; give one or the other")
    if location.is_file() and location.suffix.lower() == ".csv":
        return Cohort.from_manifest(location)
    if not location.exists():
        raise InputError(f"{location}: does not exist; {_ways()}")
    if (location / MANIFEST_NAME).is_file():
        return Cohort.from_manifest(location / MANIFEST_NAME)
    if all((location / split).is_dir() for split in (Split.HEALTHY, Split.MIXED)):
        validation, test = (
            location / split if (location / split).is_dir() else None for split in (Split.VALIDATION, Split.TEST)
        )
        return Cohort.from_folders(location / Split.HEALTHY, location / Split.MIXED, validation, test)
    raise InputError(f"{location}: holds no cohort; {_ways()}")


def verify(cohort: Cohort, needs: Iterable[Split] = (Split.HEALTHY, Split.MIXED)) -> None:
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
    _check_copies(cohort)


def same_bytes(images: Sequence[CohortImage]) -> list[tuple[CohortImage, ...]]:
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
        raise InputError(f"{cohort.name}: no image in the split {few(empty)}; add some, it is needed here")


def _check_files(cohort: Cohort) -> None:
    files = [path for image in cohort.images for path in (image.path, image.mask) if path is not None]
    usable = _in_threads(_is_readable_file, files)
    bad = [str(path) for path, good in zip(files, usable, strict=True) if not good]
    if bad:
        raise InputError(
            f"{cohort.name}: {len(bad)} of {len(files)} files missing or not readable: {few(bad)}; "
            "mend the paths (relative ones start at the manifest's folder) or remove those rows"
        )


def _is_readable_file(path: Path) -> bool:
    return os.path.isfile(path) and os.access(path, os.R_OK)


def _check_patients(cohort: Cohort) -> None:
    seen: dict[str, CohortImage] = {}
    torn: dict[str, str] = {}
    for image in cohort.images:
        if image.patient_id is None:
            continue
        first = seen.setdefault(image.patient_id, image)
        if first.split is not image.split:
            torn.setdefault(image.patient_id, f"{image.patient_id!r} {_both(first, image)}")
    if torn:
        raise InputError(
            f"{cohort.name}: {len(torn)} patient(s) in two splits: {few(list(torn.values()))}; keep each "
            "patient in one split (where sources number their patients alike, put the source before the id)"
        )


def _check_copies(cohort: Cohort) -> None:
    torn = []
    for first, *others in same_bytes(cohort.images):
        elsewhere = [image for image in others if image.split is not first.split]
        if elsewhere:
            torn.append(_both(first, elsewhere[0]))
    if torn:
        raise InputError(
            f"{cohort.name}: {len(torn)} image(s) with the same bytes in two splits: {few(torn)}; "
            "keep each image in one split"
        )


def _both(one: CohortImage, other: CohortImage) -> str:
    return f"({one.path} in {one.split}, {other.path} in {other.split})"


def _manifest_images(path: Path) -> Iterator[CohortImage]:
    line_of: dict[Path, int] = {}
    for line, cells in _manifest_rows(path):
        try:
            image = _manifest_image(cells, path.parent)
            if image.path in line_of:
                raise InputError(f"{image.path} is listed before, in line {line_of[image.path]}; remove one row")
        except InputError as error:
            raise InputError(f"{path}, line {line}: {error}") from error
        line_of[image.path] = line
        yield image


def _manifest_image(cells: Mapping[str, str], folder: Path) -> CohortImage:
    if not cells["path"].strip():
        raise InputError("the path is empty; name the image file")
    split = _choice(Split, cells["split"].strip())
    label, mask = cells.get("label", "").strip(), cells.get("mask", "")
    # The healthy set is healthy by definition, whether or not its label column is filled in.
    unlabelled = Label.HEALTHY if split is Split.HEALTHY else None
    return CohortImage(
        path=_absolute(folder / cells["path"]),
        split=split,
        label=_choice(Label, label) if label else unlabelled,
        patient_id=cells.get("patient_id", "").strip() or None,
        source=cells.get("source", "").strip() or None,
        mask=_absolute(folder / mask) if mask.strip() else None,
        more={name: cell.strip() for name, cell in cells.items() if name and name not in COLUMNS and cell.strip()},
    )


def _manifest_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The line number and the cells by column of each row that is not blank."""
    reader = csv.reader(io.StringIO(_manifest_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells where the header has {len(header)}; "
                    "quote cells that contain a comma"
                )
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not valid CSV ({error}); mend that line") from error


def _manifest_text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a manifest in CSV format") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start}); save it as 'CSV UTF-8'") from error
    if "\0" in text:
        raise InputError(f"{path}: is not a text file; give a manifest in CSV format")
    return text


def _check_header(path: Path, header: Sequence[str]) -> None:
    where = f"{path}, line 1"
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise InputError(f"{where}: the columns are not separated by commas; save the file as comma-separated CSV")
    for column in REQUIRED_COLUMNS:
        if column not in header:
            found = ", ".join(header) or "nothing"
            raise InputError(
                f"{where}: the column '{column}' is missing{hint(column, header)}; found {found}; "
                f"the first line must name the columns {', '.join(COLUMNS)} (the first two are required)"
            )
    for column in COLUMNS:
        if header.count(column) > 1:
            raise InputError(f"{where}: the column '{column}' is there twice; remove one of the two")


def _choice(kind: type[Choice], value: str) -> Choice:
    allowed = [member.value for member in kind]
    if value not in allowed:
        what = kind.__name__.lower()
        raise InputError(f"unknown {what} {value!r}{hint(value, allowed)}; use {', '.join(allowed)}")
    return kind(value)


def hint(wanted: str, candidates: Sequence[str]) -> str:
    """Name the nearest candidate, or nothing where none is near; upper and lower case count as the same."""
    by_lower_case = {candidate.lower(): candidate for candidate in candidates}
    nearest = difflib.get_close_matches(wanted.lower(), by_lower_case, n=1)
    return f" (nearest: {by_lower_case[nearest[0]]!r})" if nearest else ""


def _folder_images(folder: Path, split: Split) -> list[CohortImage]:
    paths = image_files(folder)
    if not paths:
        raise InputError(f"{folder}: holds no image file; put the {split} images there or leave the folder out")
    return [CohortImage(path, split, _folder_label(path.relative_to(folder), split)) for path in paths]


def _folder_label(path: Path, split: Split) -> Label | None:
    subfolder = path.parts[0].lower() if len(path.parts) > 1 else ""
    for label in Label:
        if subfolder == label:
            return label
    return Label.HEALTHY if split is Split.HEALTHY else None


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


def _refuse_nested(one: tuple[Split, Path], other: tuple[Split, Path]) -> None:
    (split, folder), (other_split, other_folder) = one, other
    real, other_real = folder.resolve(), other_folder.resolve()
    if real.is_relative_to(other_real) or other_real.is_relative_to(real):
        raise InputError(
            f"{folder} ({split}) and {other_folder} ({other_split}): one lies within the other, so that "
            "its images would be in two splits; give folders that share no file"
        )


def _refuse_undecodable(row: Iterable[str | None]) -> None:
    for cell in row:
        try:
            (cell or "").encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{cell!a}: this name is not valid UTF-8; rename the file") from error


def _absolute(path: Path) -> Path:
    """Absolute, links kept; only where ``..`` occurs links are followed, as the file system would."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _relative(path: Path, folder: Path) -> str:
    return path.as_posix().removeprefix(f"{folder.as_posix()}/")


def few(names: Sequence[str]) -> str:
    """The first names and how many more there are, for a message of one line."""
    shown = ", ".join(names[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN:,} more"


def _ways() -> str:
    return (
        "give a manifest (.csv) or a folder with a manifest.csv, or a folder with healthy/ and mixed/ in it, "
        "or --healthy and --mixed with a folder each"
    )
