"""``healthygan select``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from healthygan.cli.options import Parser, device_option, run_option
from healthygan.cli.progress import shown
from healthygan.common.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

SUMMARY = "compare a run's checkpoints, without labels; choose another one"
# Spelt out: --help need not load what they are for.
RULES = ("last", "validation_auc", "early_stopping", "fid", "aucp")


def add_options(parser: Parser) -> None:
    """A run, the rule to follow, and what FID looks through."""
    run_option(parser)
    parser.add_argument("--rule", choices=RULES, help="make this rule's checkpoint the model; default: compare")
    parser.add_argument("--extractor", metavar="NAME", help="pretrained network for FID, by default the run's setting")
    parser.add_argument(
        "--extractor-weights",
        type=Path,
        dest="weights",
        metavar="FILE",
        help="its weights, where they come as a file",
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="show the AUC of every checkpoint on the test labels too; no rule uses it",
    )
    device_option(parser)


def run(options: argparse.Namespace, console: "Console") -> None:
    """Show what each rule would choose, and what was chosen."""
    from healthygan.cli.tables.evaluation import selection_table
    from healthygan.common.run_folder import Run
    from healthygan.nn.backbones import load_backbone
    from healthygan.runs.train import select

    folder = Run(options.run)
    if options.weights and not options.extractor:
        raise InputError("--extractor-weights: whose? name the network too: --extractor NAME")
    extractor = load_backbone(options.extractor, options.weights) if options.extractor else None
    selection = select(
        folder, options.rule, extractor=extractor, measure=options.measure, device=options.device, progress=shown
    )
    console.print(selection_table(selection))
    for curve in selection.curves:
        if curve.remark:
            console.print(f"{curve.name}: {curve.remark}", highlight=False, soft_wrap=True, markup=False)
    if options.rule is None:
        kept = f"the model stays that of iteration {selection.chosen:,}; --rule RULE takes another"
        console.print(kept, highlight=False)
        return
    chosen = f"model of iteration {selection.chosen:,}, chosen by: {selection.rule}"
    console.print(chosen, highlight=False, soft_wrap=True, markup=False)
    console.print(f"threshold: {folder.load_decision().threshold_rule}", highlight=False, markup=False)
