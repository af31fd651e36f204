"""The scripts under benchmarks/ name only what there is: they are run by hand, long after the code has moved."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_all_that_a_script_imports_from_the_package_is_there(script: Path) -> None:
    names = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("healthygan")
        for alias in node.names
    ]
    for module, name in names:
        assert hasattr(import_module(module), name) or import_module(f"{module}.{name}"), f"{module}: no {name}"


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 10
