"""Time, memory and disk as functions of the number of images, the resolution and the width of the networks.

    OMP_NUM_THREADS=1 python benchmarks/scale.py [--picture docs/scale.png]

Prints the tables and what a million images come to, and draws them. The preset is `small`, scoring with its evidence;
training is that of the translation, by the size of what is translated. PNGs of smooth noise, twice as large as the
network's images in either direction. Times are processor seconds, which other work on the machine hardly changes;
memory is the peak of a process of its own, with the pages of the mapped store that it has touched.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from lightning import Fabric
from matplotlib import pyplot as plt
from reference_step import batch_of, processor_seconds
from score_speed import CASES, untrained_run, write_pile

from healthygan.common.memory import memory_kept
from healthygan.common.run_folder import Run
from healthygan.data.store import ImageStore
from healthygan.detectors.healthygan_plus import HealthyGANPlus
from healthygan.inference.score import score
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config

COUNTS = (250, 1000, 4000)
SIDE = load_config("small").preprocessing.size
SIZES = (32, 64, 128, 256)
WIDTHS = (8, 16, 32)
REPEATS = 5
MILLION = 1_000_000
Row = dict[str, float]


def pile_row(folder: Path, count: int) -> Row:
    """Build a store of ``count`` images at the preset's size and score them: seconds, megabytes."""
    config = load_config("small")
    files = sorted(write_pile(folder / "pile", count, config.preprocessing.size).iterdir())
    run = Run(untrained_run(folder / "run", CASES["small"]))
    start = processor_seconds()
    store = ImageStore.build(files, config.preprocessing, cache=folder / "cache")
    built = processor_seconds()
    score(run, [folder / "pile"], folder / "out", overlays=False, device="cpu")
    scored = processor_seconds()
    return {
        "store_s": built - start,
        "store_MB": sum(path.stat().st_size for path in store.folder.iterdir()) / 1e6,
        "score_s": scored - built,
        "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def step_row(size: int, width: int) -> Row:
    """An iteration of both networks at batch 16: seconds, and peak memory."""
    sides = (f"preprocessing.size={size}", f"detector.resolution={size}")
    settings = (*sides, f"detector.width={width}", f"detector.critic_width={2 * width}", "detector.evidence=0")
    detector = workflow.build(load_config("small", settings))
    assert isinstance(detector, HealthyGANPlus)
    recipe = detector._recipe(Fabric(accelerator="cpu", devices=1))
    batch, first = batch_of(16, 1, size), detector.config.warm_up + 1
    times = []
    with memory_kept():
        for iteration in range(first, first + REPEATS + 1):
            start = processor_seconds()
            recipe.step(iteration, batch)
            times.append(processor_seconds() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"iteration_s": float(np.median(times[1:])), "peak_MB": peak}


def child(*arguments: object) -> Row:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--only", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {name: float(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def table(title: str, rows: dict[str, Row]) -> None:
    """Print rows as Markdown."""
    names = list(next(iter(rows.values())))
    print(f"\n| {title} | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.4g}" for value in row.values()) + " |", flush=True)


def slope(piles: dict[int, Row], name: str) -> float:
    """What one more image adds: between the smallest and the largest number, so that the start drops out."""
    low, high = min(piles), max(piles)
    return (piles[high][name] - piles[low][name]) / (high - low)


def draw(piles: dict[int, Row], sizes: dict[int, Row], widths: dict[int, Row], path: Path) -> None:
    """Three panels."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    for name, label in (
        ("store_s", "store, processor s"),
        ("score_s", "score, processor s"),
        ("store_MB", "store, MB"),
    ):
        left.loglog(list(piles), [row[name] for row in piles.values()], "o-", label=label)
    left.loglog(list(piles), [row["peak_MB"] for row in piles.values()], "s--", label="peak memory, MB")
    panels = (
        (left, piles, f"images ({SIDE} px)"),
        (middle, sizes, "translated, px (width 8)"),
        (right, widths, "width (64 px)"),
    )
    for axes, rows, _ in panels[1:]:
        axes.loglog(list(rows), [1000 * row["iteration_s"] for row in rows.values()], "o-", label="iteration, ms")
        axes.loglog(list(rows), [row["peak_MB"] for row in rows.values()], "s--", label="peak memory, MB")
    for axes, rows, label in panels:
        axes.set(xlabel=label)
        axes.set_xticks(list(rows), [f"{number:,}" for number in rows])
        axes.minorticks_off()
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Print the tables and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="PNG file to draw to")
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        kind, *numbers = options.only
        with tempfile.TemporaryDirectory() as name:
            row = pile_row(Path(name), int(numbers[0])) if kind == "pile" else step_row(*map(int, numbers))
        print(json.dumps(row))
        return
    piles = {count: child("pile", count) for count in COUNTS}
    table(f"images at {SIDE} px", {f"{count:,}": row for count, row in piles.items()})
    sizes = {size: child("step", size, WIDTHS[0]) for size in SIZES}
    table("training at batch 16, width 8", {f"{size} px": row for size, row in sizes.items()})
    widths = {width: child("step", 64, width) for width in WIDTHS}
    table("training at batch 16, 64 px", {f"width {width}": row for width, row in widths.items()})
    each = {name: slope(piles, name) * MILLION for name in ("store_s", "store_MB", "score_s")}
    hours = {name: value / 3600 for name, value in each.items()}
    one_pass = sizes[64]["iteration_s"] * MILLION / 16 / 3600
    print(
        f"\na million images at {SIDE} px: store {hours['store_s']:.2f} core hours, {each['store_MB'] / 1000:.1f} GB; "
        f"scoring {hours['score_s']:.2f} core hours; "
        f"one pass of training {one_pass:.2f} core hours"
    )
    if options.picture:
        draw(piles, sizes, widths, options.picture)


if __name__ == "__main__":
    main()
