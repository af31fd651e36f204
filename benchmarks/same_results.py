"""Whether another version of the source gives the same models and the same scores: what moving code must not change.

Short trainings of five detectors on phantoms, one thread, then scores of the test images; of either version.

    git worktree add ../before REVISION
    python benchmarks/same_results.py ../before OUT [--detectors healthygan,padim]

prints for each detector how many tensors of model.pt are equal bit for bit, the largest difference, and whether
scores.csv has the same bytes. What is renamed in a model file since REVISION stands in RENAMED. Exit code 1 where
anything differs.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from healthygan.common.tensors import load_tensors
from healthygan.data.datasets.phantoms.generate import write_cohort

SHORT = [
    "training.iterations=12",
    "training.checkpoint_every=6",
    "training.decay_iterations=4",
    "training.batch_size=4",
]
SMALL = ["preprocessing.size=64", "training.device=cpu"]
DETECTORS = {
    "healthygan": [
        *("--preset", "covidx", *SHORT, *SMALL),
        *("preprocessing.channels=1", "detector.width=8", "detector.discriminator_blocks=4"),
    ],
    "healthygan+": ["--preset", "small", *SHORT, *SMALL, "detector.warm_up=4"],
    "contrast": ["--preset", "contrast", *SMALL],
    "ganomaly": ["--preset", "ganomaly", *SHORT, *SMALL, "detector.width=8"],
    "padim": ["--preset", "padim", *SMALL],
}
RENAMED = {"told": "contrast_weight", "contrast.told": "contrast.contrast_weight"}
"""Names in model files of before the packages, and now."""


def cohort_of(folder: Path) -> Path:
    """Phantoms of the chest, 64 px: generated once, for both versions."""
    return write_cohort(
        folder / "chest", "chest", 64, healthy=60, mixed=(20, 20), validation=(6, 6), test=(10, 10), seed=0
    )


def results_of(source: Path, name: str, cohort: Path, output: Path) -> None:
    """Train one detector and score the cohort with the package in ``source``."""
    shutil.rmtree(output, ignore_errors=True)
    preset, settings = DETECTORS[name][:2], DETECTORS[name][2:]
    sets = [part for setting in settings for part in ("--set", setting)]
    environment = os.environ | {
        "PYTHONPATH": str(source / "src"),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "HEALTHYGAN_CACHE": str(output / "cache"),
    }
    run, images, scores = (str(place) for place in (output / "run", cohort.parent / "images", output / "scores"))
    for arguments in (
        ["train", str(cohort), "--run", run, *preset, *sets],
        ["score", run, images, "-o", scores, "--no-maps", "--device", "cpu"],
    ):
        command = [sys.executable, "-m", "healthygan", *arguments]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, cwd=output.parent)


def compare(before: Path, after: Path) -> tuple[str, bool]:
    """One line on what differs between two outputs, and whether nothing does."""
    old = {RENAMED.get(name, name): part for name, part in load_tensors(before / "run" / "model.pt").items()}
    new = load_tensors(after / "run" / "model.pt")
    if {*old} != {*new}:
        return f"other tensors: {sorted({*old} ^ {*new})[:5]}", False
    equal = sum(torch.equal(old[name], new[name]) for name in old)
    apart = max(float((old[name].double() - new[name].double()).abs().max()) for name in old)
    tables = [(place / "scores" / "scores.csv").read_bytes() for place in (before, after)]
    rows = tables[0].count(b"\n") - 1
    same = "the same bytes" if tables[0] == tables[1] else "other bytes"
    line = f"{equal} of {len(old)} tensors equal, largest difference {apart:g}; scores.csv of {rows} images: {same}"
    return line, equal == len(old) and tables[0] == tables[1]


def main() -> int:
    """Run both versions and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of the version to compare with")
    parser.add_argument("output", type=Path, help="folder for cohort, runs and scores")
    parser.add_argument("--detectors", default=",".join(DETECTORS))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    output, here = options.output.resolve(), Path(__file__).resolve().parents[1]
    cohort = cohort_of(output)
    same = True
    for name in options.detectors.split(","):
        places = {side: output / name / side for side in ("before", "after")}
        for side, source in (("before", options.before.resolve()), ("after", here)):
            places[side].parent.mkdir(parents=True, exist_ok=True)
            results_of(source, name, cohort, places[side])
        line, alike = compare(places["before"], places["after"])
        same &= alike
        print(f"{name}: {line}", flush=True)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
