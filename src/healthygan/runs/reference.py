"""What new images are compared with: scores of held-out images, and what training images look like.

A run keeps them as ``held_out.csv`` (one row a frame: path, frame, patient, use, score) and ``appearance.pt``.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from healthygan.common.batching import evenly_spaced
from healthygan.common.csv_text import CsvWriter, csv_records
from healthygan.common.errors import Call, InputError
from healthygan.common.files import atomic_path
from healthygan.common.run_folder import Run
from healthygan.common.tensors import load_tensors, save_tensors
from healthygan.data.cohort import CohortImage, Split
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.runs.aggregation import Units
from healthygan.runs.config import SelectionConfig
from healthygan.runs.partition import HeldOut
from healthygan.stats.drift import FEWEST, GRID, Appearance, describe

USES = ("threshold", "choice_healthy", "choice_mixed")
COLUMNS = ("path", "frame", "patient_id", "use", "score")
SEEN = 2_000
"""Training images at most whose looks are learned."""


@dataclass(frozen=True)
class Reference:
    """Scores of held-out units by the run's model, each (n,) or empty, and what training images look like."""

    threshold: NDArray[np.float64]
    """Healthy, and chose nothing: they carry thresholds and p-values."""
    choice_healthy: NDArray[np.float64]
    choice_mixed: NDArray[np.float64]
    choice_patients: Sequence[str] = ()
    """Of ``choice_mixed``; a file whose patient is unknown stands for one."""
    appearance: Appearance | None = None
    noun: str = "images"
    """What the scores are of: images or patients."""

    @property
    def healthy(self) -> NDArray[np.float64]:
        """All healthy ones held out of training."""
        return np.concatenate([self.threshold, self.choice_healthy])


def load_reference(run: Run, selection: SelectionConfig) -> Reference:
    """What ``save_scores`` and ``save_appearance`` wrote; empty for a run made before there was any.

    Args:
        selection: what is judged, images or patients, and how a patient's score comes from the frames'.

    Raises:
        InputError: a file is damaged.
    """
    scores: dict[str, list[float]] = {use: [] for use in USES}
    frames: dict[str, list[CohortImage]] = {use: [] for use in USES}
    if run.held_out.exists():
        try:
            with run.held_out.open(newline="", encoding="utf-8") as file:
                for row in csv_records(file):
                    split = Split.MIXED if row["use"] == "choice_mixed" else Split.HEALTHY
                    image = CohortImage(Path(row["path"]), split, patient_id=row["patient_id"] or None)
                    frames[row["use"]].append(image)
                    scores[row["use"]].append(_finite(row["score"]))
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise InputError(f"{run.held_out}: damaged ({error}); repeat ", Call("select", run.path)) from error
    units = {use: Units(frames[use], selection) for use in USES}
    threshold, healthy, mixed = (units[use].scores(np.array(scores[use], dtype=np.float64)) for use in USES)
    patients = units["choice_mixed"].groups()
    return Reference(threshold, healthy, mixed, patients, _load_appearance(run), units["threshold"].noun)


def save_scores(run: Run, held_out: Mapping[str, HeldOut], scores: Mapping[str, NDArray[np.float64]]) -> None:
    """Keep the held-out images' scores; either mapping goes by use, one of ``USES``."""
    with atomic_path(run.held_out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = CsvWriter(file)
        writer.writerow(COLUMNS)
        for use, part in held_out.items():
            for owner, frame, score in zip(part.store.owner, part.store.frame, scores[use], strict=True):
                image = part.images[owner]
                writer.writerow((image.path, frame, image.patient_id or "", use, repr(float(score))))


def save_appearance(run: Run, stores: Sequence[ImageStore]) -> None:
    """Keep what the training images look like; nothing where there are too few or they are too small to tell."""
    total = sum(len(store) for store in stores)
    parts = [_described(store, round(SEEN * len(store) / total)) for store in stores]
    descriptors = np.concatenate([part for part in parts if part is not None] or [np.empty((0, 0))])
    if len(descriptors) < FEWEST:
        run.appearance.unlink(missing_ok=True)
        return
    # Spread over both sets, so that every fold holds images of either.
    spread = np.random.default_rng(0).permutation(len(descriptors))
    appearance = Appearance.learn(descriptors[spread])
    save_tensors(
        run.appearance,
        {
            "centre": torch.from_numpy(appearance.centre),
            "whitening": torch.from_numpy(appearance.whitening),
            "limit": appearance.limit,
        },
    )


def _described(store: ImageStore, wanted: int) -> NDArray[np.float64] | None:
    chosen = evenly_spaced(len(store), wanted)
    if not len(chosen) or min(store.read(chosen[:1]).shape[2:]) < GRID:
        return None
    pieces = np.array_split(chosen, math.ceil(len(chosen) / 64))
    return np.concatenate([describe(to_tensor(store.read(piece))) for piece in pieces])


def _load_appearance(run: Run) -> Appearance | None:
    if not run.appearance.exists():
        return None
    state = load_tensors(run.appearance)
    try:
        return Appearance(state["centre"].numpy(), state["whitening"].numpy(), float(state["limit"]))
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{run.appearance}: damaged ({error}); repeat ", Call("select", run.path)) from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"score {text}")
    return value
