"""Files of every format: told apart by content, bounded before decoding, refused in one line that names them."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures.readers import COLOUR, GREY, only, refusal
from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import DEFAULTS, ReaderOptions
from healthygan.data.readers.reading import is_image_name, probe, read_frames


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_eight_bit_grey_keeps_its_values(tmp_path: Path, name: str) -> None:
    Image.fromarray(GREY).save(tmp_path / name)
    image = only(tmp_path / name)
    np.testing.assert_array_equal(image.pixels, GREY)
    assert (image.low, image.high, image.frame) == (0, 255, 0)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_eight_bit_colour_keeps_its_values(tmp_path: Path, name: str) -> None:
    Image.fromarray(COLOUR).save(tmp_path / name)
    np.testing.assert_array_equal(only(tmp_path / name).pixels, COLOUR)
    assert probe(tmp_path / name).channels == 3


def test_content_counts_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(path, "JPEG")
    assert probe(path).format == "JPEG"
    np.testing.assert_array_equal(only(path).pixels, np.full((8, 8), 77))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
def test_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    assert "damaged" in refusal(tmp_path / name)


@pytest.mark.parametrize("start", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"\x1f\x8b"])
def test_header_followed_by_rubbish_is_refused(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a").write_bytes(start + b"rubbish" * 100)
    assert "damaged" in refusal(tmp_path / "a")


def test_empty_text_missing_and_folder_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    assert "empty file" in refusal(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("patient,label\n1,healthy\n")
    assert "not PNG" in refusal(tmp_path / "text.png")
    assert "no such file" in refusal(tmp_path / "missing.png")
    assert "folder" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
def test_size_is_checked_in_the_header(tmp_path: Path, name: str) -> None:
    Image.fromarray(np.zeros((10, 11), np.uint8)).save(tmp_path / name)
    with pytest.raises(UnreadableImage, match=r"110 pixels, more than .*max_pixels=109"):
        probe(tmp_path / name, ReaderOptions(max_pixels=109))
    assert probe(tmp_path / name, ReaderOptions(max_pixels=110)).width == 11


def test_names_that_a_scan_collects(tmp_path: Path) -> None:
    for name in ("a.PNG", "b.nii.gz", "c.dcm", "d.Tiff"):
        assert is_image_name(Path(name))
    for name in ("a.txt", "b.gz", "README", "c.csv"):
        assert not is_image_name(tmp_path / name)
    for name in ("IM0001", "1.2.840.10008.5"):
        (tmp_path / name).write_bytes(b"\0" * 128 + b"DICM")
        assert is_image_name(tmp_path / name)
    (tmp_path / "1.2.3").write_text("no image")
    assert not is_image_name(tmp_path / "1.2.3")


def test_reading_in_threads_leaves_the_warning_filters_alone(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    before = list(warnings.filters)
    both = threading.Barrier(2, timeout=10)

    def read(_: int) -> None:
        frames = read_frames(tmp_path / "a.png")
        next(frames)
        both.wait()  # both are in the middle of a file
        assert list(warnings.filters) == before
        frames.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(read, range(2)))
    assert list(warnings.filters) == before


def test_other_formats_are_decoded_in_full(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "a.tif"):
        Image.fromarray(GREY).save(tmp_path / name)
        (image,) = read_frames(tmp_path / name, DEFAULTS, 1)
        np.testing.assert_array_equal(image.pixels, GREY)
