"""A tiny cohort and a run trained on it, shared by the tests that need a finished detector."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from healthygan.data.cohort import Cohort, CohortImage, Label, Split

pytest_plugins = ("fixtures.benchmarks", "fixtures.covidx", "fixtures.evaluations", "fixtures.inspections")

SIZE = 16
TINY = (
    "detector.evidence=0",
    "detector.width=4",
    "detector.generator_blocks=1",
    "detector.critic_width=4",
    "detector.critic_blocks=2",
    "detector.warm_up=2",
    f"preprocessing.size={SIZE}",
    "training.iterations=8",
    "training.decay_iterations=2",
    "training.batch_size=4",
    "training.checkpoint_every=4",
    "training.sample_every=4",
    "training.log_every=2",
    "training.precision='32'",
    "training.device=cpu",
)
COUNTS = {
    ("healthy", "healthy"): 12,
    ("mixed", "healthy"): 6,
    ("mixed", "diseased"): 6,
    ("validation", "healthy"): 6,
    ("validation", "diseased"): 6,
    ("test", "healthy"): 8,
    ("test", "diseased"): 8,
}


class CohortFactory(Protocol):
    """Writes a cohort's files below a folder and gives the manifest."""

    def __call__(self, folder: Path, seed: int = 0) -> Path: ...


@pytest.fixture(autouse=True, scope="session")
def _own_cache_and_one_thread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test touches the user's cache, and small networks do not fight over cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEALTHYGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_settings() -> tuple[str, ...]:
    """Overrides that make a training last a second."""
    return TINY


@pytest.fixture(scope="session")
def set_options() -> list[str]:
    """The same as arguments of the command line."""
    return [part for override in TINY for part in ("--set", override)]


@pytest.fixture(scope="session")
def cohort_factory() -> CohortFactory:
    """Makes cohorts in folders split/label/NAME.png with a manifest.csv beside them."""
    return _write_cohort


@pytest.fixture(scope="session")
def relabelled() -> Callable[[Cohort], Cohort]:
    """Gives a cohort whose mixed and test images all have the other label, and no lesion mask."""

    def other(image: CohortImage) -> CohortImage:
        if image.split not in (Split.MIXED, Split.TEST):
            return image
        label = Label.HEALTHY if image.label is Label.DISEASED else Label.DISEASED
        return CohortImage(image.path, image.split, label, image.patient_id, image.source, None)

    return lambda cohort: Cohort(cohort.name, tuple(map(other, cohort.images)))


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the cohort that ``finished_run`` was trained on."""
    return _write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="session")
def finished_run(manifest: Path, tmp_path_factory: pytest.TempPathFactory):
    """(Run, Cohort) of a training of a few iterations. Read it; copy the folder to change it."""
    from healthygan.data.cohort import Cohort
    from healthygan.runs import train as workflow
    from healthygan.runs.config import load_config

    cohort = Cohort.from_manifest(manifest)
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return workflow.train(load_config("small", TINY), cohort, folder), cohort


def _write_cohort(folder: Path, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    rows = []
    for (split, label), count in COUNTS.items():
        place = folder / split / label
        place.mkdir(parents=True)
        for number in range(count):
            name = f"{split}_{label}_{number:02d}"
            pixels, lesion = _image(random, diseased=label == "diseased")
            Image.fromarray(pixels).save(place / f"{name}.png")
            mask = ""
            if split == "test" and label == "diseased":
                (folder / "masks").mkdir(exist_ok=True)
                mask = f"masks/{name}.png"
                Image.fromarray(lesion).save(folder / mask)
            # Two images a patient, and either source in every split.
            patient = f"{split}-{label}-{number // 2}"
            rows.append((f"{split}/{label}/{name}.png", split, label, patient, "ab"[number % 2], mask))
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "split", "label", "patient_id", "source", "mask"))
        writer.writerows(rows)
    return path


def _image(random: np.random.Generator, *, diseased: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A smooth random image in 40..160, with a bright square if diseased; and the square's mask."""
    smooth = gaussian_filter(random.standard_normal((SIZE, SIZE)), 2)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    pixels = (40 + 120 * smooth).astype(np.uint8)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    if diseased:
        top, left = random.integers(2, SIZE - 7, 2)
        mask[top : top + 5, left : left + 5] = 255
        pixels[mask > 0] = 250
    return pixels, mask
