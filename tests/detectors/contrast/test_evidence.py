"""The formulas of the patch evidence, on numbers worked out by hand."""

import pytest
import torch

from healthygan.detectors.contrast import evidence as module
from healthygan.detectors.contrast.evidence import (
    FAINT,
    PatchModel,
    evidence,
    patch_scores,
    patches_of,
    shown,
    summaries,
)


def model_of(**parts):
    random = torch.Generator().manual_seed(0)
    made = PatchModel.unlearned(6, 4)._replace(
        axes=torch.randn(6, 3, generator=random),
        centre=torch.randn(3, generator=random),
        bank=torch.randn(700, 3, generator=random),
        weight=torch.randn(6, generator=random),
    )
    return made._replace(**parts)


def patches(count=2):
    return torch.randn(count, 4, 6, generator=torch.Generator().manual_seed(1))


def test_distances_are_those_of_brute_force_whatever_part_of_the_bank_is_nearest(monkeypatch):
    model, x = model_of(offset=torch.tensor(0.5)), patches()
    far = torch.cdist((x @ model.axes - model.centre).flatten(0, 1), model.bank).amin(dim=1).view(2, 4)
    found = patch_scores(model, x)
    torch.testing.assert_close(found[..., 0], far.log(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[..., 1], x @ model.weight - 0.5)
    monkeypatch.setattr(module, "AT_ONCE", 7)
    torch.testing.assert_close(patch_scores(model, x), found)


def test_a_patch_of_the_bank_itself_has_a_finite_distance():
    model = model_of(axes=torch.eye(6), centre=torch.zeros(6), bank=patches()[0])
    assert patch_scores(model, patches())[0, :, 0].isfinite().all()


def test_evidence_is_the_weighed_sum_above_the_floor_and_the_floor_off_the_body():
    model = model_of(
        usual=torch.tensor([0.0, 1.0, 0.0, 0.0]),
        spread=torch.tensor([2.0, 1.0]),
        relevance=torch.tensor([1.0, 1.0, 2.0, 1.0]),
        floor=torch.tensor(-1.0),
    )
    scores = torch.tensor([[[4.0, 1.0], [4.0, 1.0], [4.0, 1.0], [-8.0, 0.0]]])
    on, off = evidence(model, scores, torch.ones(1, 4)), evidence(model, scores, torch.zeros(1, 4))
    assert on.tolist() == [[3, 2, 6, -1]]
    assert off.tolist() == [[-1, -1, -1, -1]]


def test_the_map_keeps_the_order_of_usual_evidence_but_shows_it_dark():
    model = model_of(floor=torch.tensor(-2.0), high=torch.tensor(2.0), top=torch.tensor(6.0))
    found = shown(model, torch.tensor([-3.0, -2.0, 0.0, 2.0, 4.0, 6.0, 9.0]))
    expected = [0, 0, FAINT / 2, FAINT, FAINT + (1 - FAINT) / 2, 1, 1]
    assert found.tolist() == pytest.approx(expected)


def test_summaries_are_the_mean_of_the_highest_tenth_and_the_mean():
    found = torch.arange(100.0)[torch.randperm(100, generator=torch.Generator().manual_seed(0))][None]
    assert summaries(found).tolist() == [[94.5, 49.5]]


def test_levels_lie_side_by_side_place_by_place():
    fine, coarse = torch.arange(64.0).view(1, 1, 8, 8), torch.ones(1, 2, 4, 4)
    found = patches_of([fine, coarse], 4)
    assert found.shape == (1, 16, 3)
    assert found[0, :, 1:].unique().tolist() == [1]
    assert (found[0, 1:4, 0] > found[0, :3, 0]).all() and (found[0, 4:, 0] > found[0, :12, 0]).all()


def test_before_anything_is_learned_nothing_is_shown():
    model = PatchModel.unlearned(6, 4)
    found = evidence(model, patch_scores(model, patches()), torch.ones(2, 4))
    assert not shown(model, found).any()
