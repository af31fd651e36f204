"""Near-duplicates: what is found on real cohorts, recall on copies made anew, and time for many images.

python benchmarks/near_duplicates.py pairs COHORT... --sheets DIR   nearest pairs, and a sheet of them to look at
python benchmarks/near_duplicates.py recall COHORT...               share of copies found, by the way they were made
python benchmarks/near_duplicates.py time --images 100000           seconds a stage, on generated thumbnails
"""

import argparse
import io
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from healthygan.data.cohort import Cohort, load_cohort
from healthygan.data.near_duplicates import (
    SIDE,
    UNEXPLAINED,
    find_likenesses,
    make_thumbnails,
    near_pairs,
    unexplained_shares,
)

PAIRS_DRAWN = 24
COPIED = 150
"""Images of each cohort that recall is measured on."""
Pixels = NDArray[np.uint8]


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pairs", "recall", "time"))
    parser.add_argument("cohorts", type=Path, nargs="*")
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--work", type=Path, default=Path("runs/near_duplicates"))
    options = parser.parse_args()
    if options.what == "time":
        measure_time(options.images)
    for location in options.cohorts:
        if options.what == "pairs":
            show_pairs(load_cohort(location), options.sheets)
        else:
            measure_recall(load_cohort(location), options.work)


def show_pairs(cohort: Cohort, sheets: Path | None) -> None:
    """The nearest pairs of different (or unknown) patients, found or not."""
    paths = [image.path for image in cohort.images]
    thumbnails = make_thumbnails(paths)
    pairs = near_pairs(thumbnails, [image.patient_id for image in cohort.images])
    shares = unexplained_shares(thumbnails, pairs)
    order = np.argsort(shares)
    found = int((shares <= UNEXPLAINED).sum())
    gap = [round(float(share), 3) for share in shares[order][max(found - 1, 0) : found + 1]]
    print(f"{cohort.name}: {len(paths)} images, {len(pairs)} pairs aligned, {found} found; last found, next: {gap}")
    for first, second in pairs[order[:found]]:
        one, other = cohort.images[first], cohort.images[second]
        print(f"  {one.path.name} ({one.split}) = {other.path.name} ({other.split})")
    if sheets is not None:
        draw_pairs(paths, pairs[order[:PAIRS_DRAWN]], shares[order], sheets / f"{cohort.name}.png")


def draw_pairs(paths: list[Path], pairs: NDArray[np.int64], shares: NDArray[np.float64], target: Path) -> None:
    """One column a pair, the nearest first, with its unexplained share."""
    columns = 8
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(2 * columns, 4.3 * rows))
    for number, pair in enumerate(pairs):
        for half, image in enumerate(pair):
            place = (number // columns * 2 + half) * columns + number % columns + 1
            axes = figure.add_subplot(2 * rows, columns, place)
            axes.imshow(Image.open(paths[image]).convert("L").resize((256, 256)), cmap="gray", vmin=0, vmax=255)
            axes.set_title(f"{shares[number]:.3f} {paths[image].name[-16:]}", size=7)
            axes.set_axis_off()
    figure.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=70)


def measure_recall(cohort: Cohort, work: Path) -> None:
    """Copies of some images among all of them, and how many are found; a way of copying a line."""
    paths = [image.path for image in cohort.images]
    chosen = np.random.default_rng(0).permutation(len(paths))[:COPIED]
    for way, make in WAYS.items():
        folder = work / cohort.name / way.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        copies = []
        for number in chosen:
            copies.append(folder / f"{number}.{'jpg' if way.startswith('JPEG') or way == 'all' else 'png'}")
            copies[-1].write_bytes(make(Image.open(paths[number]).convert("L")))
        likenesses = find_likenesses([*paths, *copies], [None] * (len(paths) + len(copies)), cache=work / "cache")
        found = {(each.first, each.second) for each in likenesses}
        hits = sum((int(number), len(paths) + place) in found for place, number in enumerate(chosen))
        others = {(one, other) for one, other in found if other >= len(paths) and one != chosen[other - len(paths)]}
        print(f"{cohort.name}, {way}: {hits} of {len(chosen)} found; further pairs with copies: {len(others)}")


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    """A file's bytes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(quality: int) -> Callable[[Image.Image], bytes]:
    """Encoded anew."""
    return lambda image: encoded(image, "JPEG", quality=quality)


def resized(image: Image.Image, factor: float) -> Image.Image:
    """Larger or smaller."""
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def brighter(image: Image.Image, factor: float) -> Image.Image:
    """Cut off at white."""
    return Image.fromarray((np.asarray(image, np.float32) * factor).clip(0, 255).astype(np.uint8))


def cropped(image: Image.Image, sides: int = 4) -> Image.Image:
    """1 % of the longer side, off two sides or all four."""
    width, height = image.size
    edge = max(1, round(0.01 * max(width, height)))
    far = edge if sides == 4 else 0
    return image.crop((edge, edge, width - far, height - far))


WAYS: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG 60": jpeg(60),
    "JPEG 80": jpeg(80),
    "JPEG 95": jpeg(95),
    "half size": lambda image: encoded(resized(image, 0.5)),
    "double size": lambda image: encoded(resized(image, 2)),
    "5 % brighter": lambda image: encoded(brighter(image, 1.05)),
    "5 % darker": lambda image: encoded(brighter(image, 0.95)),
    "crop 1 % of 2 sides": lambda image: encoded(cropped(image, 2)),
    "crop 1 % of 4 sides": lambda image: encoded(cropped(image)),
    "all": lambda image: encoded(brighter(resized(cropped(image, 2), 0.5), 1.05), "JPEG", quality=60),
}
"""How copies are made."""


def generated(count: int) -> Pixels:
    """Thumbnails alike as X-rays are: one bright shape, varied, and a texture of its own in each; 1 % made anew."""
    generator = np.random.default_rng(0)
    place = np.linspace(-1, 1, SIDE, dtype=np.float32)
    thumbnails = np.empty((count, SIDE, SIDE), np.uint8)
    for start in range(0, count, 1000):
        size = min(1000, count - start)
        width = generator.uniform(1.2, 2.8, (size, 2, 1, 1)).astype(np.float32)
        shape = np.exp(-(width[:, 0] * place[:, None] ** 2 + width[:, 1] * place[None, :] ** 2))
        texture = gaussian_filter(generator.normal(size=(size, SIDE, SIDE)).astype(np.float32), (0, 3, 3))
        texture /= texture.std(axis=(1, 2), keepdims=True)
        thumbnails[start : start + size] = (30 + 160 * shape + 20 * texture).clip(0, 255)
    copies = count // 100
    noise = generator.normal(0, 2, (copies, SIDE, SIDE))
    thumbnails[-copies:] = (thumbnails[:copies] * 0.97 + noise).clip(0, 255)
    return thumbnails


class Clock:
    """Runs from its making until it is printed."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def __str__(self) -> str:
        wall, processor = time.perf_counter() - self.wall, time.process_time() - self.processor
        return f"{wall:.0f} s, processor {processor:.0f} s"


def measure_time(count: int) -> None:
    """Wall and processor seconds of each stage after decoding, and the memory at the end."""
    thumbnails = generated(count)
    clock = Clock()
    pairs = near_pairs(thumbnails, [None] * count)
    print(f"comparing {count:,} images: {clock}")
    clock = Clock()
    shares = unexplained_shares(thumbnails, pairs)
    print(f"aligning {len(pairs):,} pairs: {clock}")
    found = pairs[shares <= UNEXPLAINED]
    copies = count // 100
    right = int(((found[:, 1] - found[:, 0] == count - copies) & (found[:, 0] < copies)).sum())
    print(f"copies found: {right} of {copies}; other pairs: {len(found) - right}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
