"""Share of its time that the training loop waits for batches, at the preset `small`.

    OMP_NUM_THREADS=1 python benchmarks/data_wait.py [--images 2000] [--iterations 400]

The loop is the package's own; the calls that fetch a batch are timed, by the wall clock and by processor time, which
other work on the machine hardly changes. The images are in the system's memory, as in every pass but the first.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from score_speed import FloatArray, write_pile

from healthygan.common.run_folder import Run
from healthygan.data.store import ImageStore
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config
from healthygan.training import loop as training
from healthygan.training.batches import Batch, Batches
from healthygan.training.loop import Training, launch


def clocks() -> FloatArray:
    """Wall and processor seconds."""
    return np.array([time.perf_counter(), time.process_time()])


class TimedBatches(Batches):
    """Counts the time spent in it, from the iteration after the first, which warms up."""

    waited = started = clocks()

    def __call__(self, iteration: int) -> Batch:
        """The batch of ``iteration``."""
        start = clocks()
        batch = super().__call__(iteration)
        if iteration == 1:
            TimedBatches.started, TimedBatches.waited = clocks(), np.zeros(2)
        else:
            TimedBatches.waited = TimedBatches.waited + clocks() - start
        return batch


def measured(iterations: int, warm_up: int, images: int, folder: Path) -> tuple[FloatArray, FloatArray]:
    """Seconds an iteration, and the share of them that went into batches, by either clock."""
    settings = (f"training.iterations={iterations}", f"detector.warm_up={warm_up}", "training.checkpoint_every=100000")
    config = load_config("small", settings)
    files = sorted((folder / "pile").iterdir())
    healthy, mixed = (
        ImageStore.build(part, config.preprocessing, cache=folder / "cache")
        for part in (files[: images // 2], files[images // 2 :])
    )
    detector = workflow.build(config)
    detector.fit(healthy, mixed, Training(config.training, Run(folder / f"run{warm_up}"), launch(config.training)))
    whole = clocks() - TimedBatches.started
    return whole / (iterations - 1), TimedBatches.waited / whole


def main() -> None:
    """Print a line for the warm-up, in which the critic learns alone, and one for the rest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--iterations", type=int, default=400)
    options = parser.parse_args()
    training.Batches = TimedBatches  # type: ignore[misc]
    size = load_config("small").preprocessing.size
    with tempfile.TemporaryDirectory() as name:
        write_pile(Path(name) / "pile", options.images, size)
        for what, warm_up in (("warm-up", options.iterations - 1), ("both networks", 0)):
            seconds, waited = measured(options.iterations, warm_up, options.images, Path(name))
            for clock, each, share in zip(("wall", "processor"), seconds, waited, strict=True):
                print(f"{what}, {clock}: {1000 * each:.1f} ms an iteration, {share:.1%} of it for the batch")


if __name__ == "__main__":
    main()
