"""The parser, and the options that several verbs share.

An option stands for an argument of the library's function of the same name (``dest``, where the flag is another
word): so a message about the argument can name the flag.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from healthygan.common.errors import InputError

if TYPE_CHECKING:
    from healthygan.data.cohort import Cohort
    from healthygan.runs.config import Config

# Spelt out: --help need not load what they are for.
ENGINES = ("torch", "onnx", "openvino")


class Parser(argparse.ArgumentParser):
    """One verb's options; what it parsed tells by ``parser`` which parser that was."""

    def __init__(self, *args: object, **settings: object) -> None:
        super().__init__(*args, **settings)  # type: ignore[arg-type]
        self.set_defaults(parser=self)

    def flags(self) -> dict[str, str]:
        """The flag of each option, or how usage calls it where it has none, by its name in Python."""
        return {
            action.dest: action.option_strings[0] if action.option_strings else str(action.metavar)
            for action in self._actions
        }


Verbs = argparse._SubParsersAction  # what add_subparsers gives has no public name


def cohort_options(parser: Parser) -> None:
    """A cohort, or a folder for each of its splits."""
    parser.add_argument("cohort", type=Path, nargs="?", metavar="COHORT", help="manifest or folder")
    parser.add_argument("--healthy", type=Path, metavar="DIR", help="instead of COHORT: healthy images (B)")
    parser.add_argument("--mixed", type=Path, metavar="DIR", help="the unannotated pile (A)")
    parser.add_argument("--validation", type=Path, metavar="DIR", help="with healthy/ and diseased/ in it")
    parser.add_argument("--test", type=Path, metavar="DIR", help="with healthy/ and diseased/ in it")


def given_cohort(options: argparse.Namespace) -> "Cohort":
    """What ``cohort_options`` were given."""
    from healthygan.data.cohort import load_cohort

    folders = {name: getattr(options, name) for name in ("healthy", "mixed", "validation", "test")}
    return load_cohort(options.cohort, **folders)


def config_options(parser: Parser) -> None:
    """The settings of a training."""
    parser.add_argument("--preset", help="settings that come with healthygan (default: small)")
    parser.add_argument("--config", metavar="YAML", help="settings of your own instead, or a preset's name")
    set_option(parser, "such as training.seed=1; repeatable")


def given_config(options: argparse.Namespace, *overrides: str) -> "Config":
    """What ``config_options`` were given, and further ``section.field=value``."""
    from healthygan.runs.config import load_config, preset_names

    if options.preset is not None and options.config is not None:
        raise InputError("--preset: not together with --config, which takes its place; leave one of them out")
    source: str | Path = options.preset or "small"
    if options.config is not None:
        is_preset = options.config in preset_names() and not Path(options.config).is_file()
        source = options.config if is_preset else Path(options.config)
    return load_config(source, [*options.overrides, *overrides])


def set_option(parser: Parser, purpose: str, metavar: str = "FIELD=VALUE") -> None:
    """Single settings."""
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar=metavar, help=purpose)


def run_option(parser: Parser) -> None:
    """The run to work with."""
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of a finished training")


def control_option(parser: Parser) -> None:
    """Columns whose AUC alone is wanted."""
    parser.add_argument(
        "--control",
        action="append",
        default=[],
        metavar="COLUMN",
        help="column of the manifest whose AUC alone is wanted beside that of source; repeatable",
    )


def device_option(parser: Parser) -> None:
    """What computes."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="what computes (default: a GPU if any)"
    )


def strict_option(parser: Parser, what: str = "unreadable image") -> None:
    """Stop instead of counting what cannot be used."""
    parser.add_argument("--strict", action="store_true", help=f"stop at the first {what}")
