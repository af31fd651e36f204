"""The migraine experiment, section 3 of the paper: T1 volumes of the head become slices, a participant is the unit.

Healthy participants are those of IXI (https://brain-development.org/ixi-dataset). The paper's own institution's
volumes are not public; any volumes in the same folders will do.
"""

import json
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from healthygan.common.errors import Argument, InputError, UnreadableImage
from healthygan.common.files import write_json
from healthygan.common.messages import shorten_list
from healthygan.common.processors import usable_cores
from healthygan.common.progress import Progress, silent
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.datasets.images import Problems
from healthygan.data.datasets.prepared import Prepared, list_problems, write
from healthygan.data.datasets.text import compile_pattern, first_group
from healthygan.data.folders import image_files
from healthygan.data.readers.base import ReaderOptions
from healthygan.data.readers.dicom_series import read_series, series_in
from healthygan.data.readers.nifti import black_and_white, planes, read_volume

PAPER = {
    (Split.HEALTHY, Label.HEALTHY): 424,
    (Split.MIXED, Label.HEALTHY): 84,
    (Split.MIXED, Label.DISEASED): 76,
    (Split.VALIDATION, Label.HEALTHY): 10,
    (Split.VALIDATION, Label.DISEASED): 10,
    (Split.TEST, Label.HEALTHY): 10,
    (Split.TEST, Label.DISEASED): 10,
}
"""Participants, section 3."""
IXI = re.compile(r"(IXI\d+)-([A-Za-z]+)-")
"""Participant and hospital in the names of IXI's files."""
NIFTI = (".nii", ".nii.gz")
WHITE = 65535
MARK = "volume.json"
WHERE = (
    "IXI is published at brain-development.org/ixi-dataset; expected are folders of NIfTI files, or of folders with "
    "one DICOM series a participant; in mixed, validation and test these may stand in healthy/ and diseased/"
)


@dataclass(frozen=True)
class VolumeOptions:
    """How a volume becomes slices."""

    reader: ReaderOptions = ReaderOptions(slice_range=(0.3, 0.7))  # noqa: RUF009 - frozen
    size: int = 256
    """Side of a slice in pixels; the longer side of the volume fills it."""
    mask_suffix: str | None = None
    """``_mask``: the brain's mask of NAME.nii.gz is NAME_mask.nii.gz; what lies outside becomes black."""
    series: str | None = None
    """Regular expression that a file's name or a series' description must contain."""


@dataclass(frozen=True)
class Participant:
    """One person's files in one split."""

    name: str
    split: Split
    label: Label | None
    source: str | None
    files: tuple[Path, ...]


def prepare_migraine(
    folders: dict[Split, Path],
    output: Path,
    *,
    options: VolumeOptions | None = None,
    source: str | None = None,
    strict: bool = False,
    progress: Progress = silent,
) -> Prepared:
    """Cut volumes into slices and write their manifest; an interrupted call goes on where it was.

    Args:
        folders: of each split; healthy and mixed at least.
        output: the folder for ``slices/`` and ``manifest.csv``.
        options: which slices, their size, masks and series.
        source: a regular expression whose first group, in a path below its folder, is the source; without it the
            hospital in the names of IXI's files.
        strict: refuse a participant whose volume cannot be used instead of leaving it out.

    Raises:
        InputError: a folder is missing or empty, a participant is in two splits, or no volume can be used.
    """
    options = options or VolumeOptions()
    compile_pattern("source", source)
    people = [
        person
        for split, folder in folders.items()
        for person in participants(folder, split, source, options.mask_suffix)
    ]
    _refuse_torn(people)
    cut = _cut_all(people, output, options, strict, progress)
    reasons = tuple(result for result in cut if isinstance(result, str))
    images = tuple(image for result in cut if not isinstance(result, str) for image in result)
    for split, folder in folders.items():
        if not any(image.split is split for image in images):
            failed = [why for person, why in zip(people, cut, strict=True) if person.split is split]
            raise InputError(
                Argument(split, folder),
                f": none of {len(failed)} participants has a usable volume; first: {failed[0]}",
            )
    cohort = Cohort("migraine", tuple(sorted(images, key=lambda i: (list(Split).index(i.split), str(i.path)))))
    manifest = output / "manifest.csv"
    problems = Problems(unreadable=reasons)
    listing = list_problems(problems, manifest)
    first, last = options.reader.slice_range
    steps = (
        f"volumes: {len(people) - len(reasons):,} of {len(people):,} participants, reoriented, each scaled by its "
        f"percentiles {options.reader.percentiles[0]:g} and {options.reader.percentiles[1]:g}"
        + (f" within the mask *{options.mask_suffix}" if options.mask_suffix else ""),
        f"slices: {len(images):,}, axial, {first:g} to {last:g} of the height, step {options.reader.slice_step}, "
        f"{options.size} px",
    )
    warnings = [*_count_warnings(cohort)]
    if reasons:
        warnings.append(f"{len(reasons)} participant(s) left out: {shorten_list(reasons)} (all in {listing})")
    return write(Prepared("migraine", cohort, manifest, steps, tuple(warnings), problems, preset="migraine"))


def participants(
    folder: Path, split: Split, source: str | None = None, mask_suffix: str | None = None
) -> list[Participant]:
    """The people whose volumes are below a split's folder.

    A file that lies there itself is one participant's (with its mask, if any); else all files of a subfolder
    are. Files in ``healthy`` and ``diseased`` below mixed, validation and test have that label.

    Raises:
        InputError: no volume there, or masks that nobody told of.
    """
    if not folder.is_dir():
        raise InputError(Argument(split, folder), f": is not a folder; {WHERE}")
    pattern = compile_pattern("source", source)
    files_of: dict[tuple[Label | None, str], list[Path]] = defaultdict(list)
    sources: dict[tuple[Label | None, str], str | None] = {}
    for path in image_files(folder.absolute()):
        parts = path.relative_to(folder.absolute()).parts
        label: Label | None = Label.HEALTHY if split is Split.HEALTHY else None
        if split is not Split.HEALTHY and len(parts) > 1 and parts[0].lower() in set(Label):
            label, parts = Label(parts[0].lower()), parts[1:]
        ixi = IXI.match(path.name)
        name = ixi[1] if ixi else parts[0] if len(parts) > 1 else _stem(path).removesuffix(mask_suffix or "")
        files_of[label, name].append(path)
        told = first_group(pattern, "/".join(parts)) if pattern else f"IXI-{ixi[2]}" if ixi else None
        sources.setdefault((label, name), told)
    if not files_of:
        raise InputError(Argument(split, folder), f": holds no volume; {WHERE}")
    if mask_suffix is None:
        _refuse_masks([path for files in files_of.values() for path in files])
    return [
        Participant(name, split, label, sources[label, name], tuple(files)) for (label, name), files in files_of.items()
    ]


def read_participant(
    person: Participant, options: VolumeOptions
) -> tuple[NDArray[np.float32], tuple[float, ...], NDArray[np.bool_] | None]:
    """The one volume of a participant in RAS+ order, the sizes of its voxels in mm, and its mask if any.

    Raises:
        UnreadableImage: there are several volumes or none, or one cannot be used.
    """
    masks = [path for path in person.files if options.mask_suffix and _stem(path).endswith(options.mask_suffix)]
    files = [path for path in person.files if path not in masks]
    whole = {path.name: [path] for path in files if path.name.lower().endswith(NIFTI)}
    volumes = whole | series_in([path for path in files if path.name not in whole])
    chosen = {name: paths for name, paths in volumes.items() if re.search(options.series or "", name)}
    if len(chosen) != 1:
        by = f" fitting {options.series!r}" if options.series else ""
        names = shorten_list(sorted(volumes)) or "nothing"
        raise UnreadableImage(f"{person.name}: {len(chosen)} volumes{by} where one is wanted; there are {names}")
    ((name, paths),) = chosen.items()
    nifti = name in whole
    voxels, sizes = read_volume(paths[0], options.reader) if nifti else read_series(paths, options.reader)
    mask = _mask(person, paths[0] if nifti else None, masks, voxels.shape, options) if options.mask_suffix else None
    return voxels, sizes, mask


def cut_volume(
    voxels: NDArray[np.float32],
    sizes: Sequence[float],
    mask: NDArray[np.bool_] | None,
    options: VolumeOptions,
) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    """Axial slices with their numbers: size x size, 0 (black) to 65,535.

    Args:
        voxels: in RAS+ order.
        sizes: of a voxel in mm, so that a slice keeps its shape.
        mask: of the brain; the scale is then that of the voxels inside, the others become black.

    Raises:
        UnreadableImage: no finite value, or all alike.
    """
    usable = np.isfinite(voxels) if mask is None else np.isfinite(voxels) & mask
    if not usable.any():
        raise UnreadableImage("no finite voxel (within the mask)")
    low, high = black_and_white(voxels[usable], options.reader)
    if high <= low:
        raise UnreadableImage("every voxel has the same value")
    scaled = np.where(usable, (voxels - low) / (high - low), 0).clip(0, 1).astype(np.float32)
    for number, plane in planes(scaled, options.reader):
        yield number, _squared(plane, (sizes[1], sizes[0]), options.size)


def _squared(plane: NDArray[np.float32], sizes: tuple[float, float], side: int) -> NDArray[np.uint16]:
    """Bring a plane of pixels of ``sizes`` (height, width) in mm to a square, black beyond its edges."""
    height, width = (length * size for length, size in zip(plane.shape, sizes, strict=True))
    rows, columns = (max(1, round(side * length / max(height, width))) for length in (height, width))
    resized = Image.fromarray(np.ascontiguousarray(plane)).resize((columns, rows), Image.Resampling.BILINEAR)
    square = np.zeros((side, side), np.float32)
    top, left = (side - rows) // 2, (side - columns) // 2
    square[top : top + rows, left : left + columns] = np.asarray(resized)
    return (square.clip(0, 1) * WHITE + 0.5).astype(np.uint16)


def _cut_all(
    people: Sequence[Participant], output: Path, options: VolumeOptions, strict: bool, progress: Progress
) -> list[tuple[CohortImage, ...] | str]:
    """The slices of each participant, or why there are none."""

    def cut(person: Participant) -> tuple[CohortImage, ...] | str:
        try:
            return _cut(person, output / "slices", options)
        except UnreadableImage as error:
            if strict:
                raise
            return str(error)

    results = []
    with ThreadPoolExecutor(usable_cores()) as pool, progress("cutting volumes", len(people)) as advance:
        try:
            for result in pool.map(cut, people):
                results.append(result)
                advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results


def _cut(person: Participant, slices: Path, options: VolumeOptions) -> tuple[CohortImage, ...]:
    """Write a participant's slices, unless the same volume was cut the same way before."""
    folder = slices / person.split / person.name
    stamp = {"files": [_stamp(path) for path in person.files], "options": _described(options)}
    if _marked(folder) != stamp:
        partial = folder.with_name(f".{person.name}.partial")
        for old in (partial, folder):
            shutil.rmtree(old, ignore_errors=True)
        partial.mkdir(parents=True)
        voxels, sizes, mask = read_participant(person, options)
        try:
            for number, pixels in cut_volume(voxels, sizes, mask, options):
                Image.fromarray(pixels).save(partial / f"{person.name}_z{number:03d}.png")
        except UnreadableImage as error:
            raise UnreadableImage(f"{person.name}: {error}; leave it out") from error
        write_json(partial / MARK, stamp)
        partial.rename(folder)
    return tuple(
        CohortImage(
            path=path.absolute(),
            split=person.split,
            label=person.label,
            patient_id=person.name,
            source=person.source,
            more={"slice": path.stem.rpartition("_z")[2]},
        )
        for path in sorted(folder.glob("*.png"))
    )


def _marked(folder: Path) -> object:
    try:
        return json.loads((folder / MARK).read_bytes())
    except (OSError, ValueError):
        return None


def _stamp(path: Path) -> list[str | int]:
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]


def _described(options: VolumeOptions) -> dict[str, object]:
    reader = options.reader.model_dump(mode="json")
    return {"reader": reader, "size": options.size, "mask": options.mask_suffix, "series": options.series}


def _mask(
    person: Participant,
    volume: Path | None,
    masks: Sequence[Path],
    shape: tuple[int, ...],
    options: VolumeOptions,
) -> NDArray[np.bool_]:
    """The mask that belongs to a NIfTI file, or the only one beside a DICOM series."""
    fitting = [path for path in masks if volume is None or _stem(path) == _stem(volume) + str(options.mask_suffix)]
    if len(fitting) != 1:
        raise UnreadableImage(
            f"{person.name}: {len(fitting)} masks *{options.mask_suffix}.nii[.gz] where one is wanted"
        )
    voxels, _ = read_volume(fitting[0], options.reader)
    if voxels.shape != shape:
        raise UnreadableImage(f"{fitting[0]}: a mask of {voxels.shape} voxels for a volume of {shape}; make it anew")
    return np.asarray(voxels > 0.5)


def _stem(path: Path) -> str:
    name = path.name
    for suffix in sorted(NIFTI, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def _refuse_masks(paths: Sequence[Path]) -> None:
    """A mask beside its volume would pass for a participant, or for a second volume of one."""
    stems = {path.with_name(_stem(path)): path for path in paths}
    for stem, path in stems.items():
        for cut in range(1, len(stem.name)):
            volume, suffix = stem.with_name(stem.name[:cut]), stem.name[cut:]
            if "mask" in suffix.lower() and volume in stems:
                raise InputError(
                    f"{path}: looks like the mask of {stems[volume].name}; give ",
                    Argument("mask_suffix", suffix),
                    ", or move the masks to another folder",
                )


def _refuse_torn(people: Sequence[Participant]) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for person in people:
        places[person.name].append(f"{person.split}/{person.label}" if person.label else person.split)
    several = [f"{name} ({' and '.join(where)})" for name, where in places.items() if len(where) > 1]
    if several:
        raise InputError(f"{len(several)} participant(s) in two places: {shorten_list(several)}; keep each in one")


def _count_warnings(cohort: Cohort) -> Iterator[str]:
    people = {(image.split, image.label, image.patient_id) for image in cohort.images}
    counts = Counter((split, label) for split, label, _ in people)
    for (split, label), wanted in PAPER.items():
        if counts[split, label] != wanted:
            yield f"{split}: {counts[split, label]} {label} participants; the paper has {wanted}"
    for split in (Split.VALIDATION, Split.TEST):
        if counts[split, None]:
            yield f"{split}: {counts[split, None]} participants without a label; put them into healthy/ and diseased/"
