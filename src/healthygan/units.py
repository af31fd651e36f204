"""What a score judges: an image (or a frame of a file), or a patient by all images together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from healthygan.config import SelectionConfig
from healthygan.data.cohort import CohortImage, Label
from healthygan.metrics import patient_scores


def patient_of(image: CohortImage) -> str:
    """The patient; a file whose patient is unknown stands for one, as a volume does."""
    return image.patient_id or str(image.path)


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
        self.noun = "patients" if selection.unit == "patient" else "images"

    def scores(self, found: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) values of frames to (M,) of units."""
        if self.selection.unit == "image":
            return found
        return patient_scores(found, self.patients, self.selection.patient_score, self.selection.patient_top)[1]

    def numbers(self) -> NDArray[np.int64]:
        """(N,): the place of each frame's unit in what ``scores`` gives."""
        if self.selection.unit == "image":
            return np.arange(len(self.frames))
        place = {patient: number for number, patient in enumerate(self.groups())}
        return np.array([place[patient] for patient in self.patients], dtype=np.int64)

    def groups(self) -> list[str]:
        """(M,): the patient of each unit."""
        return self.patients if self.selection.unit == "image" else sorted(set(self.patients))

    def diseased(self) -> NDArray[np.bool_]:
        """(M,): True = diseased; a patient is who has any diseased image."""
        ill = np.array([image.label is Label.DISEASED for image in self.frames])
        if self.selection.unit == "image":
            return ill
        return patient_scores(ill.astype(np.float64), self.patients, "max")[1] > 0
