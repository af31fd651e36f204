"""The paper's generator (table 2) and discriminator (table 3), with sizes that can be shrunk.

Neither network keeps running statistics, so ``train()`` and ``eval()`` give the same output.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, leaky_relu

from healthygan.convolutions import Convolution3x3, HalvingConvolution


class Translation(NamedTuple):
    """What the generator makes of a batch x of shape N x C x H x W."""

    intermediate: Tensor
    """B_int, N x C x H x W in [-1, 1]."""
    mask: Tensor
    """M, N x 1 x H x W in [0, 1]; 1 = replaced by the generator."""


def _block(convolution: nn.Module, channels: int) -> list[nn.Module]:
    """A convolution without bias, instance norm with a learnt scale and shift, ReLU."""
    return [convolution, InstanceNorm(channels), nn.ReLU(inplace=True)]


class InstanceNorm(nn.InstanceNorm2d):
    """Each image's channels to mean 0 and variance 1, then a learnt scale and shift; no running averages."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x, N x C x H x W."""
        if x.device.type == "cpu":  # a group a channel is the same, and quicker there
            return group_norm(x, self.num_features, self.weight, self.bias, self.eps)
        return super().forward(x)


class ResidualBlock(nn.Module):
    """x + IN(conv(ReLU(IN(conv(x))))), 3 x 3 convolutions; N x C x H x W in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_block(Convolution3x3(channels, channels), channels),
            Convolution3x3(channels, channels),
            InstanceNorm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)  # type: ignore[no-any-return]


class Generator(nn.Module):
    """Table 2: encoder, residual blocks, decoder; ``channels`` image outputs and the mask.

    Args:
        channels: image channels C, 1 for grey or 3 for colour.
        width: channels of the first convolution; 64 in the paper.
        blocks: residual blocks; 6 in the paper.
    """

    def __init__(self, channels: int = 3, width: int = 64, blocks: int = 6) -> None:
        super().__init__()
        wide, wider = 2 * width, 4 * width
        self.channels = channels
        self.body = nn.Sequential(
            *_block(nn.Conv2d(channels, width, 7, padding=3, bias=False), width),
            *_block(nn.Conv2d(width, wide, 4, stride=2, padding=1, bias=False), wide),
            *_block(nn.Conv2d(wide, wider, 4, stride=2, padding=1, bias=False), wider),
            *(ResidualBlock(wider) for _ in range(blocks)),
            *_block(nn.ConvTranspose2d(wider, wide, 4, stride=2, padding=1, bias=False), wide),
            *_block(nn.ConvTranspose2d(wide, width, 4, stride=2, padding=1, bias=False), width),
            nn.Conv2d(width, channels + 1, 7, padding=3, bias=False),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Translation:
        """Translate x, N x C x H x W in [-1, 1]; H and W are multiples of 4."""
        output = self.body(x)
        return Translation(output[:, : self.channels], (output[:, self.channels :] + 1) / 2)


class Discriminator(nn.Module):
    """Table 3: strided convolutions that double their channels, then one score a patch; a Wasserstein critic.

    Args:
        channels: image channels C.
        width: channels of the first convolution; 64 in the paper.
        blocks: strided convolutions; 6 in the paper (64 to 2,048 channels).
    """

    SLOPE = 0.01

    def __init__(self, channels: int = 3, width: int = 64, blocks: int = 6) -> None:
        super().__init__()
        widths = [channels, *(width * 2**i for i in range(blocks))]
        self.strided = nn.ModuleList(HalvingConvolution(narrow, wide) for narrow, wide in pairwise(widths))
        self.score = nn.Conv2d(widths[-1], 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Score x, N x C x H x W in [-1, 1]: N x 1 x H / 2^blocks x W / 2^blocks, unbounded."""
        for convolution in self.strided:
            x = leaky_relu(convolution(x), self.SLOPE)
        return torch.as_tensor(self.score(x))
