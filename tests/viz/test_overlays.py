"""Overlays, outlines and panels show what they are given, and nothing else."""

import numpy as np
import pytest

from fixtures.pictures import opened
from healthygan.viz.overlays import EVIDENCE_TITLE, LESION_COLOUR, colour_scale, outline, overlay, panels, png

RANDOM = np.random.default_rng(0)


def test_overlay_of_no_difference_is_the_grey_image() -> None:
    image = np.array([[-1.0, 0.0, 1.0]])
    shown = overlay(image, np.zeros((1, 3)), top=0.5)
    assert shown.tolist() == [[[0, 0, 0], [128, 128, 128], [255, 255, 255]]]


def test_overlay_grows_more_coloured_with_the_difference_and_stops_at_the_top() -> None:
    differences = np.array([[0.0, 0.05, 0.1, 0.2, 0.9]])
    shown = overlay(np.zeros((1, 5)), differences, top=0.2).astype(int)
    away = np.abs(shown - shown[:, :1]).sum(axis=-1)[0]
    assert away[0] < away[1] < away[2] < away[3]
    assert (shown[0, 3] == shown[0, 4]).all()


def test_overlay_gives_one_difference_one_colour_whatever_else_is_shown() -> None:
    alone = overlay(np.zeros((1, 1)), np.full((1, 1), 0.1), top=0.3)
    beside = overlay(np.zeros((1, 2)), np.array([[0.1, 0.9]]), top=0.3)
    assert (alone[0, 0] == beside[0, 0]).all()


def test_overlay_refuses_other_shapes_and_a_scale_without_extent() -> None:
    with pytest.raises(ValueError, match="one shape"):
        overlay(np.zeros((2, 2)), np.zeros((2, 3)), top=1)
    with pytest.raises(ValueError, match="top of the colour scale is 0"):
        overlay(np.zeros((2, 2)), np.zeros((2, 2)), top=0)


def test_outline_surrounds_the_lesion_and_leaves_it_visible() -> None:
    picture = RANDOM.integers(0, 100, (9, 9, 3), dtype=np.uint8)
    lesion = np.zeros((9, 9), dtype=bool)
    lesion[3:6, 3:6] = True
    shown = outline(picture, lesion)
    marked = (shown == LESION_COLOUR).all(axis=-1)
    around = np.zeros((9, 9), dtype=bool)
    around[2:7, 2:7] = True
    assert (marked == (around & ~lesion)).all()
    assert (shown[~marked] == picture[~marked]).all()


def test_outline_of_an_empty_lesion_changes_nothing() -> None:
    picture = RANDOM.integers(0, 100, (9, 9, 3), dtype=np.uint8)
    assert (outline(picture, np.zeros((9, 9), dtype=bool)) == picture).all()


def test_outline_refuses_a_mask_of_another_shape() -> None:
    with pytest.raises(ValueError, match="one shape"):
        outline(np.zeros((9, 9, 3), dtype=np.uint8), np.zeros((8, 9), dtype=bool))


def test_panels_show_only_what_is_known() -> None:
    image = RANDOM.uniform(-1, 1, (8, 8))
    assert list(panels(image, None, None, None, None, top=1)) == ["image"]
    full = panels(image, image, np.ones((8, 8)), np.zeros((8, 8)), None, top=1)
    assert list(full) == ["image", "translated image x'", "mask M", "difference |x - x'| / 2"]
    assert (full["mask M"] == 255).all()
    assert (full["image"] == full["difference |x - x'| / 2"]).all()


def test_a_map_of_a_detector_that_translates_nothing_is_no_difference() -> None:
    blank = np.zeros((8, 8))
    lesion = np.eye(8, dtype=bool)
    shown = panels(blank, None, None, blank, lesion, top=1)
    assert list(shown) == ["image", "anomaly map"]
    assert (shown["anomaly map"] == LESION_COLOUR).all(axis=-1).any()


def test_panels_outline_a_lesion_on_the_image_and_the_difference_alone() -> None:
    lesion = np.zeros((8, 8), dtype=bool)
    lesion[4, 4] = True
    blank = np.zeros((8, 8))
    shown = panels(blank, blank, blank, blank, lesion, top=1)
    marked = [title for title, picture in shown.items() if (picture == LESION_COLOUR).all(axis=-1).any()]
    assert marked == ["image", "difference |x - x'| / 2"]


def test_png_keeps_every_pixel_and_stores_grey_as_grey() -> None:
    colour = RANDOM.integers(0, 255, (6, 7, 3), dtype=np.uint8)
    grey = np.repeat(colour[..., :1], 3, axis=-1)
    assert opened(png(colour)).mode == "RGB"
    assert (np.asarray(opened(png(colour))) == colour).all()
    assert opened(png(grey)).mode == "L"
    assert (np.asarray(opened(png(grey)).convert("RGB")) == grey).all()


def test_colour_scale_runs_from_grey_to_the_overlays_top_colour() -> None:
    scale = colour_scale(width=32, height=4)
    top = overlay(np.zeros((1, 1)), np.ones((1, 1)), top=1)
    assert scale.shape == (4, 32, 3)
    assert scale[0, 0].tolist() == [128, 128, 128]
    assert (scale[0, -1] == top[0, 0]).all()


def test_evidence_is_a_panel_of_its_own_beside_a_translation_on_a_scale_of_its_own():
    image, where = np.zeros((8, 8)), np.linspace(0, 1, 64).reshape(8, 8)
    shown = panels(image, image, None, where, None, 0.5, evidence=where)
    assert list(shown) == ["image", EVIDENCE_TITLE, "translated image x'", "difference |x - x'| / 2"]
    np.testing.assert_array_equal(shown[EVIDENCE_TITLE], overlay(image, where, 1.0))
    assert EVIDENCE_TITLE not in panels(image, None, None, where, None, 1.0, evidence=where)
