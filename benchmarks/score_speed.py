"""Images a second of `healthygan score`, from PNG files to scores.csv.

    python benchmarks/score_speed.py [--before SRC] [--engines torch bf16 openvino onnx] [--cases small maps ...]

The cases are the preset `small` without and with overlays (`maps`), its translation alone at 64 px (`change`), and the
paper's generator at 256 px (`paper`). Every figure is the median of a few runs, which take turns, in processes of their
own; start-up is taken off (a call on one image, after a first one that exports). A second figure counts processor
seconds instead, which other work on the machine hardly changes.
``--before`` measures another source tree, such as a work tree of an earlier commit, beside this one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from healthygan.common.files import write_text
from healthygan.common.run_folder import Decision, Run
from healthygan.common.tensors import save_tensors
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config

FloatArray = NDArray[np.float64]
HERE = Path(__file__).resolve().parents[1] / "src"
CHILD = """
import sys, time
from pathlib import Path
import healthygan.inference.score, scipy.stats, matplotlib  # noqa: F401
from healthygan.common.run_folder import Run
run, pile, output, maps, engine = sys.argv[1:]
more = {"torch": {}, "bf16": {"precision": "bf16"}}.get(engine, {"engine": engine})
start, before = time.perf_counter(), time.process_time()
healthygan.inference.score.score(
    Run(Path(run)), [Path(pile)], Path(output), overlays=maps == "maps", device="cpu", **more
)
print("TOOK", time.perf_counter() - start, time.process_time() - before)
"""


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    preset: str
    images: int
    maps: bool
    settings: tuple[str, ...] = ()


CASES = {
    "small": Case("128 px, small", "small", 1024, False),
    "maps": Case("128 px, small, with overlays", "small", 512, True),
    "change": Case(
        "64 px, small without evidence", "small", 4096, False, ("preprocessing.size=64", "detector.evidence=0")
    ),
    "paper": Case("256 px, the paper's generator", "covidx", 12, False),
}


def untrained_run(folder: Path, case: Case) -> Path:
    """A run folder that scores, without the time of a training."""
    run = Run(folder)
    # The preset's own lines: another version may not know all of this one's fields.
    lines = yaml.safe_load((files("healthygan") / "configs" / f"{case.preset}.yaml").read_text(encoding="utf-8"))
    for setting in case.settings:
        (section, field), value = setting.split("=")[0].split("."), yaml.safe_load(setting.split("=")[1])
        lines[section][field] = value
    write_text(run.config, yaml.safe_dump(lines))
    save_tensors(run.model, workflow.build(load_config(case.preset, case.settings)).state_dict())
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


def seconds(source: Path, run: Path, pile: Path, output: Path, maps: bool, engine: str) -> FloatArray:
    """Wall and processor time of one call of `score`, imports left out."""
    arguments = [str(run), str(pile), str(output), "maps" if maps else "none", engine]
    environment = os.environ | {"PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return np.array(done.stdout.rsplit("TOOK", 1)[1].split(), dtype=float)


def rates(case: Case, ways: dict[str, tuple[Path, str]], repeats: int, folder: Path) -> dict[str, FloatArray]:
    """Images a second, by wall and by processor, of each way to score: the medians of the repeats."""
    config = load_config(case.preset, case.settings)
    run = untrained_run(folder / "run", case)
    pile = write_pile(folder / "pile", case.images, config.preprocessing.size)
    one = write_pile(folder / "one", 1, config.preprocessing.size)
    for number, (source, engine) in enumerate(ways.values()):  # an engine's first use exports to it
        seconds(source, run, one, folder / f"first{number}", case.maps, engine)
    found: dict[str, list[FloatArray]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for number, (name, (source, engine)) in enumerate(ways.items()):
            output = folder / f"out{repeat}_{number}"
            start = seconds(source, run, one, output / "one", case.maps, engine)
            took = seconds(source, run, pile, output / "pile", case.maps, engine) - start
            found[name].append((case.images - 1) / took)
    return {name: np.median(values, axis=0) for name, values in found.items()}


def main() -> None:
    """Print the table: medians, and ratios to the first way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="src folder of another version")
    parser.add_argument("--engines", nargs="+", default=["torch"], help="bf16 is torch's in that precision")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--images", type=int, help="instead of each case's own number")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    ways = {engine: (HERE, engine) for engine in options.engines}
    if options.before:
        ways = {"before": (options.before, "torch"), **ways}
    print("| case | " + " | ".join(f"{name}, images/s (ratio)" for name in ways) + " |")
    print("|---|" + "---:|" * len(ways))
    for case in (CASES[name] for name in options.cases):
        case = replace(case, images=options.images or case.images)
        with tempfile.TemporaryDirectory() as name:
            found = rates(case, ways, options.repeats, Path(name))
        first = next(iter(found.values()))
        for kind, what in enumerate(("wall", "processor")):
            cells = (f"{rate[kind]:.2f} ({rate[kind] / first[kind]:.2f})" for rate in found.values())
            print(f"| {case.name}, {what} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
