"""Train and evaluate on real cohorts with several seeds; one table of AUC beside the shallow controls.

    python benchmarks/cohorts.py RUNS COHORT [COHORT ...] [--seeds 3] [--preset small] [--set FIELD=VALUE]

Runs that are finished are not trained again; a stopped one goes on.
"""

import argparse
from pathlib import Path

import numpy as np

from healthygan import evaluate, load_cohort, load_config, train


def main() -> None:
    """Print one line a cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder for the run folders")
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    lines = [row(cohort, options) for cohort in options.cohorts]
    print("| cohort | AUC by seed | mean | recall, specificity (honest) | strongest control |\n|---|---|---:|---|---|")
    print("\n".join(lines))


def row(location: Path, options: argparse.Namespace) -> str:
    """One cohort's line."""
    cohort = load_cohort(location)
    areas, honest, controls = [], [], {}
    for seed in range(options.seeds):
        config = load_config(options.preset, [*options.set, f"training.seed={seed}"])
        run = train(config, cohort, options.runs / f"{cohort.name}_{seed}")
        found = evaluate(run, None, run.path / "evaluation")
        if found.performance is None:
            raise SystemExit(f"{location}: the test set has no labels; nothing to measure")
        areas.append(found.performance.auc)
        controls = found.controls
        if rates := found.performance.honest_rates:
            honest.append((rates.recall, rates.specificity))
    strongest = max(controls, key=lambda name: controls[name])
    recall, specificity = np.mean(honest, axis=0) if honest else (np.nan, np.nan)
    seeds = " ".join(f"{area:.3f}" for area in areas)
    return (
        f"| {cohort.name} | {seeds} | {np.mean(areas):.3f} | {recall:.2f}, {specificity:.2f} "
        f"| {strongest} {controls[strongest]:.3f} |"
    )


if __name__ == "__main__":
    main()
