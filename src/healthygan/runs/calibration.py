"""From the chosen weights to a finished run: held-out scores, the threshold, the levels of the maps."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from healthygan.common.batching import evenly_spaced
from healthygan.common.files import write_json
from healthygan.common.progress import Progress, silent
from healthygan.common.run_folder import Decision, Run
from healthygan.common.tensors import save_tensors
from healthygan.data.store import ImageStore
from healthygan.detectors.base import Detector
from healthygan.detectors.prediction import predict, scores
from healthygan.runs.config import SelectionConfig
from healthygan.runs.partition import HeldOut, Stores
from healthygan.runs.reference import Reference, load_reference, save_appearance, save_scores
from healthygan.runs.selection import Selection
from healthygan.stats import conformal, metrics
from healthygan.stats.aucp import healthy_share

MAP_SAMPLE = 64
"""Images whose difference maps set the overlays' scale and the regions' cut."""
MAP_PERCENTILE = 99.5
LABELLED_THRESHOLDS = {
    "youden": (metrics.threshold_youden, "Youden's J"),
    "equal_error": (metrics.threshold_equal_rates, "equal recall and specificity"),
}
"""Of each ``selection.threshold`` that reads validation's labels: the cut, and its name in words."""


def finalize_run(
    run: Run,
    detector: Detector,
    stores: Stores,
    settings: SelectionConfig,
    selection: Selection,
    progress: Progress = silent,
) -> None:
    """Keep the detector as the run's model, with the held-out images' scores, and cut.

    The decision goes first and comes last: a run with one is whole, and is not decided again.

    Args:
        detector: with the weights of the chosen candidate.
    """
    run.decision.unlink(missing_ok=True)
    save_tensors(run.model, {name: tensor.cpu() for name, tensor in detector.state_dict().items()})
    save_scores(run, stores.scored, _held_out_scores(detector, stores.scored, progress))
    save_appearance(run, (stores.healthy, stores.mixed))
    reference = load_reference(run, settings)
    threshold, threshold_rule = _threshold(detector, stores.validation, reference, settings, progress)
    healthy = stores.threshold or stores.choice_healthy
    write_json(run.selection, selection.model_dump())
    run.save_decision(
        Decision(
            iteration=selection.chosen,
            rule=selection.rule,
            threshold=threshold,
            threshold_rule=threshold_rule,
            map_top=_map_top(detector, stores.mixed),
            region_cut=_map_level(detector, healthy.store) if healthy else None,
            diseased_share=_diseased_share(reference),
        )
    )


def _held_out_scores(
    detector: Detector, held_out: Mapping[str, HeldOut], progress: Progress
) -> dict[str, NDArray[np.float64]]:
    """(frames,) scores by use."""
    return {use: scores(detector, part.store, use.replace("_", ", "), progress) for use, part in held_out.items()}


def _threshold(
    detector: Detector,
    validation: HeldOut | None,
    reference: Reference,
    settings: SelectionConfig,
    progress: Progress,
) -> tuple[float | None, str]:
    """Where the score is cut, and by what rule in words."""
    if settings.threshold == "specificity" or validation is None:
        return _threshold_for_specificity(reference, settings.specificity)
    units = validation.units(settings)
    labels = units.diseased()
    cut, name = LABELLED_THRESHOLDS[settings.threshold]
    threshold = cut(units.scores(scores(detector, validation.store, "validation", progress)), labels)
    return threshold, f"{name} on {(~labels).sum()} healthy and {labels.sum()} diseased validation {units.noun}"


def _threshold_for_specificity(reference: Reference, specificity: float) -> tuple[float | None, str]:
    healthy, noun = reference.threshold, reference.noun
    if not len(healthy):
        return None, "none: no healthy images were held out (selection.holdout=0)"
    needed = conformal.healthy_needed(specificity)
    if len(healthy) < needed:
        return None, f"none: specificity {specificity} needs {needed} held-out healthy {noun}, here are {len(healthy)}"
    threshold = conformal.threshold_for_specificity(healthy, specificity)
    return threshold, f"specificity {specificity} on {len(healthy)} held-out healthy {noun}"


def _map_top(detector: Detector, mixed: ImageStore) -> float:
    """The map's value that overlays show in full colour; evidence has a scale of its own, which is never stretched."""
    if predict(detector, mixed, np.zeros(1, dtype=np.int64)).evidence is not None:
        return 1.0
    return max(_map_level(detector, mixed) or 1.0, 1e-3)


def _map_level(detector: Detector, store: ImageStore) -> float | None:
    """A high percentile of the difference over the pixels of some images; none without maps."""
    sample = evenly_spaced(len(store), MAP_SAMPLE)
    difference = predict(detector, store, sample).where
    return None if difference is None else float(np.percentile(difference.numpy(), MAP_PERCENTILE))


def _diseased_share(reference: Reference) -> float | None:
    """Estimated share of the mixed set that is diseased: at least that of the disease the scores can tell."""
    healthy, mixed = reference.healthy, reference.choice_mixed
    return 1 - healthy_share(healthy, mixed) if len(healthy) and len(mixed) else None
