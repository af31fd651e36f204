"""The paper's generator (table 2) and discriminator (table 3), with sizes that can be shrunk; and what is done to
the networks of several detectors.

Neither of the paper's networks keeps running statistics, so ``train()`` and ``eval()`` give the same output.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, leaky_relu

from healthygan.nn.convolutions import Convolution3x3, HalvingConvolution, LastConvolution


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


def transposed(wide: int, narrow: int) -> nn.Module:
    """Table 2's way up: twice the height and width by a transposed convolution."""
    return nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False)


def translation_layers(
    channels: int, outputs: int, width: int, blocks: int, upward: Callable[[int, int], nn.Module] = transposed
) -> list[nn.Module]:
    """Table 2 but for its last activation: encoder, residual blocks, decoder with ``outputs`` channels."""
    wide, wider = 2 * width, 4 * width
    return [
        *_block(nn.Conv2d(channels, width, 7, padding=3, bias=False), width),
        *_block(nn.Conv2d(width, wide, 4, stride=2, padding=1, bias=False), wide),
        *_block(nn.Conv2d(wide, wider, 4, stride=2, padding=1, bias=False), wider),
        *(ResidualBlock(wider) for _ in range(blocks)),
        *_block(upward(wider, wide), wide),
        *_block(upward(wide, width), width),
        LastConvolution(width, outputs),
    ]


class Generator(nn.Module):
    """Table 2: encoder, residual blocks, decoder; ``channels`` image outputs and the mask.

    Args:
        channels: image channels C, 1 for grey or 3 for colour.
        width: channels of the first convolution; 64 in the paper.
        blocks: residual blocks; 6 in the paper.
        upward: makes the two layers that double height and width, from their channels in and out.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 64,
        blocks: int = 6,
        upward: Callable[[int, int], nn.Module] = transposed,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.body = nn.Sequential(*translation_layers(channels, channels + 1, width, blocks, upward))

    def forward(self, x: Tensor) -> Translation:
        """Translate x, N x C x H x W in [-1, 1]; H and W are multiples of 4."""
        return self.outputs(self.body(x))

    def outputs(self, unbounded: Tensor) -> Translation:
        """B_int and M of the last convolution's N x (C + 1) x H x W: tanh for all, the mask moved to [0, 1]."""
        bounded = torch.tanh(unbounded)
        return Translation(bounded[:, : self.channels], (bounded[:, self.channels :] + 1) / 2)


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


def check_depth(setting: str, blocks: int, size: int) -> None:
    """Refuse a discriminator of more strided convolutions than an image of ``size`` can be halved.

    Raises:
        ValueError: names the setting and the remedy.
    """
    if 2**blocks > size:
        raise ValueError(f"detector.{setting}={blocks} halves an image of {size} px to nothing; take fewer blocks")


def halvings(size: int, smallest: int = 4) -> int:
    """How often a square of ``size`` pixels is halved until ``smallest`` are left.

    Raises:
        ValueError: it cannot be; names the setting and the remedy.
    """
    count = (size // smallest).bit_length() - 1
    if count < 1 or smallest << count != size:
        near = smallest << max(count, 1)
        raise ValueError(f"preprocessing.size={size}: this detector halves images down to {smallest} px; take {near}")
    return count


def widths(deepest: int, count: int) -> list[int]:
    """Channels of ``count`` convolutions from the image inwards: each twice the last, up to ``deepest``."""
    return [max(1, deepest >> place) for place in reversed(range(count))]


def initialise(network: nn.Module, deviation: float) -> None:
    """Draw the weights of all convolutions and linear layers from N(0, deviation^2); their biases are 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, deviation)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@torch.no_grad()
def follow(averaged: nn.Module, trained: nn.Module, decay: float, update: int) -> None:
    """Move averaged weights towards the trained ones after their ``update``-th step; young averages follow faster.

    Buffers (running statistics) are averages already and are copied.
    """
    decay = min(decay, (1 + update) / (10 + update))
    for average, weight in zip(averaged.parameters(), trained.parameters(), strict=True):
        average.lerp_(weight, 1 - decay)
    for kept, buffer in zip(averaged.buffers(), trained.buffers(), strict=True):
        kept.copy_(buffer)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Gradients pass through ``network`` but none stays in it."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
