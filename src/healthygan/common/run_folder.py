"""The run folder: everything one training leaves behind, and all that scoring needs.

config.yaml      every setting          checkpoint.pt    to resume from
cohort.csv       who was in which split candidates/      weights at each checkpoint
model.pt         the chosen weights     decision.json    threshold and how it was chosen
selection.json   metrics of candidates  held_out.csv     scores of images held out of training
early_stopping.json     noted while training   appearance.pt      what training images look like
log.csv, tensorboard/, samples/         what happened on the way
members/         of an ensemble: a run folder a seed
notes.json, mixed_scores.csv, share.png   what contrast found of the mixed set
contrast/        the contrast detector that healthygan+ looks through, with those three
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from healthygan.common.errors import Call, InputError
from healthygan.common.files import write_json
from healthygan.common.tensors import load_tensors, save_tensors


class Decision(BaseModel):
    """How the model to score with was chosen, and where its score is cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iteration: int
    """Of the chosen candidate."""
    rule: str
    """How the candidate was chosen."""
    threshold: float | None
    """A score at or above it is called diseased; none where there were too few healthy images to promise anything."""
    threshold_rule: str
    """Where the threshold comes from, in words."""
    map_top: float
    """Difference that overlays show at full strength, in [0, 1]."""
    region_cut: float | None = None
    """Difference above which a pixel belongs to a region: a high percentile of healthy images' maps."""
    diseased_share: float | None = None
    """Estimated share of the mixed set that is diseased, as far as the scores can tell."""


class Run:
    """Paths of a run folder, and reading and writing what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.cohort = path / "cohort.csv"
        self.data = path / "data.json"
        self.checkpoint = path / "checkpoint.pt"
        self.model = path / "model.pt"
        self.decision = path / "decision.json"
        self.selection = path / "selection.json"
        self.held_out = path / "held_out.csv"
        self.appearance = path / "appearance.pt"
        self.early_stopping = path / "early_stopping.json"
        self.log = path / "log.csv"
        self.samples = path / "samples"
        self.notes = path / "notes.json"
        self.mixed_scores = path / "mixed_scores.csv"
        self.share_picture = path / "share.png"
        self._candidates = path / "candidates"

    def member(self, number: int) -> "Run":
        """The run folder of one member of an ensemble."""
        return Run(self.path / "members" / str(number))

    def part(self, name: str) -> "Run":
        """The folder of a detector that another one is made of."""
        return Run(self.path / name)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """What ``save_checkpoint`` wrote; none if there is none yet."""
        return load_tensors(self.checkpoint) if self.checkpoint.exists() else None

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Keep the whole state of training, in place of the last one."""
        save_tensors(self.checkpoint, state)

    def save_candidate(self, iteration: int, weights: dict[str, Tensor]) -> None:
        """Keep the weights of one iteration for the choice at the end."""
        save_tensors(self._candidates / f"iteration_{iteration:08d}.pt", weights)

    def candidates(self) -> dict[int, Path]:
        """Files of weights by iteration, ascending."""
        candidates = {}
        for path in self._candidates.glob("iteration_*.pt"):
            if match := re.fullmatch(r"iteration_(\d+)", path.stem):
                candidates[int(match[1])] = path
        return dict(sorted(candidates.items()))

    def save_early_stopping(self, metrics: dict[int, float]) -> None:
        """Keep the metric of the held-out healthy images by iteration."""
        write_json(self.early_stopping, metrics)

    def load_early_stopping(self) -> dict[int, float]:
        """What ``save_early_stopping`` wrote, iterations ascending; empty where there is none.

        Raises:
            InputError: the file is damaged.
        """
        if not self.early_stopping.exists():
            return {}
        try:
            metrics = json.loads(self.early_stopping.read_bytes())
            return dict(sorted((int(number), float(value)) for number, value in metrics.items()))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{self.early_stopping}: damaged ({error}); copy the run folder again or train anew"
            ) from error

    def save_notes(self, lines: Sequence[str]) -> None:
        """Keep what a detector has to say of its training, a sentence each."""
        write_json(self.notes, list(lines))

    def load_notes(self) -> list[str]:
        """What ``save_notes`` wrote; nothing if nothing was.

        Raises:
            InputError: the file is damaged.
        """
        if not self.notes.exists():
            return []
        try:
            return TypeAdapter(list[str]).validate_json(self.notes.read_bytes())
        except ValidationError as error:
            raise InputError(f"{self.notes}: damaged; remove it or copy the run folder again") from error

    def save_decision(self, decision: Decision) -> None:
        """Keep how the model was chosen."""
        write_json(self.decision, decision.model_dump())

    def load_decision(self) -> Decision:
        """What ``save_decision`` wrote.

        Raises:
            InputError: training has not finished, or the file is damaged.
        """
        if not self.config.exists():
            raise InputError(f"{self.path}: not a run folder (no {self.config.name}); name one that train made")
        if not self.decision.exists():
            raise InputError(
                f"{self.path}: not a finished run (no {self.decision.name}); finish it with: ",
                Call("train", self.path),
            )
        try:
            return Decision.model_validate_json(self.decision.read_bytes())
        except ValidationError as error:
            raise InputError(
                f"{self.decision}: damaged ({error.errors()[0]['msg']}); copy the run folder again or train anew"
            ) from error
