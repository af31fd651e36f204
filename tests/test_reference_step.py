"""The fast step against the plain reference, and the products counted from the layers' shapes."""

import importlib.util
from pathlib import Path

import pytest
import torch

from healthygan.detectors.healthygan import HealthyGANConfig
from healthygan.networks import Discriminator, Generator

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "reference_step.py"
RATE = 1e-4


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("reference_step", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Width 32 has 128 channels between the residual blocks: wide enough for Winograd's way.
@pytest.mark.parametrize(("width", "blocks"), [(4, 2), (32, 1)])
def test_ten_iterations_of_the_fast_step_give_the_reference_s_weights(reference, width, blocks):
    config = HealthyGANConfig(width=width, generator_blocks=blocks, discriminator_blocks=3, learning_rate=RATE)
    steps = reference.both_steps(config, 1)
    first = [weight.detach().clone() for weight in steps["fast"].generator.parameters()]
    for iteration in range(1, 11):
        batch = reference.batch_of(2, 1, 16, seed=iteration)
        for step in steps.values():
            step.step(iteration, batch)
    plain, fast = steps["reference"], steps["fast"]
    for one, other in ((plain.generator, fast.generator), (plain.critic, fast.discriminator)):
        weights = list(zip(one.parameters(), other.parameters(), strict=True))
        apart = torch.cat([(mine - theirs).detach().abs().flatten() for mine, theirs in weights])
        # Adam's steps are about the rate long whatever the gradient, so where a gradient is nearly 0, rounding alone
        # may turn a step around. Hence a tight bound on nearly all weights and a loose one on the rest.
        assert apart.mean() < 0.01 * RATE
        assert (apart > 0.1 * RATE).float().mean() < 0.02
        assert apart.max() < 2 * RATE
    moved = [(now - then).abs().max() for now, then in zip(fast.generator.parameters(), first, strict=True)]
    assert min(moved) > RATE


def test_the_paper_s_passes_take_39_and_2_7_billion_products(reference):
    assert reference.products(Generator(), 3, 64) * 16 / 1e9 == pytest.approx(39, abs=0.5)
    assert reference.products(Discriminator(), 3, 64) * 16 / 1e9 == pytest.approx(2.7, abs=0.1)


def test_products_are_counted_from_shapes(reference):
    # 16 x 16: one 7 x 7 layer, 2 + 2 halvings and doublings, one residual block and the last layer, at width 4.
    expected = 256 * 49 * 4 + 64 * 16 * 4 * 8 + 16 * 16 * 8 * 16 + 2 * 16 * 9 * 16 * 16
    expected += 16 * 16 * 16 * 8 + 64 * 16 * 8 * 4 + 256 * 49 * 4 * 2
    assert reference.products(Generator(1, 4, 1), 1, 16) == expected


def test_the_fast_step_takes_less_than_half_of_the_reference_s_products(reference):
    passes = 39e9, 2.7e9
    needed = reference.pair_products(*map(int, passes), 16)
    assert needed["reference"] == 16 * (20 * 39e9 + 30 * 2.7e9)
    assert needed["fast"] == 16 * (7 * 39e9 + 28 * 2.7e9)
