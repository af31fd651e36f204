"""HealthyGAN+: the warm-up, what each step changes, large images, and evidence beside the change."""

import csv
import json

import numpy as np
import pytest
import torch
from lightning import Fabric
from sklearn.metrics import roc_auc_score
from torch.nn.functional import interpolate, softplus

from healthygan.common.errors import InputError, Stopped
from healthygan.data.cohort import Cohort, Split
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors.contrast.detector import Contrast
from healthygan.detectors.healthygan_plus import (
    CoarseGenerator,
    HealthyGANPlus,
    HealthyGANPlusConfig,
    HealthyGANPlusRecipe,
)
from healthygan.inference.engines import PACKAGES
from healthygan.inference.export import export
from healthygan.nn.networks import Discriminator
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config
from healthygan.runs.partition import partition_cohort
from healthygan.training.batches import Batch
from healthygan.training.loop import Training

SMALL = {"evidence": 0.0, "width": 4, "generator_blocks": 1, "critic_width": 4, "critic_blocks": 2}
PLAIN = {"shift": 0.0, "gradient_penalty": 0.0}


def recipe_of(**changes):
    torch.manual_seed(0)
    config = HealthyGANPlusConfig(**SMALL | changes)
    fabric = Fabric(accelerator="cpu", devices=1)
    generator = CoarseGenerator(1, 4, 1, config.mask_start, config.resolution)
    return HealthyGANPlusRecipe(config, generator, Discriminator(1, 4, 2), fabric, torch.nn.Module.state_dict)


def batch_of(count=2):
    generator = torch.Generator().manual_seed(1)
    mixed, healthy = torch.rand(2, count, 1, 16, 16, generator=generator) * 2 - 1
    return Batch(mixed, healthy, torch.rand(count, 1, 1, 1, generator=generator))


def weights_of(module):
    return [weight.detach().clone() for weight in module.parameters()]


def same(module, weights):
    return all(torch.equal(now, then) for now, then in zip(module.parameters(), weights, strict=True))


def test_the_first_translation_is_nearly_the_image_itself():
    detector = HealthyGANPlus(HealthyGANPlusConfig(mask_start=-6.0, evidence=0), 1, 64)
    x = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = detector.predict(x)
    assert found.mask.mean() < 0.01
    assert found.score.max() < 0.01


def test_the_critic_learns_alone_in_the_warm_up():
    recipe = recipe_of(warm_up=1)
    generator, critic = weights_of(recipe.generator), weights_of(recipe.discriminator)
    recipe.step(1, batch_of())
    assert same(recipe.generator, generator)
    assert not same(recipe.discriminator, critic)
    assert not recipe.can_score(1)


def test_after_the_warm_up_both_networks_learn_and_the_average_follows():
    recipe = recipe_of(warm_up=0, ema_decay=0.5)
    before = [weights_of(module) for module in (recipe.generator, recipe.discriminator, recipe.averaged)]
    recipe.step(1, batch_of())
    for module, weights in zip((recipe.generator, recipe.discriminator, recipe.averaged), before, strict=True):
        assert not same(module, weights)
    assert recipe.can_score(1)


def test_the_warm_up_s_loss_is_that_of_a_classifier_of_the_two_sets():
    recipe, batch = recipe_of(warm_up=1, **PLAIN), batch_of()
    with torch.no_grad():
        fake, real = (recipe.discriminator(x).mean(dim=(1, 2, 3)).double() for x in (batch.mixed, batch.healthy))
    expected = softplus(fake).mean() + softplus(-real).mean()
    found = recipe.step(1, batch)
    assert float(found["critic"]) == pytest.approx(float(expected), abs=1e-5)
    assert "gradient_penalty" not in found


def test_the_gradient_penalty_comes_every_so_many_iterations():
    recipe, batch = recipe_of(warm_up=9, penalty_every=3), batch_of()
    assert ["gradient_penalty" in recipe.step(number, batch) for number in (1, 2, 3, 4, 6)] == [0, 0, 1, 0, 1]


def test_the_generator_step_leaves_no_gradient_in_the_critic():
    recipe, batch = recipe_of(warm_up=0, **PLAIN), batch_of()
    both = torch.cat([batch.mixed, batch.healthy])
    intermediate, mask = recipe.generator(both)
    recipe._generator_step(1, both, intermediate * mask + both * (1 - mask), mask)
    assert all(weight.grad is None for weight in recipe.discriminator.parameters())
    assert all(weight.requires_grad for weight in recipe.discriminator.parameters())


def test_the_change_of_either_half_is_reported_apart():
    recipe, batch = recipe_of(warm_up=0, **PLAIN), batch_of()
    with torch.no_grad():
        halves = {name: getattr(batch, name) for name in ("mixed", "healthy")}
        changes = {}
        for name, x in halves.items():
            intermediate, mask = recipe.generator(x)
            changes[name] = float((mask * (intermediate - x)).abs().mean())
    found = recipe.step(1, batch)
    for name, change in changes.items():
        assert float(found[f"change_{name}"]) == pytest.approx(change, abs=1e-5)


def test_augmentation_shifts_all_images_alike_within_its_reach():
    x, recipe = torch.arange(16.0).repeat(3, 1, 16, 1), recipe_of(shift=0.125)
    shifts = set()
    for _ in range(30):
        seen = recipe._augmented(x)
        assert seen.shape == x.shape
        shift = int(seen[0, 0, 0, 8] - 8)
        torch.testing.assert_close(seen, (x + shift).clamp(0, 15))
        shifts.add(shift)
    assert shifts == {-2, -1, 0, 1, 2}
    assert torch.equal(recipe_of(shift=0.0)._augmented(x), x)


def test_a_critic_too_deep_for_the_image_is_refused():
    with pytest.raises(ValueError, match="take fewer blocks"):
        HealthyGANPlus(HealthyGANPlusConfig(critic_blocks=6), 1, 32)


def large_images(count=2, side=32):
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_a_large_image_gets_the_enlarged_change_of_the_small_one():
    torch.manual_seed(0)
    generator, x = CoarseGenerator(1, 4, 1, mask_start=0.0, resolution=16), large_images() / 4
    means = x.reshape(2, 1, 16, 2, 16, 2).mean(dim=(3, 5))
    small, found = generator(means), generator(x)
    change = interpolate(small.intermediate - means, scale_factor=2, mode="bilinear").clamp(-1 - x, 1 - x)
    torch.testing.assert_close(found.intermediate, x + change)
    torch.testing.assert_close(found.mask, interpolate(small.mask, scale_factor=2, mode="bilinear"))
    assert found.intermediate.abs().max() <= 1


def test_a_translated_image_keeps_detail_finer_than_the_translation():
    detector = HealthyGANPlus(HealthyGANPlusConfig(**SMALL | {"resolution": 16, "mask_start": 0.0}), 1, 32)
    smooth = torch.zeros(1, 1, 32, 32)
    detailed = smooth + 0.1 * (torch.arange(32) % 2 * 2 - 1)  # pairs of columns have a mean of 0
    translated, plain = detector.predict(detailed).translated, detector.predict(smooth).translated
    mask = detector.predict(smooth).mask
    assert mask.mean() > 0.1
    torch.testing.assert_close(translated - plain, detailed.expand_as(plain), atol=1e-5, rtol=0)


def test_the_translation_is_learned_on_shrunk_images():
    large = large_images(4)
    small = large.reshape(4, 1, 16, 2, 16, 2).mean(dim=(3, 5))
    learned = []
    for x in (large, small):
        recipe = recipe_of(warm_up=1, resolution=16)
        for iteration in (1, 2):
            torch.manual_seed(iteration)
            recipe.step(iteration, Batch(x[:2], x[2:], torch.empty(0)))
        learned.append(weights_of(recipe.generator) + weights_of(recipe.discriminator))
    for one, other in zip(*learned, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_images_that_cannot_be_shrunk_evenly_are_refused():
    with pytest.raises(ValueError, match=r"no multiple of detector\.resolution=64; take 192"):
        HealthyGANPlus(HealthyGANPlusConfig(evidence=0), 1, 224)


def test_a_resolution_that_the_networks_cannot_halve_twice_is_refused():
    with pytest.raises(InputError, match=r"detector\.resolution=10.*multiple of 4"):
        load_config("small", ["detector.resolution=10"])


def test_it_finds_bright_squares_in_a_mixed_set_within_seconds():
    random = np.random.default_rng(0)

    def images(count, squares):
        x = torch.from_numpy(random.normal(-0.3, 0.1, (count, 1, 16, 16)).astype(np.float32))
        for image in x if squares else []:
            top, left = random.integers(2, 9, 2)
            image[:, top : top + 5, left : left + 5] += 1.0
        return x

    healthy, mixed = images(64, False), torch.cat([images(32, False), images(32, True)])
    recipe = recipe_of(warm_up=30, shift=0.1, critic_width=8)
    for number in range(1, 121):
        torch.manual_seed(number)
        chosen = torch.randint(64, (2, 8))
        recipe.step(number, Batch(mixed[chosen[0]], healthy[chosen[1]], torch.empty(0)))
    test = torch.cat([images(40, False), images(40, True)])
    detector = HealthyGANPlus(HealthyGANPlusConfig(**SMALL), 1, 16)
    detector.load_state_dict(recipe.weights())
    found = detector.predict(test)
    assert roc_auc_score(np.repeat([0, 1], 40), found.score) > 0.9
    assert found.difference[40:].max() <= 1


@pytest.fixture(scope="module")
def with_evidence(tiny_settings):
    """Tiny networks, but images that pretrained features bear, translated at half their size."""
    settings = ("detector.evidence=2", "preprocessing.size=32", "detector.resolution=16")
    return load_config("small", (*tiny_settings, *settings))


@pytest.fixture(scope="module")
def cohort(manifest):
    return Cohort.from_manifest(manifest)


@pytest.fixture(scope="module")
def trained(with_evidence, cohort, tmp_path_factory):
    return workflow.train(with_evidence, cohort, tmp_path_factory.mktemp("plus") / "run")


def test_the_score_adds_change_and_evidence_in_deviations_of_healthy_images(trained, with_evidence, cohort):
    detector, _, _ = workflow.load(trained, "cpu")
    store = ImageStore.build(
        [image.path for image in partition_cohort(cohort, with_evidence.selection, None).healthy],
        with_evidence.preprocessing,
    )
    healthy = to_tensor(store.read(np.arange(len(store))))
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    change = [detector.predict(y).difference.mean(dim=(1, 2, 3)).double() for y in (healthy, x)]
    contrast_weight = float(detector.contrast.contrast_weight)
    assert 0 <= contrast_weight <= 1
    expected = contrast_weight * (change[1] - change[0].mean()) / change[0].std()
    mean, deviation = detector.contrast.typical.double()
    expected += 2 * (detector.contrast.evidence(x).double() - mean) / deviation
    torch.testing.assert_close(detector.predict(x).score.double(), expected, rtol=1e-3, atol=1e-3)


def test_the_evidence_is_that_of_a_contrast_detector_on_the_same_images(trained, with_evidence, cohort, tmp_path):
    settings = ("preprocessing.size=32", "training.device=cpu", "selection.choice_holdout=0.1")
    alone, _, _ = workflow.load(workflow.train(load_config("contrast", settings), cohort, tmp_path / "run"), "cpu")
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(workflow.load(trained, "cpu")[0].contrast.evidence(x), alone.evidence(x))


def test_the_map_that_points_at_disease_is_the_evidence_s_and_what_changed_stays(trained):
    detector, _, _ = workflow.load(trained, "cpu")
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = detector.predict(x)
    torch.testing.assert_close(found.where, detector.contrast.predict(x).evidence)
    torch.testing.assert_close(found.difference, (x - found.translated).abs() / 2)
    assert trained.load_decision().map_top == 1.0


def test_without_evidence_the_difference_points_at_disease():
    found = HealthyGANPlus(HealthyGANPlusConfig(evidence=0), 1, 64).predict(torch.zeros(1, 1, 64, 64))
    assert found.evidence is None and found.where is found.difference


def test_a_stopped_training_with_evidence_goes_on_bit_for_bit(trained, with_evidence, cohort, tmp_path, monkeypatch):
    iterate = Training._iterate

    def stopping(self, recipe, iteration, batch):
        if iteration == 5:
            raise Stopped("here")
        return iterate(self, recipe, iteration, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_iterate", stopping)
        with pytest.raises(Stopped):
            workflow.train(with_evidence, cohort, tmp_path / "run")
    monkeypatch.setattr(Contrast, "_learn", lambda *_: pytest.fail("the evidence was learned twice"))
    run = workflow.train(with_evidence, cohort, tmp_path / "run")
    assert run.model.read_bytes() == trained.model.read_bytes()


def test_all_of_the_pile_is_ranked_beside_the_run(trained, cohort):
    part = trained.part("contrast")
    assert part.share_picture.exists() and part.load_notes()
    with part.mixed_scores.open(newline="") as file:
        ranked = [row["path"] for row in csv.DictReader(file)]
    assert sorted(ranked) == sorted(str(path) for path in cohort.paths(Split.MIXED))


def test_weights_without_evidence_do_not_fit(trained, with_evidence):
    detector = workflow.build(with_evidence)
    with pytest.raises(RuntimeError, match=r'Missing key.*"healthy"'):
        detector.load_state_dict(HealthyGANPlus(HealthyGANPlusConfig(**SMALL), 1, 32).state_dict())


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_model_with_evidence_is_exported_with_its_map(trained, engine, tmp_path):
    for package in PACKAGES[engine]:
        pytest.importorskip(package)
    done = export(trained, engine, tmp_path / "out")
    assert done.difference < 1e-3
    about = json.loads((done.model.parent / "model.json").read_text())
    assert about["outputs"] == ["score", "difference", "translated", "mask", "evidence"]


def test_evidence_needs_images_that_pretrained_features_bear():
    with pytest.raises(InputError, match=r"backbones need 32 pixels.*detector\.evidence=0"):
        load_config("small", ["preprocessing.size=16", "detector.critic_blocks=3"])
