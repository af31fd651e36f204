"""NIfTI volumes: reoriented, scaled by their own percentiles, and given slice by slice."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import nibabel as untyped_nibabel
import numpy as np
from numpy.typing import NDArray

from healthygan.common.errors import UnreadableImage
from healthygan.data.margins import find_margins, is_bright
from healthygan.data.readers.base import DecodedImage, ImageInfo, ReaderOptions, as_unreadable

nibabel: Any = untyped_nibabel  # ships annotations for a few of its functions only

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Axis of a volume in RAS+ order along which the slices follow one another."""
HEADER_BYTES = 352
"""A header of 348 bytes, and 4 that tell of extensions."""
LARGEST_OFFSET = 2**24
"""Bytes before the voxels, beyond which no sensible extension reaches."""


class NiftiReader:
    """Slices are drawn as radiologists look at them: anterior or superior up, the patient's left on the right.

    (A sagittal slice has anterior on the left.)
    """

    def probe(self, path: Path, options: ReaderOptions) -> ImageInfo:
        """The header and the numbers of the slices."""
        header = _header(path, options)
        shape = _canonical_shape(header)
        axis = AXES[options.slice_axis]
        width, height = (length for number, length in enumerate(shape) if number != axis)
        depth = header.get_data_dtype().itemsize * 8
        return ImageInfo("NIfTI", height, width, 1, depth, _slices(shape[axis], options))

    def frames(self, path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        """The chosen slices; voxels that are not finite become black."""
        voxels = _voxels(path, _header(path, options))
        finite = voxels[np.isfinite(voxels)]
        if not finite.size:
            raise UnreadableImage(f"{path}: no finite voxel; leave it out")
        low, high = black_and_white(finite, options)
        margins = find_margins(np.stack([is_bright(plane, low, high) for _, plane in planes(voxels, options)]))
        for number, plane in planes(voxels, options):
            pixels = np.where(np.isfinite(plane), plane, np.float32(low))
            yield DecodedImage(pixels, low, high, number, margins)


def read_volume(path: Path, options: ReaderOptions) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """A volume in RAS+ order, and the sizes of its voxels in mm.

    Raises:
        UnreadableImage: missing, damaged, no single volume of plain numbers, or larger than ``options.max_pixels``.
    """
    with as_unreadable(path):
        header = _header(path, options)
        voxels = _voxels(path, header)
    order = nibabel.io_orientation(header.get_best_affine())[:3, 0]
    sizes = [0.0, 0.0, 0.0]
    for size, axis in zip(header.get_zooms()[:3], order, strict=True):
        sizes[int(axis)] = float(size)
    return voxels, tuple(sizes)


def black_and_white(values: NDArray[np.float32], options: ReaderOptions) -> tuple[float, float]:
    """The values of a volume that become black and white: its percentiles, or its ends where those are equal."""
    low, high = (float(np.percentile(values, share)) for share in options.percentiles)
    if high <= low:  # a small bright thing on an empty ground
        low, high = float(values.min()), float(values.max())
    return low, high


def planes(voxels: NDArray[np.float32], options: ReaderOptions) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The chosen slices of a volume in RAS+ order with their numbers, drawn as radiologists look at them."""
    axis = AXES[options.slice_axis]
    for number in _slices(voxels.shape[axis], options):
        plane: NDArray[np.float32] = np.take(voxels, [number], axis=axis).squeeze(axis)
        # From left-to-right and bottom-to-top in the volume to rows downwards, radiological left and right.
        yield number, plane.T[::-1, ::-1]


def _header(path: Path, options: ReaderOptions) -> Any:
    """The checked header of a single volume that is not too large."""
    with _opened(path) as file:
        header = nibabel.Nifti1Header(file.read(HEADER_BYTES)[:348])
    if header["magic"].item() != b"n+1":
        raise UnreadableImage(f"{path}: its voxels are in another file; convert both into one .nii file")
    if header.get_data_dtype().kind not in "iuf":
        raise UnreadableImage(
            f"{path}: voxels of type {header.get_value_label('datatype')}; convert them to plain numbers"
        )
    shape = header.get_data_shape()
    if len(shape) < 3 or any(length != 1 for length in shape[3:]) or min(shape) < 1:
        raise UnreadableImage(f"{path}: its shape is {shape}, not one volume; split a series into volumes first")
    if (voxels := int(np.prod(shape, dtype=np.int64))) > options.max_pixels:
        raise UnreadableImage(
            f"{path}: {voxels:,} voxels, more than preprocessing.reader.max_pixels={options.max_pixels:,}; "
            "raise it if the file is to be trusted"
        )
    if not HEADER_BYTES <= header["vox_offset"] <= LARGEST_OFFSET:
        raise UnreadableImage(
            f"{path}: damaged (its voxels start at byte {header['vox_offset']}); copy it again or leave it out"
        )
    return header


def _voxels(path: Path, header: Any) -> NDArray[np.float32]:
    """The volume in RAS+ order. No more is unpacked than the header announces."""
    shape = header.get_data_shape()
    announced = int(np.prod(shape, dtype=np.int64)) * header.get_data_dtype().itemsize
    with _opened(path) as file:
        content = file.read(int(header.get_data_offset()) + announced)
        file.read(1)  # at the end of the data gzip compares its checksum
    volume = nibabel.as_closest_canonical(nibabel.Nifti1Image.from_bytes(content))
    return np.asarray(volume.dataobj, dtype=np.float32).reshape(volume.shape[:3])


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if zipped else path.open("rb")


def _canonical_shape(header: Any) -> tuple[int, ...]:
    """Lengths along left-right, back-front and bottom-top."""
    axes = nibabel.io_orientation(header.get_best_affine())[:3, 0]
    shape = [0, 0, 0]
    for length, axis in zip(header.get_data_shape()[:3], axes, strict=True):
        shape[int(axis)] = int(length)
    return tuple(shape)


def _slices(length: int, options: ReaderOptions) -> tuple[int, ...]:
    """Numbers of the chosen slices; at least one."""
    first, last = (round(end * length) for end in options.slice_range)
    first = min(first, length - 1)
    return tuple(range(first, max(last, first + 1), options.slice_step))
