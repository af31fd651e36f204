"""Prepare each of the paper's data sets from constructed images of the right names, and train a few iterations.

    python benchmarks/protocol_starts.py WORK [--iterations 2] [--protocols covidx chestxray14 migraine]

Networks, image size and batch are the paper's; only the number of iterations (and of images) is small. One line a
protocol: whether training started from the manifest and what an iteration took.
"""

import argparse
import csv
import subprocess
import sys
import time
import zlib
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from healthygan.data.datasets.covidx import official_sources

PART = 24
"""Images a split."""


def main() -> None:
    """Print one line a protocol."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="an empty folder")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--protocols", nargs="+", default=list(MAKERS), choices=list(MAKERS))
    parser.add_argument("--set", action="append", default=[], help="as in train, where memory is short")
    options = parser.parse_args()
    print("| protocol | images prepared | prepare, s | train, s an iteration |\n|---|---:|---:|---:|")
    for protocol in options.protocols:
        place = options.work / protocol
        arguments, manifest = MAKERS[protocol](place)
        prepared = run("prepare", protocol, *arguments)
        shorten_list = (f"training.{name}={options.iterations}" for name in ("iterations", "decay_iterations"))
        settings = [part for text in (*options.set, *shorten_list) for part in ("--set", text)]
        trained = run("train", manifest, "--config", protocol, "--run", place / "run", *settings)
        with manifest.open(encoding="utf-8") as file:
            images = sum(1 for _ in file) - 1
        print(f"| {protocol} | {images:,} | {prepared:.1f} | {trained / options.iterations:.1f} |", flush=True)


def run(*arguments: object) -> float:
    """Seconds that a command took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "healthygan", *map(str, arguments)], check=True, stdout=sys.stderr)
    return time.perf_counter() - start


def covidx(place: Path) -> tuple[list[object], Path]:
    """The real names of the official split, a few images of each split."""
    (place / "images").mkdir(parents=True)
    (place / "lists").mkdir()
    lines: dict[str, list[str]] = {"train": [], "test": []}
    made: dict[tuple[str, str], int] = {}
    for name, (split, label, source) in official_sources().items():
        words = (Path(name).stem, name, "positive" if label == "diseased" else "negative", source)
        lines["test" if split == "test" else "train"].append(" ".join(words))
        made[split, label] = made.get((split, label), 0) + 1
        if made[split, label] <= PART:
            picture(place / "images" / name)
    spare = [
        f"spare{number} spare{number}.png {'negative' if number % 2 else 'positive'} cohen" for number in range(200)
    ]
    lines["train"] += spare
    for part, rows in lines.items():
        (place / "lists" / f"{part}_COVIDx7B.txt").write_text("\n".join(rows) + "\n")
    manifest = place / "manifest.csv"
    return ["--images", place / "images", "--lists", place / "lists", "--allow-missing", "-o", manifest], manifest


def chestxray14(place: Path) -> tuple[list[object], Path]:
    """A table of the published structure with as many images."""
    (place / "images_001").mkdir(parents=True)
    header = (
        "Image Index",
        "Finding Labels",
        "Follow-up #",
        "Patient ID",
        "Patient Age",
        "Patient Gender",
        "View Position",
    )
    with (place / "Data_Entry_2017_v2020.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for patient in range(1, 5 * PART + 1):
            for follow_up in range(2):
                finding = "No Finding" if (patient + follow_up) % 2 else "Effusion"
                name = f"{patient:08d}_{follow_up:03d}.png"
                writer.writerow((name, finding, follow_up, patient, 50, "F", "PA"))
                picture(place / "images_001" / name)
    manifest = place / "manifest.csv"
    counts = [f"healthy={PART}", f"mixed={PART}+{PART}", "validation=8+8", "test=8+8"]
    table = place / "Data_Entry_2017_v2020.csv"
    return ["--metadata", table, "--images", place / "images_001", "--counts", *counts, "-o", manifest], manifest


def migraine(place: Path) -> tuple[list[object], Path]:
    """Small volumes named as IXI's, and others in healthy/ and diseased/."""
    folders = {"healthy": 6, "mixed/healthy": 2, "mixed/diseased": 2, "validation/healthy": 1, "validation/diseased": 1}
    number = 0
    for folder, people in (folders | {"test/healthy": 1, "test/diseased": 1}).items():
        for _ in range(people):
            number += 1
            name = f"IXI{number:03d}-Guys-{number:04d}-T1" if folder == "healthy" else f"p{number:03d}"
            target = place / "volumes" / folder / f"{name}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng(number)
            voxels = random.integers(0, 1000, (48, 56, 40)).astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.2, 1.0, 1.0, 1.0])), target)
    parts = [
        part
        for split in ("healthy", "mixed", "validation", "test")
        for part in (f"--{split}", place / "volumes" / split)
    ]
    return [*parts, "-o", place / "slices"], place / "slices" / "manifest.csv"


def picture(path: Path) -> None:
    """Grey noise, 320 x 300, another for each name: the same bytes in two splits would be refused."""
    pixels = np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 255, (300, 320), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


MAKERS = {"covidx": covidx, "chestxray14": chestxray14, "migraine": migraine}

if __name__ == "__main__":
    main()
