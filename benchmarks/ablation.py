"""What each ingredient of HealthyGAN+ is worth: one left out at a time.

    python benchmarks/ablation.py RUNS COHORT [COHORT ...] [--preset small] [--seed 0]

Prints the AUC on the validation labels at the last iteration (no choice is made, so none is flattered), the pixel AUROC
on the test set where there are lesion masks, and the processor time of training. Runs that are finished are not trained
again, and have no time.
"""

import argparse
import time
from pathlib import Path
from types import TracebackType

from healthygan import evaluate, load_cohort, load_config, train
from healthygan.selection import Selection

WITHOUT = {
    "as it is": (),
    "without evidence in pretrained features": ("detector.evidence=0",),
    "translated at the images' full size": ("detector.resolution=128",),
    "without the identity start (M = 0.5)": ("detector.mask_start=0",),
    "without the critic's warm-up": ("detector.warm_up=0",),
    "healthy images change as freely as mixed ones": ("detector.change_healthy=1",),
    "without the gradient penalty": ("detector.gradient_penalty=0",),
    "without shifts of what the critic sees": ("detector.shift=0",),
    "without averaged weights": ("detector.ema_decay=0",),
}


class Clock:
    """Processor time between entry and exit."""

    seconds = float("nan")

    def __enter__(self) -> None:
        self._start = time.process_time()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.process_time() - self._start


def main() -> None:
    """Print one table a cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder for the run folders")
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for cohort in options.cohorts:
        print("| | validation AUC | pixel AUROC | processor time, s |\n|---|---:|---:|---:|")
        for name, settings in WITHOUT.items():
            print(row(cohort, name, settings, options), flush=True)


def row(location: Path, name: str, settings: tuple[str, ...], options: argparse.Namespace) -> str:
    """One line of a cohort's table."""
    cohort, clock = load_cohort(location), Clock()
    config = load_config(options.preset, [*settings, f"training.seed={options.seed}"])
    folder = options.runs / cohort.name / "_".join(settings or ("all",))
    # A finished run is left as it is, its clock unused.
    run = train(config, cohort, folder, clock=None if (folder / "decision.json").exists() else clock)
    selection = Selection.load(run.selection)
    curve = next((c for c in selection.curves if c.rule == "validation_auc"), None) if selection else None
    if curve is None:
        raise SystemExit(f"{location}: no labelled validation set; an ablation is judged by one")
    pixels = evaluate(run, None, run.path / "evaluation").pixel_auroc
    shown = "" if pixels is None else f"{pixels:.3f}"
    return f"| {name} | {curve.values[max(curve.values)]:.3f} | {shown} | {clock.seconds:.0f} |"


if __name__ == "__main__":
    main()
