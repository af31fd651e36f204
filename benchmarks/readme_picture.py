"""Draw README's picture: report rows of a finished run, x, x', M and the overlay side by side.

    python benchmarks/readme_picture.py demo/run_chest_seed0 docs/report_rows.png

The rows are the report's own first ones: the two highest-scored diseased images and the lowest-scored healthy one.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from healthygan import Run, evaluate
from healthygan.figures import panels, picture_row

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
            rows += [picture_row(shown), np.full((2, picture_row(shown).shape[1], 3), 255, np.uint8)]
    stacked = Image.fromarray(np.concatenate(rows[:-1]))
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    stacked.resize((stacked.width * SCALE, stacked.height * SCALE), Image.Resampling.NEAREST).save(options.picture)


if __name__ == "__main__":
    main()
