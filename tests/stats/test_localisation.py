"""Measures of difference maps agree with scikit-learn and with trying every threshold."""

import itertools
import math

import numpy as np
import pytest
from scipy.ndimage import label
from sklearn.metrics import f1_score, roc_auc_score

from healthygan.stats.localisation import aupro, best_dice, flip_stability, localised, pixel_auroc, regions


def maps_and_masks() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    masks = random.random((5, 16, 16)) < 0.1
    masks[3:] = False
    # Values on a grid of 1/255 fall on exact levels, so that nothing is lost to rounding.
    differences = np.clip(np.rint(random.normal(60, 30, masks.shape) + 40 * masks), 0, 255) / 255
    return differences, masks


def test_pixel_auroc_agrees_with_scikit_learn_over_all_pixels() -> None:
    differences, masks = maps_and_masks()
    expected = roc_auc_score(masks.ravel(), differences.ravel())
    assert pixel_auroc(differences, masks) == pytest.approx(expected, abs=1e-12)
    assert pixel_auroc(iter(differences.astype(np.float32)), iter(masks)) == pytest.approx(expected, abs=1e-12)


def test_best_dice_agrees_with_trying_every_threshold() -> None:
    differences, masks = maps_and_masks()
    tried = [f1_score(masks.ravel(), (differences >= t).ravel()) for t in np.unique(differences)]
    assert best_dice(differences, masks) == pytest.approx(max(tried), abs=1e-12)


def test_pixel_metrics_are_nan_without_a_lesion() -> None:
    differences, masks = np.full((2, 4, 4), 0.5), np.zeros((2, 4, 4), dtype=bool)
    assert math.isnan(pixel_auroc(differences, masks))
    assert math.isnan(best_dice(differences, masks))
    assert math.isnan(pixel_auroc(differences, ~masks))


@pytest.mark.parametrize(
    ("differences", "masks", "message"),
    [
        (np.full((1, 2, 2), 1.5), np.ones((1, 2, 2), dtype=bool), r"leaves \[0, 1\]"),
        (np.full((1, 2, 2), np.nan), np.ones((1, 2, 2), dtype=bool), r"leaves \[0, 1\]"),
        (np.zeros((1, 2, 2)), np.ones((1, 3, 2), dtype=bool), "same shape"),
        (np.zeros((1, 2, 2)), np.ones((1, 2, 2)), "boolean"),
        (np.zeros((2, 2, 2)), np.ones((1, 2, 2), dtype=bool), "shorter"),
    ],
)
def test_malformed_maps_are_refused(differences: np.ndarray, masks: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pixel_auroc(differences, masks)


def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Maps and masks with lesions of very unequal size, one of which hangs together at a corner only."""
    random = np.random.default_rng(3)
    masks = np.zeros((4, 24, 24), dtype=bool)
    masks[0, 2:12, 3:13] = True
    masks[0, 18:20, 18:20] = True
    masks[1, 5, 5] = masks[1, 6, 6] = True
    masks[2, 10:13, 0:4] = True
    differences = np.clip(np.rint(random.normal(60, 30, masks.shape) + 50 * masks), 0, 255) / 255
    return differences, masks


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_aupro_agrees_with_trying_every_threshold(limit: float) -> None:
    differences, masks = blobs()
    found = [label(mask, np.ones((3, 3))) for mask in masks]
    lesions = [differences[i][numbered == n] for i, (numbered, count) in enumerate(found) for n in range(1, count + 1)]
    assert len(lesions) == 4
    points = [(0.0, 0.0)]
    for threshold in np.unique(differences)[::-1]:
        false = float((differences[~masks] >= threshold).mean())
        points.append((false, float(np.mean([(lesion >= threshold).mean() for lesion in lesions]))))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 < limit and x1 > x0:
            end = min(x1, limit)
            y = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y) / 2
    assert aupro(differences, masks, limit) == pytest.approx(area / limit, abs=1e-9)


def test_one_look_at_each_map_gives_all_three_measures() -> None:
    differences, masks = blobs()
    expected = {measure.__name__: measure(differences, masks) for measure in (pixel_auroc, best_dice, aupro)}
    assert localised(iter(differences), iter(masks)) == expected


def test_aupro_counts_a_small_lesion_as_much_as_a_large_one() -> None:
    mask = np.zeros((1, 20, 20), dtype=bool)
    mask[0, :10, :10] = True
    mask[0, 15, 15] = True
    only_large = np.where(mask & (np.indices(mask.shape)[1] < 10), 1.0, 0.0)
    both = np.where(mask, 1.0, 0.0)
    assert aupro(both, mask) == pytest.approx(1.0)
    # Half the lesions are found at once, the other half as the threshold sinks to the background.
    assert aupro(only_large, mask) == pytest.approx(0.5 + 0.5 * 0.3 / 2)


def test_aupro_is_nan_without_lesions_and_refuses_a_senseless_limit() -> None:
    differences, masks = np.full((2, 4, 4), 0.5), np.zeros((2, 4, 4), dtype=bool)
    assert math.isnan(aupro(differences, masks)) and math.isnan(aupro(differences, ~masks))
    with pytest.raises(ValueError, match="limit 0"):
        aupro(differences, masks, 0)


def test_regions_share_out_the_anomaly_score() -> None:
    difference = np.zeros((10, 10))
    difference[1:3, 1:4] = 0.5
    difference[6, 6], difference[7, 7] = 0.8, 0.4  # at a corner: one region
    difference[9, 0] = 0.1  # below the cut
    large, small = regions(difference, 0.2)
    assert (large.score, large.area, large.peak) == (pytest.approx(0.03), 6, 0.5)
    assert (large.top, large.left, large.height, large.width) == (1, 1, 2, 3)
    assert (small.score, small.area, small.peak) == (pytest.approx(0.012), 2, 0.8)
    assert (small.top, small.left, small.height, small.width) == (6, 6, 2, 2)
    assert sum(region.score for region in regions(difference, 1e-9)) == pytest.approx(difference.mean())
    assert regions(difference, 0.9) == []


@pytest.mark.parametrize(
    ("difference", "cut"), [(np.zeros((2, 2, 2)), 0.1), (np.full((2, 2), 2.0), 0.1), (np.zeros((2, 2)), 0)]
)
def test_regions_refuse_what_is_no_map_or_no_cut(difference: np.ndarray, cut: float) -> None:
    with pytest.raises(ValueError, match=r"\(H, W\)|positive"):
        regions(difference, cut)


def test_flip_stability_is_one_for_mirrored_maps_and_near_zero_for_unrelated_ones() -> None:
    random = np.random.default_rng(0)
    maps, others = random.random((5, 30, 30)), random.random((5, 30, 30))
    assert flip_stability(maps, 0.5 * maps[:, :, ::-1]) == pytest.approx(1.0)
    assert abs(flip_stability(maps, others)) < 0.05
    assert flip_stability(maps[:1], others[:1]) == pytest.approx(
        np.corrcoef(maps[0].ravel(), others[0, :, ::-1].ravel())[0, 1]
    )


def test_flip_stability_of_maps_without_contrast_is_zero_and_of_nothing_nan() -> None:
    assert flip_stability(np.zeros((1, 4, 4)), np.zeros((1, 4, 4))) == 0
    assert math.isnan(flip_stability([], []))
    with pytest.raises(ValueError, match="mirror"):
        flip_stability(np.zeros((1, 4, 4)), np.zeros((1, 4, 5)))
