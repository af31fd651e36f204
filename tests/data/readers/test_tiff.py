"""TIFF: pages are frames, whatever their values, colours and compression; what is none is refused."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from fixtures.readers import COLOUR, DEEP, GREY, only, refusal
from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import ReaderOptions
from healthygan.data.readers.reading import probe, read_frames


def test_pages_of_a_tiff_are_frames(tmp_path: Path) -> None:
    pages = np.stack([DEEP, DEEP + 1, DEEP + 2])
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack", compression="zlib")
    info = probe(tmp_path / "a.tif")
    assert (info.frames, info.bit_depth, info.height, info.width) == ((0, 1, 2), 16, 3, 4)
    images = list(read_frames(tmp_path / "a.tif"))
    assert [image.frame for image in images] == [0, 1, 2]
    np.testing.assert_array_equal([image.pixels for image in images], pages)
    assert {(image.low, image.high) for image in images} == {(0, 65535)}


def test_float_tiff_spans_its_finite_values(tmp_path: Path) -> None:
    pixels = np.array([[-1.5, np.nan], [np.inf, 2.5]], np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    image = only(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, pixels)
    assert (image.low, image.high) == (-1.5, 2.5)


@pytest.mark.parametrize("value", [np.nan, 3.0])
def test_float_tiff_without_contrast_is_refused(tmp_path: Path, value: float) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((2, 2), value, np.float32))
    assert "same value" in refusal(tmp_path / "a.tif")


def test_signed_tiff_spans_its_values(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[-1000, 0], [400, 20]], np.int16))
    image = only(tmp_path / "a.tif")
    assert (image.low, image.high) == (-1000, 400)


def test_twelve_bit_tiff_is_white_at_4095(tmp_path: Path) -> None:
    pixels = np.array([[0, 1, 2, 3], [4092, 4093, 4094, 4095]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, bitspersample=12)
    image = only(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, pixels)
    assert (image.low, image.high) == (0, 4095)


def test_white_is_zero_tiff_is_inverted(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY, photometric="miniswhite")
    np.testing.assert_array_equal(only(tmp_path / "a.tif").pixels, 255 - GREY)


def test_separate_planes_of_a_tiff_become_colour(tmp_path: Path) -> None:
    planes = np.moveaxis(COLOUR, 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(only(tmp_path / "a.tif").pixels, COLOUR)


def test_palette_tiff_becomes_its_colours(tmp_path: Path) -> None:
    colours = np.zeros((3, 256), np.uint16)
    colours[:, 1] = 65535, 256, 1
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 1]], np.uint8), photometric="palette", colormap=colours)
    image = only(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, [[[0, 0, 0], [65535, 256, 1]]])
    assert image.high == 65535
    assert probe(tmp_path / "a.tif").channels == 3


def test_tiff_of_other_colours_than_grey_and_rgb_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4, 4), np.uint8), photometric="separated")
    assert "convert it" in refusal(tmp_path / "a.tif")


def test_tiff_page_of_many_channels_is_refused_by_its_header(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4, 9), np.uint8), photometric="minisblack", planarconfig="contig")
    with pytest.raises(UnreadableImage, match="9 channels"):
        probe(tmp_path / "a.tif")


def test_later_page_of_a_tiff_is_checked_too(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((4, 4), np.uint8))
        file.write(np.zeros((40, 40), np.uint8))
    assert "1,600 pixels" in refusal(tmp_path / "a.tif", ReaderOptions(max_pixels=100))


def test_cut_off_jpeg_inside_a_tiff_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, compression="jpeg", photometric="rgb", metadata=None, contiguous=False)
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(UnreadableImage, match=r"x\.tif"):
        list(read_frames(path))


def patched(path: Path, tag: int, value: int, page: int = 0) -> None:
    """Overwrite a tag's value in the file."""
    with tifffile.TiffFile(path) as file:
        entry = file.pages[page].aspage().tags[tag]
        place, kind = entry.valueoffset, {3: "<u2", 4: "<u4"}[int(entry.dtype)]
    content = bytearray(path.read_bytes())
    new = np.array(value, kind).tobytes()
    content[place : place + len(new)] = new
    path.write_bytes(content)


@pytest.mark.parametrize("tag", [256, 257])
def test_page_without_width_or_height_is_refused(tmp_path: Path, tag: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY, metadata=None)
    patched(tmp_path / "a.tif", tag, 0)
    assert "damaged (a page of" in refusal(tmp_path / "a.tif")


def test_pages_that_share_their_pixels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 256, (3, 60, 60), np.uint8)
    with tifffile.TiffWriter(path) as file:
        file.write(noise[0], metadata=None)
        for _ in range(2):
            file.write(np.zeros((1, 1), np.uint8), metadata=None)
    with tifffile.TiffFile(path) as file:
        first = file.pages[0].dataoffsets[0]
    for page in (1, 2):
        for tag, value in ((256, 60), (257, 60), (278, 60), (273, first), (279, 3600)):
            patched(path, tag, value, page)
    assert "pages share their pixels" in refusal(path)


def test_many_large_pages_in_a_small_file_are_refused_by_the_header(tmp_path: Path) -> None:
    pages = np.zeros((40, 400, 400), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pages, metadata=None, photometric="minisblack", compression="zlib")
    assert len(list(probe(tmp_path / "a.tif").frames)) == 40
    with pytest.raises(UnreadableImage, match="40 frames of 400 x 400 pixels"):
        probe(tmp_path / "a.tif", ReaderOptions(max_memory=4_000_000))


def test_jpeg_inside_larger_than_its_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, compression="jpeg", photometric="rgb", metadata=None)
    content = path.read_bytes()
    at = content.index(b"\xff\xc0")
    path.write_bytes(content[: at + 5] + b"\xff\xff\xff\xff" + content[at + 9 :])
    assert "compressed pixels are 65535 x 65535, the page has place for 64 x 64" in refusal(path)


def test_tile_much_larger_than_its_page_counts_as_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), tile=(16, 16), compression="zlib", metadata=None)
    patched(path, 322, 60_000)
    patched(path, 323, 60_000)
    assert "bytes of memory" in refusal(path)


def test_compression_whose_size_cannot_be_checked_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", COLOUR, compression="webp", photometric="rgb")
    assert "its compression is WEBP" in refusal(tmp_path / "a.tif")
