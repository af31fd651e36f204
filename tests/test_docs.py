"""What the pages on architecture and words name is there, and nothing that is there is left out."""

import re
import tomllib
from pathlib import Path

import pytest

from healthygan.common.run_folder import Run

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "healthygan"
ARCHITECTURE, GLOSSARY = (
    (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("architecture.md", "glossary.md")
)
FILE = re.compile(r"[\w./-]*\w\.(?:py|md|toml|yaml)\b")
FOLDER = re.compile(r"`([\w./-]+/)`")
RUN_FILES = "## What a run folder holds"


def prose(page: str) -> str:
    """A page without what it tells of a run folder, whose files are in no repository."""
    before, heading, behind = page.partition(RUN_FILES)
    return before + behind[behind.index("\n## ") :] if heading else before


def is_there(name: str) -> bool:
    return any((start / name).exists() for start in (PACKAGE, ROOT, ROOT / "docs"))


def packages() -> set[str]:
    return {f"{init.parent.relative_to(PACKAGE).as_posix()}/" for init in PACKAGE.glob("*/**/__init__.py")}


def rows() -> list[str]:
    """Names of the packages that have a line in the table, from top to bottom."""
    return re.findall(r"^\| `([a-z_/]+/)` \| \S.*\|$", ARCHITECTURE, re.MULTILINE)


@pytest.mark.parametrize("page", [ARCHITECTURE, GLOSSARY], ids=["architecture", "glossary"])
def test_every_file_and_folder_named_exists(page: str) -> None:
    names = {*FILE.findall(prose(page)), *FOLDER.findall(prose(page))}
    assert len(names) > 10
    assert [name for name in sorted(names) if not is_there(name)] == []


def test_a_name_that_is_nowhere_would_be_noticed() -> None:
    assert FILE.findall("`stats/aucp.py`, (nn/none.py): x") == ["stats/aucp.py", "nn/none.py"]
    assert is_there("stats/aucp.py") and not is_there("nn/none.py")


def test_every_package_has_its_line() -> None:
    assert sorted(rows()) == sorted(packages())


def test_packages_stand_in_the_order_of_the_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = next(c["layers"] for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    order = [layer.strip("()").removeprefix("healthygan.") for layer in layers]
    assert [row.strip("/") for row in rows() if row.count("/") == 1] == [name for name in order if f"{name}/" in rows()]


def test_everything_in_a_run_folder_is_told() -> None:
    behind = ARCHITECTURE.partition(RUN_FILES)[2]
    told = behind[: behind.index("\n## ")]
    run = Run(Path("run"))
    names = [path.name for path in vars(run).values() if path != run.path]
    names += [run.member(0).path.parent.name, run.part("contrast").path.name]
    assert [name for name in names if name not in told] == []


def test_every_word_tells_where_it_lives() -> None:
    entries = re.findall(r"^- \*\*.*?(?=^- |^## |\Z)", GLOSSARY, re.MULTILINE | re.DOTALL)
    assert len(entries) >= 30
    assert [entry for entry in entries if not FILE.search(entry)] == []
