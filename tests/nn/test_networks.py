"""The networks against tables 2 and 3 of the paper."""

from itertools import pairwise

import pytest
import torch

from healthygan.nn.networks import Discriminator, Generator


def count(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_generator_at_256_px_has_the_parameters_of_table_2():
    norms = 2 * (64 + 128 + 256 + 12 * 256 + 128 + 64)
    encoder = 3 * 64 * 49 + 64 * 128 * 16 + 128 * 256 * 16
    residual = 6 * 2 * 256 * 256 * 9
    decoder = 256 * 128 * 16 + 128 * 64 * 16 + 64 * 4 * 49
    assert count(Generator()) == encoder + residual + decoder + norms


def test_discriminator_at_256_px_has_the_parameters_of_table_3():
    widths = [3, 64, 128, 256, 512, 1024, 2048]
    strided = sum(a * b * 16 + b for a, b in pairwise(widths))
    assert count(Discriminator()) == strided + 2048 * 9


@pytest.mark.parametrize("channels", [1, 3])
def test_outputs_at_256_px_have_the_paper_s_shapes_and_ranges(channels):
    x = torch.rand(1, channels, 256, 256) * 2 - 1
    with torch.no_grad():
        intermediate, mask = Generator(channels, width=4)(x)
        scores = Discriminator(channels, width=2)(x)
    assert intermediate.shape == x.shape
    assert mask.shape == (1, 1, 256, 256)
    assert scores.shape == (1, 1, 4, 4)
    assert intermediate.abs().max() <= 1
    assert 0 <= mask.min() <= mask.max() <= 1


def test_width_and_blocks_shrink_either_network():
    assert count(Generator(1, width=8, blocks=1)) < count(Generator(1, width=8, blocks=2)) < count(Generator(1))
    assert Discriminator(1, width=4, blocks=3)(torch.zeros(2, 1, 64, 64)).shape == (2, 1, 8, 8)


def test_train_and_eval_give_the_same_output():
    torch.manual_seed(0)
    x = torch.rand(2, 1, 32, 32)
    for network in (Generator(1, 4, 1), Discriminator(1, 4, 3)):
        trained = network.train()(x)
        evaluated = network.eval()(x)
        for one, other in zip(trained, evaluated, strict=True):
            assert torch.equal(one, other)


def test_an_image_s_translation_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    generator, x = Generator(1, 4, 1), torch.rand(3, 1, 32, 32)
    alone = generator(x[1:2]).intermediate
    torch.testing.assert_close(generator(x).intermediate[1:2], alone, atol=1e-5, rtol=1e-5)
