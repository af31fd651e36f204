"""The networks' costly convolutions, done on a CPU the way that is fastest there.

Parameters, their names and the results (up to rounding) are those of ``torch.nn.Conv2d``, from which both kinds are
made; on other devices, in other number formats and in exported models they are nothing else. What each gains is in
benchmarks/README.md.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

WINOGRAD_CHANNELS = 128
"""From here on the products saved outweigh the transforms."""
PRODUCT_POSITIONS = 16
"""Up to so many output pixels an image, a strided convolution is as well a product of matrices."""

# F(4x4, 3x3) of Lavin and Gray, Fast algorithms for convolutional neural networks, CVPR 2016: the tile of 6 x 6
# inputs, the kernel and the 4 x 4 outputs, along one axis.
INPUT_TRANSFORM = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
KERNEL_TRANSFORM = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
OUTPUT_TRANSFORM = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


class Convolution3x3(nn.Conv2d):
    """3 x 3, stride 1, zero padding of 1, without bias: N x C x H x W in, N x O x H x W out."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__(narrow, wide, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x."""
        wide = min(self.in_channels, self.out_channels) >= WINOGRAD_CHANNELS
        if wide and _plain_on_cpu(x) and x.shape[2] % 4 == x.shape[3] % 4 == 0:
            return winograd(x, self.weight)
        return super().forward(x)


class HalvingConvolution(nn.Conv2d):
    """4 x 4, stride 2, zero padding of 1, with bias: N x C x H x W in, N x O x H / 2 x W / 2 out."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__(narrow, wide, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x."""
        assert self.bias is not None
        if _plain_on_cpu(x) and (x.shape[2] // 2) * (x.shape[3] // 2) <= PRODUCT_POSITIONS:
            return halved_by_product(x, self.weight, self.bias)
        return super().forward(x)


def winograd(x: Tensor, weight: Tensor) -> Tensor:
    """A 3 x 3 convolution with zero padding of 1 that takes a quarter of the products, and a few sums more.

    Args:
        x: N x C x H x W, H and W multiples of 4.
        weight: O x C x 3 x 3.

    Returns:
        N x O x H x W.
    """
    (count, narrow, height, width), wide = x.shape, len(weight)
    inputs, kernels, outputs = (matrix.to(x) for matrix in _transforms())
    tiles = pad(x, (1, 1, 1, 1)).transpose(0, 1).unfold(2, 6, 4).unfold(3, 6, 4)  # C, N, H/4, W/4, 6, 6
    points = (inputs @ tiles.permute(4, 5, 0, 1, 2, 3).reshape(36, -1)).view(36, narrow, -1)
    kernel = (kernels @ weight.view(wide * narrow, 9).t()).view(36, wide, narrow)
    products = torch.bmm(kernel, points)
    result = (outputs @ products.view(36, -1)).view(4, 4, wide, count, height // 4, width // 4)
    return result.permute(3, 2, 4, 0, 5, 1).reshape(count, wide, height, width)


def halved_by_product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 4 x 4 convolution of stride 2 with zero padding of 1, as one product of matrices.

    Args:
        x: N x C x H x W, H and W even.
        weight: O x C x 4 x 4.
        bias: (O,).

    Returns:
        N x O x H / 2 x W / 2.
    """
    (count, _, height, width), wide = x.shape, len(weight)
    if height == width == 2:  # the rest of the kernel meets nothing but padding
        return torch.addmm(bias, x.flatten(1), weight[:, :, 1:3, 1:3].flatten(1).t()).view(count, wide, 1, 1)
    patches = pad(x, (1, 1, 1, 1)).unfold(2, 4, 2).unfold(3, 4, 2)  # N, C, H/2, W/2, 4, 4
    rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(count * height * width // 4, -1)
    result = torch.addmm(bias, rows, weight.flatten(1).t())
    return result.view(count, height // 2, width // 2, wide).permute(0, 3, 1, 2).contiguous()


@cache
def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Of input, kernel and output tiles in both directions at once: 36 x 36, 36 x 9 and 16 x 36."""
    alone = (torch.tensor(rows, dtype=torch.float64) for rows in (INPUT_TRANSFORM, KERNEL_TRANSFORM, OUTPUT_TRANSFORM))
    inputs, kernels, outputs = (torch.kron(matrix, matrix) for matrix in alone)
    return inputs, kernels, outputs


def _plain_on_cpu(x: Tensor) -> bool:
    """Whether x is an ordinary batch of float32 or float64 on a CPU, and nobody is recording the network."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not torch.onnx.is_in_onnx_export()
        and not torch.compiler.is_compiling()
    )
