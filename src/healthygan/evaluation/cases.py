"""Cases worth looking at: who they are, and the pictures of each."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from healthygan.common.errors import InputError, UnreadableImage
from healthygan.data.cohort import CohortImage
from healthygan.data.margins import NO_MARGINS
from healthygan.data.preprocessing import WHITE, Preprocessing
from healthygan.data.readers.base import as_unreadable
from healthygan.data.readers.reading import probe, read_frames
from healthygan.data.store import ImageStore
from healthygan.evaluation.evaluation_set import EvaluationSet
from healthygan.evaluation.result import Case, choose_cases
from healthygan.inference.predictor import Predictor

CASES = 4
"""Of each group."""


def cases_of(
    predictor: Predictor, judged: EvaluationSet, scores: NDArray[np.float64], labels: NDArray[np.bool_] | None
) -> dict[str, tuple[Case, ...]]:
    """Units worth looking at, by group (``result.GROUPS``); of a patient the image with the highest score.

    Args:
        scores: (N,), of the frames.
        labels: (M,), of the units, True = diseased; none where they are not known.
    """
    units = judged.units
    of_units = units.scores(scores)
    ranks = np.empty(len(of_units), dtype=np.int64)
    ranks[np.argsort(-of_units, kind="stable")] = np.arange(1, len(of_units) + 1)
    highest, known = units.highest(scores), units.labels()
    return {
        group: tuple(
            _case(predictor, judged, int(highest[n]), float(of_units[n]), int(ranks[n]), known[n]) for n in numbers
        )
        for group, numbers in choose_cases(of_units, labels, CASES).items()
    }


def _case(predictor: Predictor, judged: EvaluationSet, frame: int, score: float, rank: int, label: str | None) -> Case:
    """The pictures of one frame."""
    image, index = judged.units.frames[frame], np.array([frame])
    prediction = predictor.predict_frames(judged.store, index)
    name = image.path.name
    return Case(
        name=f"{image.patient_id}: {name}" if judged.units.by_patient and image.patient_id else name,
        score=score,
        rank=rank,
        label=label,
        source=image.source,
        original=grey_of(judged.store, index),
        translated=None if prediction.translated is None else prediction.translated[0].mean(dim=0).numpy(),
        mask=None if prediction.mask is None else prediction.mask[0, 0].numpy(),
        difference=None if prediction.difference is None else prediction.difference[0, 0].numpy(),
        evidence=None if prediction.evidence is None else prediction.evidence[0, 0].numpy(),
        lesion=lesion_of(image, predictor.config.preprocessing) if image.mask else None,
    )


def grey_of(store: ImageStore, frame: NDArray[np.int64]) -> NDArray[np.float64]:
    """The one frame of index ``frame``, (1,), as H x W in [-1, 1]; channels averaged."""
    grey: NDArray[np.float64] = store.read(frame)[0].mean(axis=0) / (WHITE / 2) - 1
    return grey


def lesion_of(image: CohortImage, preprocessing: Preprocessing) -> NDArray[np.bool_]:
    """The ground truth in the networks' geometry, S x S; nothing where there is none.

    Raises:
        InputError: the mask cannot be read.
    """
    if image.mask is None:
        return np.zeros((preprocessing.size, preprocessing.size), dtype=np.bool_)
    margins = NO_MARGINS
    if preprocessing.trim:
        margins = preprocessing.margins(next(read_frames(image.path, preprocessing.reader, preprocessing.sufficient)))
    try:
        probe(image.mask, preprocessing.reader)  # before it is opened: its size is bounded as an image's is
        with as_unreadable(image.mask), Image.open(image.mask) as file:
            return preprocessing.apply_to_mask(np.asarray(file.convert("L")) > 127, margins)
    except UnreadableImage as error:
        raise InputError(f"{image.mask}: cannot be read as a mask ({error}); give an 8-bit PNG") from error
