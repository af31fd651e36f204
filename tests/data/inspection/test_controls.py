"""Shallow statistics equal what hand arithmetic says, and a giveaway among them shows."""

from pathlib import Path

import numpy as np
import pytest

from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.inspection.controls import control_aucs, controls, share_scores, told_scores
from healthygan.stats.metrics import auc

ONE = np.array([[[0, 2, 4], [10, 20, 30]]], dtype=np.uint8)


def test_statistics_of_a_small_image_match_hand_arithmetic() -> None:
    values = {name: value.item() for name, value in controls(ONE).items()}

    assert values == pytest.approx(
        {
            "mean intensity": 11.0,
            "standard deviation": np.sqrt((121 + 81 + 49 + 1 + 81 + 361) / 6),
            "median": 7.0,
            "95th percentile": 27.5,  # a quarter of the way down from 30 to 20
            "horizontal gradient": (2 + 2 + 10 + 10) / 4,
            "vertical gradient": (10 + 18 + 26) / 3,
            "dark margins": 0.0,
        }
    )


def test_falling_steps_of_unsigned_images_do_not_wrap_around() -> None:
    falling = np.array([[[255, 0], [255, 0]]], dtype=np.uint8)

    assert controls(falling)["horizontal gradient"].item() == 255


def test_dark_margins_are_a_share_of_the_area() -> None:
    framed = np.full((10, 20), 100.0)
    framed[1:, 2:16] = 900

    assert controls(framed[None])["dark margins"].item() == pytest.approx(1 - 0.9 * 0.7)


def test_images_keep_their_order() -> None:
    images = np.stack([np.full((4, 4), level, np.float32) for level in (0.5, 0.1, 0.9)])

    values = controls(images)

    assert values["mean intensity"] == pytest.approx([0.5, 0.1, 0.9])


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4), (2, 1, 4), (2, 3, 4, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="N, H, W"):
        controls(np.zeros(shape, np.float32))


def test_a_giveaway_counts_alike_in_both_directions_and_a_constant_not_at_all() -> None:
    labels = np.array([False, False, True, True])
    values = {
        "rises": np.array([1.0, 2.0, 3.0, 4.0]),
        "falls": np.array([4.0, 3.0, 2.0, 1.0]),
        "mostly falls": np.array([4.0, 2.0, 3.0, 1.0]),
        "constant": np.zeros(4),
    }

    assert control_aucs(values, labels) == {"rises": 1.0, "falls": 1.0, "mostly falls": 0.75, "constant": 0.5}


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(ValueError):
        control_aucs({"constant": np.zeros(3)}, np.ones(3, bool))


def test_a_column_is_learned_from_the_training_sets_and_judged_on_the_test_set() -> None:
    def images(split: Split, label: Label | None, *scanners: str) -> list[CohortImage]:
        return [CohortImage(Path("a.png"), split, label, more={"scanner": name} if name else {}) for name in scanners]

    cohort = Cohort(
        "c",
        (
            *images(Split.HEALTHY, Label.HEALTHY, "a", "a", "a", "b"),
            *images(Split.MIXED, None, "a", "b", "b", "c"),
            *images(Split.TEST, Label.HEALTHY, "a", "b"),
            *images(Split.TEST, Label.DISEASED, "c", "b", "", "a"),
        ),
    )
    test = cohort.split(Split.TEST)
    labels = np.array([image.label is Label.DISEASED for image in test])
    areas = {name: auc(values, labels) for name, values in told_scores(cohort, ["scanner"], test).items()}
    # Shares: a 1/4, b 2/3, c 1, never seen 1/2. Of 8 pairs: c 2, b 1.5, empty 1, a 0.5.
    # Rare in healthy: a 1/4, b 3/4, c and empty 1: c 2, b 1.5, empty 2, a 0.5. Not a: c, b, empty 1.5 each, a 0.5.
    assert areas == pytest.approx(
        {
            "scanner alone": 5 / 8,
            "scanner alone (rare in healthy)": 6 / 8,
            "scanner alone (not a)": 5 / 8,
        }
    )


def test_source_score_compares_its_share_in_both_training_sets() -> None:
    scores = share_scores(healthy=["a", "a", "a", "b"], mixed=["a", "b", "c", "c", "c", "c", "c", "c"])

    # a: 1/8 in mixed, 3/4 in healthy; b: 1/8 and 1/4; c: in mixed only.
    assert scores == pytest.approx({"a": 1 / 7, "b": 1 / 3, "c": 1.0})
