"""Peak memory of a pair of training iterations, the reference's beside the package's; each in a process of its own.

    python benchmarks/step_memory.py [--size 256] [--batch 2] [--preset covidx]

Peak resident memory as the system counts it, with what the process holds before the first iteration (libraries,
weights) told apart.
"""

import argparse
import resource
import subprocess
import sys
from contextlib import nullcontext

import torch
from reference_step import ReferenceStep, batch_of, fast_step, networks

from healthygan.common.memory import memory_kept
from healthygan.detectors.healthygan import HealthyGANConfig
from healthygan.runs.config import load_config

STEPS = {"reference": torch.float32, "fast": torch.float32, "bf16": torch.bfloat16}


def peak() -> float:
    """Megabytes so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, preset: str, size: int, count: int) -> None:
    """Do a few iterations; print the peak before and after."""
    config = load_config(preset)
    assert isinstance(config.detector, HealthyGANConfig)
    channels = config.preprocessing.channels
    step = (
        ReferenceStep(config.detector, *networks(config.detector, channels, torch.float32))
        if name == "reference"
        else fast_step(config.detector, channels, STEPS[name])
    )
    batch = batch_of(count, channels, size)
    before = peak()
    with nullcontext() if name == "reference" else memory_kept():
        for iteration in range(1, 5):
            step.step(iteration, batch)
    print("PEAK", before, peak())


def main() -> None:
    """Print a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="covidx")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--only", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure(options.only, options.preset, options.size, options.batch)
        return
    print(f"{options.preset}, {options.size} px, batch {options.batch}: peak MB (before the first iteration), ratio")
    first = 0.0
    for name in STEPS:
        done = subprocess.run(
            [sys.executable, *sys.argv, "--only", name], check=True, stdout=subprocess.PIPE, text=True
        )
        before, most = map(float, done.stdout.rsplit("PEAK", 1)[1].split())
        first = first or most
        print(f"  {name:<9} {most:6.0f} ({before:.0f}), {most / first:.2f}", flush=True)


if __name__ == "__main__":
    main()
