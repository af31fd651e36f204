"""``healthygan demo``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from healthygan.cli.options import Parser, set_option
from healthygan.cli.progress import shown

if TYPE_CHECKING:
    from rich.console import Console

SUMMARY = "generate phantoms, train on them, show what was found"


def add_options(parser: Parser) -> None:
    """Which phantoms, and where everything goes."""
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"), metavar="DIR", help="by default demo/")
    parser.add_argument("--kind", choices=("chest", "brain"), default="chest", help="which phantoms")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    set_option(parser, "as in train")


def run(options: argparse.Namespace, console: "Console") -> None:
    """Run the demo, and show the figures."""
    from healthygan.cli.demo import demo
    from healthygan.cli.tables.evaluation import print_evaluation

    done = demo(options.output, options.kind, options.seed, tuple(options.overrides), progress=shown)
    print_evaluation(done.evaluation, done.report, console)
    started = Path(sys.argv[0])  # make starts it by its path, which is then the one that works
    program = started if started.name == "healthygan" else "healthygan"
    console.print(
        f"read the test images on a page: {program} review {done.to_read}",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
