"""Draw README's picture: report rows of a finished run, x, x', M and the overlay side by side.

    python benchmarks/readme_picture.py demo/run_chest_seed0 docs/report_rows.png

The rows are the report's own first ones: the two highest-scored diseased images and the lowest-scored healthy one.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from healthygan import Run, evaluate
from healthygan.viz.overlays import Picture, panels

SCALE = 3
ROWS = {"found": 2, "passed": 1}


def main() -> None:
    """Evaluate the run and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    run = Run(options.run)
    found = evaluate(run, None, run.path / "evaluation")
    top = run.load_decision().map_top
    rows = []
    for group, count in ROWS.items():
        for case in found.cases[group][:count]:
            assert case.original is not None
            shown = panels(case.original, case.translated, case.mask, case.difference, case.lesion, top)
            rows.append(joined(list(shown.values()), axis=1))
    stacked = Image.fromarray(joined(rows, axis=0))
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    stacked.resize((stacked.width * SCALE, stacked.height * SCALE), Image.Resampling.NEAREST).save(options.picture)


def joined(pictures: list[Picture], axis: int) -> Picture:
    """Pictures side by side (axis 1) or below one another (axis 0), two white pixels between them."""
    across = [size for number, size in enumerate(pictures[0].shape) if number != axis]
    space = np.full((2, *across) if axis == 0 else (across[0], 2, across[1]), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (space, picture)][1:], axis=axis)


if __name__ == "__main__":
    main()
