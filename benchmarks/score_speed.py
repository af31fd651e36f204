"""Images a second of `healthygan score`, from PNG files to scores.csv.

    python benchmarks/score_speed.py [--before SRC] [--engines torch openvino onnx] [--cases small maps paper]

The cases are the preset `small` at 64 px without and with overlays, and the paper's generator at 256 px. Every
figure is the median of a few runs, which take turns, in processes of their own; start-up is taken off (a call on one
image). ``--before`` measures another source tree, such as a work tree of an earlier commit, beside this one.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from healthygan import workflow
from healthygan.config import Config, load_config
from healthygan.run import Decision, Run, save_tensors

HERE = Path(__file__).resolve().parents[1] / "src"
CHILD = """
import sys, time
from pathlib import Path
import healthygan.scoring, scipy.stats, matplotlib  # noqa: F401
from healthygan.run import Run
run, pile, output, maps, engine = sys.argv[1:]
more = {} if engine == "torch" else {"engine": engine}
start = time.perf_counter()
healthygan.scoring.score(Run(Path(run)), [Path(pile)], Path(output), overlays=maps == "maps", device="cpu", **more)
print("TOOK", time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    preset: str
    images: int
    maps: bool


CASES = {
    "small": Case("64 px, small", "small", 512, False),
    "maps": Case("64 px, small, with overlays", "small", 512, True),
    "paper": Case("256 px, the paper's generator", "covidx", 12, False),
}


def untrained_run(folder: Path, config: Config) -> Path:
    """A run folder that scores, without the time of a training."""
    run = Run(folder)
    config.save(run.config)
    save_tensors(run.model, workflow.build(config).weights())
    run.save_decision(Decision(iteration=0, rule="untrained", threshold=None, threshold_rule="", map_top=0.1))
    return folder


def write_pile(folder: Path, count: int, side: int) -> Path:
    """PNGs of smooth noise, twice as large as the network's images in either direction."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        pixels = random.integers(0, 256, (side // 4, side // 4), dtype=np.uint8)
        Image.fromarray(pixels).resize((2 * side, 2 * side), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def seconds(source: Path, run: Path, pile: Path, output: Path, maps: bool, engine: str) -> float:
    """Wall time of one call of `score`, imports left out."""
    arguments = [str(run), str(pile), str(output), "maps" if maps else "none", engine]
    environment = os.environ | {"PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], env=environment, check=True, capture_output=True, text=True
    )
    return float(done.stdout.rsplit("TOOK", 1)[1])


def rates(case: Case, ways: dict[str, tuple[Path, str]], repeats: int, folder: Path) -> dict[str, list[float]]:
    """Images a second of each way to score, one figure a repeat."""
    config = load_config(case.preset)
    run = untrained_run(folder / "run", config)
    pile = write_pile(folder / "pile", case.images, config.preprocessing.size)
    one = write_pile(folder / "one", 1, config.preprocessing.size)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for number, (name, (source, engine)) in enumerate(ways.items()):
            output = folder / f"out{repeat}_{number}"
            start = seconds(source, run, one, output / "one", case.maps, engine)
            took = seconds(source, run, pile, output / "pile", case.maps, engine) - start
            found[name].append((case.images - 1) / took)
    return found


def main() -> None:
    """Print the table: medians, and ratios to the first way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="src folder of another version")
    parser.add_argument("--engines", nargs="+", default=["torch"])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    ways = {engine: (HERE, engine) for engine in options.engines}
    if options.before:
        ways = {"before": (options.before, "torch"), **ways}
    print("| case | " + " | ".join(f"{name}, images/s (ratio)" for name in ways) + " |")
    print("|---|" + "---:|" * len(ways))
    for case in (CASES[name] for name in options.cases):
        with tempfile.TemporaryDirectory() as name:
            found = rates(case, ways, options.repeats, Path(name))
        medians = [statistics.median(values) for values in found.values()]
        print(f"| {case.name} | " + " | ".join(f"{m:.2f} ({m / medians[0]:.2f})" for m in medians) + " |", flush=True)


if __name__ == "__main__":
    main()
