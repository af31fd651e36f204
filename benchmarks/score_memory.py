"""Peak memory of `healthygan score` on few and on many small PNGs: it must not grow with the pile.

    python benchmarks/score_memory.py [RUN]

Without RUN a small untrained model is used: memory does not depend on the weights' values.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from healthygan.common.run_folder import Decision, Run
from healthygan.common.tensors import save_tensors
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config

PILES = (1_000, 20_000)
LIMIT_MB = 300
SIDE = 64


def untrained_run(folder: Path) -> Path:
    """A run folder that scores, without the time of a training."""
    run, config = Run(folder), load_config("small")
    config.save(run.config)
    save_tensors(run.model, workflow.build(config).state_dict())
    run.save_decision(Decision(iteration=0, rule="untrained", threshold=None, threshold_rule="", map_top=0.1))
    return folder


def write_pile(folder: Path, count: int) -> Path:
    """``count`` PNGs of noise."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        pixels = random.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png", compress_level=0)
    return folder


def peak_mb(run: Path, pile: Path, output: Path) -> float:
    """Greatest resident memory of the process that scores, in MB."""
    code = (
        "import resource, sys; from healthygan.cli.main import main; "
        "code = main(sys.argv[1:]); "
        "print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "score", str(run), str(pile), "-o", str(output)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.rsplit("PEAK", 1)[1])


def main() -> int:
    """Print the table; 1 if memory grew by more than the limit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = Path(sys.argv[1]) if len(sys.argv) > 1 else untrained_run(folder / "run")
        peaks = {count: peak_mb(run, write_pile(folder / str(count), count), folder / f"out{count}") for count in PILES}
    print("| images | peak memory, MB |\n|---:|---:|")
    for count, peak in peaks.items():
        print(f"| {count:,} | {peak:.0f} |")
    grown = peaks[PILES[1]] - peaks[PILES[0]]
    print(f"grew by {grown:.0f} MB, limit {LIMIT_MB} MB")
    return int(grown > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
