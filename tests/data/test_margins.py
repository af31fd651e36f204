import numpy as np
import pytest

from healthygan.data.margins import FEW, MOST, NO_MARGINS, Margins, find_margins


def bright(height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    plane = np.zeros((height, width), bool)
    plane[rows, columns] = True
    return plane


def test_margins_are_shares_of_the_sides() -> None:
    shown = bright(100, 50, slice(5, 80), slice(10, 48))
    assert find_margins(shown[None]) == pytest.approx(Margins(0.05, 0.2, 0.2, 0.04))


def test_what_any_plane_shows_is_no_margin() -> None:
    left = bright(40, 40, slice(8, 20), slice(4, 20))
    right = bright(40, 40, slice(20, 36), slice(20, 38))
    assert find_margins(np.stack([left, right])) == pytest.approx(Margins(0.2, 0.1, 0.1, 0.05))


def test_specks_are_part_of_a_margin() -> None:
    shown = bright(100, 100, slice(10, 90), slice(10, 90))
    count = int(100 * FEW)
    shown[2, :count] = True
    assert find_margins(shown[None]).top == pytest.approx(0.1)
    shown[2, : count + 1] = True
    assert find_margins(shown[None]).top == pytest.approx(0.02)


def test_no_more_than_a_quarter_is_cut_off_at_either_end() -> None:
    assert find_margins(bright(40, 40, slice(19, 21), slice(19, 21))[None]) == Margins(MOST, MOST, MOST, MOST)


@pytest.mark.parametrize("shown", [np.zeros((1, 9, 7), bool), np.ones((2, 9, 7), bool)])
def test_an_image_that_shows_nothing_or_fills_its_frame_has_none(shown: np.ndarray) -> None:
    assert find_margins(shown) == NO_MARGINS
