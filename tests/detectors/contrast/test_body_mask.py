"""The body's mask on drawn bodies, letters and backgrounds."""

import pytest
import torch

from healthygan.detectors.contrast.body_mask import body_share


def picture(side=128):
    return torch.full((1, 1, side, side), -1.0)


def test_a_bright_body_is_body_and_the_dark_beside_it_is_not():
    x = picture()
    x[..., 32:96, 32:96] = 0.5
    share = body_share(x, 16)[0, 0]
    assert share[4:12, 4:12].min() == 1
    assert share.sum() == 64


def test_dark_organs_inside_the_body_are_body():
    x = picture()
    x[..., 16:112, 16:112] = 0.5
    x[..., 40:80, 40:80] = -1
    assert body_share(x, 16)[0, 0, 2:14, 2:14].min() == 1


def test_thin_letters_beside_the_body_are_none():
    x = picture()
    x[..., 40:120, 40:120] = 0.5
    x[..., 8:24, 8:11] = 1
    x[..., 8:11, 8:24] = 1
    assert body_share(x, 16)[0, 0, :4].max() == 0


def test_where_nothing_stands_out_all_is_body():
    assert body_share(picture(), 8).min() == 1


@pytest.mark.parametrize(("side", "grid"), [(32, 4), (160, 20), (256, 32), (100, 12)])
def test_images_and_grids_of_any_size_have_shares(side, grid):
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    share = body_share(x, grid)
    assert share.shape == (2, 1, grid, grid)
    assert 0 <= share.min() <= share.max() <= 1


def test_each_image_has_a_mask_of_its_own():
    x = torch.cat([picture(), picture() + 1.5])
    x[0, :, 32:96, 32:96] = 0
    assert torch.equal(body_share(x, 8)[:1], body_share(x[:1], 8))
