"""Tiny image files and manifests of them: what cohorts are read from and checked on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from healthygan.common.errors import InputError
from healthygan.data.cohort import Cohort


@pytest.fixture(scope="session")
def png() -> Callable[..., Path]:
    """Writes a tiny grey PNG; equal values give equal bytes, different ones different bytes of the same size."""
    return _png


@pytest.fixture(scope="session")
def write_manifest() -> Callable[..., Path]:
    """Writes a folder's manifest.csv, row by row."""
    return _write_manifest


@pytest.fixture(scope="session")
def refusal() -> Callable[[Path], str]:
    """The message, of one line, with which a manifest is refused."""
    return _refusal


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with two images in healthy and two in mixed, all different."""
    for number, name in enumerate(("healthy/a", "healthy/b", "mixed/c", "mixed/d")):
        _png(tmp_path / f"{name}.png", number)
    return tmp_path


def _png(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), value).save(path)
    return path


def _write_manifest(folder: Path, *rows: str, header: str = "path,split,label,patient_id,source,mask") -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def _refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        Cohort.from_manifest(path)
    message = str(caught.value)
    assert "\n" not in message
    return message
