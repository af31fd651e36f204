"""``healthygan export``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from healthygan.cli.options import ENGINES, Parser, run_option

if TYPE_CHECKING:
    from rich.console import Console

SUMMARY = "write a run's model for another engine"


def add_options(parser: Parser) -> None:
    """A run, the engine, and where the model goes."""
    run_option(parser)
    parser.add_argument("--to", choices=ENGINES, required=True, help="what will compute")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="by default RUN/export/ENGINE")


def run(options: argparse.Namespace, console: "Console") -> None:
    """Export, and say how close the engine comes to PyTorch."""
    from healthygan.common.run_folder import Run
    from healthygan.inference.export import export

    done = export(Run(options.run), options.to, options.output)
    console.print(f"{done.model}: differs from PyTorch by at most {done.difference:.1e}", soft_wrap=True, markup=False)
