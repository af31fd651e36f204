"""A DICOM file opened: refused where it is no image or costs too much, its frames decoded one at a time."""

import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import BoundedFile, ReaderOptions, check_memory
from healthygan.data.readers.codestream import stated_size
from healthygan.data.readers.dicom_rle import decode_rle

STORAGE = "1.2.840.10008.5.1.4.1.1."
RT_IMAGES = (f"{STORAGE}481.1", f"{STORAGE}481.23")
"""Radiographs made for radiotherapy, among plans, doses and structures."""
NO_IMAGES = tuple(
    f"{STORAGE}{branch}"
    for branch in (
        "9.",  # waveforms
        "11.",  # presentation states
        "66.",  # segmentations, registrations, fiducials
        "67",  # real-world values
        "88.",  # structured reports, key objects
        "104.",  # documents
        "481.",  # radiotherapy
    )
)
"""Where the storage classes begin (PS3.4, B.5) whose files are no images, though some hold pixels."""
INDEX = "1.2.840.10008.1.3.10"
"""A DICOMDIR's class."""
STATING_SYNTAXES = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)
"""Whose compressed pixels tell their own size."""
META_START = 132
INFLATED_COPIES = 3
"""Of a deflated file while it is read: packed out, as elements, as a frame."""
CHUNK = 2**20


def open_dicom(path: Path, options: ReaderOptions, *, pixels: bool) -> pydicom.Dataset:
    """The file's elements, those of the pixels where they are wanted; without preamble too.

    Raises:
        UnreadableImage: by its class no image, or deflated to more than memory allows.
    """
    with BoundedFile(path) as file:
        _check_deflated(path, file, options)
        file.seek(0)
        dataset = pydicom.dcmread(file, force=True, stop_before_pixels=not pixels)
    _refuse_other_kinds(path, dataset)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def decoded_frames(path: Path, dataset: pydicom.Dataset) -> Iterator[NDArray[np.generic]]:
    """Frame by frame as stored, rows x columns; or rows x columns x 3 in red, green, blue."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        yield from iter_pixels(dataset)
        return
    count = number_of_frames(dataset)
    frames = islice(
        generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=_offsets(dataset)), count
    )
    if syntax == RLELossless:
        yield from (decode_rle(frame, dataset) for frame in frames)
        return
    decoded: Iterator[NDArray[np.generic]] | None = iter_pixels(dataset)
    for frame in frames:
        if syntax in STATING_SYNTAXES:
            _refuse_contradiction(path, frame, dataset)
        if decoded is not None:
            try:
                yield next(decoded)
                continue
            except RuntimeError:
                if syntax != JPEGExtended12Bit:
                    raise
                decoded = None
        yield _extended_jpeg(frame, dataset)


def _extended_jpeg(frame: bytes, dataset: pydicom.Dataset) -> NDArray[np.generic]:
    """What pydicom's decoders refuse of 12-bit JPEG."""
    pixels = np.asarray(imagecodecs.jpeg_decode(frame))
    if pixels.shape != (dataset.Rows, dataset.Columns):
        raise ValueError(f"its pixels decode to {pixels.shape}")
    return pixels


def number_of_frames(dataset: pydicom.Dataset) -> int:
    """By the header; one where it says nothing."""
    return int(dataset.get("NumberOfFrames", 1) or 1)


def _offsets(dataset: pydicom.Dataset) -> tuple[bytes, bytes] | None:
    if "ExtendedOffsetTable" not in dataset:
        return None
    return dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths


def _refuse_other_kinds(path: Path, dataset: pydicom.Dataset) -> None:
    kind = UID(str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or ""))
    if kind == INDEX or "DirectoryRecordSequence" in dataset:
        raise UnreadableImage(f"{path}: a DICOMDIR, the list of other files; give their folder instead")
    if kind.startswith(NO_IMAGES) and kind not in RT_IMAGES:
        raise UnreadableImage(f"{path}: no image but {kind.name} by its DICOM class; leave it out")


def _refuse_contradiction(path: Path, frame: bytes, dataset: pydicom.Dataset) -> None:
    """Before decoding: a few bytes may claim any size."""
    stated = stated_size(frame)
    if stated is None:
        raise UnreadableImage(f"{path}: damaged (compressed pixels without a header); copy it again or leave it out")
    if stated != (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel):
        raise UnreadableImage(
            f"{path}: damaged (compressed pixels are {stated.width} x {stated.height} x {stated.samples}, the file "
            f"says {dataset.Columns} x {dataset.Rows} x {dataset.SamplesPerPixel}); copy it again or leave it out"
        )


def _check_deflated(path: Path, file: BinaryIO, options: ReaderOptions) -> None:
    """Refuse a deflated file that packs out to more than memory allows."""
    file.seek(META_START)
    if _meta(file).get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    packed = zlib.decompressobj(-zlib.MAX_WBITS)
    size, waiting = path.stat().st_size, file.read(CHUNK)
    while waiting and not packed.eof:
        size += INFLATED_COPIES * len(packed.decompress(waiting, CHUNK))
        check_memory(path, size, options)
        waiting = packed.unconsumed_tail or file.read(CHUNK)


def _meta(file: BinaryIO) -> pydicom.Dataset:
    """The elements of group 2, at the front of a file with a preamble."""
    try:
        return read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
    except (EOFError, NotImplementedError, ValueError):  # none, or damaged: pydicom tells when it reads the file
        return pydicom.Dataset()
