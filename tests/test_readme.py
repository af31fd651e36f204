"""What the README tells a newcomer to run exists and means what it says."""

import re
import shlex
from pathlib import Path

import pytest

import healthygan
from healthygan.cli import main as cli
from healthygan.data.cohort import Split
from healthygan.runs.config import preset_names

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"```\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("healthygan ")
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_shown_is_understood(command):
    assert cli.build_parser().parse_args(command).verb == command[0]


def test_the_shown_commands_are_there():
    assert {command[0] for command in COMMANDS} == {"prepare", "inspect", "train", "score", "review", "evaluate"}


def test_every_verb_has_its_line_in_the_table():
    assert {verb for verb in cli.VERBS if f"| `healthygan {verb}" in README} == set(cli.VERBS)


def test_every_preset_is_named():
    assert all(f"`{name}`" in README for name in preset_names())


PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", PYTHON, ids=["train", "predict"])
def test_the_python_shown_imports_what_there_is(block):
    compile(block, "README", "exec")
    names = re.search(r"from healthygan import (.*)", block)
    assert names is not None
    assert set(names[1].split(", ")) <= set(healthygan.__all__)


def test_the_python_shown_scores_an_array_and_a_file(finished_run, capsys):
    run, cohort = finished_run
    shown = PYTHON[1].replace("runs/first", str(run.path)).replace("pile/image.png", str(cohort.paths(Split.TEST)[0]))
    exec(shown, {})
    printed = capsys.readouterr().out
    assert len(re.findall(r"\d\.\d*", printed)) == 4  # a score and a p-value of each
    assert "(2, 16, 16)" in printed


def test_every_dependency_has_a_reason_in_the_table():
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    wanted = re.search(r"^dependencies = \[(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert wanted is not None
    table = README[README.index("| package | why |") :]
    for name in re.findall(r'"([a-z0-9-]+)', wanted[1]):
        assert re.search(rf"\b{name}\b", table), name
