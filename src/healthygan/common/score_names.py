"""What files beside ``scores.csv`` are called."""

import hashlib
import os
from pathlib import Path

from healthygan.common.files import shorten_name

SCORED_WITH = "scored_with.json"
"""The settings behind the scores."""


def map_stem(path: Path, frame: int) -> str:
    """Of a frame's difference map, without a suffix, the same on every machine.

    The image's name, a few digits that keep namesakes of other folders apart, and the frame.
    """
    number = int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=4).digest())
    return f"{shorten_name(path.stem[:80], 200)}_{number:08x}_{frame:04d}"
