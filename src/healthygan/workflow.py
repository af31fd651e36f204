"""Training from a cohort to a finished run: hold out, decode, fit, choose, cut."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from healthygan import metrics
from healthygan.config import Config, load_config
from healthygan.data.cohort import Cohort, CohortImage, Label, Split, verify
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors import registry
from healthygan.detectors.base import Detector, Prediction
from healthygan.errors import InputError
from healthygan.files import write_json
from healthygan.progress import progress
from healthygan.run import Decision, Run, load_tensors, save_tensors
from healthygan.training import Training, launch

BATCH = 64
MAP_SAMPLE = 64
"""Images of the mixed set whose difference maps set the overlays' scale."""
MAP_PERCENTILE = 99.5


def train(config: Config, cohort: Cohort, folder: Path, *, strict: bool = False) -> Run:
    """Train a detector on a cohort's healthy and mixed sets and choose the model to score with.

    The labels of the mixed set are never read. A folder in which training was stopped goes on from there.

    Args:
        folder: the run folder, new or of this very configuration and cohort.
        strict: refuse an unreadable image instead of counting it.

    Raises:
        InputError: the cohort, the folder or the device cannot be used.
        Stopped: Ctrl-C or SIGTERM; a second call goes on.
    """
    run = Run(folder)
    _check_folder(run, config)
    verify(cohort)
    fabric = launch(config.training)
    training_set, reference = held_out(cohort, config)
    healthy = _store(training_set, config, "healthy set", strict)
    mixed = _store(cohort.split(Split.MIXED), config, "mixed set", strict)
    _check_data(run, healthy, mixed)
    if fabric.is_global_zero:
        config.save(run.config)
        cohort.write_manifest(run.cohort)
    detector = build(config)
    detector.fit(healthy, mixed, Training(config.training, run, fabric))
    if fabric.is_global_zero:
        detector.to(fabric.device)
        choose(run, detector, config, cohort, reference, mixed)
    fabric.barrier()
    return run


def build(config: Config) -> Detector:
    """An untrained detector."""
    shape = config.preprocessing
    return registry.build(config.detector, shape.channels, shape.size, config.training.seed)


def load(run: Run, device: str = "auto") -> tuple[Detector, Config, Decision]:
    """A finished run's detector, ready to score.

    Raises:
        InputError: the run is not finished or its files are damaged.
    """
    decision = run.load_decision()
    config = load_config(run.config)
    detector = build(config)
    try:
        detector.load_weights(load_tensors(run.model))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"{run.model}: does not fit {run.config}; copy the run folder again") from error
    return detector.to(best_device(device)), config, decision


def best_device(name: str = "auto") -> torch.device:
    """The device called ``name``; "auto" takes CUDA, then Apple's, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[name]:
        raise InputError(f"--device {name}: there is no such device here; use --device cpu")
    return torch.device(name)


def predict(detector: Detector, store: ImageStore, indices: NDArray[np.int64]) -> Prediction:
    """Score some of a store's frames, one batch; the result is on the CPU."""
    return predict_batch(detector, to_tensor(store.read(indices)))


def predict_batch(detector: Detector, x: Tensor) -> Prediction:
    """Score x, N x C x H x W in [-1, 1], wherever the detector is; the result is on the CPU."""
    weight = next(iter(detector.weights().values()))
    found = detector.predict(x.to(weight.device))
    parts = (found.score, found.difference, found.translated, found.mask)
    return Prediction(*(None if part is None else part.float().cpu() for part in parts))  # type: ignore[arg-type]


def scores(detector: Detector, store: ImageStore, title: str) -> NDArray[np.float64]:
    """(frames,): anomaly scores of a whole store."""
    found = []
    with progress(f"{title}: scoring", len(store)) as advance:
        for start in range(0, len(store), BATCH):
            indices = np.arange(start, min(start + BATCH, len(store)))
            found.append(predict(detector, store, indices).score.double().numpy())
            advance(len(indices))
    return np.concatenate(found)


def held_out(cohort: Cohort, config: Config) -> tuple[tuple[CohortImage, ...], tuple[CohortImage, ...]]:
    """The healthy images to train on, and those kept for the threshold: validation's, or else a share of the set.

    A share is of whole patients, and at least as many images as the wanted specificity needs, but never more
    than half.
    """
    healthy = cohort.split(Split.HEALTHY)
    validation = tuple(image for image in cohort.split(Split.VALIDATION) if image.label is Label.HEALTHY)
    if validation or not config.selection.holdout:
        return healthy, validation
    wanted = max(round(config.selection.holdout * len(healthy)), metrics.healthy_needed(config.selection.specificity))
    wanted = min(wanted, len(healthy) // 2)
    images_of = Counter(_patient(image) for image in healthy)
    patients = sorted(images_of)
    chosen: set[str] = set()
    count = 0
    for number in np.random.default_rng([config.training.seed, len(healthy)]).permutation(len(patients)):
        if count >= wanted:
            break
        chosen.add(patients[number])
        count += images_of[patients[number]]
    kept = tuple(image for image in healthy if _patient(image) not in chosen)
    return kept, tuple(image for image in healthy if _patient(image) in chosen)


def choose(
    run: Run,
    detector: Detector,
    config: Config,
    cohort: Cohort,
    reference: Sequence[CohortImage],
    mixed: ImageStore,
) -> None:
    """Make one candidate the run's model, and cut its score where healthy images alone say."""
    candidates = run.candidates()
    if not candidates:
        raise InputError(f"{run.path}: its candidates/ folder is empty; train anew with another --run")
    iteration, rule = _best_candidate(candidates, detector, config, cohort)
    weights = load_tensors(candidates[iteration])
    detector.load_weights(weights)
    save_tensors(run.model, weights)
    threshold, threshold_rule = _threshold(detector, config, reference)
    sample = np.linspace(0, len(mixed) - 1, min(MAP_SAMPLE, len(mixed))).astype(np.int64)
    difference = predict(detector, mixed, sample).difference
    top = float(np.percentile(difference.numpy(), MAP_PERCENTILE)) if difference is not None else 1.0
    run.save_decision(
        Decision(
            iteration=iteration,
            rule=rule,
            threshold=threshold,
            threshold_rule=threshold_rule,
            map_top=max(top, 1e-3),
        )
    )


def _best_candidate(candidates: dict[int, Path], detector: Detector, config: Config, cohort: Cohort) -> tuple[int, str]:
    if len(candidates) == 1:
        return max(candidates), "the only candidate"
    labelled = [image for image in cohort.split(Split.VALIDATION) if image.label is not None]
    labels = {image.label for image in labelled}
    if config.selection.rule == "last" or len(labels) < 2:
        return max(candidates), "last"
    store = _store(labelled, config, "validation set", strict=False)
    diseased = np.array([labelled[owner].label is Label.DISEASED for owner in store.owner])
    found: dict[int, float] = {}
    for iteration, path in candidates.items():
        detector.load_weights(load_tensors(path))
        found[iteration] = metrics.auc(scores(detector, store, f"validation, iteration {iteration}"), diseased)
    best = max(found, key=lambda iteration: (found[iteration], iteration))
    return best, f"highest AUC on the validation labels ({found[best]:.3f}) of {len(found)} candidates"


def _threshold(detector: Detector, config: Config, reference: Sequence[CohortImage]) -> tuple[float | None, str]:
    specificity = config.selection.specificity
    if not reference:
        return None, "none: no healthy images were held out (selection.holdout=0)"
    store = _store(reference, config, "held-out healthy", strict=False)
    found = scores(detector, store, "held-out healthy")
    threshold = metrics.threshold_for_specificity(found, specificity)
    if not np.isfinite(threshold):
        needed = metrics.healthy_needed(specificity)
        return (
            None,
            f"none: specificity {specificity} needs {needed} held-out healthy images, here are {len(found)}",
        )
    return threshold, f"specificity {specificity} on {len(found)} held-out healthy images"


def _patient(image: CohortImage) -> str:
    return image.patient_id or str(image.path)


def _store(images: Sequence[CohortImage], config: Config, title: str, strict: bool) -> ImageStore:
    paths, patients = [image.path for image in images], [_patient(image) for image in images]
    return ImageStore.build(paths, config.preprocessing, groups=patients, strict=strict, title=title)


def _check_folder(run: Run, config: Config) -> None:
    if not run.path.exists() or not any(run.path.iterdir()):
        return
    if not run.config.exists():
        raise InputError(f"{run.path}: not empty and not a run folder; choose a new one with --run")
    if load_config(run.config) != config:
        raise InputError(
            f"{run.path}: holds a run of another configuration; choose a new --run, "
            f"or go on with it: healthygan train --resume {run.path}"
        )


def _check_data(run: Run, healthy: ImageStore, mixed: ImageStore) -> None:
    """The images of a run may not change while it is stopped."""
    keys = {"healthy": healthy.key, "mixed": mixed.key}
    if run.data.exists() and run.data.read_bytes() != (json.dumps(keys, indent=2) + "\n").encode():
        raise InputError(f"{run.path}: its images changed since it was started; train anew with another --run")
    write_json(run.data, keys)
