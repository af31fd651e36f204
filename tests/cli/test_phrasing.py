"""The library speaks of arguments, the command line of flags; neither of the other's."""

import ast
import re
from argparse import SUPPRESS
from collections.abc import Iterator
from pathlib import Path

import pytest

import healthygan
from healthygan.cli.main import VERBS, build_parser, main
from healthygan.cli.options import Parser
from healthygan.cli.phrasing import phrase
from healthygan.common.errors import Argument, Call, InputError

SOURCE = Path(healthygan.__file__).parent
CORE = sorted(path for path in SOURCE.rglob("*.py") if "cli" not in path.relative_to(SOURCE).parts)


def parsers(parser: Parser) -> Iterator[Parser]:
    """A parser and those of its verbs and protocols."""
    yield parser
    for action in parser._actions:
        for below in action.choices.values() if isinstance(action.choices, dict) else ():
            yield from parsers(below)


def flags() -> set[str]:
    return {flag for parser in parsers(build_parser()) for action in parser._actions for flag in action.option_strings}


def speaks_of_the_command_line(text: str) -> bool:
    flag = "|".join(re.escape(name) for name in sorted(flags() - {"-h"}))
    return re.search(rf"(?<![\w-])(?:{flag})(?![\w-])|healthygan (?:{'|'.join(VERBS)})\b", text) is not None


@pytest.mark.parametrize("text", ["leave --device out", "another -o", "with --source", "healthygan train again"])
def test_what_speaks_of_the_command_line_is_recognised(text: str) -> None:
    assert speaks_of_the_command_line(text)


@pytest.mark.parametrize(
    "text", ["--accent:#0072b2", "two-output", "detector healthygan", "from healthygan import score"]
)
def test_what_does_not_is_left_alone(text: str) -> None:
    assert not speaks_of_the_command_line(text)


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_text_of_the_library_speaks_of_the_command_line(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not [text for text in texts if speaks_of_the_command_line(text)]


@pytest.mark.parametrize(
    ("error", "python", "terminal"),
    [
        (InputError("a.png: damaged"), "a.png: damaged", "a.png: damaged"),
        (InputError(Argument("fdr", 2), ": too much"), "fdr=2: too much", "--fdr 2: too much"),
        (InputError("leave ", Argument("output"), " out"), "leave output out", "leave -o out"),
        (InputError(Argument("strict", True), " stops"), "strict=True stops", "--strict stops"),
        (InputError(Argument("cohort", "x"), ": no"), "cohort=x: no", "COHORT x: no"),
        (InputError(Argument("source", "("), ": no"), "source=(: no", "source=(: no"),
        (InputError("do ", Call("train", Path("r"))), "do train(folder=r)", "do healthygan train --resume r"),
        (InputError("do ", Call("select", Path("r"))), "do select(run=r)", "do healthygan select r"),
    ],
)
def test_a_message_names_arguments_in_python_and_flags_in_a_terminal(
    error: InputError, python: str, terminal: str
) -> None:
    flags = {"fdr": "--fdr", "output": "-o", "strict": "--strict", "cohort": "COHORT"}
    assert str(error) == python
    assert phrase(error.args, flags) == terminal


def test_an_error_that_is_passed_on_keeps_its_parts() -> None:
    inner = InputError(Argument("fdr", 2), ": too much")
    outer = InputError("method one: ", *inner.args)
    assert (str(outer), phrase(outer.args, {"fdr": "--fdr"})) == (
        "method one: fdr=2: too much",
        "method one: --fdr 2: too much",
    )


def test_each_verb_knows_its_own_flags() -> None:
    folders = build_parser().parse_args(["prepare", "folders", "--healthy", "a", "-o", "m.csv"])
    table = build_parser().parse_args(
        ["prepare", "table", "--table", "t", "--images", "a", "--healthy", "x", "--diseased", "y", "-o", "m.csv"]
    )
    assert folders.parser.flags()["source"] == "--source-pattern"
    assert table.parser.flags()["source"] == "--source"
    assert "fdr" not in table.parser.flags()


def test_no_help_is_empty() -> None:
    without = [
        (parser.prog, action.dest)
        for parser in parsers(build_parser())
        for action in parser._actions
        if not action.help and not isinstance(action.choices, dict)
    ]
    assert without == []
    assert SUPPRESS not in {action.help for parser in parsers(build_parser()) for action in parser._actions}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepare", "folders", "--healthy", "{0}", "--source-pattern", "(", "-o", "m.csv"], "--source-pattern (: not"),
        (["prepare", "folders", "--healthy", "{0}", "--stratify", "-o", "{0}/m.csv"], "with --source-pattern"),
        (["prepare", "folders", "--healthy", "{0}", "--counts", "tset=1", "-o", "m.csv"], "--counts tset=1: write"),
        (["benchmark", "{0}/m.csv", "--budget", "big", "-o", "out"], "--budget big: none of"),
        (["benchmark", "{0}/m.csv", "--detectors", "x", "-o", "out"], "--detectors x: x not among"),
        (["benchmark", "{0}/m.csv", "--set", "training.seed=1", "-o", "out"], "say how many with --seeds"),
        (["benchmark", "{0}/m.csv", "--set", "trainig.iterations=1", "-o", "out"], "leave it out of --detectors)"),
        (["inspect", "{0}/m.csv", "--preset", "smal"], "--preset smal: no such preset (did you mean 'small'?)"),
        (["inspect", "{0}/m.csv", "--control", "shoe"], "--control shoe: the healthy images"),
        (["inspect", "--healthy", "{0}"], "--mixed not given"),
    ],
)
def test_the_terminal_is_told_its_own_flags(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "m.csv").write_text("path,split\na.png,healthy\nb.png,mixed\n")
    assert main([argument.format(tmp_path) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"healthygan {arguments[0]}: ") and said in line
