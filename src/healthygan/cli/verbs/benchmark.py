"""``healthygan benchmark``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from healthygan.cli.options import Parser, cohort_options, device_option, given_cohort, set_option, strict_option
from healthygan.cli.progress import shown
from healthygan.common.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from healthygan.benchmark.results import Results

SUMMARY = "train and judge many detectors alike; write one table"


def add_options(parser: Parser) -> None:
    """A cohort, the methods and what each may spend, and where the tables go."""
    cohort_options(parser)
    parser.add_argument("--detectors", default="all", metavar="NAMES", help="all, or names separated by commas")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each detector (default: 3)")
    parser.add_argument(
        "--budget", default="small", help="what each may spend: small, paper, or a .yaml file (default: small)"
    )
    set_option(parser, "a setting for all detectors, or for the named one; repeatable", "[NAME:]FIELD=VALUE")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="trainings at a time, spread over the GPUs (default: 1)"
    )
    parser.add_argument(
        "--paper",
        default="auto",
        choices=("auto", "none", "covidx", "chestxray14", "migraine"),
        help="whose published figures to show beside ours (default: what the cohort's name tells)",
    )
    device_option(parser)
    strict_option(parser)


def run(options: argparse.Namespace, console: "Console") -> None:
    """Train and judge every method, show the tables, and say which trainings failed."""
    from healthygan.benchmark.budgets import load_budget, plan
    from healthygan.benchmark.runner import benchmark, paper_cohort

    cohort = given_cohort(options)
    paper = paper_cohort(cohort) if options.paper == "auto" else None if options.paper == "none" else options.paper
    if options.budget == "paper" and paper is None:
        raise InputError(f"--budget paper: {cohort.name} is none of the paper's cohorts; name one, as --budget covidx")
    device = [] if options.device == "auto" else [f"training.device={options.device}"]
    budget = load_budget(str(paper) if options.budget == "paper" else options.budget)
    results = benchmark(
        cohort,
        plan(budget, options.detectors, [*device, *options.overrides]),
        options.output,
        seeds=options.seeds,
        workers=options.workers,
        paper=paper,
        strict=options.strict,
        progress=shown,
    )
    _show(results, options.output, console)
    if results.failures:
        raise InputError(
            f"{len(results.failures)} trainings failed, listed above; the others' results are in {options.output}; "
            "the same command tries the failed ones again"
        )


def _show(results: "Results", output: Path, console: "Console") -> None:
    from healthygan.benchmark.tables import captions, sheets, write_benchmark
    from healthygan.cli.tables.benchmark import to_terminal

    write_benchmark(output, results)
    for sheet in sheets(results):
        console.print(to_terminal(sheet))
    for caption in captions(results):
        console.print(caption, highlight=False, markup=False)
    console.print(f"tables and pictures: {output.resolve()}", highlight=False, soft_wrap=True, markup=False)
