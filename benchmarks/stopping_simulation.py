"""Whether the promise of `stats/stopping.py` holds at the moment when a reader stops by it, and what it costs.

    python benchmarks/stopping_simulation.py [--readings 1000] [--share 0.1] [--piles 200 1000 5000] [--seed 0]

Simulated readings, each of a pile and a ranking of its own (two normal distributions with the AUC), with a share of
random cases; the reader looks at the bound after every case. A line a pile and ranking: of the readings that stop when
at least 80 %, or 95 %, of the diseased are said to be found, how many have found as much; how many bounds are right at
every moment; the median of the cases read until then, and what reading by the ranking alone would have taken, were the
labels known.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from healthygan.stats.stopping import reading_order, recall_bounds

PILES = (200, 1000, 5000)
PREVALENCES = (0.01, 0.05, 0.2, 0.6)
AREAS = (0.5, 0.8, 0.95)
TARGETS = (0.8, 0.95)


@dataclass(frozen=True)
class Outcome:
    """One reading."""

    read: tuple[int, ...]
    """Cases read when the bound first reaches each target."""
    kept: tuple[bool, ...]
    """Whether the diseased found then are at least the share that the bound says."""
    always: bool
    """Whether the bound is right after every case."""
    oracle: tuple[int, ...]
    """Cases after which the ranking alone has found each target's share."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=1000)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--piles", type=int, nargs="*", default=PILES)
    parser.add_argument("--prevalences", type=float, nargs="*", default=PREVALENCES)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(
        "| pile | diseased | AUC | right at 80 % | 95 % | always | read until 80 % | 95 % | labels known: 80 % | 95 % |"
    )
    print("|---:|" + "---:|" * 9)
    for cases in options.piles:
        for prevalence in options.prevalences:
            for area in AREAS:
                seeds = np.random.SeedSequence([options.seed, cases, round(1000 * prevalence), round(100 * area)])
                generator = np.random.default_rng(seeds)
                outcomes = [reading(cases, prevalence, area, options.share, generator) for _ in range(options.readings)]
                print(row(cases, prevalence, area, outcomes), flush=True)


def reading(cases: int, prevalence: float, area: float, share: float, generator: np.random.Generator) -> Outcome:
    """Read one pile to its end."""
    diseased = generator.permutation(cases) < max(1, round(prevalence * cases))
    scores = generator.standard_normal(cases) + diseased * np.sqrt(2) * norm.ppf(area)
    ranking = np.argsort(-scores)
    order, at_random = reading_order(ranking, share, int(generator.integers(2**31)))
    bounds = recall_bounds(cases, diseased[order].astype(np.int8), at_random)
    recall = np.concatenate([[0], np.cumsum(diseased[order])]) / diseased.sum()
    is_right = recall >= bounds - 1e-12
    stops = [first(bounds, target) for target in TARGETS]
    alone = np.cumsum(diseased[ranking]) / diseased.sum()
    return Outcome(
        tuple(stops),
        tuple(bool(is_right[stop]) for stop in stops),
        bool(is_right.all()),
        tuple(first(alone, target) + 1 for target in TARGETS),
    )


def first(values: NDArray[np.float64], target: float) -> int:
    """Place of the first value that reaches the target."""
    return int(np.argmax(values >= target - 1e-12))


def row(cases: int, prevalence: float, area: float, outcomes: list[Outcome]) -> str:
    """One line of the table."""
    kept = np.mean([outcome.kept for outcome in outcomes], axis=0)
    always = np.mean([outcome.always for outcome in outcomes])
    read, oracle = (np.median([getattr(outcome, name) for outcome in outcomes], axis=0) for name in ("read", "oracle"))
    cells = [*(f"{share:.3f}" for share in (*kept, always)), *(f"{count:,.0f}" for count in (*read, *oracle))]
    return f"| {cases:,} | {prevalence:.0%} | {area} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
