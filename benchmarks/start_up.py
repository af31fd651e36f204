"""What a first and a second call cost: loading the package, loading a run, predicting one image, scoring one file.

    python benchmarks/start_up.py RUN IMAGE [--before CHECKOUT]

prints processor seconds of one thread, each the least of three processes; with --before also those of one whole
``healthygan score RUN IMAGE`` by either version, which take turns (RUN must be one that both can read).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = """
import json, sys, tempfile, time
from pathlib import Path
clock, marks = time.process_time, [("process", time.process_time())]
from healthygan import Predictor
marks.append(("loading the package", clock()))
for call in ("first", "second"):
    predictor = Predictor(sys.argv[1], "cpu")
    marks.append((f"loading the run, {call} time", clock()))
for call in ("first", "second"):
    predictor.predict([sys.argv[2]])
    marks.append((f"predicting one image, {call} time", clock()))
print(json.dumps({name: now - before for (_, before), (name, now) in zip(marks, marks[1:])}))
"""


def _environment(source: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(source / "src"), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def steps(run: str, image: str, source: Path) -> dict[str, float]:
    """Seconds of each step, in a process of its own."""
    command = [sys.executable, "-c", STEPS, run, image]
    done = subprocess.run(command, env=_environment(source), check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def score_once(run: str, image: str, source: Path) -> float:
    """Processor seconds of one ``score`` of one image, start to end."""
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "healthygan", "score", run, image, "-o", output, "--device", "cpu"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=_environment(source), check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("image")
    parser.add_argument("--before", type=Path, help="a checkout of the version to compare with")
    options = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    tries = [steps(options.run, options.image, here) for _ in range(3)]
    for name in tries[0]:
        print(f"{name}: {min(one[name] for one in tries):.2f} s")
    sources = {"now": here} | ({"before": options.before} if options.before else {})
    seconds: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(3):
        for name, source in sources.items():
            seconds[name].append(score_once(options.run, options.image, source))
    for name, values in seconds.items():
        print(f"score of one image, {name}: {min(values):.2f} s")


if __name__ == "__main__":
    main()
