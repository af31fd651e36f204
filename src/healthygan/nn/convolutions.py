"""The networks' costly convolutions, done on a CPU the way that is fastest there.

Parameters, their names and the results (up to rounding) are those of ``torch.nn.Conv2d``, from which all kinds are
made; on other devices and in exported models they are nothing else. What each gains is in benchmarks/README.md.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

WINOGRAD_CHANNELS = 128
"""From here on the products saved outweigh the transforms."""
PRODUCT_CHANNELS = 512
"""From here on a strided convolution is as well a product of matrices,"""
PRODUCT_POSITIONS = 16
"""up to so many output pixels an image."""

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
        if wide and x.shape[2] % 4 == x.shape[3] % 4 == 0 and _on_cpu(x) and _winograd_pays(x):
            return winograd(x, self.weight)
        return super().forward(x)


class HalvingConvolution(nn.Conv2d):
    """4 x 4, stride 2, zero padding of 1, with bias: N x C x H x W in, N x O x H / 2 x W / 2 out."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__(narrow, wide, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x."""
        assert self.bias is not None
        is_small = (x.shape[2] // 2) * (x.shape[3] // 2) <= PRODUCT_POSITIONS
        if is_small and self.in_channels >= PRODUCT_CHANNELS and _on_cpu(x):
            return halved_by_product(x, self.weight, self.bias)
        return super().forward(x)


class LastConvolution(nn.Conv2d):
    """7 x 7, stride 1, zero padding of 3, without bias, to few channels: N x C x H x W in, N x O x H x W out."""

    def __init__(self, wide: int, outputs: int) -> None:
        super().__init__(wide, outputs, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x."""
        return by_rows(x, self.weight) if _on_cpu(x) else super().forward(x)


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


def by_rows(x: Tensor, weight: Tensor) -> Tensor:
    """A convolution with zero padding, row by row of its kernel: their outputs lie side by side as channels.

    A processor computes many channels at once; of a layer with few, most of what it computes is thrown away.

    Args:
        x: N x C x H x W.
        weight: O x C x K x K, K odd.

    Returns:
        N x O x H x W.
    """
    outputs, channels, rows, _ = weight.shape
    reach, height = rows // 2, x.shape[2]
    kernel = weight.permute(2, 0, 1, 3).reshape(rows * outputs, channels, 1, rows)
    parts = pad(conv2d(x, kernel, padding=(0, reach)), (0, 0, reach, reach))
    # Row r of the kernel meets the image r - reach rows further down.
    shifted = [parts[:, row * outputs : (row + 1) * outputs, row : row + height] for row in range(rows)]
    return torch.stack(shifted).sum(dim=0)


@cache
def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Of input, kernel and output tiles in both directions at once: 36 x 36, 36 x 9 and 16 x 36."""
    alone = (torch.tensor(rows, dtype=torch.float64) for rows in (INPUT_TRANSFORM, KERNEL_TRANSFORM, OUTPUT_TRANSFORM))
    inputs, kernels, outputs = (torch.kron(matrix, matrix) for matrix in alone)
    return inputs, kernels, outputs


def _on_cpu(x: Tensor) -> bool:
    """Whether x is on a CPU, and nobody is recording the network."""
    return x.device.type == "cpu" and not torch.onnx.is_in_onnx_export() and not torch.compiler.is_compiling()


def _winograd_pays(x: Tensor) -> bool:
    """Whether x keeps its precision there, and the library's convolutions leave something to gain.

    Those for AVX-512 run at twice the rate of a product of matrices.
    """
    exact = x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    return exact and torch.backends.cpu.get_cpu_capability() != "AVX512"
