"""Charts are whole PNG files in the colours of their theme."""

import math

import numpy as np
import pytest

from fixtures.pictures import opened
from healthygan.viz.charts import (
    DARK,
    LIGHT,
    Tile,
    histogram,
    picture_grid,
    roc_chart,
    roc_comparison,
    selection_curve,
    training_curve,
)

RANDOM = np.random.default_rng(0)
LABELS = np.arange(60) < 30
SCORES = RANDOM.normal(size=60) + LABELS
CURVE = (np.array([0.0, 0.2, 0.6, 1.0]), np.array([0.0, 0.6, 0.9, 1.0]))


@pytest.mark.parametrize(("theme", "background"), [(LIGHT, (255, 255, 255)), (DARK, (22, 28, 36))])
def test_charts_have_the_background_of_their_theme(theme: object, background: tuple[int, int, int]) -> None:
    points = {"honest": (0.2, 0.6), "nobody called": (0.0, 0.0)}
    charts = [
        roc_chart(CURVE, points, theme),
        histogram(healthy=SCORES[~LABELS], diseased=SCORES[LABELS], thresholds={"honest": 0.5}, theme=theme),
        training_curve([0, 100], {"loss": [1.0, 0.5]}, theme),
    ]
    for chart in charts:
        image = opened(chart).convert("RGB")
        assert image.width == 840
        assert image.getpixel((0, 0)) == background
        assert len(image.getcolors(1 << 20)) > 20


def test_roc_figure_shows_the_curve_and_its_points() -> None:
    plain = roc_chart(CURVE, {})
    marked = roc_chart(CURVE, {"honest": (0.2, 0.6)})
    orange = np.array([0xD5, 0x5E, 0x00])
    counts = [int((np.asarray(opened(c).convert("RGB")) == orange).all(-1).sum()) for c in (plain, marked)]
    assert counts[0] == 0
    assert counts[1] > 50


def test_roc_comparison_draws_each_curve_in_a_colour_or_line_of_its_own() -> None:
    rates = np.linspace(0, 1, 5)
    plain, two = roc_comparison({}), roc_comparison({"a": (rates, rates**0.5), "b": (rates, rates**0.2)})
    colours = [np.array(colour) for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00))]
    found = [
        [int((np.asarray(opened(c).convert("RGB")) == colour).all(-1).sum()) for colour in colours]
        for c in (plain, two)
    ]
    assert found[0] == [0, 0]
    assert min(found[1]) > 100
    eight = {str(number): (rates, rates) for number in range(8)}
    assert roc_comparison(eight) != roc_comparison({**eight, "7": (rates, rates**2)})


def test_picture_grid_shows_every_tile_and_words_where_there_is_no_picture() -> None:
    red, blue = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    grid = picture_grid(["a", "b $x"], {"one": [Tile(red, "rank 1"), Tile(blue, "")]}, "note")
    worded = picture_grid(["a", "b $x"], {"one": [Tile(red, "rank 1"), Tile(None, "score 3")]}, "note")

    def count(content: bytes, colour: tuple[int, int, int]) -> int:
        return int((np.asarray(opened(content).convert("RGB")) == colour).all(-1).sum())

    assert count(grid, (255, 0, 0)) > 1000 and count(grid, (0, 0, 255)) > 1000
    assert count(worded, (255, 0, 0)) > 1000 and count(worded, (0, 0, 255)) == 0


def test_picture_grid_refuses_a_row_of_another_length() -> None:
    with pytest.raises(ValueError, match=r"\['one'\]: give 2 tiles a row"):
        picture_grid(["a", "b"], {"one": [Tile(None, "")]}, "note")


def test_histogram_draws_its_thresholds() -> None:
    without = histogram(unlabelled=SCORES, thresholds={})
    assert histogram(unlabelled=SCORES, thresholds={"honest": 0.3}) != without


def test_histogram_of_one_repeated_score_is_drawn() -> None:
    assert opened(histogram(unlabelled=np.full(5, 0.25), thresholds={"honest": 0.25})).height > 100


def test_training_curve_grows_with_the_number_of_series_and_survives_gaps_and_odd_names() -> None:
    one = opened(training_curve([1, 2, 3], {"loss $\\x$": [1.0, math.nan, 2.0]}))
    three = opened(training_curve([1, 2, 3], {name: [1.0, 2.0, 3.0] for name in "abc"}))
    assert three.height > 2 * one.height


@pytest.mark.parametrize("series", [{}, {"loss": [1.0]}])
def test_training_curve_refuses_series_of_another_length(series: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="as long as the 2 iterations"):
        training_curve([1, 2], series)


def test_selection_curve_marks_the_model_and_each_figures_own_best() -> None:
    curves = {"AUCp": {2: 0.5, 4: 0.8, 6: 0.7}, "FID (x)": {2: 9.0, 4: 5.0, 6: 6.0}}
    drawn = [
        selection_curve(curves, best, chosen)
        for best, chosen in (
            ({"AUCp": 4, "FID (x)": 4}, 4),
            ({"AUCp": 4, "FID (x)": 4}, 6),
            ({"AUCp": 4, "FID (x)": 6}, 4),
        )
    ]
    assert len(set(drawn)) == 3
    one = opened(selection_curve({"AUCp": curves["AUCp"]}, {"AUCp": 4}, 4))
    assert opened(drawn[0]).height > 1.5 * one.height
