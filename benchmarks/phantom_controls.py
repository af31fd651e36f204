"""Shows that no shallow statistic finds the diseased phantoms: a table of kind x control, exit 1 above 0.65.

A detector's AUC on the phantoms means something only as far as it exceeds these.

    python benchmarks/phantom_controls.py
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from healthygan.data.cohort import Cohort, Label, Split
from healthygan.data.datasets.phantoms.generate import KINDS, Kind, write_cohort
from healthygan.data.inspection.controls import control_aucs, controls

IMAGES = 300  # of each class
LIMIT = 0.65
SEEDS = (0, 1)


def shallow_aucs(kind: Kind, seed: int) -> dict[str, float]:
    """max(AUC, 1 - AUC) of each control on a generated test set."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_cohort(
            Path(folder) / "cohort", kind, healthy=0, mixed=(0, 0), test=(IMAGES, IMAGES), seed=seed
        )
        test = Cohort.from_manifest(manifest).split(Split.TEST)
        pixels = np.stack([np.asarray(Image.open(image.path)) for image in test])
        values = controls(pixels, [image.path.stat().st_size for image in test])
    labels = np.array([image.label is Label.DISEASED for image in test])
    return control_aucs(values, labels)


def main() -> int:
    """Print the table; 1 if a control exceeds the limit."""
    columns = {f"{kind}, seed {seed}": shallow_aucs(kind, seed) for kind in KINDS for seed in SEEDS}
    print(f"max(AUC, 1 - AUC) on {IMAGES} healthy and {IMAGES} diseased phantoms of 64 x 64 pixels")
    print("| control |", " | ".join(columns), "|")
    print("|---|" + "---:|" * len(columns))
    for control in next(iter(columns.values())):
        print(f"| {control} |", " | ".join(f"{areas[control]:.3f}" for areas in columns.values()), "|")
    highest = max(area for areas in columns.values() for area in areas.values())
    print(f"highest {highest:.3f}, limit {LIMIT}")
    return int(highest > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
