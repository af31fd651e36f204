"""How much an unannotated pile helps: test AUC over the pile's diseased share and over its size, each detector a line.

    python benchmarks/pile_sweep.py RUNS COHORT [--detectors contrast,healthygan+] [--shares 0 0.3 0.6 0.9]
        [--sizes 50 100 200] [--seeds 3] [--once NAMES] [--picture FILE]

Piles are drawn from the cohort's mixed set by its labels, which the cohort must have: they set the experiment up, and
no training reads them. Each seed draws its own piles and trains anew; tables give mean (standard deviation), pictures
the mean and all that lies between the lowest and the highest. Piles of the sweep over shares all have the size of the
smallest one that can be drawn; piles of the sweep over sizes have the cohort's own share. Settings are those of
`healthygan benchmark --budget small`. Runs that are finished are not trained again; a stopped one goes on.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from healthygan import evaluate, load_cohort, train
from healthygan.benchmark.budgets import Method, load_budget, plan
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.stats.arrays import Floats

SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Pile:
    """One drawn pile."""

    name: str
    """Of its run folders."""
    value: float
    """Its place on the sweep's axis: a share, or a size."""
    healthy: int
    diseased: int


def main() -> None:
    """Print one table a sweep, and draw both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder for the run folders")
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--detectors", default="healthygan,healthygan+,contrast,ddad,brainomaly")
    parser.add_argument("--shares", type=float, nargs="*", default=SHARES)
    parser.add_argument("--sizes", type=int, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--once", default="", help="detectors that get one seed alone")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    cohort = load_cohort(options.cohort)
    methods = plan(load_budget("small"), options.detectors)
    found = {}
    for axis, piles in sweeps(cohort, options.shares, options.sizes).items():
        if piles:
            rows = {
                method.name: np.array([areas(cohort, pile, method, options) for pile in piles]) for method in methods
            }
            print(table(axis, piles, rows), flush=True)
            found[axis] = piles, rows
    if options.picture:
        draw(found, options)


def sweeps(cohort: Cohort, shares: list[float], sizes: list[int]) -> dict[str, list[Pile]]:
    """The piles of either sweep by what its axis shows."""
    healthy, diseased = (len(of(cohort, label)) for label in (Label.HEALTHY, Label.DISEASED))
    rates = [(1 - share, share) for share in shares]
    size = min((int(min(healthy / h if h else np.inf, diseased / d if d else np.inf)) for h, d in rates), default=0)
    own = diseased / (healthy + diseased)
    return {
        "diseased share of the pile": [
            Pile(f"share_{share:g}", share, size - round(share * size), round(share * size)) for share in shares
        ],
        "images in the pile": [
            Pile(f"size_{count}", count, count - round(own * count), round(own * count)) for count in sizes
        ],
    }


def of(cohort: Cohort, label: Label) -> list[CohortImage]:
    """The mixed set's images with a label."""
    return [image for image in cohort.split(Split.MIXED) if image.label is label]


def drawn(cohort: Cohort, pile: Pile, seed: int) -> Cohort:
    """The cohort with this pile for its mixed set."""
    random = np.random.default_rng(seed)
    kept: list[CohortImage] = []
    for label, count in ((Label.HEALTHY, pile.healthy), (Label.DISEASED, pile.diseased)):
        images = of(cohort, label)
        if count > len(images):
            raise SystemExit(
                f"{cohort.name}: its mixed set has {len(images)} {label} images, {pile.name} takes {count}"
            )
        kept += [images[number] for number in np.sort(random.permutation(len(images))[:count])]
    rest = [image for image in cohort.images if image.split is not Split.MIXED]
    return Cohort(f"{cohort.name}_{pile.name}", (*rest, *kept))


def areas(cohort: Cohort, pile: Pile, method: Method, options: argparse.Namespace) -> list[float]:
    """Test AUC by seed of a detector that learned with such a pile."""
    seeds = 1 if method.name in options.once.split(",") else options.seeds
    return [area(cohort, pile, method, seed, options.runs) for seed in range(seeds)]


def area(cohort: Cohort, pile: Pile, method: Method, seed: int, runs: Path) -> float:
    """Test AUC of a detector that learned with this pile."""
    folder = runs / method.name / f"{pile.name}_seed_{seed}"
    run = train(method.seeded(seed), drawn(cohort, pile, seed), folder)
    found = evaluate(run, None, run.path / "evaluation").performance
    if found is None:
        raise SystemExit(f"{cohort.name}: the test set has no labels; nothing to measure")
    return found.auc


def table(axis: str, piles: list[Pile], rows: dict[str, Floats]) -> str:
    """One sweep as Markdown; each of the ``rows`` is (piles, seeds)."""
    head = [axis, *(f"{pile.value:g}" for pile in piles)]
    lines = [[name, *map(cell, found)] for name, found in rows.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))


def cell(of_seeds: Floats) -> str:
    """Mean and, of several seeds, standard deviation."""
    return f"{of_seeds.mean():.3f}" + (f" ({of_seeds.std():.3f})" if len(of_seeds) > 1 else "")


def draw(found: dict[str, tuple[list[Pile], dict[str, Floats]]], options: argparse.Namespace) -> None:
    """Both sweeps side by side."""
    figure = Figure(figsize=(5.5 * len(found), 4), layout="constrained")
    for number, (axis, (piles, rows)) in enumerate(found.items(), start=1):
        axes = figure.add_subplot(1, len(found), number)
        values = [pile.value for pile in piles]
        for name, of_seeds in rows.items():
            [line] = axes.plot(values, of_seeds.mean(axis=1), marker="o", label=name)
            low, high = of_seeds.min(axis=1), of_seeds.max(axis=1)
            axes.fill_between(values, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.axhline(0.5, color="grey", linewidth=0.8)
        axes.set(xlabel=axis, ylabel="test AUC", ylim=(0.3, 1.02))
        axes.legend()
    figure.savefig(options.picture, dpi=110)


if __name__ == "__main__":
    main()
