"""Seconds that ``prepare chestxray14`` takes for a table and as many empty files.

    python benchmarks/prepare_speed.py Data_Entry_2017_v2020.csv.gz WORK

One line: wall clock and processor time, the imports left out.
"""

import argparse
import time
from pathlib import Path

from healthygan.data.datasets.chestxray14 import NAME, prepare_chestxray14
from healthygan.data.datasets.text import read_table


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("work", type=Path, help="a folder for the files; they are made once")
    options = parser.parse_args()
    rows = list(read_table(options.metadata, [NAME]))
    for number, row in enumerate(rows):
        folder = options.work / "images" / f"images_{number // 10_000 + 1:03d}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / row[NAME]).touch()
    manifest = options.work / "manifest.csv"
    manifest.unlink(missing_ok=True)
    wall, processor = time.perf_counter(), time.process_time()
    prepared = prepare_chestxray14([options.work / "images"], options.metadata, manifest)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print("| rows | images drawn | wall, s | processor, s |\n|---:|---:|---:|---:|")
    print(f"| {len(rows):,} | {len(prepared.cohort.images):,} | {wall:.1f} | {processor:.1f} |")


if __name__ == "__main__":
    main()
