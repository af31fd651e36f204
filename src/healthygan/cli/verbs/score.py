"""``healthygan score``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from healthygan.cli.options import ENGINES, Parser, device_option, run_option, strict_option
from healthygan.cli.progress import shown

if TYPE_CHECKING:
    from rich.console import Console

SUMMARY = "rank images by how unhealthy they look"
# Spelt out: --help need not load what they are for.
PRECISIONS = ("32", "bf16")


def add_options(parser: Parser) -> None:
    """A run, the images, where the scores go, and what computes."""
    run_option(parser)
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGES", help="files, folders or a manifest")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--fdr", type=float, metavar="SHARE", help="mark a worklist of which at most this share is healthy, such as 0.1"
    )
    parser.add_argument("--arrays", action="store_true", help="write difference maps as .npy files too")
    parser.add_argument("--no-maps", action="store_true", help="write no overlays, which is faster")
    parser.add_argument("--engine", choices=ENGINES, default="torch", help="what computes (default: torch)")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="32", help="bf16: up to twice as fast where the processor has it"
    )
    device_option(parser)
    strict_option(parser)


def run(options: argparse.Namespace, console: "Console") -> None:
    """Score, and say what was found and where it lies."""
    from healthygan.cli.tables.warnings import print_warnings
    from healthygan.common.run_folder import Run
    from healthygan.inference.score import score
    from healthygan.serving.offline import write_worklist

    done = score(
        Run(options.run),
        options.images,
        options.output,
        overlays=not options.no_maps,
        arrays=options.arrays,
        strict=options.strict,
        device=options.device,
        fdr=options.fdr,
        engine=options.engine,
        precision=options.precision,
        progress=shown,
    )
    flagged = "no threshold" if done.flagged is None else f"{done.flagged} {done.noun} above the threshold"
    console.print(
        f"{done.images} images scored, {flagged}: {done.table}", highlight=False, soft_wrap=True, markup=False
    )
    if done.listed is not None:
        promise = f"on average at most {options.fdr:.0%} of them healthy"
        console.print(f"{done.listed} {done.noun} on the worklist, {promise}", highlight=False)
    print_warnings(done.warnings, console)
    page = write_worklist(options.output)
    console.print(
        f"to look at: {page}, or healthygan review {options.output}", highlight=False, soft_wrap=True, markup=False
    )
    if done.failures:
        listed = done.table.with_name("failures.txt")
        console.print(f"{len(done.failures)} files could not be read, listed in {listed}", soft_wrap=True, markup=False)
    if done.remarked:
        console.print(
            f"{done.remarked} images are far too small or unlike anything seen in training: do not trust their scores, "
            "see the column remark",
            style="yellow",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
