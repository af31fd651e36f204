"""How good the difference maps are: against outlines where there are any, under flips, and as regions."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from healthygan.common.batching import evenly_spaced, in_batches
from healthygan.common.csv_text import CsvWriter
from healthygan.common.files import atomic_path
from healthygan.data.cohort import CohortImage, Label
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors.prediction import BATCH
from healthygan.evaluation.cases import lesion_of
from healthygan.inference.predictor import Predictor
from healthygan.stats.localisation import Region, flip_stability, localised

FLIPPED = 64
"""Images at most whose maps are compared with those of their mirror images."""


def localisation_of(predictor: Predictor, store: ImageStore, frames: Sequence[CohortImage]) -> dict[str, float]:
    """Pixel AUROC, AUPRO and best Dice over the diseased images with a mask and all healthy ones.

    Args:
        frames: the image of each of the store's frames.

    Returns:
        Nothing without masks, or for a detector without maps.
    """
    if not any(image.mask for image in frames):
        return {}
    if predictor.predict_frames(store, np.zeros(1, dtype=np.int64)).where is None:
        return {}
    chosen = np.array([number for number, image in enumerate(frames) if image.mask or image.label is Label.HEALTHY])

    def maps() -> Iterator[NDArray[np.float32]]:
        for part in in_batches(len(chosen), BATCH):
            difference = predictor.predict_frames(store, chosen[part]).where
            assert difference is not None
            yield from difference[:, 0].numpy()

    preprocessing = predictor.config.preprocessing
    return localised(maps(), (lesion_of(frames[number], preprocessing) for number in chosen))


def stability_of(predictor: Predictor, store: ImageStore) -> float | None:
    """How alike the maps of images and of their mirror images are; none without maps."""
    x = to_tensor(store.read(evenly_spaced(len(store), FLIPPED)))
    maps, of_flipped = (predictor.predict_batch(images).where for images in (x, x.flip(3)))
    if maps is None or of_flipped is None:
        return None
    return flip_stability(maps[:, 0].numpy(), of_flipped[:, 0].numpy())


def write_regions(
    path: Path, frames: Sequence[CohortImage], store: ImageStore, regions: Sequence[Sequence[Region]]
) -> None:
    """One row a region, the highest score of each image first; places in pixels of the networks' images.

    Args:
        frames: the image of each of the store's frames.
        regions: of each frame.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = CsvWriter(file)
        writer.writerow(("path", "frame", *Region._fields))
        for image, frame, of_frame in zip(frames, store.frame, regions, strict=True):
            for region in of_frame:
                score, peak = f"{region.score:.6g}", f"{region.peak:.6g}"
                writer.writerow((image.path, frame, score, region.area, peak, *region[3:]))
