"""``healthygan train``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from healthygan.cli.options import (
    Parser,
    cohort_options,
    config_options,
    given_cohort,
    given_config,
    strict_option,
)
from healthygan.cli.progress import shown
from healthygan.common.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from healthygan.common.run_folder import Run
    from healthygan.data.cohort import Cohort
    from healthygan.runs.config import Config

SUMMARY = "learn from healthy images and a mixed pile"
WITHOUT_RESUME = ("run", "preset", "config", "members", "cohort", "healthy", "mixed", "validation", "test")


def add_options(parser: Parser) -> None:
    """A cohort, settings, and the run folder, new or to go on with."""
    cohort_options(parser)
    config_options(parser)
    parser.add_argument("--run", type=Path, metavar="DIR", help="run folder to make")
    parser.add_argument("--members", type=int, metavar="N", help="train N seeds and join them into one detector")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in this folder")
    strict_option(parser)


def run(options: argparse.Namespace, console: "Console") -> None:
    """Train, and say which model came of it."""
    from healthygan.cli.tables.warnings import print_warnings
    from healthygan.data.checks import check_near_duplicates
    from healthygan.runs.mixed_report import pile_report
    from healthygan.runs.train import train

    folder, config, cohort = _resumed(options) if options.resume else _new(options)
    train(config, cohort, folder.path, strict=options.strict, progress=shown)
    decision = folder.load_decision()
    console.print(
        f"model of iteration {decision.iteration:,}, chosen by: {decision.rule}", highlight=False, markup=False
    )
    console.print(f"threshold: {decision.threshold_rule}", highlight=False, markup=False)
    if report := pile_report(folder):
        for note in report.load_notes():
            console.print(note, highlight=False, soft_wrap=True, markup=False)
        print_warnings(report.load_warnings(), console)
    # ``train`` looked before it began, and refused what is certain; what was seen then is in the cache.
    print_warnings(check_near_duplicates(cohort, config.preprocessing.reader), console)
    console.print(f"next: healthygan score {folder.path} IMAGES -o OUT", highlight=False, soft_wrap=True, markup=False)


def _new(options: argparse.Namespace) -> "tuple[Run, Config, Cohort]":
    from healthygan.common.run_folder import Run

    if options.run is None:
        raise InputError("--run: missing; say where the run goes, such as --run runs/first")
    members = [f"training.members={options.members}"] if options.members is not None else []
    config = given_config(options, *members)
    return Run(options.run), config, given_cohort(options)


def _resumed(options: argparse.Namespace) -> "tuple[Run, Config, Cohort]":
    from healthygan.common.run_folder import Run
    from healthygan.data.cohort import Cohort
    from healthygan.runs.config import load_config

    # A run goes on with its own images and settings; to ignore others without a word would mislead.
    for name in WITHOUT_RESUME:
        if getattr(options, name) is not None:
            flag = options.parser.flags()[name]
            raise InputError(f"{flag}: not together with --resume, which takes the run's own; leave it out")
    folder = Run(options.resume)
    if not folder.config.exists():
        raise InputError(
            f"{folder.path}: not a run folder (no config.yaml); name one that train made, or train anew with --run"
        )
    if not folder.cohort.exists():
        raise InputError(
            f"{folder.path}: was stopped before it noted its images (no cohort.csv); repeat the command with --run"
        )
    return folder, load_config(folder.config, options.overrides), Cohort.from_manifest(folder.cohort)
