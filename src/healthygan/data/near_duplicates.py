"""Images that show the same picture in other bytes: encoded anew, resized, a little brighter, a little cropped.

Three steps, so that a hundred thousand images take minutes. Each file is decoded once, to a thumbnail. Thumbnails
are compared all with all by a short descriptor: the lower frequencies of their discrete cosine transform, each
weighted by its frequency, since images of one kind (chest X-rays) are alike in the lowest and differ above them. The
few pairs that come near are aligned (contrast, shift and scale along both axes, by least squares on the image's
gradients: Lucas and Kanade 1981) and judged by the share of the picture that stays unexplained.
"""

import filecmp
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from scipy.fft import dctn
from scipy.ndimage import affine_transform, gaussian_filter

from healthygan.common.batching import in_batches
from healthygan.common.errors import InputError, UnreadableImage
from healthygan.common.files import write_json
from healthygan.common.processors import usable_cores
from healthygan.common.progress import Progress, silent
from healthygan.data.cohort import Cohort, CohortImage
from healthygan.data.file_hashes import default_cache
from healthygan.data.readers.base import DEFAULTS, DecodedImage, ReaderOptions
from healthygan.data.readers.reading import probe, read_frames

SIDE = 64
"""Pixels of a thumbnail, along either axis."""
FREQUENCIES = 16
"""Of the cosine transform, along either axis, that the descriptor holds."""
NEAR = 0.76
"""Cosine of two descriptors from which a pair is aligned. Of copies cropped by 1 %, hard-edged heads come lowest."""
NEIGHBOURS = 5
"""The most pairs that are aligned for one image."""
UNEXPLAINED = 0.03
"""Share of the weighted variance up to which a pair is one picture.

Copies encoded anew, resized, cropped by 1 % or made brighter stay below 0.026. Chest X-rays of different patients have
0.1 and more, brain slices 0.04 and more (benchmarks/README.md).
"""
FLAT = 1.0
"""Standard deviation, in 1/255 of the range, below which a thumbnail shows nothing to tell images apart by."""
FRAME = 1 / 21
"""Share of a side left out along each edge where aligned images are judged: a crop has other ones."""
MOST_SHIFT = 0.05
"""Of a side, that the alignment may move an image."""
MOST_SCALE = 0.06
"""That the alignment may enlarge or shrink an image by."""
BLOCK = 2048
"""Descriptors compared at a time with as many others: 16 MB."""
COARSE_ROUNDS, FINE_ROUNDS = 2, 4
"""Of the alignment, at half and at full size."""
PROMISING = 0.1
"""Unexplained share at half the size up to which a pair is aligned at full size."""
PAIRS = 128
"""Aligned at a time."""
RIDGE = 1e-6
"""Added to the least squares' diagonal, relative to it: an image without edges has no gradients."""
SMALLEST_GAIN = 0.1
"""Of contrast, below which a shift cannot be told."""
SUFFICIENT = 2 * SIDE
"""Pixels a side that a thumbnail is made from where a file can be decoded at a reduced size."""
VERSION = 1
"""Raised when the same files would give other pairs, so that what was kept is not reused."""

Thumbnails = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two images of a list, by their numbers, that show one picture."""

    first: int
    second: int
    unexplained: float
    """Share of the weighted variance that differs, 0 to ``UNEXPLAINED``."""
    same_pixels: bool
    """Decoded in full, all pixels are equal."""


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Two images of a cohort that show one picture in other bytes."""

    first: CohortImage
    second: CohortImage
    same_pixels: bool
    """The encoding alone differs: PNG and TIFF of one image, say."""


def near_duplicates(
    cohort: Cohort, options: ReaderOptions = DEFAULTS, progress: Progress = silent
) -> tuple[NearDuplicate, ...]:
    """What a cohort holds twice in other bytes; files with the same bytes are left to ``checks.same_bytes``."""
    images = cohort.images
    patients = [image.patient_id for image in images]
    likenesses = find_likenesses([image.path for image in images], patients, options, progress=progress)
    return tuple(
        NearDuplicate(images[each.first], images[each.second], each.same_pixels)
        for each in likenesses
        if not _same_bytes(images[each.first].path, images[each.second].path)
    )


def find_likenesses(
    paths: Sequence[Path],
    patients: Sequence[str | None],
    options: ReaderOptions = DEFAULTS,
    *,
    cache: Path | None = None,
    progress: Progress = silent,
) -> list[Likeness]:
    """Pairs of images that show one picture, in order; files with the same bytes are among them.

    Two images of one patient are no pair: neighbouring slices may well be alike. Of files with several frames the
    middle one counts; what cannot be read, or shows one grey, has no pair. Memory grows by 5 kB an image.
    What was found is kept, and reused while names, sizes and times of all files stay.

    Args:
        paths: image files.
        patients: of each path; ``None`` where unknown.
        options: how files are read.
        cache: where results are kept; by default the folder of all image stores.
        progress: shows how far it is.

    Raises:
        ValueError: there are not as many patients as paths.
    """
    if len(paths) != len(patients):
        raise ValueError(f"{len(patients)} patients for {len(paths)} paths; give one each")
    kept = (cache or default_cache()) / "near_duplicates" / f"{_key(paths, patients, options)}.json"
    if (known := _load(kept)) is not None:
        return known
    thumbnails = make_thumbnails(paths, options, progress)
    pairs = near_pairs(thumbnails, patients, progress)
    unexplained = unexplained_shares(thumbnails, pairs, progress)
    likenesses = [
        Likeness(int(first), int(second), float(share), _same_pixels(paths[first], paths[second], options))
        for (first, second), share in zip(pairs, unexplained, strict=True)
        if share <= UNEXPLAINED
    ]
    _save(kept, likenesses)
    return likenesses


def make_thumbnails(
    paths: Sequence[Path], options: ReaderOptions = DEFAULTS, progress: Progress = silent
) -> Thumbnails:
    """The middle frame of each file, n x 64 x 64, in grey and stretched to 0 to 255; zeros where there is none."""
    thumbnails = np.zeros((len(paths), SIDE, SIDE), np.uint8)

    def make(number: int) -> None:
        thumbnails[number] = _thumbnail(paths[number], options)

    with ThreadPoolExecutor(usable_cores()) as pool, progress("thumbnails", len(paths)) as advance:
        for _ in pool.map(make, range(len(paths))):
            advance()
    return thumbnails


def near_pairs(
    thumbnails: Thumbnails, patients: Sequence[str | None], progress: Progress = silent
) -> NDArray[np.int64]:
    """Pairs of numbers, m x 2, first < second, whose descriptors are near; at most ``NEIGHBOURS`` a first one.

    All are compared with all, by products of matrices in blocks.
    """
    descriptors = _descriptors(thumbnails)
    shown = np.flatnonzero(descriptors.any(axis=1))
    descriptors = descriptors[shown]
    owners = _owners(patients)[shown]
    starts = range(0, len(shown), BLOCK)
    pairs = [np.empty((0, 2), np.int64)]
    with progress("comparing images", len(starts)) as advance:
        for start in starts:
            pairs.append(shown[_nearest_later(descriptors, owners, start)])
            advance()
    return np.concatenate(pairs)


def unexplained_shares(
    thumbnails: Thumbnails, pairs: NDArray[np.int64], progress: Progress = silent
) -> NDArray[np.float64]:
    """Of each pair, the share of the second image's weighted variance that the aligned first does not explain.

    Pairs that differ at half the size are not aligned at full size.
    """
    shares = np.ones(len(pairs))
    batches = list(in_batches(len(pairs), PAIRS))

    def judge(batch: NDArray[np.int64]) -> None:
        first, second = (thumbnails[pairs[batch, side]].astype(np.float32) for side in (0, 1))
        coarse = _align(_halved(first), _halved(second), COARSE_ROUNDS)
        shares[batch] = coarse
        near = coarse < PROMISING
        if near.any():
            shares[batch[near]] = _align(first[near], second[near], FINE_ROUNDS)

    with ThreadPoolExecutor(usable_cores()) as pool, progress("aligning images", len(batches)) as advance:
        for _ in pool.map(judge, batches):
            advance()
    return shares


def _thumbnail(path: Path, options: ReaderOptions) -> Thumbnails:
    try:
        frame = _middle_frame(path, options, SUFFICIENT)
    except (InputError, MemoryError):
        return np.zeros((SIDE, SIDE), np.uint8)
    grey = Image.fromarray(_grey(frame)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return _stretched(np.asarray(grey))


def _middle_frame(path: Path, options: ReaderOptions, sufficient: int = 0) -> DecodedImage:
    middle = len(probe(path, options).frames) // 2
    frame = next(islice(read_frames(path, options, sufficient), middle, None), None)
    if frame is None:
        raise UnreadableImage(f"{path}: holds no image; leave it out")
    return frame


def _grey(frame: DecodedImage) -> Floats:
    """H x W, black 0 and white 255."""
    pixels = np.nan_to_num((frame.pixels.astype(np.float64) - frame.low) / (frame.high - frame.low)).clip(0, 1)
    return np.asarray(255 * (pixels if pixels.ndim == 2 else pixels.mean(axis=2)), np.float32)


def _stretched(grey: Floats) -> Thumbnails:
    if grey.std() < FLAT:
        return np.zeros(grey.shape, np.uint8)
    return np.asarray((grey - grey.min()) * (255 / np.ptp(grey)) + 0.5, np.uint8)


def _spectrum(planes: Floats, frequencies: int) -> Floats:
    """n x ... x H x W to n x ... x (frequencies squared - 1): the mean is left out, the rest weighted by frequency."""
    axis = np.arange(frequencies, dtype=np.float32)
    weights = np.hypot(axis[:, None], axis[None, :])
    spectrum = dctn(planes, axes=(-2, -1), norm="ortho")[..., :frequencies, :frequencies] * weights
    return np.asarray(spectrum.reshape(*planes.shape[:-2], -1)[..., 1:], np.float32)


def _descriptors(thumbnails: Thumbnails) -> Floats:
    """n x 255, of length 1; zeros where nothing is shown."""
    descriptors = np.empty((len(thumbnails), FREQUENCIES**2 - 1), np.float32)
    for batch in in_batches(len(thumbnails), BLOCK):
        descriptors[batch] = _spectrum(thumbnails[batch].astype(np.float32), FREQUENCIES)
    lengths = np.linalg.norm(descriptors, axis=1, keepdims=True)
    descriptors /= np.where(lengths > 0, lengths, 1)
    return descriptors


def _owners(patients: Sequence[str | None]) -> NDArray[np.int64]:
    """A number a patient; images without one are on their own."""
    numbers: dict[str, int] = {}
    return np.array(
        [
            -number - 1 if patient is None else numbers.setdefault(patient, len(numbers))
            for number, patient in enumerate(patients)
        ],
        dtype=np.int64,
    )


def _nearest_later(descriptors: Floats, owners: NDArray[np.int64], start: int) -> NDArray[np.int64]:
    """Pairs of those in the block that begins at ``start`` with any that come later."""
    block = slice(start, start + BLOCK)
    near: list[NDArray[np.float64]] = [np.empty((0, 3))]
    for other in range(start, len(descriptors), BLOCK):
        cosines = descriptors[block] @ descriptors[other : other + BLOCK].T
        rows, columns = np.nonzero(cosines >= NEAR)
        first, second = rows + start, columns + other
        wanted = (first < second) & (owners[first] != owners[second])
        cosine = cosines[rows[wanted], columns[wanted]]
        near = [_nearest(np.concatenate([*near, np.column_stack([first[wanted], second[wanted], cosine])]))]
    return near[0][:, :2].astype(np.int64)


def _nearest(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of rows (first, second, cosine) the ``NEIGHBOURS`` nearest of each first."""
    pairs = pairs[np.lexsort((pairs[:, 1], -pairs[:, 2], pairs[:, 0]))]
    _, begins, counts = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    rank = np.arange(len(pairs)) - np.repeat(begins, counts)
    return pairs[rank < NEIGHBOURS]


def _align(first: Floats, second: Floats, rounds: int) -> NDArray[np.float64]:
    """The least unexplained share of each of n pairs (n x side x side each) over the rounds of the alignment."""
    first, second = (gaussian_filter(planes, (0, 1, 1)) for planes in (first, second))
    target = _inner_spectrum(second)
    power = np.maximum((target**2).sum(axis=1, dtype=np.float64), np.finfo(np.float64).tiny)
    least = np.ones(len(first))
    scale, shift = np.ones((len(first), 2)), np.zeros((len(first), 2))
    most_shift = MOST_SHIFT * first.shape[1]
    for number in range(rounds):
        moved = first if number == 0 else np.stack([_moved(*each) for each in zip(first, scale, shift, strict=True)])
        solution, explained = _least_squares(_inner_spectrum(_terms(moved)), target)
        least = np.minimum(least, (1 - explained / power).clip(0, 1))
        gain = np.where(np.abs(solution[:, :1]) > SMALLEST_GAIN, solution[:, :1], 1)
        shift = (shift + solution[:, 1:3] / gain).clip(-most_shift, most_shift)
        scale = (scale + solution[:, 3:5] / gain).clip(1 - MOST_SCALE, 1 + MOST_SCALE)
    return least


def _halved(planes: Floats) -> Floats:
    count, height, width = planes.shape
    return np.asarray(planes.reshape(count, height // 2, 2, width // 2, 2).mean(axis=(2, 4)), np.float32)


def _terms(planes: Floats) -> Floats:
    """n x 5 x side x side: the image, and what a small shift and a small scaling along either axis add to it."""
    side = planes.shape[1]
    centred = np.arange(side, dtype=np.float32) - (side - 1) / 2
    down, right = np.gradient(planes, axis=(1, 2))
    return np.stack([planes, down, right, down * centred[:, None], right * centred[None, :]], axis=1, dtype=np.float32)


def _inner_spectrum(planes: Floats) -> Floats:
    side = planes.shape[-1]
    frame = round(FRAME * side)
    return _spectrum(planes[..., frame : side - frame, frame : side - frame], side * 7 // 16)


def _least_squares(terms: Floats, target: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients (n x 5) of the terms (n x 5 x d) nearest to the targets (n x d), and the power explained (n,)."""
    gram = (terms @ terms.transpose(0, 2, 1)).astype(np.float64)
    products = (terms @ target[:, :, None])[:, :, 0].astype(np.float64)
    ridge = RIDGE * np.einsum("nii->ni", gram)[:, :, None] * np.eye(terms.shape[1]) + np.eye(terms.shape[1]) * RIDGE
    solution = np.linalg.solve(gram + ridge, products[:, :, None])[:, :, 0]
    return solution, 2 * (solution * products).sum(axis=1) - np.einsum("ni,nij,nj->n", solution, gram, solution)


def _moved(plane: Floats, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> Floats:
    """A plane read at ``scale`` times each place, from the centre, plus ``shift`` pixels (down, right)."""
    centre = (len(plane) - 1) / 2
    return np.asarray(affine_transform(plane, scale, centre - scale * centre + shift, order=1, mode="nearest"))


def _same_pixels(one: Path, other: Path, options: ReaderOptions) -> bool:
    first, second = (_middle_frame(path, options) for path in (one, other))
    return first.pixels.shape == second.pixels.shape and bool(np.array_equal(first.pixels, second.pixels))


def _same_bytes(one: Path, other: Path) -> bool:
    return filecmp.cmp(one, other, shallow=False)


def _key(paths: Sequence[Path], patients: Sequence[str | None], options: ReaderOptions) -> str:
    digest = hashlib.blake2b(f"{VERSION} {options.model_dump_json()}".encode(), digest_size=16)
    for path, patient in zip(paths, patients, strict=True):
        digest.update(f"{path}\0{_state(path)}\0{patient!r}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _state(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:
        return "none"
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"


def _load(kept: Path) -> list[Likeness] | None:
    try:
        return TypeAdapter(list[Likeness]).validate_json(kept.read_bytes())
    except (OSError, ValidationError):
        return None


def _save(kept: Path, likenesses: Sequence[Likeness]) -> None:
    with suppress(InputError):  # what cannot be kept is found again
        write_json(kept, [asdict(likeness) for likeness in likenesses])
