"""Damaged image files must be read or refused in one line: never another exception, a crash, a hang, or much memory.

    python benchmarks/fuzz_readers.py [--seeds 0 10000] [--results fuzz.jsonl]

A seed is a mutation of one of the valid files that this script makes itself, one a format and encoding. A worker
process reads them under a limit of memory (``ReaderOptions.max_memory``, and the address space to match) and of
time. Outcomes are appended to the results file, and seeds that it holds are not tried again, so that a stopped run
goes on. Exits with 1 where a seed failed; ``--show SEED FILE`` writes its mutation to look at.
"""

import argparse
import gzip
import io
import json
import resource
import subprocess
import sys
import tempfile
import threading
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import nibabel
import numpy as np
import pydicom
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import compress
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RLELossless,
)

from healthygan.common.errors import UnreadableImage
from healthygan.data.preprocessing import Preprocessing
from healthygan.data.readers.base import ReaderOptions
from healthygan.data.readers.reading import read_frames

MEMORY = 256 * 2**20
"""Bytes that a file may take; the valid ones hold less than 100 kB."""
SECONDS = 20
"""A file may take, on a busy machine too."""
LIFE = 500
"""Files a worker reads before a fresh one takes its place."""
ROWS, COLUMNS = 48, 56
HEADERS = 600
"""Bytes at the front where most of a file's structure lies."""
NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)
"""Where programs like to go wrong."""
READ, REFUSED, FAILED = "read", "refused", "failed"


class Outcome(NamedTuple):
    """What became of one seed."""

    seed: int
    file: str
    outcome: str
    reason: str


@cache
def valid_files() -> dict[str, bytes]:
    """A small valid file of each format and encoding, by name."""
    random = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(ROWS), np.arange(COLUMNS))
    grey = (ramp * 2 + random.integers(0, 9, ramp.shape)).astype(np.uint8)
    deep = (ramp * 37 + random.integers(0, 9, ramp.shape)).astype(np.uint16)
    colour = np.stack([grey, grey[::-1], 255 - grey], axis=2)
    return _pictures(grey, deep, colour) | _tiffs(grey, deep, colour) | _dicoms(grey, deep) | _volumes(deep)


def _pictures(grey: NDArray[np.uint8], deep: NDArray[np.uint16], colour: NDArray[np.uint8]) -> dict[str, bytes]:
    def saved(pixels: NDArray[np.generic], kind: str, **options: object) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **options)
        return file.getvalue()

    palette = io.BytesIO()
    Image.fromarray(colour).quantize(32).save(palette, "PNG")
    rgba = np.dstack([deep, deep, deep[::-1], deep])
    return {
        "png-grey8": saved(grey, "PNG"),
        "png-grey16": saved(deep, "PNG"),
        "png-rgb8": saved(colour, "PNG"),
        "png-rgba16": bytes(imagecodecs.png_encode(rgba)),
        "png-palette": palette.getvalue(),
        "jpeg": saved(colour, "JPEG"),
        "jpeg-progressive": saved(colour, "JPEG", progressive=True),
        "bmp": saved(colour, "BMP"),
        "webp": saved(colour, "WEBP"),
        "webp-lossless": saved(colour, "WEBP", lossless=True),
    }


def _tiffs(grey: NDArray[np.uint8], deep: NDArray[np.uint16], colour: NDArray[np.uint8]) -> dict[str, bytes]:
    def saved(pixels: NDArray[np.generic], **options: object) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, photometric="rgb" if pixels.shape[-1] == 3 else "minisblack", **options)
        return file.getvalue()

    return {
        "tiff": saved(grey),
        "tiff-deflate": saved(deep, compression="zlib", predictor=True),
        "tiff-lzw": saved(colour, compression="lzw"),
        "tiff-jpeg": saved(colour, compression="jpeg"),
        "tiff-tiles": saved(deep, compression="zlib", tile=(16, 16)),
        "tiff-pages": saved(np.stack([deep, deep // 2, deep // 3]), compression="zlib"),
        "tiff-float": saved(deep.astype(np.float32)),
    }


def _dicom(pixels: NDArray[np.generic], bits: int, kind: UID = CTImageStorage) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, UID("1.2.3")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    item.SOPClassUID, item.SOPInstanceUID, item.Modality = kind, meta.MediaStorageSOPInstanceUID, "CT"
    item.Rows, item.Columns = pixels.shape[-2:]
    item.SamplesPerPixel, item.PhotometricInterpretation, item.PixelRepresentation = 1, "MONOCHROME2", 0
    item.BitsAllocated, item.BitsStored, item.HighBit = pixels.dtype.itemsize * 8, bits, bits - 1
    item.RescaleSlope, item.RescaleIntercept, item.WindowCenter, item.WindowWidth = 1, -1024, 40, 400
    if pixels.ndim == 3:
        item.NumberOfFrames = len(pixels)
    item.add_new("PixelData", "OB" if pixels.dtype.itemsize == 1 else "OW", pixels.tobytes())
    return item


def _encapsulated(item: FileDataset, syntax: UID, frame: bytes) -> FileDataset:
    item.PixelData = encapsulate([frame])
    item["PixelData"].VR, item["PixelData"].is_undefined_length = "OB", True
    item.file_meta.TransferSyntaxUID = syntax
    return item


def _enhanced(pixels: NDArray[np.uint16]) -> FileDataset:
    item = _dicom(pixels, 16, EnhancedCTImageStorage)
    del item.RescaleSlope, item.RescaleIntercept, item.WindowCenter, item.WindowWidth
    rescale, window, shared = Dataset(), Dataset(), Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -1024, "HU"
    shared.PixelValueTransformationSequence = Sequence([rescale])
    item.SharedFunctionalGroupsSequence = Sequence([shared])
    window.WindowCenter, window.WindowWidth = 40, 400
    each = [Dataset() for _ in pixels]
    for group in each:
        group.FrameVOILUTSequence = Sequence([window])
    item.PerFrameFunctionalGroupsSequence = Sequence(each)
    return item


def _dicoms(grey: NDArray[np.uint8], deep: NDArray[np.uint16]) -> dict[str, bytes]:
    def saved(item: FileDataset) -> bytes:
        file = io.BytesIO()
        item.save_as(file, enforce_file_format=True)
        return file.getvalue()

    stack = np.stack([deep, deep // 2, deep // 3])
    packed, loose, deflated = _dicom(stack, 16), io.BytesIO(), _dicom(deep, 12)
    compress(packed, RLELossless, encoding_plugin="pydicom")
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    pydicom.dcmwrite(loose, _without_meta(_dicom(deep, 12)), implicit_vr=True, little_endian=True)
    jpeg = imagecodecs.jpeg_encode(grey, level=90)
    extended = imagecodecs.jpeg_encode(deep, level=95, bitspersample=12)
    lossless = imagecodecs.jpeg_encode(deep, bitspersample=12, lossless=True)
    wavelet = imagecodecs.jpeg2k_encode(deep, codecformat="j2k", level=0)
    multiple = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    return {
        "dicom": saved(_dicom(deep, 12)),
        "dicom-no-preamble": loose.getvalue(),
        "dicom-frames": saved(_dicom(stack, 16, multiple)),
        "dicom-enhanced": saved(_enhanced(stack)),
        "dicom-deflated": saved(deflated),
        "dicom-rle": saved(packed),
        "dicom-jpeg": saved(_encapsulated(_dicom(grey, 8), JPEGBaseline8Bit, jpeg)),
        "dicom-jpeg12": saved(_encapsulated(_dicom(deep, 12), JPEGExtended12Bit, extended)),
        "dicom-jpeg-lossless": saved(_encapsulated(_dicom(deep, 12), JPEGLosslessSV1, lossless)),
        "dicom-jpegls": saved(_encapsulated(_dicom(deep, 16), JPEGLSLossless, imagecodecs.jpegls_encode(deep))),
        "dicom-jpeg2000": saved(_encapsulated(_dicom(deep, 16), JPEG2000Lossless, wavelet)),
    }


def _without_meta(item: FileDataset) -> Dataset:
    bare = Dataset()
    bare.update(item)
    return bare


def _volumes(deep: NDArray[np.uint16]) -> dict[str, bytes]:
    volume = np.stack([deep, deep // 2, deep // 3, deep // 5], axis=2).astype(np.int16)
    one = nibabel.Nifti1Image(volume, np.diag([-1.0, 1, 2, 1])).to_bytes()
    two = nibabel.Nifti2Image(volume.astype(np.float32), np.eye(4)).to_bytes()
    return {
        "nifti1": one,
        "nifti1-gz": gzip.compress(one, mtime=0),
        "nifti2": two,
        "nifti2-gz": gzip.compress(two, mtime=0),
    }


def mutated(seed: int) -> tuple[str, bytes]:
    """The name of a valid file, and what ``seed`` makes of it."""
    files = valid_files()
    random = np.random.default_rng(seed)
    name = list(files)[seed % len(files)]
    content = files[name]
    if name.endswith("-gz") and random.random() < 0.7:  # else a checksum would end most attempts
        return name, gzip.compress(_changed(gzip.decompress(content), random), 1, mtime=0)
    content = _changed(content, random)
    return name, _with_checksums(content) if name.startswith("png") and random.random() < 0.7 else content


def _changed(content: bytes, random: np.random.Generator) -> bytes:
    for _ in range(int(random.integers(1, 4))):
        content = CHANGES[int(random.integers(len(CHANGES)))](content, random)
    return content


def _place(content: bytes, random: np.random.Generator) -> int:
    """Two times of three in the headers."""
    end = min(len(content), HEADERS) if random.random() < 2 / 3 else len(content)
    return int(random.integers(max(1, end)))


def _flip(content: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(int(random.integers(1, 9))):
        changed[_place(changed, random)] = int(random.integers(256))
    return bytes(changed)


def _number(content: bytes, random: np.random.Generator) -> bytes:
    width, order = int(random.choice([1, 2, 4])), ("little", "big")[int(random.integers(2))]
    value = NUMBERS[int(random.integers(len(NUMBERS)))] % 256**width
    place = _place(content, random)
    return content[:place] + value.to_bytes(width, order) + content[place + width :]


def _cut(content: bytes, random: np.random.Generator) -> bytes:
    return content[: int(random.integers(1, len(content) + 1))]


def _remove(content: bytes, random: np.random.Generator) -> bytes:
    place = _place(content, random)
    return content[:place] + content[place + int(random.integers(1, 65)) :]


def _repeat(content: bytes, random: np.random.Generator) -> bytes:
    place, length = _place(content, random), int(random.integers(1, 257))
    return content[:place] + content[place : place + length] * int(random.integers(2, 6)) + content[place + length :]


def _noise(content: bytes, random: np.random.Generator) -> bytes:
    place = _place(content, random)
    return content[:place] + random.bytes(int(random.integers(1, 33))) + content[place:]


def _splice(content: bytes, random: np.random.Generator) -> bytes:
    other = list(valid_files().values())[int(random.integers(len(valid_files())))]
    place = _place(content, random)
    return content[:place] + other[_place(other, random) :][: int(random.integers(1, 2049))] + content[place:]


CHANGES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    _flip, _flip, _number, _number, _number, _cut, _remove, _repeat, _noise, _splice,
)  # fmt: skip


def _with_checksums(content: bytes) -> bytes:
    """A PNG whose chunks' checksums fit again, so that a decoder looks further than at them."""
    fixed, place = content[:8], 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        body = content[place + 4 : place + 8 + length]
        fixed += content[place : place + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        place += 12 + length
    return fixed


def tried(path: Path, options: ReaderOptions) -> tuple[str, str]:
    """Read a file as scoring does; the outcome and its reason."""
    preprocessing = Preprocessing(size=32, reader=options)
    try:
        for image in read_frames(path, options, preprocessing.sufficient):
            preprocessing(image)
    except UnreadableImage as error:
        told = str(error)
        if isinstance(error.__cause__, MemoryError):
            return FAILED, "memory beyond the bound"
        if "\n" in told or not told.startswith(f"{path}: "):
            return FAILED, f"not one line that names the file: {told!r}"
        return REFUSED, told[len(str(path)) + 2 :]
    except BaseException as error:
        return FAILED, f"{type(error).__name__}: {error}"
    return READ, ""


def work(seeds: range) -> None:
    """A worker: tries each seed, and tells on the standard output before and after."""
    valid_files()
    _limit_memory()
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            name, content = mutated(seed)
            print(json.dumps([seed, name]), flush=True)
            path = Path(folder, name)
            path.write_bytes(content)
            outcome, reason = tried(path, ReaderOptions(max_memory=MEMORY))
            print(json.dumps(Outcome(seed, name, outcome, reason[:300])), flush=True)


def _limit_memory() -> None:
    """Address space for what is loaded, what a file may take, and as much again for the allocator's leftovers."""
    loaded = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (loaded + 2 * MEMORY, loaded + 2 * MEMORY))


def outcomes(seeds: list[int]) -> Iterator[Outcome]:
    """Try consecutive runs of ``seeds`` in workers; one that dies or hangs costs its seed, not the run."""
    while seeds:
        count = next((n for n in range(1, len(seeds)) if seeds[n] != seeds[0] + n), len(seeds))
        ended = 0
        for outcome in _worker_outcomes(range(seeds[0], seeds[0] + min(count, LIFE))):
            yield outcome
            ended += 1
        if not ended:
            raise SystemExit("a worker ended before its first file; run with --work to see why")
        seeds = seeds[ended:]


def _worker_outcomes(seeds: range) -> Iterator[Outcome]:
    command = [sys.executable, __file__, "--work", str(seeds.start), str(seeds.stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as worker:
        assert worker.stdout is not None
        begun: tuple[int, str] | None = None
        while True:
            watch = threading.Timer(SECONDS if begun else 10 * SECONDS, worker.kill)
            watch.start()
            line = worker.stdout.readline()
            watch.cancel()
            if not line:
                break
            told = json.loads(line)
            if len(told) == 2:
                begun = tuple(told)
                continue
            begun = None
            yield Outcome(*told)
        if begun is not None:
            code = worker.wait()
            why = f"more than {SECONDS} s" if code == -9 else f"the process ended with {code}"
            yield Outcome(*begun, FAILED, why)


def print_table(results: dict[int, Outcome]) -> None:
    """Outcomes by file, and what failed."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for result in results.values():
        counts[result.file][result.outcome] += 1
        counts["all"][result.outcome] += 1
    print("| file | mutations | read | refused in one line | failed |\n|---|---:|---:|---:|---:|")
    for name in (*valid_files(), "all"):
        count = counts[name]
        print(f"| {name} | {count.total():,} | {count[READ]:,} | {count[REFUSED]:,} | {count[FAILED]:,} |")
    for result in results.values():
        if result.outcome == FAILED:
            print(f"seed {result.seed}, {result.file}: {result.reason}")


def main() -> int:
    """Go on with a range of seeds, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 10_000), metavar=("FROM", "TO"))
    parser.add_argument("--results", type=Path, default=Path("fuzz.jsonl"))
    parser.add_argument("--work", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--show", nargs=2, metavar=("SEED", "FILE"))
    options = parser.parse_args()
    if options.work:
        work(range(*options.work))
        return 0
    if options.show:
        Path(options.show[1]).write_bytes(mutated(int(options.show[0]))[1])
        return 0
    lines = options.results.read_text(encoding="utf-8").splitlines() if options.results.exists() else []
    results = {told[0]: Outcome(*told) for told in map(json.loads, lines)}
    with options.results.open("a", encoding="utf-8") as file:
        for outcome in outcomes([seed for seed in range(*options.seeds) if seed not in results]):
            results[outcome.seed] = outcome
            file.write(json.dumps(outcome) + "\n")
            file.flush()
    wanted = {seed: results[seed] for seed in range(*options.seeds)}
    print_table(wanted)
    return int(any(result.outcome == FAILED for result in wanted.values()))


if __name__ == "__main__":
    sys.exit(main())
