"""Every dependency has an upper bound, the lock keeps all of them, and an audit that saw nothing says so."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED = sorted(
    {
        line
        for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
        for line in lines
        if not line.startswith("healthygan")
    }
)
LOCK = [Requirement(line) for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    specification = importlib.util.spec_from_file_location("audit", ROOT / "tools" / "audit.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("line", DECLARED)
def test_a_dependency_has_a_lower_and_an_upper_bound(line: str) -> None:
    operators = {part.operator for part in Requirement(line).specifier}

    assert operators & {">=", "~=", "=="}
    assert operators & {"<", "<=", "~=", "=="}


@pytest.mark.parametrize("line", DECLARED)
def test_the_lock_names_a_release_within_the_bounds(line: str) -> None:
    wanted = Requirement(line)
    (locked,) = [each for each in LOCK if canonicalize_name(each.name) == canonicalize_name(wanted.name)]
    (pin,) = locked.specifier

    assert wanted.specifier.contains(Version(pin.version))


def test_the_lock_names_each_package_once_by_one_release() -> None:
    names = [canonicalize_name(each.name) for each in LOCK]

    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"==[^*]+", str(each.specifier)) for each in LOCK)


SOUND = {"name": "torch", "version": "2", "vulns": []}
BAD = {"name": "pillow", "version": "1", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}
UNKNOWN = {"name": "scipy", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answers", "code", "line"),
    [
        ([[SOUND, SOUND]], 0, "audit: 2 releases looked up at pypi, no known vulnerability"),
        ([[SOUND, BAD]], 1, "audit: 1 of 2 releases have known vulnerabilities: pillow 1 (CVE-1, CVE-2)"),
        ([[UNKNOWN], [SOUND]], 0, "audit: 1 releases looked up at osv, no known vulnerability"),
        ([[UNKNOWN], []], 2, "audit: no vulnerability service could be reached; nothing was audited, "),
        ([[SOUND, UNKNOWN], []], 2, "audit: pypi knows nothing of 1 releases: scipy"),
        ([[SOUND, UNKNOWN], [SOUND, UNKNOWN]], 2, "audit: osv knows nothing of 1 releases: scipy"),
    ],
)
def test_an_audit_says_in_one_line_what_it_saw(
    audit: ModuleType,
    answers: list[list[dict[str, object]]],
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    left = iter(answers)
    monkeypatch.setattr(audit, "look_up", lambda lock, service: next(left))

    assert audit.main("constraints.txt") == code
    shown = capsys.readouterr().out
    assert shown.startswith(line) and shown.count("\n") == 1


def test_an_audit_that_fails_outright_saw_nothing(audit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit.sys, "executable", "/bin/false")

    assert audit.look_up("constraints.txt", "pypi") == []
