"""Convolutions done by other means: the library's own, its gradients and its second derivatives."""

import pytest
import torch
from torch.nn.functional import conv2d

from healthygan import convolutions
from healthygan.convolutions import Convolution3x3, HalvingConvolution, halved_by_product, winograd


def tensors(*shapes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (2, 5, 8, 12), (3, 2, 16, 8)])
def test_winograd_is_the_convolution_and_so_are_its_gradients(shape):
    x, weight, direction = tensors(shape, (4, shape[1], 3, 3), (shape[0], 4, *shape[2:]))
    found, expected = winograd(x, weight), conv2d(x, weight, padding=1)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    for one, other in zip(
        torch.autograd.grad(found, (x, weight), direction),
        torch.autograd.grad(expected, (x, weight), direction),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_winograd_in_single_precision_loses_less_than_a_ten_thousandth():
    x, weight = tensors((2, 128, 16, 16), (128, 128, 3, 3), dtype=torch.float32)
    exact = conv2d(x.double(), weight.double(), padding=1)
    assert (winograd(x, weight) - exact).abs().max() < 1e-4 * exact.std()


@pytest.mark.parametrize("side", [2, 4, 8])
def test_a_halving_by_product_is_the_convolution_up_to_second_derivatives(side):
    x, weight, bias = tensors((3, 5, side, side), (7, 5, 4, 4), (7,))

    def penalty(convolve):
        scores = convolve(x).sin()  # not linear in x, so that second derivatives are there
        (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        return scores, torch.autograd.grad((gradient.flatten(1).norm(dim=1) - 1).square().mean(), (x, weight, bias))

    found, derivatives = penalty(lambda x: halved_by_product(x, weight, bias))
    expected, expected_derivatives = penalty(lambda x: conv2d(x, weight, bias, stride=2, padding=1))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    for one, other in zip(derivatives, expected_derivatives, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_wide_layers_take_the_fast_way_and_others_the_library_s(monkeypatch):
    used = []
    monkeypatch.setattr(convolutions, "winograd", lambda x, weight: used.append("winograd") or x)
    monkeypatch.setattr(convolutions, "halved_by_product", lambda x, *_: used.append("product") or x)
    wide = Convolution3x3(128, 128)
    wide(torch.zeros(1, 128, 4, 4))
    HalvingConvolution(2, 4)(torch.zeros(1, 2, 8, 8))
    assert used == ["winograd", "product"]
    wide(torch.zeros(1, 128, 6, 4))
    wide.bfloat16()(torch.zeros(1, 128, 4, 4, dtype=torch.bfloat16))
    Convolution3x3(64, 64)(torch.zeros(1, 64, 4, 4))
    HalvingConvolution(2, 4)(torch.zeros(1, 2, 16, 16))
    with torch.autocast("cpu", torch.bfloat16):
        HalvingConvolution(2, 4)(torch.zeros(1, 2, 8, 8))
    assert len(used) == 2


def test_the_parameters_are_those_of_the_library_s_convolutions():
    assert {name: tuple(value.shape) for name, value in Convolution3x3(3, 5).state_dict().items()} == {
        "weight": (5, 3, 3, 3)
    }
    assert {name: tuple(value.shape) for name, value in HalvingConvolution(3, 5).state_dict().items()} == {
        "weight": (5, 3, 4, 4),
        "bias": (5,),
    }
