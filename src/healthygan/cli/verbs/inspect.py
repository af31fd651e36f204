"""``healthygan inspect``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from healthygan.cli.options import (
    Parser,
    cohort_options,
    config_options,
    control_option,
    given_cohort,
    given_config,
)
from healthygan.cli.progress import shown

if TYPE_CHECKING:
    from rich.console import Console

SUMMARY = "count and check a cohort before training; draw a contact sheet"


def add_options(parser: Parser) -> None:
    """A cohort, settings, and where the contact sheet goes."""
    cohort_options(parser)
    config_options(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="PNG", help="contact sheet to write")
    control_option(parser)


def run(options: argparse.Namespace, console: "Console") -> None:
    """Show what the cohort holds, and end as ``train`` would where it refuses the cohort."""
    from healthygan.cli.tables.inspection import print_inspection
    from healthygan.data.inspection.inspect import inspect_cohort

    shape = given_config(options).preprocessing
    inspection = inspect_cohort(given_cohort(options), shape, options.output, options.control, progress=shown)
    print_inspection(inspection, console)
    if inspection.refusal is not None:
        raise inspection.refusal
