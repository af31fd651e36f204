"""What all readers share: their options, and how a fault is told."""

from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from fixtures.readers import GREY, only
from healthygan.data.readers.base import ReaderOptions


@pytest.mark.parametrize(
    "wrong",
    [
        {"slice_range": (0.7, 0.3)},
        {"slice_range": (0, 1.1)},
        {"percentiles": (99, 1)},
        {"slice_step": 0},
        {"max_pixels": 0},
        {"unknown": 1},
    ],
)
def test_senseless_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ReaderOptions.model_validate(wrong)


def test_running_out_of_memory_is_not_blamed_on_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")

    def fail(image: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(MemoryError):
        only(tmp_path / "a.png")
