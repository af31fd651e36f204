"""What folding batch norms saves: processor milliseconds an image for a backbone's features, either way in turns.

OMP_NUM_THREADS=1 python benchmarks/backbone_speed.py [--size 128] [--repeats 12]
"""

import argparse
import time

import numpy as np
import torch

from healthygan.nn import backbones
from healthygan.nn.backbones import Backbone, load_backbone

LAYERS = (1, 2, 3, 4, 5)
BATCH = 32


def main() -> None:
    """Print one line for either."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=12)
    options = parser.parse_args()
    folded = load_backbone(size=options.size)
    fold, backbones.folded = backbones.folded, lambda network, _: network
    found = {"as it came": load_backbone(size=options.size), "folded": folded}
    backbones.folded = fold
    x = torch.rand(BATCH, 1, options.size, options.size) * 2 - 1
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(options.repeats):
        for name, backbone in found.items():
            times[name].append(milliseconds(backbone, x))
    for name, values in times.items():
        print(f"{name}: {np.median(values):.2f} ms an image")
    pairs = zip(*(backbone.features(x, LAYERS) for backbone in found.values()), strict=True)
    apart = max(float((one - other).abs().max() / one.max()) for one, other in pairs)
    print(f"largest difference, share of a layer's largest: {apart:.1e}")


def milliseconds(backbone: Backbone, x: torch.Tensor) -> float:
    """Processor time of one batch, an image."""
    start = time.process_time()
    backbone.features(x, LAYERS)
    return (time.process_time() - start) / len(x) * 1000


if __name__ == "__main__":
    main()
