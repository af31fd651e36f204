"""Difference maps as files: overlays to look at, arrays to compute with."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from healthygan.common.files import atomic_path
from healthygan.inference.predictor import _Frame
from healthygan.viz.overlays import overlay


@dataclass(frozen=True)
class _Options:
    output: Path
    overlays: bool
    arrays: bool
    map_top: float


def _map_name(path: Path) -> str:
    """The file's name and a few digits that keep namesakes of other folders apart."""
    return f"{path.stem[:80]}_{format(_number_of(path), '08x')}"


def _number_of(path: Path) -> int:
    """A short number of a path, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=4).digest())


def _write_maps(frame: _Frame, x: torch.Tensor, difference: torch.Tensor, options: _Options) -> None:
    stem = options.output / "maps" / f"{_map_name(frame.path)}_{frame.number:04d}"
    if options.overlays:
        with atomic_path(stem.with_name(stem.name + ".png")) as temporary:
            picture = overlay(x.mean(dim=0).numpy(), difference.numpy(), options.map_top)
            Image.fromarray(picture).save(temporary)
    if options.arrays:
        with atomic_path(stem.with_name(stem.name + ".npy")) as temporary:
            np.save(temporary, difference.numpy())
