"""The paper's iteration, written straight down: the yardstick of speed, and what the fast step must agree with.

Plain eager float32, NCHW, the library's own layers and Adam. The generator is run afresh for every equation that uses
it, and a generator step leaves gradients in both networks. It shares no code with the package but the losses.

    python benchmarks/reference_step.py [--size 64] [--batch 4] [--preset covidx] [--pairs 5]

prints the seconds of a pair of iterations (two critic updates, one generator update) of the reference and of the
package, in float32 and in bfloat16, which take turns; their ratios; the products each needs by the layers' shapes; and
the products a second beside those of a matrix product and of a wide convolution, both in float32.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import pairwise

import torch
from lightning import Fabric
from torch import Tensor, nn

from healthygan.common.memory import memory_kept
from healthygan.detectors.healthygan import HealthyGANConfig, HealthyGANRecipe
from healthygan.nn import losses
from healthygan.nn.networks import Discriminator, Generator
from healthygan.runs.config import load_config
from healthygan.training.batches import Batch


class Residual(nn.Module):
    """A residual block of table 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x plus what the convolutions make of it."""
        return x + self.body(x)


def plain_generator(channels: int, width: int, blocks: int) -> nn.Sequential:
    """Table 2; N x C x H x W to N x (C + 1) x H x W in [-1, 1]. Parameters come in the package's order."""
    layers: list[nn.Module] = []

    def add(convolution: nn.Module, wide: int) -> None:
        layers.extend([convolution, nn.InstanceNorm2d(wide, affine=True), nn.ReLU()])

    add(nn.Conv2d(channels, width, 7, padding=3, bias=False), width)
    for narrow in (width, 2 * width):
        add(nn.Conv2d(narrow, 2 * narrow, 4, stride=2, padding=1, bias=False), 2 * narrow)
    layers.extend(Residual(4 * width) for _ in range(blocks))
    for wide in (4 * width, 2 * width):
        add(nn.ConvTranspose2d(wide, wide // 2, 4, stride=2, padding=1, bias=False), wide // 2)
    return nn.Sequential(*layers, nn.Conv2d(width, channels + 1, 7, padding=3, bias=False), nn.Tanh())


def plain_critic(channels: int, width: int, blocks: int) -> nn.Sequential:
    """Table 3; N x C x H x W to N x 1 x H / 2^blocks x W / 2^blocks."""
    layers: list[nn.Module] = []
    for narrow, wide in pairwise([channels, *(width * 2**i for i in range(blocks))]):
        layers.extend([nn.Conv2d(narrow, wide, 4, stride=2, padding=1), nn.LeakyReLU(0.01)])
    return nn.Sequential(*layers, nn.Conv2d(width * 2 ** (blocks - 1), 1, 3, padding=1, bias=False))


class ReferenceStep:
    """The two networks, their Adams, and one iteration after the other."""

    def __init__(self, config: HealthyGANConfig, generator: Generator, discriminator: Discriminator) -> None:
        channels = generator.channels
        self.config = config
        self.generator = plain_generator(channels, config.width, config.generator_blocks)
        self.critic = plain_critic(channels, config.width, config.discriminator_blocks)
        self.generator.to(next(generator.parameters()).dtype)
        self.critic.to(next(discriminator.parameters()).dtype)
        for plain, ours in ((self.generator, generator), (self.critic, discriminator)):
            with torch.no_grad():
                for mine, theirs in zip(plain.parameters(), ours.parameters(), strict=True):
                    mine.copy_(theirs)
        self.generator_adam = torch.optim.Adam(self.generator.parameters(), config.learning_rate, config.betas)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), config.learning_rate, config.betas)

    def translate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """B_int and M of x, by a pass of the generator."""
        output = self.generator(x)
        return output[:, :-1], (output[:, -1:] + 1) / 2

    def healthy(self, x: Tensor) -> Tensor:
        """x', by a pass of the generator."""
        return losses.translated(x, *self.translate(x))

    def step(self, iteration: int, batch: Batch) -> None:
        """A critic update (equation 3) and every second time a generator update (equation 9)."""
        config, (a, b) = self.config, (batch.mixed, batch.healthy)
        fake = self.healthy(a).detach()
        total = losses.critic_loss(self.critic(fake), self.critic(b))
        total = total + config.gradient_penalty * losses.gradient_penalty(self.critic, b, fake, batch.mix)
        self.critic_adam.zero_grad()
        total.backward()
        self.critic_adam.step()
        if iteration % config.generator_every:
            return
        masks = torch.cat([self.translate(a)[1], self.translate(b)[1]])
        total = (
            losses.adversarial_loss(self.critic(self.healthy(a)), self.critic(self.healthy(b)))
            + config.identity * losses.identity_loss(b, self.translate(b)[0])
            + config.reconstruction * losses.reconstruction_loss(a, losses.reconstructed(a, *self.translate(a)))
            + config.focus * losses.focus_loss(masks, config.focus_size, config.focus_zero_one)
        )
        self.generator_adam.zero_grad()
        self.critic_adam.zero_grad()
        total.backward()
        self.generator_adam.step()


def products(network: nn.Module, channels: int, size: int) -> int:
    """Multiply-accumulates of the convolutions in one pass of one image, by the layers' shapes."""
    counted = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        # Each input pixel of a transposed convolution, each output pixel of a plain one, meets the whole kernel.
        pixels = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        counted += pixels[0, 0].numel() * layer.weight.numel()

    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    hooks = [layer.register_forward_hook(count) for layer in network.modules() if isinstance(layer, kinds)]
    with torch.no_grad():
        network(torch.zeros(1, channels, size, size))
    for hook in hooks:
        hook.remove()
    return counted


def pair_products(generator: int, critic: int, images: int) -> dict[str, int]:
    """Multiply-accumulates of a pair of iterations, by the passes each way of doing it takes.

    A backward pass costs two forward ones, or one where only the gradient to the input is wanted. The penalty takes a
    forward pass, a gradient to the input, and the derivatives of both: six passes.
    """
    critic_updates = 2 * critic * (2 * 3 + 6)
    return {
        # 2 without use of the gradient; 6 with: eq. 4 twice, eq. 5, eq. 6, eq. 7 twice.
        "reference": images * (generator * (2 + 6 * 3) + critic_updates + critic * 2 * 3),
        # A alone without gradient, then A and B with.
        "fast": images * (generator * (1 + 2 * 3) + critic_updates + critic * 2 * 2),
    }


Steps = dict[str, ReferenceStep | HealthyGANRecipe]


def batch_of(count: int, channels: int, size: int, seed: int = 0) -> Batch:
    """Smooth noise in [-1, 1]."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, count, channels, 8, 8, generator=random) * 2 - 1
    mixed, healthy = (nn.functional.interpolate(images, (size, size), mode="bilinear") for images in coarse)
    return Batch(mixed, healthy, torch.rand(count, 1, 1, 1, generator=random))


PRECISIONS = {torch.float64: "64-true", torch.float32: "32-true", torch.bfloat16: "bf16-mixed"}


def networks(config: HealthyGANConfig, channels: int, dtype: torch.dtype) -> tuple[Generator, Discriminator]:
    """The paper's two networks, the same weights at every call."""
    torch.manual_seed(0)
    generator = Generator(channels, config.width, config.generator_blocks).to(dtype)
    return generator, Discriminator(channels, config.width, config.discriminator_blocks).to(dtype)


def fast_step(config: HealthyGANConfig, channels: int, dtype: torch.dtype = torch.float32) -> HealthyGANRecipe:
    """The package's own; bfloat16 keeps the weights in float32."""
    fabric = Fabric(accelerator="cpu", devices=1, precision=PRECISIONS[dtype])  # type: ignore[arg-type]
    kept = torch.float32 if dtype == torch.bfloat16 else dtype
    return HealthyGANRecipe(config, *networks(config, channels, kept), fabric)


def both_steps(config: HealthyGANConfig, channels: int, dtype: torch.dtype = torch.float32) -> Steps:
    """The reference and the package's own, from the same weights."""
    reference = ReferenceStep(config, *networks(config, channels, dtype))
    return {"reference": reference, "fast": fast_step(config, channels, dtype)}


def processor_seconds() -> float:
    """Time of all threads: other work on the machine hardly changes it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measured(steps: Steps, batch: Batch, pairs: int) -> Iterator[tuple[str, float, float]]:
    """Name, wall seconds and processor seconds of each pair of iterations, in turns; the first ones warm up."""
    for pair in range(pairs + 1):
        for name, step in steps.items():
            # As in training; what the plain one frees goes back to the system, as it does by itself.
            with nullcontext() if name == "reference" else memory_kept():
                wall, processor = time.perf_counter(), processor_seconds()
                step.step(1, batch)
                step.step(2, batch)
                if pair:
                    yield name, time.perf_counter() - wall, processor_seconds() - processor


def peak(products: int, compute: Callable[[], Tensor]) -> float:
    """Multiply-accumulates of float32 a second, by processor time, the best of a few."""
    times = []
    for _ in range(8):
        start = processor_seconds()
        compute()
        times.append(processor_seconds() - start)
    return products / min(times)


def peaks() -> dict[str, float]:
    """Multiply-accumulates a second of a core in a large matrix product and in a wide convolution, by oneDNN."""
    left, right = torch.randn(2, 2048, 2048)
    images, kernels = torch.randn(8, 256, 32, 32), torch.randn(256, 256, 3, 3)
    convolve = nn.functional.conv2d
    return {
        "matrix product": peak(2048**3, lambda: left @ right),
        "convolution": peak(8 * 32 * 32 * kernels.numel(), lambda: convolve(images, kernels, padding=1)),
    }


def main() -> None:
    """Print a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="covidx")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    config = load_config(options.preset)
    channels, size = config.preprocessing.channels, options.size
    assert isinstance(config.detector, HealthyGANConfig)
    fast = fast_step(config.detector, channels)
    passes = products(fast.generator, channels, size), products(fast.discriminator, channels, size)
    steps: Steps = {
        "reference": ReferenceStep(config.detector, *networks(config.detector, channels, torch.float32)),
        "fast": fast,
        "bf16": fast_step(config.detector, channels, torch.bfloat16),
    }
    needed = pair_products(*passes, options.batch)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for name, wall, processor in measured(steps, batch_of(options.batch, channels, size), options.pairs):
        times[name].append((wall, processor))
    best = peaks()
    wall, processor = ({n: statistics.median(t[i] for t in times[n]) for n in times} for i in (0, 1))
    print(f"{options.preset}, {size} px, batch {options.batch}, {torch.get_num_threads()} thread(s):")
    for name in steps:
        counted = 2 * needed["reference" if name == "reference" else "fast"] / 1e9
        print(
            f"  {name:<9} {wall[name]:7.2f} s wall, {processor[name]:7.2f} s processor a pair; {counted:.0f} GFLOP, "
            f"{counted / processor[name]:.1f} GFLOP/s a core; ratio {wall['reference'] / wall[name]:.2f} by wall, "
            f"{processor['reference'] / processor[name]:.2f} by processor time"
        )
    shown = ", ".join(f"{name} {2 * rate / 1e9:.0f}" for name, rate in best.items())
    print(f"  peak in float32, GFLOP/s a core: {shown}")


if __name__ == "__main__":
    main()
