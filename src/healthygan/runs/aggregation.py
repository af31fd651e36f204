"""What a score judges: an image (or a frame of a file), or a patient by all images together."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from healthygan.data.cohort import CohortImage, Label
from healthygan.runs.config import SelectionConfig
from healthygan.stats.arrays import group_numbers
from healthygan.stats.metrics import patient_scores

Value = TypeVar("Value", np.float64, np.bool_)


def patient_of(image: CohortImage) -> str:
    """The patient; a file whose patient is unknown stands for one, as a volume does."""
    return image.patient_id or str(image.path)


def count_units(images: Sequence[CohortImage], selection: SelectionConfig) -> int:
    """How many units some files are: as many as they are, or as they have patients."""
    return len({patient_of(image) for image in images}) if selection.unit == "patient" else len(images)


class Units:
    """Brings values of N frames to M units, in an order that never changes.

    Args:
        frames: (N,) the image each frame comes from.
        selection: says what a unit is and how a patient's score comes from the frames'.
    """

    def __init__(self, frames: Sequence[CohortImage], selection: SelectionConfig) -> None:
        self.frames = frames
        self.patients = [patient_of(image) for image in frames]
        self.selection = selection
        self.by_patient = selection.unit == "patient"
        self.patients_known = any(image.patient_id for image in frames)
        """Whether any image's patient is known; otherwise each file stands for one."""
        self.noun = "patients" if self.by_patient and (self.patients_known or not frames) else "images"

    @classmethod
    def of(cls, images: Sequence[CohortImage], owner: NDArray[np.int64], selection: SelectionConfig) -> "Units":
        """Of a store's frames: ``owner`` are the (N,) indices of the image each frame comes from."""
        return cls([images[number] for number in owner], selection)

    def __len__(self) -> int:
        return len(self.groups())

    def scores(self, frame_scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) scores of frames to (M,) of units."""
        return self._by_patient(frame_scores) if self.by_patient else frame_scores

    def patient_scores(self, frame_scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) scores of frames to (N,): that of each frame's patient, whatever the unit."""
        return self._by_patient(frame_scores)[self._numbers()]

    def spread(self, values: NDArray[Value]) -> NDArray[Value]:
        """(M,) values of units to (N,): that of each frame's unit."""
        return values[self._numbers()] if self.by_patient else values

    def highest(self, frame_scores: NDArray[np.float64]) -> NDArray[np.int64]:
        """(M,): the frame with the highest of each unit's (N,) scores."""
        if not self.by_patient:
            return np.arange(len(frame_scores))
        falling = np.argsort(-frame_scores, kind="stable")
        first_of_unit: NDArray[np.int64] = falling[np.unique(self._numbers()[falling], return_index=True)[1]]
        return first_of_unit

    def groups(self) -> list[str]:
        """(M,): the patient of each unit."""
        return sorted(set(self.patients)) if self.by_patient else self.patients

    def diseased(self) -> NDArray[np.bool_]:
        """(M,): True = diseased; a patient is who has any diseased image."""
        return self.any_marked([image.label is Label.DISEASED for image in self.frames])

    def labels(self) -> list[Label | None]:
        """(M,): diseased as in ``diseased``, healthy if all images are, otherwise unknown."""
        unknown = self.any_marked([image.label is None for image in self.frames])
        return [
            Label.DISEASED if ill else None if doubtful else Label.HEALTHY
            for ill, doubtful in zip(self.diseased(), unknown, strict=True)
        ]

    def any_marked(self, marks: Sequence[bool]) -> NDArray[np.bool_]:
        """(N,) marks of frames to (M,): units of which any frame is marked."""
        marked = np.array(marks, dtype=np.bool_)
        if not self.by_patient:
            return marked
        any_marked: NDArray[np.bool_] = np.bincount(self._numbers(), weights=marked) > 0
        return any_marked

    def _by_patient(self, frame_scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return patient_scores(frame_scores, self.patients, self.selection.patient_score, self.selection.patient_top)[1]

    def _numbers(self) -> NDArray[np.int64]:
        return group_numbers(self.patients, len(self.frames))
