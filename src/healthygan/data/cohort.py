"""The cohort: which image is in which split, read from folders or from a manifest."""

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import TypeVar

from healthygan.common.csv_text import CsvWriter
from healthygan.common.errors import Argument, InputError, Part
from healthygan.common.files import write_text
from healthygan.common.messages import hint
from healthygan.data.folders import Scan, describe_skipped, scan
from healthygan.data.manifest import COLUMNS, MANIFEST_NAME, manifest_rows


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
_WAYS: tuple[Part, ...] = (
    "give a manifest (.csv) or a folder with a manifest.csv, or a folder with healthy/ and mixed/ in it, or ",
    Argument("healthy"),
    " and ",
    Argument("mixed"),
    " with a folder each",
)


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


@dataclass(frozen=True, slots=True)
class Cohort:
    """The images of one study, each in one split, in the order of the manifest or sorted by path."""

    name: str
    images: tuple[CohortImage, ...]
    skipped: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Files beside the images, by kind, where the cohort was collected from folders (``folders.Scan``)."""

    @classmethod
    def from_manifest(cls, path: Path) -> "Cohort":
        """Read a CSV file with the columns path and split, and if known label, patient_id, source and mask.

        UTF-8, comma separated, one row an image; empty cells mean unknown, further columns are kept in ``more``.
        Relative paths start at the manifest's folder. The files themselves are looked at by ``checks.verify``.

        Raises:
            InputError: the file or a row of it cannot be used; names the line.
        """
        path = _absolute(path)
        name = path.parent.name if path.name == MANIFEST_NAME else path.stem
        return cls(name=name or "cohort", images=tuple(_manifest_images(path)))

    @classmethod
    def from_folders(
        cls,
        healthy: Path | None = None,
        mixed: Path | None = None,
        validation: Path | None = None,
        test: Path | None = None,
    ) -> "Cohort":
        """Collect the image files of each folder given and of all folders below it, hidden ones left out.

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
        scans = {split: scan(folder) for split, folder in folders.items()}
        images = [image for split, folder in folders.items() for image in _folder_images(folder, split, scans[split])]
        skipped = sum((Counter(scanned.skipped) for scanned in scans.values()), Counter[str]())
        name = Path(os.path.commonpath([str(folder) for folder in folders.values()])).name
        return cls(name=name or "cohort", images=tuple(images), skipped=skipped)

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
        writer = CsvWriter(text, lineterminator="\n")
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
            missing: list[Part] = [
                Argument(name) for name, folder in (("healthy", healthy), ("mixed", mixed)) if folder is None
            ]
            if len(missing) > 1:
                missing.insert(1, " and ")
            raise InputError(*missing, " not given; ", *_WAYS)
        return Cohort.from_folders(healthy, mixed, validation, test)
    if any(folder is not None for folder in (healthy, mixed, validation, test)):
        raise InputError(f"{location}: given together with folders for single splits; give one or the other")
    if location.is_file() and location.suffix.lower() == ".csv":
        return Cohort.from_manifest(location)
    if not location.exists():
        raise InputError(f"{location}: does not exist; ", *_WAYS)
    if (location / MANIFEST_NAME).is_file():
        return Cohort.from_manifest(location / MANIFEST_NAME)
    if all((location / split).is_dir() for split in (Split.HEALTHY, Split.MIXED)):
        validation, test = (
            location / split if (location / split).is_dir() else None for split in (Split.VALIDATION, Split.TEST)
        )
        return Cohort.from_folders(location / Split.HEALTHY, location / Split.MIXED, validation, test)
    raise InputError(f"{location}: holds no cohort; ", *_WAYS)


def _manifest_images(path: Path) -> Iterator[CohortImage]:
    line_of: dict[Path, int] = {}
    for line, cells in manifest_rows(path):
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


def _choice(kind: type[Choice], value: str) -> Choice:
    allowed = [member.value for member in kind]
    if value not in allowed:
        what = kind.__name__.lower()
        raise InputError(f"unknown {what} {value!r}{hint(value, allowed)}; use {', '.join(allowed)}")
    return kind(value)


def _folder_images(folder: Path, split: Split, scanned: Scan) -> list[CohortImage]:
    if not scanned.images:
        others = f" ({described})" if (described := describe_skipped(scanned.skipped)) else ""
        raise InputError(f"{folder}: holds no image file{others}; put the {split} images there or leave the folder out")
    return [CohortImage(path, split, _folder_label(path.relative_to(folder), split)) for path in scanned.images]


def _folder_label(path: Path, split: Split) -> Label | None:
    subfolder = path.parts[0].lower() if len(path.parts) > 1 else ""
    for label in Label:
        if subfolder == label:
            return label
    return Label.HEALTHY if split is Split.HEALTHY else None


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
