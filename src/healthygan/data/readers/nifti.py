"""NIfTI-1 and NIfTI-2 volumes: reoriented, scaled by their own percentiles, and given slice by slice."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import nibabel as untyped_nibabel
import numpy as np
from numpy.typing import NDArray

from healthygan.common.errors import UnreadableImage
from healthygan.data.margins import find_margins, is_bright
from healthygan.data.readers.base import DecodedImage, ImageInfo, ReaderOptions, as_unreadable, check_memory, read_start

nibabel: Any = untyped_nibabel  # ships annotations for a few of its functions only

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Axis of a volume in RAS+ order along which the slices follow one another."""
EXTENSION_BYTES = 4
"""After the header, telling whether extensions follow."""
MAGIC = {348: b"n+1", 540: b"n+2"}
"""By the header's length, NIfTI-1 and NIfTI-2: what it ends or starts with where the voxels are in the same file."""
GZIP_START = b"\x1f\x8b"
DENSEST_GZIP = 1032
"""Bytes that deflate packs into one at best (zlib's technical details)."""
SHOWING_BYTES = 13
"""Memory that a voxel takes once read: 32 bits, and as many for those that are finite and for their percentiles."""
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
        return ImageInfo("NIfTI", height, width, 1, depth, _slices(shape[axis], options), _memory(header))

    def frames(self, path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        """The chosen slices; voxels that are not finite become black."""
        voxels = _voxels(path, _header(path, options))
        finite = np.isfinite(voxels)
        if not finite.any():
            raise UnreadableImage(f"{path}: no finite voxel; leave it out")
        low, high = black_and_white(voxels if finite.all() else voxels[finite], options)
        del finite
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
        # A view: ``np.take`` would first bring the whole volume into another order.
        plane = np.moveaxis(voxels, axis, 0)[number]
        # From left-to-right and bottom-to-top in the volume to rows downwards, radiological left and right.
        yield number, plane.T[::-1, ::-1]


def _header(path: Path, options: ReaderOptions) -> Any:
    """The checked header of a single volume that is not too large."""
    with _opened(path) as file:
        start = file.read(max(MAGIC))
    # The length of the header comes first, in the order of the file's own bytes.
    length = next((n for n in MAGIC if start[:4] in (n.to_bytes(4, "little"), n.to_bytes(4, "big"))), 0)
    if not length:
        raise UnreadableImage(f"{path}: damaged, or packed and no NIfTI inside; convert it or leave it out")
    header = (nibabel.Nifti1Header if length == 348 else nibabel.Nifti2Header)(start[:length])
    if header["magic"].item()[:3] != MAGIC[length]:
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
    check_memory(path, _memory(header), options)
    if not length + EXTENSION_BYTES <= header["vox_offset"] <= LARGEST_OFFSET:
        raise UnreadableImage(
            f"{path}: damaged (its voxels start at byte {header['vox_offset']}); copy it again or leave it out"
        )
    _check_room(path, header)
    return header


def _announced(header: Any) -> int:
    """Bytes up to the last voxel."""
    voxels = int(np.prod(header.get_data_shape(), dtype=np.int64))
    return int(header.get_data_offset()) + voxels * int(header.get_data_dtype().itemsize)


def _check_room(path: Path, header: Any) -> None:
    """Refuse a file that is too small for the voxels that its header announces."""
    room = path.stat().st_size * (DENSEST_GZIP if _is_packed(path) else 1)
    if _announced(header) > room:
        raise UnreadableImage(
            f"{path}: damaged ({_announced(header):,} bytes by its header, for which the file is too small); "
            "copy it again or leave it out"
        )


def _memory(header: Any) -> int:
    """Bytes that reading the volume takes, about."""
    voxels = int(np.prod(header.get_data_shape(), dtype=np.int64))
    return voxels * max(2 * int(header.get_data_dtype().itemsize) + 4, SHOWING_BYTES)


def _voxels(path: Path, header: Any) -> NDArray[np.float32]:
    """The volume in RAS+ order. No more is unpacked than the header announces."""
    with _opened(path) as file:
        content = file.read(_announced(header))
        file.read(1)  # at the end of the data gzip compares its checksum
    kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    image = kind.from_bytes(content)
    voxels = np.empty(image.shape[:3], np.float32, order="F")  # as the file: slices are contiguous
    # Slice by slice: the library scales in 64 bits.
    for number in range(image.shape[2]):
        voxels[:, :, number] = image.dataobj[:, :, number].reshape(image.shape[:2])
    return np.asarray(nibabel.as_closest_canonical(kind(voxels, image.affine)).dataobj)


def _is_packed(path: Path) -> bool:
    return read_start(path).startswith(GZIP_START)


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if _is_packed(path) else path.open("rb")


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
