"""Cases worth looking at: who they are, and the pictures of each."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from healthygan.common.errors import InputError
from healthygan.data.cohort import CohortImage
from healthygan.data.margins import NO_MARGINS
from healthygan.data.preprocessing import WHITE
from healthygan.data.readers.reading import read_frames
from healthygan.data.store import ImageStore
from healthygan.detectors import prediction
from healthygan.detectors.base import Detector
from healthygan.evaluation.result import Case, choose_cases
from healthygan.runs.aggregation import Units
from healthygan.runs.config import Config

CASES = 4


def grey_of(store: ImageStore, frame: NDArray[np.int64]) -> NDArray[np.float64]:
    """The one frame of index ``frame``, (1,), as H x W in [-1, 1]; channels averaged."""
    grey: NDArray[np.float64] = store.read(frame)[0].mean(axis=0) / (WHITE / 2) - 1
    return grey


def lesion_of(image: CohortImage, config: Config) -> NDArray[np.bool_]:
    """The ground truth in the networks' geometry; nothing where there is none."""
    settings = config.preprocessing
    if image.mask is None:
        return np.zeros((settings.size, settings.size), dtype=np.bool_)
    margins = NO_MARGINS
    if settings.trim:
        margins = settings.margins(next(read_frames(image.path, settings.reader, settings.sufficient)))
    try:
        with Image.open(image.mask) as file:
            return settings.apply_to_mask(np.asarray(file.convert("L")) > 127, margins)
    except OSError as error:
        raise InputError(f"{image.mask}: cannot be read as a mask ({error}); give an 8-bit PNG") from error


def _cases(
    detector: Detector,
    store: ImageStore,
    units: Units,
    found: NDArray[np.float64],
    labels: NDArray[np.bool_] | None,
    config: Config,
) -> dict[str, tuple[Case, ...]]:
    """Units worth looking at; of a patient the image with the highest score."""
    judged, highest, known = units.scores(found), units.highest(found), units.labels()
    ranks = np.empty(len(judged), dtype=np.int64)
    ranks[np.argsort(-judged, kind="stable")] = np.arange(1, len(judged) + 1)

    def case(number: int) -> Case:
        image, frame = units.frames[highest[number]], highest[number : number + 1]
        seen = prediction.predict(detector, store, frame)
        name = image.path.name
        return Case(
            name=f"{image.patient_id}: {name}" if units.by_patient and image.patient_id else name,
            score=float(judged[number]),
            rank=int(ranks[number]),
            label=known[number],
            source=image.source,
            original=grey_of(store, frame),
            translated=None if seen.translated is None else seen.translated[0].mean(dim=0).numpy(),
            mask=None if seen.mask is None else seen.mask[0, 0].numpy(),
            difference=None if seen.difference is None else seen.difference[0, 0].numpy(),
            lesion=lesion_of(image, config) if image.mask else None,
        )

    groups = choose_cases(judged, labels, CASES)
    return {name: tuple(case(int(number)) for number in numbers) for name, numbers in groups.items()}
