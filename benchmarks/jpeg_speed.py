"""Milliseconds from a large JPEG to what the networks see: decoded in full, and at a reduced scale.

    OMP_NUM_THREADS=1 python benchmarks/jpeg_speed.py [--side 2048]

Processor time, medians, in turns; and how far the two are apart, in 255ths of the range.
"""

import argparse
import resource
import statistics
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from healthygan.data.preprocessing import Preprocessing
from healthygan.data.readers.reading import read_frames

REPEATS = 5


def write(path: Path, mode: str, side: int) -> None:
    """Smooth noise with grain."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (16, 16), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=float)
    grainy = (smooth + random.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(grainy).convert(mode).save(path, quality=90)


def taken(path: Path, preprocessing: Preprocessing, sufficient: int) -> tuple[float, NDArray[np.uint16]]:
    """Milliseconds of processor time, and the result."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    (image,) = read_frames(path, preprocessing.reader, sufficient)
    result = preprocessing(image)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime), result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=2048)
    options = parser.parse_args()
    print("| JPEG | to | in full, ms | reduced, ms | ratio | largest, mean difference |\n|---|---:|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.jpg"
        for mode in ("L", "RGB"):
            write(path, mode, options.side)
            for size in (64, 256):
                preprocessing = Preprocessing(size=size)
                times, results = zip(
                    *(
                        zip(
                            *(taken(path, preprocessing, enough) for enough in (0, preprocessing.sufficient)),
                            strict=True,
                        )
                        for _ in range(REPEATS)
                    ),
                    strict=True,
                )
                full, reduced = (statistics.median(time[way] for time in times) for way in (0, 1))
                apart = np.abs(results[0][0].astype(float) - results[0][1]) / 257
                print(
                    f"| {options.side} px, {mode} | {size} px | {full:.1f} | {reduced:.1f} | {full / reduced:.1f} | "
                    f"{apart.max():.2f}, {apart.mean():.2f} |"
                )


if __name__ == "__main__":
    main()
