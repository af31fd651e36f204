"""``healthygan VERB``: finds the verb, runs it, and turns what went wrong into one line and an exit code.

Exit codes: 0 done, 1 stopped before the end or a fault of ours, 2 something the user can mend.
"""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from healthygan.cli.options import Parser
from healthygan.cli.phrasing import COMMANDS, phrase
from healthygan.cli.verbs import benchmark, demo, evaluate, export, inspect, prepare, review, score, select, train
from healthygan.common.errors import InputError, Stopped
from healthygan.common.version import __version__

DONE, STOPPED, BAD_INPUT = 0, 1, 2
VERBS = {
    "prepare": prepare,
    "inspect": inspect,
    "train": train,
    "select": select,
    "score": score,
    "review": review,
    "export": export,
    "evaluate": evaluate,
    "benchmark": benchmark,
    "demo": demo,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; gives the exit code."""
    options = build_parser().parse_args(arguments)
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120)
    # Libraries' advice to their own users would drown what a person needs to read.
    warnings.filterwarnings("ignore")
    for library in ("tifffile", "pydicom", "nibabel"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        VERBS[options.verb].run(options, console)
        return DONE
    except InputError as error:
        return _told(options, phrase(error.args, options.parser.flags()), BAD_INPUT)
    except Stopped as stopped:
        return _told(options, f"{stopped}; {_continuation(options)}", STOPPED)
    except KeyboardInterrupt:
        return _told(options, "stopped; the same command goes on from here", STOPPED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return STOPPED
    except OSError as error:
        # A full disk, a missing permission, a share that went away: the user's to mend, wherever it is met.
        place = f"{error.filename}: " if error.filename else ""
        return _told(options, f"{place}{error.strerror or error}; mend it and repeat the command", BAD_INPUT)


def _told(options: argparse.Namespace, line: str, code: int) -> int:
    print(f"healthygan {options.verb}: {line}", file=sys.stderr)
    return code


def _continuation(options: argparse.Namespace) -> str:
    if options.verb == "train":
        return f"go on with: {COMMANDS['train']} {options.resume or options.run}"
    return "the same command goes on from here"


def build_parser() -> Parser:
    """All verbs and their options."""
    parser = Parser(
        prog="healthygan",
        description="Find the unhealthy medical images in a pile nobody has annotated. Research software.",
        epilog="A COHORT is a manifest (.csv with path, split and, where known, label, patient_id, source), "
        "a folder with a manifest.csv, or a folder with healthy/ and mixed/ in it.",
    )
    parser.add_argument("--version", action="version", version=f"healthygan {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        verb.add_options(verbs.add_parser(name, help=verb.SUMMARY))
    return parser
