"""Convolutions done by other means: the library's own, its gradients and its second derivatives."""

import pytest
import torch
from torch.nn.functional import conv2d

from healthygan.nn import convolutions
from healthygan.nn.convolutions import (
    Convolution3x3,
    HalvingConvolution,
    LastConvolution,
    by_rows,
    halved_by_product,
    winograd,
)


def tensors(*shapes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


def assert_same_with_gradients(found, expected, inputs, direction):
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    gradients = (torch.autograd.grad(result, inputs, direction) for result in (found, expected))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (2, 5, 8, 12), (3, 2, 16, 8)])
def test_winograd_is_the_convolution_and_so_are_its_gradients(shape):
    x, weight, direction = tensors(shape, (4, shape[1], 3, 3), (shape[0], 4, *shape[2:]))
    assert_same_with_gradients(winograd(x, weight), conv2d(x, weight, padding=1), (x, weight), direction)


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


@pytest.mark.parametrize("side", [1, 3, 7])
def test_a_convolution_by_rows_is_the_convolution_and_so_are_its_gradients(side):
    x, weight, direction = tensors((2, 3, 9, 10), (4, 3, side, side), (2, 4, 9, 10))
    assert_same_with_gradients(by_rows(x, weight), conv2d(x, weight, padding=side // 2), (x, weight), direction)


@pytest.fixture
def used(monkeypatch):
    """Which of the fast ways were taken."""
    used = []
    monkeypatch.setattr(convolutions, "winograd", lambda x, weight: used.append("winograd") or x)
    monkeypatch.setattr(convolutions, "halved_by_product", lambda x, *_: used.append("product") or x)
    monkeypatch.setattr(convolutions, "by_rows", lambda x, weight: used.append("rows") or x)
    return used


def processor_with(monkeypatch, capability):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)


def test_winograd_is_for_wide_layers_in_full_precision_without_avx512(used, monkeypatch):
    processor_with(monkeypatch, "AVX2")
    wide = Convolution3x3(128, 128)
    wide(torch.zeros(1, 128, 4, 4))
    assert used == ["winograd"]
    wide(torch.zeros(1, 128, 6, 4))
    Convolution3x3(64, 64)(torch.zeros(1, 64, 4, 4))
    with torch.autocast("cpu", torch.bfloat16):
        wide(torch.zeros(1, 128, 4, 4))
    processor_with(monkeypatch, "AVX512")
    wide(torch.zeros(1, 128, 4, 4))
    wide.bfloat16()(torch.zeros(1, 128, 4, 4, dtype=torch.bfloat16))
    assert used == ["winograd"]


def test_a_halving_is_a_product_where_it_is_wide_and_small(used):
    wide = HalvingConvolution(512, 2)
    wide(torch.zeros(1, 512, 8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        wide(torch.zeros(1, 512, 2, 2))
    assert used == ["product", "product"]
    wide(torch.zeros(1, 512, 16, 16))
    HalvingConvolution(256, 2)(torch.zeros(1, 256, 8, 8))
    assert used == ["product", "product"]


def test_the_last_layer_goes_by_rows_unless_it_is_recorded(used):
    last = LastConvolution(4, 2)
    last(torch.zeros(1, 4, 8, 8))
    assert used == ["rows"]
    torch.export.export(last, (torch.zeros(1, 4, 8, 8),))
    assert used == ["rows"]


def test_the_parameters_are_those_of_the_library_s_convolutions():
    assert {name: tuple(value.shape) for name, value in Convolution3x3(3, 5).state_dict().items()} == {
        "weight": (5, 3, 3, 3)
    }
    assert {name: tuple(value.shape) for name, value in HalvingConvolution(3, 5).state_dict().items()} == {
        "weight": (5, 3, 4, 4),
        "bias": (5,),
    }
    assert {name: tuple(value.shape) for name, value in LastConvolution(3, 5).state_dict().items()} == {
        "weight": (5, 3, 7, 7)
    }
