"""``healthygan evaluate``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from healthygan.cli.options import Parser, control_option, device_option, run_option, strict_option
from healthygan.cli.progress import shown

if TYPE_CHECKING:
    from rich.console import Console

    from healthygan.data.cohort import Cohort

SUMMARY = "measure a run on a labelled test set; write a report"


def add_options(parser: Parser) -> None:
    """A run, what it is judged on, and where the report goes."""
    run_option(parser)
    parser.add_argument("cohort", type=Path, nargs="?", metavar="COHORT", help="other images than the run's own")
    parser.add_argument(
        "--test", type=Path, metavar="DIR", help="instead of COHORT: a folder with healthy/ and diseased/ in it"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="by default RUN/evaluation")
    parser.add_argument("--against", type=Path, metavar="RUN", help="test the AUC against another run's (DeLong)")
    parser.add_argument(
        "--allow-seen", action="store_true", help="judge images too that the run was trained with, and say so in red"
    )
    control_option(parser)
    device_option(parser)
    strict_option(parser)


def run(options: argparse.Namespace, console: "Console") -> None:
    """Judge, and show the figures."""
    from healthygan.cli.tables.evaluation import print_evaluation
    from healthygan.common.run_folder import Run
    from healthygan.evaluation.evaluate import evaluate

    output = options.output or options.run / "evaluation"
    evaluation = evaluate(
        Run(options.run),
        _judged(options),
        output,
        control=options.control,
        against=Run(options.against) if options.against else None,
        device=options.device,
        strict=options.strict,
        allow_seen=options.allow_seen,
        progress=shown,
    )
    print_evaluation(evaluation, output / "report.html", console)


def _judged(options: argparse.Namespace) -> "Cohort | None":
    """What an evaluation judges, None for the run's own test set; a test set alone will do."""
    from healthygan.data.cohort import Cohort, load_cohort

    if options.test and not options.cohort:
        return Cohort.from_folders(test=options.test)
    return load_cohort(options.cohort, test=options.test) if options.cohort else None
