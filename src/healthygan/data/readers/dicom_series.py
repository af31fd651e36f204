"""A volume from a DICOM series: sorted by position, rescaled, brought into RAS+ order."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as untyped_nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray

from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import DEFAULTS, ReaderOptions, as_unreadable, check_memory
from healthygan.data.readers.dicom_file import decoded_frames, number_of_frames, open_dicom
from healthygan.data.readers.reading import probe

nibabel: Any = untyped_nibabel  # ships annotations for a few of its functions only

UNEVEN = 0.05
"""Share of a slice's distance by which distances may differ: rounding does, a missing slice does not stay below."""
VOXEL_BYTES = 14
"""Memory that a voxel of a series takes: as stored, its slice's values, the volume and the turned volume."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def series_in(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by series: its description and number, as the headers tell.

    Raises:
        UnreadableImage: a file is no DICOM image, or holds several frames.
    """
    series: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted(paths):
        probe(path)
        with as_unreadable(path):
            header = open_dicom(path, DEFAULTS, pixels=False)
        if number_of_frames(header) > 1:
            raise UnreadableImage(f"{path}: several frames in a file; convert the series into one NIfTI file")
        series[str(header.get("SeriesInstanceUID", "")), _description(header)].append(path)
    names = [description for _, description in series]
    return {
        description if names.count(description) == 1 else f"{description} [{uid}]": files
        for (uid, description), files in series.items()
    }


def read_series(paths: Sequence[Path], options: ReaderOptions) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """The volume of one series in RAS+ order, and the sizes of its voxels in mm.

    Positions and directions are those of DICOM PS3.3 C.7.6.2.1.1.

    Raises:
        UnreadableImage: slices are missing, doubled or differ in size or direction, or there are too many voxels.
    """
    folder = paths[0].parent
    with as_unreadable(folder):
        slices = [_slice(path, options) for path in paths]
        across, down = np.array(slices[0].ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
        normal = np.cross(across, down)
        places = np.array([item.ImagePositionPatient for item in slices], dtype=np.float64)
        row_gap, column_gap = (float(size) for size in slices[0].PixelSpacing)
        _check_alike(folder, slices, options)
        order = np.argsort(places @ normal, kind="stable")
        gap = _gap(folder, (places @ normal)[order])
        stack = np.stack([_values(paths[number], slices[number]) for number in order])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = across * column_gap, down * row_gap, normal * gap
    affine[:3, 3] = places[order[0]]
    volume = nibabel.as_closest_canonical(nibabel.Nifti1Image(stack.transpose(2, 1, 0), LPS_TO_RAS @ affine))
    sizes = tuple(float(size) for size in volume.header.get_zooms()[:3])
    return np.asarray(volume.dataobj, dtype=np.float32), sizes


def _description(header: pydicom.Dataset) -> str:
    return str(header.get("SeriesDescription", "") or f"series {header.get('SeriesNumber', 'without a name')}")


def _check_alike(folder: Path, slices: Sequence[pydicom.Dataset], options: ReaderOptions) -> None:
    first = slices[0]
    if len(slices) < 2:
        raise UnreadableImage(f"{folder}: a single slice; a volume has more")
    if (voxels := int(first.Rows) * int(first.Columns) * len(slices)) > options.max_pixels:
        raise UnreadableImage(f"{folder}: {voxels:,} voxels, more than {options.max_pixels:,}; leave it out")
    check_memory(folder, voxels * VOXEL_BYTES, options)
    for item in slices:
        same = (item.Rows, item.Columns, item.PixelSpacing) == (first.Rows, first.Columns, first.PixelSpacing)
        if not same or not np.allclose(item.ImageOrientationPatient, first.ImageOrientationPatient, atol=1e-3):
            raise UnreadableImage(f"{folder}: its slices differ in size or direction; convert it into a NIfTI file")


def _gap(folder: Path, along: NDArray[np.float64]) -> float:
    gaps = np.diff(along)
    middle = float(np.median(gaps))
    if middle <= 0 or np.abs(gaps - middle).max() > UNEVEN * middle:
        raise UnreadableImage(f"{folder}: slices are missing or doubled; copy the series again or leave it out")
    return float((along[-1] - along[0]) / len(gaps))


def _slice(path: Path, options: ReaderOptions) -> pydicom.Dataset:
    probe(path, options)
    return open_dicom(path, options, pixels=True)


def _values(path: Path, item: pydicom.Dataset) -> NDArray[np.float32]:
    slope, intercept = float(item.get("RescaleSlope", 1)), float(item.get("RescaleIntercept", 0))
    return np.asarray(next(decoded_frames(path, item)), dtype=np.float32) * np.float32(slope) + np.float32(intercept)
