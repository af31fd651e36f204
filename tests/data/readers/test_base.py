"""What all readers share: their options, and how a fault is told."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from fixtures.readers import GREY, only, refusal
from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import ReaderOptions, as_unreadable, value_range
from healthygan.data.readers.reading import is_image_name, probe, read_frames


@pytest.mark.parametrize(
    "wrong",
    [
        {"slice_range": (0.7, 0.3)},
        {"slice_range": (0, 1.1)},
        {"percentiles": (99, 1)},
        {"slice_step": 0},
        {"max_pixels": 0},
        {"max_memory": 0},
        {"unknown": 1},
    ],
)
def test_senseless_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ReaderOptions.model_validate(wrong)


def test_running_out_of_memory_refuses_the_file_and_does_not_call_it_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")

    def fail(image: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    message = refusal(tmp_path / "a.png")
    assert "not enough memory" in message
    assert "damaged" not in message


class PanicException(BaseException):
    pass


def test_panic_of_a_library_in_rust_is_one_line() -> None:
    with (
        pytest.raises(UnreadableImage, match=r"^a\.dcm: damaged \(index out of bounds\)"),
        as_unreadable(Path("a.dcm")),
    ):
        raise PanicException("index out of bounds\nbacktrace")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_stopping_is_not_taken_for_a_fault_of_the_file(kind: type[BaseException]) -> None:
    with pytest.raises(kind), as_unreadable(Path("a.dcm")):
        raise kind


@pytest.mark.parametrize("name", ["pipe.png", "pipe"])
def test_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert "no plain file" in refusal(tmp_path / name)
    assert not is_image_name(tmp_path / "pipe")


def test_memory_is_bounded_before_decoding(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((100, 100), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UnreadableImage, match=r"a\.png: decoding takes 30,\d+ bytes .*max_memory=29,999"):
        probe(tmp_path / "a.png", ReaderOptions(max_memory=29_999))
    assert 30_000 < probe(tmp_path / "a.png").memory < 31_000


def test_range_of_wide_numbers_leaves_out_what_is_not_finite() -> None:
    assert value_range(np.array([-3, 7], np.int64)) == (-3, 7)
    assert value_range(np.array([[np.nan, -1.5], [np.inf, 2]])) == (-1.5, 2)
    assert np.isnan(value_range(np.array([np.nan]))).all()


def test_size_in_the_file_outlives_a_reduced_decoding(tmp_path: Path) -> None:
    Image.fromarray(np.arange(600 * 400, dtype=np.uint8).reshape(600, 400)).save(tmp_path / "a.jpg")
    (image,) = read_frames(tmp_path / "a.jpg", sufficient=50)
    assert image.pixels.shape == (75, 50)
    assert image.source_size == (600, 400)
    assert only(tmp_path / "a.jpg").source_size == (600, 400)


def test_importing_the_readers_changes_nothing_for_the_process() -> None:
    code = (
        "import logging, warnings, PIL.Image, pydicom, nibabel, tifffile, imagecodecs\n"
        "names = ('PIL', 'tifffile', 'pydicom', 'nibabel')\n"
        "def state(): return (PIL.Image.MAX_IMAGE_PIXELS, [logging.getLogger(n).level for n in names], "
        "[f for f in warnings.filters if 'module' not in f or any(n in str(f) for n in names)])\n"
        "before = state()\n"
        "import healthygan.data.readers.reading, healthygan.data.readers.dicom, healthygan.data.readers.nifti\n"
        "assert state() == before, (before, state())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
