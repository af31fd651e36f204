"""How often the drift alarm goes off without a drift, and how often with one: images tested, or patients.

    python benchmarks/drift_simulation.py [--trials 500]

A score is the sum of its patient's and its image's part, both normal, the variance 1 in all; the drift moves all new
scores by 0.75. "by image" is the two-sample Kolmogorov-Smirnov test of images, "by patient" ``stats.drift.drift``.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from healthygan.stats.drift import drift

LEVEL = 0.01
SHIFT = 0.75
SETTINGS = (
    # held-out patients, images of each; new patients, images of each; the patient's share of the variance
    (12, 60, 40, 60, 0.1),
    (12, 60, 40, 60, 0.5),
    (12, 60, 40, 60, 0.9),
    (40, 20, 40, 20, 0.5),
    (40, 60, 40, 1, 0.5),
    (12, 1, 40, 60, 0.5),
    (80, 1, 120, 1, 0.5),
)


def main() -> None:
    """Print a line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    trials = parser.parse_args().trials
    random = np.random.default_rng(0)
    print(
        "| held-out | new | patient's share of the variance | alarms by image | by patient | with a drift: by image "
        "| by patient |\n|---|---|---:|---:|---:|---:|---:|"
    )
    for held_out, images, new, new_images, share in SETTINGS:
        alarms = np.zeros((2, 2))
        for _ in range(trials):
            before, earlier = scores(held_out, images, share, random)
            after, later = scores(new, new_images, share, random)
            for row, shift in enumerate((0.0, SHIFT)):
                tests = (drift(before, after + shift), drift(before, after + shift, (earlier, later)))
                alarms[row] += [test.p_value < LEVEL for test in tests]
        cells = " | ".join(f"{alarm / trials:.1%}" for alarm in alarms.ravel())
        print(f"| {held_out} x {images} | {new} x {new_images} | {share:.0%} | {cells} |", flush=True)


def scores(
    patients: int, images: int, share: float, random: np.random.Generator
) -> tuple[NDArray[np.float64], list[str]]:
    """Scores, patient by patient, and the patient of each."""
    own = share**0.5 * random.normal(size=(patients, 1)) + (1 - share) ** 0.5 * random.normal(size=(patients, images))
    return own.ravel(), [str(number) for number in np.repeat(np.arange(patients), images)]


if __name__ == "__main__":
    main()
