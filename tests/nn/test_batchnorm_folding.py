"""Folding batch norms must not change what a network computes."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from healthygan.nn.batchnorm_folding import folded


def settled(network):
    """In eval mode, with norms that do something."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                values.data.uniform_(0.5, 1.5)
    return network.eval()


def norms(network):
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


@pytest.fixture
def x():
    return torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, BatchNormAct2d])
def test_the_output_stays_and_the_norms_go(norm, x):
    network = settled(
        nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, bias=False), norm(4)))
    )
    found = folded(network, x)
    assert not norms(found)
    torch.testing.assert_close(found(x), network(x), rtol=1e-5, atol=1e-5)


def test_the_original_is_left_as_it_was(x):
    network = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded(network, x)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert len(norms(network)) == 1


def test_a_norm_that_is_not_behind_its_neighbour_is_not_folded(x):
    class NormFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.convolution(self.norm(x))

    network = NormFirst().eval()  # as built, its norm does next to nothing
    assert folded(network, x) is network


def test_what_is_folded_does_not_depend_on_the_weights(x):
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)).eval()
    fresh = folded(layers, x)
    trained = folded(settled(layers), x)
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh(x), trained(x))


def test_a_network_without_norms_stays(x):
    network = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    assert torch.equal(folded(network, x)(x), network(x))
