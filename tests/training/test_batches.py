"""Batches: every image once a pass, the same on any number of devices, flips, and who draws what."""

import numpy as np
import pytest
import torch

from fixtures.stores import Numbered
from healthygan.common.errors import InputError
from healthygan.training.batches import Batches, Order, _mixed_seed
from healthygan.training.config import TrainingConfig


def test_every_pass_holds_every_image_once_and_passes_differ():
    order = Order(5, 0, 1)
    passes = [order.take(start, 5).tolist() for start in (0, 5, 10)]
    assert all(sorted(one) == list(range(5)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert Order(5, 0, 1).take(8, 4).tolist() == (passes[1] + passes[2])[3:7]


def test_two_devices_together_see_the_batch_of_one():
    settings = TrainingConfig(batch_size=4, seed=3)
    whole = Batches(Numbered(9), Numbered(7), settings)(5)
    shares = [Batches(Numbered(9), Numbered(7), settings, rank, 2)(5) for rank in (0, 1)]
    for name in ("mixed", "healthy", "mix"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(share, name) for share in shares]))


def test_flips_are_left_to_right_and_can_be_turned_off():
    class Ramp(Numbered):
        def read(self, indices):
            return np.broadcast_to(np.arange(4, dtype=np.uint16), (len(indices), 1, 4, 4))

    still = Batches(Ramp(4), Ramp(4), TrainingConfig(batch_size=16, flip=False))(1).mixed
    assert torch.equal(still, still[:1].expand_as(still))
    moved = Batches(Ramp(4), Ramp(4), TrainingConfig(batch_size=16))(1).mixed
    flipped = [torch.equal(image, still[0].flip(2)) for image in moved]
    assert 0 < sum(flipped) < 16
    assert all(torch.equal(image, still[0]) for image, was in zip(moved, flipped, strict=True) if not was)


def test_parts_of_a_batch_share_its_images_out():
    whole = Batches(Numbered(9), Numbered(7), TrainingConfig(batch_size=2), draws=3)(5)
    parts = whole.parts(3)
    for name in ("mixed", "healthy", "mix"):
        assert [len(getattr(part, name)) for part in parts] == [2, 2, 2]
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_a_recipe_without_the_mixed_set_draws_none_of_it_and_the_same_parts():
    class Closed(Numbered):
        def read(self, indices):
            raise AssertionError("the mixed set was read")

    batch = Batches(Numbered(9), Closed(7), TrainingConfig(batch_size=2), uses_mixed=False, draws=2)(5)
    assert len(batch.mixed) == 0
    assert [(len(part.mixed), len(part.healthy)) for part in batch.parts(2)] == [(0, 2), (0, 2)]


def test_noise_is_no_copy_of_what_the_batches_were_drawn_with():
    """A seed that ends in zeros would be the same seed without them."""
    assert len({_mixed_seed(0, 5), _mixed_seed(0, 5, 1), _mixed_seed(0, 5, 2)}) == 3


def test_a_batch_must_be_shareable():
    with pytest.raises(InputError, match="3 cannot be shared by 2 devices"):
        Batches(Numbered(4), Numbered(4), TrainingConfig(batch_size=3), 0, 2)
