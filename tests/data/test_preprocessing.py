import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from healthygan.data.margins import NO_MARGINS, Margins
from healthygan.data.preprocessing import Preprocessing, to_tensor
from healthygan.data.readers.base import DecodedImage, ReaderOptions
from healthygan.data.readers.reading import read_frames


def grey(pixels: NDArray[np.generic], low: float = 0, high: float = 65535) -> DecodedImage:
    return DecodedImage(pixels, low, high)


def blocks(values: list[list[int]], side: int = 8) -> NDArray[np.uint16]:
    """Each value as a block of side x side pixels."""
    return np.kron(np.array(values), np.ones((side, side))).astype(np.uint16)


NOISE = np.random.default_rng(0).integers(0, 65536, (8, 8)).astype(np.uint16)


def test_sixteen_bits_survive_where_nothing_is_resized() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(Preprocessing(size=256)(grey(every))[0], every)


def test_low_and_high_become_black_and_white_and_what_lies_beyond_is_clipped() -> None:
    pixels = np.tile(np.array([-50, -10, 0, 10, 20, 30, 31, 99], np.float32), (8, 1))
    row = Preprocessing(size=8)(grey(pixels, -10, 30))[0, 3]
    np.testing.assert_array_equal(row, [0, 0, 16384, 32768, 49151, 65535, 65535, 65535])


def test_pixels_that_are_not_finite_become_black() -> None:
    pixels = np.full((8, 8), 5, np.float32)
    pixels[0, :3] = np.nan, np.inf, -np.inf
    result = Preprocessing(size=8)(grey(pixels, 0, 5))[0]
    assert result[0].tolist() == [0, 0, 0] + [65535] * 5
    assert (result[1:] == 65535).all()


def test_narrow_range_far_from_zero_keeps_its_steps() -> None:
    pixels = np.arange(64, dtype=np.int64).reshape(8, 8) + 2**40
    result = Preprocessing(size=8)(grey(pixels, 2**40, 2**40 + 63))[0]
    np.testing.assert_array_equal(result, np.floor(np.arange(64) * 65535 / 63 + 0.5).reshape(8, 8))


def test_top_is_cropped_first() -> None:
    # The top row of blocks goes; what is left is a square.
    image = blocks([[9, 9], [100, 200], [300, 400]])
    result = Preprocessing(size=16, crop_top=1 / 3)(grey(image))[0]
    np.testing.assert_array_equal(result, blocks([[100, 200], [300, 400]]))


def test_crop_is_the_nearest_row_and_never_all() -> None:
    rows = np.repeat(np.arange(100, dtype=np.uint16)[:, None], 100, axis=1)
    # 0.29 of 100 rows is 28.999... in floating point; 71 rows remain of 71 columns.
    result = Preprocessing(size=8, crop_top=0.29, shape="squash")(grey(rows))[0]
    same = Preprocessing(size=8, shape="squash")(grey(rows[29:]))[0]
    np.testing.assert_array_equal(result, same)
    one_row = Preprocessing(size=8, crop_top=0.89, shape="squash")(grey(np.full((1, 8), 7, np.uint16)))
    assert (one_row == 7).all()


def test_square_is_the_centre() -> None:
    wide = np.hstack([np.full((8, 3), 1, np.uint16), NOISE, np.full((8, 4), 2, np.uint16)])
    np.testing.assert_array_equal(Preprocessing(size=8)(grey(wide))[0], NOISE)
    np.testing.assert_array_equal(Preprocessing(size=8)(grey(wide.T))[0], NOISE.T)


def test_pad_adds_black_borders() -> None:
    result = Preprocessing(size=8, shape="pad")(grey(NOISE[:4], low=0))[0]
    np.testing.assert_array_equal(result[2:6], NOISE[:4])
    assert (result[[0, 1, 6, 7]] == 0).all()
    result = Preprocessing(size=8, shape="pad")(grey(NOISE[:, :3]))[0]
    np.testing.assert_array_equal(result[:, 2:5], NOISE[:, :3])
    assert (result[:, [0, 1, 5, 6, 7]] == 0).all()


def test_black_borders_are_black_where_low_is_not_zero() -> None:
    result = Preprocessing(size=8, shape="pad")(grey(np.full((4, 8), 50, np.int16), -100, 50))[0]
    assert result[:, 0].tolist() == [0, 0, 65535, 65535, 65535, 65535, 0, 0]


def test_long_thin_image_is_padded_within_memory() -> None:
    result = Preprocessing(size=8, shape="pad")(grey(np.full((1, 1_000_000), 65535, np.uint16)))[0]
    assert (result == 65535).sum() == 8
    assert (result == 0).sum() == 56


def test_squash_keeps_all_of_the_image() -> None:
    image = blocks([[100, 200, 300, 400]], side=8)  # 8 x 32
    result = Preprocessing(size=8, shape="squash")(grey(image))[0]
    assert (result == result[0]).all()
    # Block borders blur over a pixel; the order and the ends stay.
    assert (np.diff(result[0].astype(int)) >= 0).all()
    assert (result[0, 0], result[0, -1]) == (100, 400)
    assert result[0].mean() == pytest.approx(250, abs=1)


def test_shrinking_averages_and_does_not_skip_pixels() -> None:
    checks = (np.indices((64, 64)).sum(axis=0) % 2 * 65535).astype(np.uint16)
    inner = Preprocessing(size=8)(grey(checks))[0, 1:-1, 1:-1].astype(float)
    np.testing.assert_allclose(inner, 65535 / 2, atol=65535 * 0.005)


@pytest.mark.parametrize("side", [5, 8, 31, 100])
def test_constant_image_stays_constant_at_every_size(side: int) -> None:
    result = Preprocessing(size=12)(grey(np.full((side, side), 4321, np.uint16)))
    assert result.shape == (1, 12, 12)
    assert result.dtype == np.uint16
    np.testing.assert_allclose(result.astype(int), 4321, atol=1)


def test_colour_becomes_grey_by_luma() -> None:
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[:] = 255, 100, 30
    result = Preprocessing(size=8)(grey(colour, 0, 255))
    expected = (0.299 * 255 + 0.587 * 100 + 0.114 * 30) / 255 * 65535
    np.testing.assert_allclose(result.astype(float), np.full((1, 8, 8), expected), atol=1)


def test_grey_becomes_three_equal_channels() -> None:
    result = Preprocessing(size=8, channels=3)(grey(NOISE))
    np.testing.assert_array_equal(result, [NOISE] * 3)


def test_colour_keeps_its_channels_in_order() -> None:
    colour = np.random.default_rng(1).integers(0, 65536, (8, 8, 3)).astype(np.uint16)
    result = Preprocessing(size=8, channels=3)(grey(colour))
    np.testing.assert_array_equal(result, np.moveaxis(colour, 2, 0))


def framed(pixels: NDArray[np.uint16], before: int, after: int) -> NDArray[np.uint16]:
    """Dark noise around an image."""
    wide = np.random.default_rng(2).integers(0, 5000, np.add(pixels.shape, before + after)).astype(np.uint16)
    wide[before : before + pixels.shape[0], before : before + pixels.shape[1]] = pixels
    return wide


def test_trimming_takes_dark_margins_off_and_nothing_else() -> None:
    image = np.maximum(NOISE, 6000)
    trim = Preprocessing(size=8, trim=True)
    np.testing.assert_array_equal(trim(grey(framed(image, 2, 3)))[0], image)
    np.testing.assert_array_equal(trim(grey(image))[0], image)
    whole = Preprocessing(size=12)(grey(framed(image, 2, 2)))[0]
    np.testing.assert_array_equal(whole, framed(image, 2, 2))


def test_margins_come_from_what_the_cut_at_the_top_leaves() -> None:
    image = np.maximum(NOISE, 6000)
    labelled = framed(image, 2, 2)
    labelled[0] = 65535  # burnt-in text
    shown = Preprocessing(size=8, trim=True, crop_top=1 / 12)(grey(labelled))[0]
    np.testing.assert_array_equal(shown, image)


def test_colours_are_trimmed_where_all_are_dark() -> None:
    colour = np.zeros((12, 12, 3), np.uint8)
    colour[2:10, 2:10] = (0, 0, 200)
    assert (Preprocessing(size=8, channels=3, trim=True)(grey(colour, 0, 255))[2] > 50000).all()


def test_slices_are_trimmed_by_their_volume_s_margins() -> None:
    pixels = np.zeros((16, 16), np.uint16)
    pixels[7:9, 7:9] = 65535
    margins = Margins(0.25, 0.25, 0.25, 0.25)
    trim = Preprocessing(size=8, trim=True)
    expected = np.zeros((8, 8))
    expected[3:5, 3:5] = 65535
    slice_of_volume = DecodedImage(pixels, 0, 65535, margins=margins)
    np.testing.assert_array_equal(trim(slice_of_volume)[0], expected)
    assert trim.margins(slice_of_volume) == margins
    assert Preprocessing(size=8).margins(slice_of_volume) == NO_MARGINS
    np.testing.assert_array_equal(Preprocessing(size=16)(slice_of_volume)[0], pixels)


def test_a_row_and_a_column_stay_whatever_is_cut() -> None:
    tall = np.zeros((4, 1), np.uint16)
    tall[0] = 65535
    assert Preprocessing(size=8, crop_top=0.8, trim=True)(grey(tall)).shape == (1, 8, 8)


def test_mask_is_trimmed_as_its_image() -> None:
    image = framed(np.maximum(NOISE, 6000), 2, 3)
    mask = np.zeros(image.shape, bool)
    mask[3:6, 4:9] = True
    trim = Preprocessing(size=8, trim=True)
    moved = trim.apply_to_mask(mask, trim.margins(grey(image)))
    np.testing.assert_array_equal(moved, mask[2:10, 2:10])


@pytest.mark.parametrize("shape", ["square", "pad", "squash"])
@pytest.mark.parametrize(("height", "width"), [(40, 24), (24, 40), (32, 32)])
def test_mask_goes_where_the_image_goes(shape: str, height: int, width: int) -> None:
    mask = np.zeros((height, width), bool)
    mask[height // 2 :, width // 3 : width // 2] = True
    chosen = Preprocessing.model_validate({"size": 16, "shape": shape, "crop_top": 0.25})
    moved = chosen.apply_to_mask(mask)
    image = chosen(grey(mask.astype(np.uint8), 0, 1))[0]
    assert (moved.shape, moved.dtype) == ((16, 16), np.bool_)
    assert moved.any()
    np.testing.assert_array_equal(moved, image >= 32768)


def test_half_covered_pixel_belongs_to_the_mask() -> None:
    mask = np.zeros((8, 8), bool)
    mask[:, :4] = True
    np.testing.assert_array_equal(Preprocessing(size=8).apply_to_mask(mask), mask)


def test_tensor_spans_minus_one_to_one() -> None:
    tensor = to_tensor(np.array([[[0, 65535, 32768]]], np.uint16))
    assert tensor.dtype == torch.float32
    assert tensor.shape == (1, 1, 3)
    assert tensor[0, 0, :2].tolist() == [-1, 1]
    assert tensor[0, 0, 2].item() == pytest.approx(1 / 65535, abs=1e-7)


def test_tensor_leaves_the_stored_pixels_alone() -> None:
    stored = np.full((2, 2), 65535, np.uint16)
    to_tensor(stored)
    assert (stored == 65535).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 10},
        {"size": 4},
        {"size": 8192},
        {"channels": 2},
        {"crop_top": 0.9},
        {"crop_top": -0.1},
        {"shape": "round"},
        {"unknown": 1},
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preprocessing.model_validate(wrong)


def test_fingerprint_changes_with_every_setting() -> None:
    variants = [
        Preprocessing(),
        Preprocessing(size=128),
        Preprocessing(channels=3),
        Preprocessing(crop_top=0.08),
        Preprocessing(shape="pad"),
        Preprocessing(trim=True),
        Preprocessing(reader=ReaderOptions(dicom_range="full")),
        Preprocessing(reader=ReaderOptions(max_memory=10**9)),
    ]
    assert len({variant.fingerprint() for variant in variants}) == len(variants)
    again = Preprocessing.model_validate_json(Preprocessing().model_dump_json())
    assert again.fingerprint() == Preprocessing().fingerprint()


def test_stores_from_before_there_was_a_bound_on_memory_are_still_good() -> None:
    assert Preprocessing().fingerprint() == "0105b81540ca913d"


@pytest.mark.parametrize("shape", ["square", "pad", "squash"])
@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize("size", [32, 512])
def test_image_scaled_some_rows_at_a_time_is_the_same_to_the_bit(
    shape: Literal["square", "pad", "squash"], trim: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (301, 217, 3)).astype(np.uint16)
    pixels[:40] = 0
    preprocessing = Preprocessing(size=size, channels=3, shape=shape, trim=trim, crop_top=0.07)
    at_once = preprocessing(DecodedImage(pixels, 0, 65535))
    monkeypatch.setattr("healthygan.data.preprocessing.STRIP_PIXELS", 217 * 13)
    np.testing.assert_array_equal(preprocessing(DecodedImage(pixels, 0, 65535)), at_once)


def test_large_image_costs_little_more_than_its_own_pixels() -> None:
    code = (
        "import resource, numpy as np\n"
        "from healthygan.data.preprocessing import Preprocessing\n"
        "from healthygan.data.readers.base import DecodedImage\n"
        "image = DecodedImage(np.ones((5000, 5000, 3), np.uint16), 0, 65535)\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "Preprocessing(size=64)(DecodedImage(image.pixels[:64], 0, 65535))\n"
        "before = peak(); Preprocessing(size=64)(image); print(peak() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) * 1024 < 2.5 * 5000 * 5000 * 3 * 2  # all at once it was eight times


@pytest.mark.parametrize("shape", ["square", "pad", "squash"])
@pytest.mark.parametrize(
    # A reduced pixel at the border may be partly empty, which moves the rest by up to a quarter of a resized pixel.
    ("mode", "width", "height", "levels"),
    [("L", 1200, 896, 1.5), ("RGB", 1200, 896, 1.5), ("L", 1203, 901, 8)],
)
def test_a_jpeg_decoded_at_what_suffices_looks_as_one_decoded_in_full(
    tmp_path: Path, shape: Literal["square", "pad", "squash"], mode: str, width: int, height: int, levels: float
) -> None:
    path = tmp_path / "a.jpg"
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    smooth.convert(mode).save(path, quality=95)
    preprocessing = Preprocessing(size=32, shape=shape)
    (full,) = read_frames(path, preprocessing.reader)
    (reduced,) = read_frames(path, preprocessing.reader, preprocessing.sufficient)
    assert reduced.pixels.shape[:2] == (-(-height // 4), -(-width // 4))
    difference = np.abs(preprocessing(full).astype(float) - preprocessing(reduced)) / (65535 / 255)
    assert difference.max() < levels
    assert difference.mean() < levels / 4


def test_a_cut_leaves_as_much_as_suffices() -> None:
    assert Preprocessing(size=64).sufficient == 256
    assert Preprocessing(size=64, crop_top=0.2).sufficient == 320
