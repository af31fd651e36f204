import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from pydantic import ValidationError

from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import DEFAULTS, DecodedImage, ReaderOptions
from healthygan.data.readers.reading import is_image_name, probe, read_frames

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
DEEP = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5001
COLOUR = np.arange(36, dtype=np.uint8).reshape(3, 4, 3) * 7


def only(path: Path, options: ReaderOptions = DEFAULTS) -> DecodedImage:
    (image,) = read_frames(path, options)
    return image


def refusal(path: Path, options: ReaderOptions = DEFAULTS) -> str:
    with pytest.raises(UnreadableImage) as caught:
        list(read_frames(path, options))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


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


def test_sixteen_bit_grey_png_keeps_its_depth(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(DEEP).save(path)
    image = only(path)
    np.testing.assert_array_equal(image.pixels, DEEP)
    assert (image.low, image.high) == (0, 65535)
    info = probe(path)
    assert (info.format, info.height, info.width, info.channels, info.bit_depth) == ("PNG", 3, 4, 1, 16)
    assert info.frames == (0,)


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_sixteen_bit_png_of_several_channels_keeps_its_depth(tmp_path: Path, samples: int) -> None:
    pixels = np.arange(12 * samples, dtype=np.uint16).reshape(3, 4, samples) * 1301
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    expected = pixels[..., 0] if samples == 2 else pixels[..., :3]
    image = only(tmp_path / "a.png")
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.high == 65535
    assert probe(tmp_path / "a.png").bit_depth == 16
    assert probe(tmp_path / "a.png").channels == (1 if samples == 2 else 3)


def test_alpha_is_dropped(tmp_path: Path) -> None:
    alpha = np.full((3, 4, 1), 9, np.uint8)
    Image.fromarray(np.concatenate([COLOUR, alpha], axis=2)).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(only(tmp_path / "rgba.png").pixels, COLOUR)
    Image.fromarray(np.dstack([GREY, alpha[..., 0]]), "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(only(tmp_path / "la.png").pixels, GREY)


def test_palette_becomes_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 0, 1, 2, 3])
    image.save(tmp_path / "a.png")
    expected = [[[10, 20, 30], [200, 100, 0]], [[200, 100, 0], [1, 2, 3]]]
    np.testing.assert_array_equal(only(tmp_path / "a.png").pixels, expected)
    assert probe(tmp_path / "a.png").channels == 3


def test_bilevel_image_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(only(tmp_path / "a.png").pixels, [[255, 0]])


def test_content_counts_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(path, "JPEG")
    assert probe(path).format == "JPEG"
    np.testing.assert_array_equal(only(path).pixels, np.full((8, 8), 77))


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


def test_later_page_of_a_tiff_is_checked_too(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((4, 4), np.uint8))
        file.write(np.zeros((40, 40), np.uint8))
    assert "1,600 pixels" in refusal(tmp_path / "a.tif", ReaderOptions(max_pixels=100))


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


def test_running_out_of_memory_is_not_blamed_on_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")

    def fail(image: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(MemoryError):
        only(tmp_path / "a.png")


def test_cut_off_jpeg_inside_a_tiff_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, compression="jpeg", photometric="rgb", metadata=None, contiguous=False)
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(UnreadableImage, match=r"x\.tif"):
        list(read_frames(path))


@pytest.mark.parametrize(
    ("sufficient", "shape"), [(0, (400, 600)), (201, (400, 600)), (200, (200, 300)), (100, (100, 150)), (9, (50, 75))]
)
def test_large_jpeg_is_decoded_no_larger_than_suffices(tmp_path: Path, sufficient: int, shape: tuple[int, int]) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.full((400, 600), 77, np.uint8)).save(path, quality=95)
    (image,) = read_frames(path, DEFAULTS, sufficient)
    assert image.pixels.shape == shape
    assert (image.pixels == 77).all()
    assert (image.low, image.high) == (0, 255)
    assert (probe(path).height, probe(path).width) == (400, 600)


def test_other_formats_are_decoded_in_full(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "a.tif"):
        Image.fromarray(GREY).save(tmp_path / name)
        (image,) = read_frames(tmp_path / name, DEFAULTS, 1)
        np.testing.assert_array_equal(image.pixels, GREY)


def test_cut_off_jpeg_is_refused_at_a_reduced_scale_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableImage, match="damaged"):
        list(read_frames(path, DEFAULTS, 8))
