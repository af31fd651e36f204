"""Learning the patch evidence on constructed patches: a shifted patch is found, nothing is made of nothing."""

import numpy as np
import pytest
import torch

from healthygan.detectors.contrast.evidence import evidence, patch_scores, shown
from healthygan.detectors.contrast.patch_learning import (
    Learner,
    Moments,
    PatchImages,
    crossfitted,
    sketch,
    summaries_of,
    weighed,
)

SIDE, WIDTH, FOLDS = 8, 6, 4
SCALE = np.full(WIDTH, WIDTH**-0.5, np.float32)
BATCH = 5


class Textures:
    """Images of noise patches; the diseased have one square of 2 x 2 places that is moved by ``shift``."""

    def __init__(self, seed, healthy, diseased=0, shift=6.0):
        random = np.random.default_rng(seed)
        count = healthy + diseased
        self.x = torch.from_numpy(random.standard_normal((count, SIDE, SIDE, WIDTH)).astype(np.float32))
        self.lesion = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
        for number in range(healthy, count):
            top, left = random.integers(2, SIDE - 3, 2)
            self.lesion[number, top : top + 2, left : left + 2] = True
        self.x[..., 0][self.lesion] += shift
        self.body = torch.zeros(SIDE, SIDE)
        self.body[1:-1, 1:-1] = 1
        self.fold = np.arange(count) // 2 % FOLDS
        self.most = 0

    def read(self, places, title):
        for start in range(0, len(places), BATCH):
            part = places[start : start + BATCH]
            self.most = max(self.most, len(part))
            yield self.x[part].flatten(1, 2), self.body.flatten().expand(len(part), -1)

    @property
    def images(self):
        return PatchImages(self.fold, self.read)


def learned(healthy, mixed):
    learner = Learner(sketch(healthy.images, FOLDS, 0, 4000), sketch(mixed.images, FOLDS, 0), SCALE, 0)
    apart = [learner.without(fold) for fold in range(FOLDS)]
    rows = [torch.cat(list(crossfitted(part.images, apart))) for part in (healthy, mixed)]
    return weighed(learner.without(None), *rows, healthy.fold), apart, rows


def evidence_of(model, images):
    x, body = next(iter(PatchImages(images.fold, lambda *_: _whole(images)).read(None, "")))
    return evidence(model, patch_scores(model, x), body).view(-1, SIDE, SIDE)


def _whole(images):
    yield images.x.flatten(1, 2), images.body.flatten().expand(len(images.x), -1)


@pytest.fixture(scope="module")
def found():
    return learned(Textures(0, 60), Textures(1, 30, 30))


def test_a_planted_blob_is_found_in_new_images_and_lies_within_the_body(found):
    model, test = found[0], Textures(2, 0, 20)
    where = evidence_of(model, test)
    peaks = where.flatten(1).argmax(dim=1)
    assert test.lesion.flatten(1)[torch.arange(20), peaks].float().mean() > 0.9
    outside = where[:, test.body == 0]
    assert torch.equal(outside, model.floor.expand_as(outside))
    assert shown(model, where)[test.lesion].mean() > 0.4


def test_healthy_images_have_a_dark_map(found):
    model = found[0]
    maps = shown(model, evidence_of(model, Textures(3, 40)))
    assert (maps > 0.5).float().mean() < 0.002
    assert maps.mean() < 0.05


def test_of_a_pile_without_disease_nothing_is_shown_bright():
    model, *_ = learned(Textures(0, 60), Textures(1, 60))
    maps = shown(model, evidence_of(model, Textures(3, 40)))
    assert (maps > 0.9).float().mean() < 0.005


def test_the_pile_s_own_images_are_scored_by_models_that_never_saw_their_fold(found):
    healthy, mixed = Textures(0, 60), Textures(1, 30, 30)
    mixed.x[mixed.fold == 2] += 100  # whatever is in a fold, its own scores come from the others
    learner = Learner(sketch(healthy.images, FOLDS, 0, 4000), sketch(mixed.images, FOLDS, 0), SCALE, 0)
    torch.testing.assert_close(learner.without(2).weight, found[1][2].weight)
    assert not torch.allclose(learner.without(1).weight, found[1][1].weight)


def test_healthy_patches_of_a_fold_are_not_in_the_bank_that_scores_it(found):
    apart, healthy = found[1], Textures(0, 60)
    own = torch.from_numpy(healthy.fold == 1)
    inside = healthy.body.flatten() > 0
    seen, unseen = (patch_scores(apart[number], healthy.x[own].flatten(1, 2))[:, inside, 0] for number in (0, 1))
    assert seen.min() < -5 < unseen.min()


def test_cross_fitting_goes_on_where_it_was_stopped(found):
    _, apart, (_, rows) = found
    mixed = Textures(1, 30, 30)
    torch.testing.assert_close(torch.cat(list(crossfitted(mixed.images, apart, 10))), rows[10:], rtol=1e-2, atol=1e-2)


def test_the_pile_s_summaries_rank_disease(found):
    model, _, (_, rows) = found
    highest = summaries_of(model, rows)[:, 0]
    assert (highest[30:, None] > highest[None, :30]).mean() > 0.95


def test_what_is_held_in_memory_follows_from_the_constants_and_not_from_the_images():
    images = Textures(0, 120)
    made = sketch(images.images, FOLDS, 0, 1000)
    assert images.most <= BATCH
    assert sum(map(len, made.drawn)) <= 1000 + 120
    assert all(part.second.shape == (WIDTH, WIDTH) for part in made.moments)


def test_moments_add_up_to_those_of_all():
    rows = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double()
    both = Moments.of(rows[:20]) + Moments.of(rows[20:])
    torch.testing.assert_close(both.mean, rows.mean(dim=0))
    torch.testing.assert_close(both.covariance, torch.cov(rows.T, correction=0))


def test_constant_features_and_a_pile_like_the_healthy_set_do_no_harm():
    healthy, mixed = Textures(0, 8), Textures(0, 8)
    for images in (healthy, mixed):
        images.x[..., 3] = 1.0
    model, *_ = learned(healthy, mixed)
    assert all(part.isfinite().all() for part in model)
    assert model.floor < model.high < model.top
