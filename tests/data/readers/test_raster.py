"""PNG, JPEG and BMP: depth, colour and size are those of the file."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from fixtures.readers import COLOUR, DEEP, GREY, only
from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import DEFAULTS
from healthygan.data.readers.reading import probe, read_frames


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


def test_cut_off_jpeg_is_refused_at_a_reduced_scale_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableImage, match="damaged"):
        list(read_frames(path, DEFAULTS, 8))


def test_webp_is_read(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.webp", lossless=True)
    np.testing.assert_array_equal(only(tmp_path / "a.webp").pixels, COLOUR)
    info = probe(tmp_path / "a.webp")
    assert (info.format, info.height, info.width, info.channels, info.bit_depth) == ("WEBP", 3, 4, 3, 8)


def test_limit_of_pixels_is_the_options_and_not_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    np.testing.assert_array_equal(only(tmp_path / "a.png").pixels, GREY)


def test_coefficients_of_a_progressive_jpeg_count_as_memory(tmp_path: Path) -> None:
    for name, progressive in (("plain", False), ("progressive", True)):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / f"{name}.jpg", progressive=progressive)
    extra = probe(tmp_path / "progressive.jpg").memory - probe(tmp_path / "plain.jpg").memory
    assert extra > 64 * 64 * 5
