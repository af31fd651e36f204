"""First weights come from a seed of their own, and need not be drawn where they are loaded next."""

import pytest
import torch
from torch import nn

from healthygan.nn import first_weights
from healthygan.nn.first_weights import FirstWeights, undrawn


def test_draws_are_those_of_the_seed_and_go_on_where_they_ended():
    torch.manual_seed(3)
    expected = [nn.Linear(4, 4).weight, nn.Conv2d(1, 2, 3).weight]
    weights = FirstWeights(3)
    with weights.drawn():
        first = nn.Linear(4, 4).weight
    torch.rand(5)  # what is drawn elsewhere in between does not matter
    with weights.drawn():
        second = nn.Conv2d(1, 2, 3).weight
    assert torch.equal(first, expected[0]) and torch.equal(second, expected[1])


def test_torch_s_own_generator_stays_where_it_is():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with FirstWeights(0).drawn():
        nn.Linear(4, 4)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("make", [lambda: nn.Linear(64, 64), lambda: nn.init.normal_(torch.empty(64, 64))])
def test_nothing_is_drawn_for_what_is_loaded_next(make, monkeypatch):
    with undrawn():
        weights, state = FirstWeights(0), torch.get_rng_state()
        monkeypatch.setattr(first_weights.torch.random, "fork_rng", lambda **_: pytest.fail("drawn"))
        with weights.drawn():
            make()
    assert torch.equal(torch.get_rng_state(), state)


def test_networks_outside_are_drawn_as_ever():
    with undrawn():
        torch.manual_seed(0)
        one = nn.Linear(4, 4).weight
    torch.manual_seed(0)
    assert torch.equal(one, nn.Linear(4, 4).weight)
    weights = FirstWeights(0)
    with weights.drawn():
        assert torch.equal(one, nn.Linear(4, 4).weight)


def test_an_error_within_ends_the_exception():
    with pytest.raises(ZeroDivisionError), undrawn():
        raise ZeroDivisionError
    with FirstWeights(0).drawn():
        one = nn.Linear(4, 4).weight
    torch.manual_seed(0)
    assert torch.equal(one, nn.Linear(4, 4).weight)
