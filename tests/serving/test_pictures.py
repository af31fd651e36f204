"""Pixels keep all of their bits; the map lies where the networks looked; what cannot be read is said."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from healthygan.data.preprocessing import Preprocessing
from healthygan.data.readers.base import DecodedImage
from healthygan.data.readers.reading import read_frames
from healthygan.serving.heat import strength_of
from healthygan.serving.pixels import samples
from healthygan.serving.placement import place_of_map
from healthygan.serving.scored_folder import Framing
from healthygan.viz.overlays import overlay


def test_16_bits_stay_16_bits(reader, phantoms):
    answer = reader.get("/case/1/pixels")
    told = json.loads(answer.headers["x-image"])
    sent = np.frombuffer(answer.content, "<u2").reshape(told["height"], told["width"])
    assert (told["bits"], told["channels"], told["low"], told["high"]) == (16, 1, 0.0, 65535.0)
    assert np.array_equal(sent, np.asarray(Image.open(phantoms / "images" / "phantom_000.png")))
    assert len(np.unique(sent)) > 256


@pytest.mark.parametrize(
    ("values", "dtype", "bits"),
    [
        ([0, 128, 255], np.uint8, 8),
        ([-1024, 0, 3071], np.int16, 16),
        ([-1.5, 0.0, 2.25], np.float32, 16),
        ([0, 70_000, 1_000_000], np.int32, 16),
        ([False, True, True], np.bool_, 8),
    ],
)
def test_native_values_can_be_told_from_the_samples(values, dtype, bits):
    image = DecodedImage(np.array([values], dtype), 0.0, 1.0)
    sent = samples(image)
    restored = sent.offset + sent.step * np.frombuffer(sent.data, f"<u{sent.bits // 8}")
    assert sent.bits == bits
    assert np.abs(restored - np.array(values, float)).max() <= np.ptp(np.array(values, float)) / 65535


def test_colour_is_sent_in_red_green_and_blue():
    sent = samples(DecodedImage(np.arange(12, dtype=np.uint8).reshape(2, 2, 3), 0, 255))
    assert (sent.channels, list(sent.data)) == (3, list(range(12)))


def test_values_that_are_not_finite_are_the_least():
    sent = samples(DecodedImage(np.array([[np.nan, 1.0, 2.0]], np.float32), 1, 2))
    assert list(np.frombuffer(sent.data, "<u2")) == [0, 0, 65535]


def test_the_map_is_found_again_under_any_contrast():
    random = np.random.default_rng(0)
    image = random.uniform(-1, 1, (32, 32)).astype(np.float32)
    strength = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))
    found = strength_of(overlay(image, strength, 1.0))
    assert np.abs(found - strength).max() < 0.06


@pytest.mark.parametrize("shape", ["square", "pad", "squash"])
@pytest.mark.parametrize(("crop_top", "trim"), [(0.0, False), (0.2, False), (0.1, True)])
def test_the_map_lies_where_the_networks_looked(shape, crop_top, trim):
    """A bright square of the network's image is looked for in the place that is told."""
    pixels = np.zeros((120, 200), np.uint16)
    pixels[20:110, 20:190] = 20_000
    pixels[60:80, 90:110] = 65_535
    image = DecodedImage(pixels, 0, 65_535)
    settings = {"size": 64, "shape": shape, "crop_top": crop_top, "trim": trim}
    seen = Preprocessing(**settings)(image)[0] > 50_000
    place = place_of_map(image, Framing(**settings))
    rows, columns = np.nonzero(seen)
    top = place.top + rows.min() / 64 * place.height
    bottom = place.top + (rows.max() + 1) / 64 * place.height
    left = place.left + columns.min() / 64 * place.width
    right = place.left + (columns.max() + 1) / 64 * place.width
    tolerance = 1.2 * max(place.height, place.width) / 64
    assert np.abs(np.array([top, bottom, left, right]) - (60, 80, 90, 110)).max() <= tolerance


def test_the_overlay_is_transparent_where_nothing_was_changed(reader):
    answer = reader.get("/case/1/overlay")
    shown = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert shown.shape == (96, 96, 4)
    assert np.median(shown[..., 3]) < 90 < shown[..., 3].max()
    assert json.loads(answer.headers["x-place"]) == {"top": 0, "left": 0, "height": 96, "width": 96}


def test_float_maps_are_preferred(scored, phantoms, opened, enter):
    (scored / "maps").unlink()
    (scored / "maps").mkdir()
    stem = next((phantoms / "maps").glob("phantom_000*")).stem
    np.save(scored / "maps" / f"{stem}.npy", np.full((96, 96), 0.4, np.float32))
    shown = np.asarray(Image.open(io.BytesIO(enter(opened(scored)).get("/case/1/overlay").content)))
    assert (shown[..., 3] == 255).all()


def test_thumbnails_are_small_with_or_without_a_map(scored, opened, enter):
    with_map = enter(opened(scored)).get("/case/1/thumbnail").content
    (scored / "maps").unlink()
    reader = enter(opened(scored))
    without = reader.get("/case/1/thumbnail").content
    for content in (with_map, without):
        assert max(Image.open(io.BytesIO(content)).size) <= 192 and len(content) < 20_000
    assert reader.get("/case/1/overlay").status_code == 404


def test_a_file_that_is_gone_is_said_without_its_name(tmp_path, opened, enter, phantoms):
    (tmp_path / "scores.csv").write_text((phantoms / "scores.csv").read_text().replace("phantom_000", "gone"))
    reader = enter(opened(tmp_path))
    answer = reader.get("/case/1/pixels")
    assert (answer.status_code, answer.text) == (404, "the image's file cannot be read")
    assert reader.get("/case/1/thumbnail").status_code == 404
    assert reader.get("/case/1").status_code == 200


def test_frames_of_a_file_are_cases_of_their_own(tmp_path, opened, enter):
    stack = np.random.default_rng(0).integers(0, 60_000, (3, 20, 30)).astype(np.uint16)
    path = tmp_path / "stack.tif"
    Image.fromarray(stack[0]).save(path, save_all=True, append_images=[Image.fromarray(page) for page in stack[1:]])
    numbers = [image.frame for image in read_frames(path)]
    rows = "".join(f"{n + 1},{path},{number},0.{9 - n},,,,,\n" for n, number in enumerate(numbers))
    (tmp_path / "scores.csv").write_text(
        "rank,path,frame,score,p_value,flagged,worklist,patient_id,patient_score\n" + rows
    )
    reader = enter(opened(tmp_path))
    for n in range(3):
        sent = np.frombuffer(reader.get(f"/case/{n + 1}/pixels").content, "<u2").reshape(20, 30)
        assert np.array_equal(sent, stack[n])
    assert "3 scored frames" in reader.get("/case/2").text.replace("\n", " ")
