"""Tiny cohorts to inspect, and what is told of them."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.inspection.inspection import Inspection

WELL, ILL = Label.HEALTHY, Label.DISEASED


@pytest.fixture(scope="session")
def picture() -> Callable[..., Path]:
    """Writes a grey PNG or JPEG of one value."""
    return _picture


@pytest.fixture(scope="session")
def images() -> Callable[..., list[CohortImage]]:
    """Writes one image a size, all of one split and label."""
    return _images


@pytest.fixture(scope="session")
def cohort() -> Callable[..., Cohort]:
    """Joins lists of images to a cohort."""
    return _cohort


@pytest.fixture(scope="session")
def warning_about() -> Callable[[Inspection, str], str]:
    """The only warning that begins so."""
    return _warning_about


@pytest.fixture(scope="session")
def printed() -> Callable[[Inspection], str]:
    """What the terminal shows."""
    return _printed


def _picture(path: Path, value: int = 0, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)
    return path


def _images(
    folder: Path,
    split: Split,
    label: Label | None,
    sizes: Iterable[tuple[int, int]],
    suffix: str = ".png",
    patient_ids: bool = True,
) -> list[CohortImage]:
    """One image a size (width, height), each of its own patient and with bytes of its own within a split."""
    first = {WELL: 0, ILL: 100, None: 200}[label]
    return [
        CohortImage(
            _picture(folder / f"{split}-{label}-{number}{suffix}", first + number, size),
            split,
            label,
            f"{split}-{label}-{number}" if patient_ids else None,
        )
        for number, size in enumerate(sizes)
    ]


def _cohort(*parts: list[CohortImage]) -> Cohort:
    return Cohort("study", tuple(image for part in parts for image in part))


def _warning_about(inspection: Inspection, beginning: str) -> str:
    found = [warning for warning in inspection.warnings if warning.startswith(beginning)]
    assert len(found) == 1, inspection.warnings
    assert "\n" not in found[0]
    return found[0]


def _printed(inspection: Inspection) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        inspection.print(console)
    return captured.get()
