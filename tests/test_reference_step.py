"""The fast step against the plain reference, and the products counted from the layers' shapes."""

import importlib.util
from pathlib import Path

import pytest
import torch

from healthygan.detectors.healthygan import HealthyGANConfig
from healthygan.nn.networks import Discriminator, Generator
from healthygan.training.batches import Batch

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "reference_step.py"
RATE = 1e-4


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("reference_step", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def after_ten_iterations(reference, width, dtype, **changes):
    """Differences of the generators' and of the critics' weights, and how far the generator's have moved."""
    config = HealthyGANConfig(width=width, generator_blocks=1, discriminator_blocks=3, learning_rate=RATE, **changes)
    steps = reference.both_steps(config, 1, dtype)
    first = [weight.detach().clone() for weight in steps["fast"].generator.parameters()]
    for iteration in range(1, 11):
        batch = reference.batch_of(2, 1, 16, seed=iteration)
        batch = Batch(batch.mixed.to(dtype), batch.healthy.to(dtype), batch.mix.to(dtype))
        for step in steps.values():
            step.step(iteration, batch)
    plain, fast = steps["reference"], steps["fast"]
    networks = ((plain.generator, fast.generator), (plain.critic, fast.discriminator))
    apart = [
        torch.cat([(a - b).detach().abs().flatten() for a, b in zip(x.parameters(), y.parameters(), strict=True)])
        for x, y in networks
    ]
    return apart, [float((a - b).detach().abs().max()) for a, b in zip(first, fast.generator.parameters(), strict=True)]


# Width 32 has 128 channels between the residual blocks: wide enough for Winograd's way.
@pytest.mark.parametrize("width", [4, 32])
def test_ten_iterations_of_the_fast_step_give_the_reference_s_weights(reference, width):
    # In single precision without the mask's second term: near M = 0.5, where training starts, its gradient jumps
    # between +10,000 and -10,000, so that the reference itself, moved by one rounding, ends a few rates elsewhere.
    apart, moved = after_ten_iterations(reference, width, torch.float32, focus_zero_one=0.0)
    assert min(moved) > RATE
    for network in apart:
        assert network.mean() < 5e-3 * RATE
        # Adam's steps are about a rate long whatever the gradient: where that is all but 0, rounding turns a step.
        assert network.max() < 2 * RATE


def test_ten_iterations_in_double_precision_agree_to_rounding_without_the_term_that_jumps(reference):
    apart, _ = after_ten_iterations(reference, 32, torch.float64, focus_zero_one=0.0)
    for network in apart:
        assert network.mean() < 1e-5 * RATE and network.max() < 0.1 * RATE


def test_ten_iterations_agree_with_every_loss_in_double_precision(reference):
    apart, moved = after_ten_iterations(reference, 32, torch.float64)
    assert min(moved) > RATE
    for network in apart:
        assert network.mean() < 0.01 * RATE and network.max() < 0.5 * RATE


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
