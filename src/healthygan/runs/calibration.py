"""From a run's candidates to a decision: which one is the model, and where its score is cut."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from healthygan.common.batching import evenly_spaced
from healthygan.common.errors import InputError
from healthygan.common.files import write_json
from healthygan.common.progress import Progress, silent
from healthygan.common.run_folder import Decision, Run
from healthygan.common.tensors import save_tensors
from healthygan.data.cohort import Cohort, Label, Split
from healthygan.data.store import ImageStore
from healthygan.detectors.base import Detector, load_file
from healthygan.detectors.prediction import predict, scores
from healthygan.runs.aggregation import Units
from healthygan.runs.config import Config
from healthygan.runs.partition import Partition, Stores
from healthygan.runs.reference import Reference, load_reference, save_appearance, save_scores
from healthygan.runs.selection import (
    CheckpointMetric,
    Curve,
    Extractor,
    Selection,
    auc_of,
    aucp_of,
    evaluate_checkpoints,
    fid_of,
)
from healthygan.stats import conformal, metrics
from healthygan.stats.aucp import healthy_share

MAP_SAMPLE = 64
"""Images whose difference maps set the overlays' scale and the regions' cut."""
MAP_PERCENTILE = 99.5


def validate_selection(config: Config, stores: Stores) -> None:
    """Refuse, before training, a rule or a threshold that could not be followed after it.

    Raises:
        InputError: names the setting and the remedy.
    """
    settings = config.selection
    if settings.rule == "fid" and not config.detector.translates:
        raise InputError(
            f"selection.rule=fid: detector {config.detector.name} translates no image; choose by another rule"
        )
    if settings.rule in ("fid", "aucp") and not (stores.choice_healthy and stores.choice_mixed):
        raise InputError(
            f"selection.rule={settings.rule}: no images are held out of both training sets to choose by; "
            "raise selection.choice_holdout, add images, or take selection.rule=last"
        )
    if settings.threshold != "specificity" and not stores.validation:
        raise InputError(
            f"selection.threshold={settings.threshold}: needs a validation set with labels of both kinds; "
            "add one or take selection.threshold=specificity"
        )


def checkpoint_metrics(
    rules: Sequence[str], config: Config, parts: Partition, stores: Stores, extractor: Extractor | None
) -> list[CheckpointMetric]:
    """Those of the rules that measure something, as far as there are images for them."""
    found = []
    settings, healthy, mixed = config.selection, stores.choice_healthy, stores.choice_mixed
    if "validation_auc" in rules and stores.validation:
        units = Units.of(parts.validation, stores.validation.owner, settings)
        found.append(auc_of("validation_auc", "AUC on the validation labels", stores.validation, units))
    if "aucp" in rules and healthy and mixed:
        known = Units.of(parts.choice_healthy, healthy.owner, settings)
        unknown = Units.of(parts.choice_mixed, mixed.owner, settings)
        found.append(aucp_of(healthy, mixed, (known, unknown)))
    if "fid" in rules and healthy and mixed and extractor:
        found.append(fid_of(mixed, healthy, extractor))
    return found


def test_metric(cohort: Cohort, config: Config, progress: Progress = silent) -> CheckpointMetric | None:
    """AUC on the test labels, to measure what the rules are worth; none without labels of both kinds."""
    images = cohort.split(Split.TEST)
    if {*Units(images, config.selection).labels()} != {*Label}:
        return None
    store = ImageStore.build(
        [image.path for image in images], config.preprocessing, title="test set", progress=progress
    )
    units = Units.of(images, store.owner, config.selection)
    return auc_of("test", "AUC on the test labels", store, units)


def candidates_of(run: Run) -> dict[int, Path]:
    """The run's candidates by iteration.

    Raises:
        InputError: there is none.
    """
    found = run.candidates()
    if not found:
        raise InputError(f"{run.path}: its candidates/ folder is empty; train anew with another --run")
    return found


def select_and_finalize(
    run: Run,
    detector: Detector,
    config: Config,
    parts: Partition,
    stores: Stores,
    extractor: Extractor | None,
    progress: Progress = silent,
) -> None:
    """Measure what the configured rule asks for, and decide."""
    candidates = candidates_of(run)
    rules = [config.selection.rule] if len(candidates) > 1 else []
    curves = (
        *evaluate_checkpoints(
            candidates, detector, checkpoint_metrics(rules, config, parts, stores, extractor), progress
        ),
        *early_stopping_curve(run, candidates),
    )
    choose_checkpoint(run, detector, config, parts, stores, curves, progress)


def choose_checkpoint(
    run: Run,
    detector: Detector,
    config: Config,
    parts: Partition,
    stores: Stores,
    curves: Sequence[Curve],
    progress: Progress = silent,
) -> Selection:
    """Make the rule's candidate the run's model, and settle all that scoring needs.

    Args:
        curves: what was measured of the candidates; a rule without a curve takes the last one.
    """
    candidates = candidates_of(run)
    only = (max(candidates), "the only candidate")
    iteration, rule = pick_checkpoint(config.selection.rule, curves, max(candidates)) if len(candidates) > 1 else only
    load_file(detector, candidates[iteration])
    selection = Selection(chosen=iteration, rule=rule, last=max(candidates), curves=tuple(curves))
    finalize_run(run, detector, config, parts, stores, selection, progress)
    return selection


def finalize_run(
    run: Run,
    detector: Detector,
    config: Config,
    parts: Partition,
    stores: Stores,
    selection: Selection,
    progress: Progress = silent,
) -> None:
    """Keep the detector as the run's model, with the held-out images' scores, and cut.

    The decision goes first and comes last: a run with one is whole, and is not decided again.
    """
    run.decision.unlink(missing_ok=True)
    save_tensors(run.model, {name: tensor.cpu() for name, tensor in detector.state_dict().items()})
    uses = {"threshold": stores.threshold, "choice_healthy": stores.choice_healthy, "choice_mixed": stores.choice_mixed}
    kept = {use: store for use, store in uses.items() if store}
    found = {use: scores(detector, store, use.replace("_", ", "), progress) for use, store in kept.items()}
    save_scores(run, {use: getattr(parts, use) for use in kept}, kept, found)
    save_appearance(run, (stores.healthy, stores.mixed))
    reference = load_reference(run, config.selection)
    threshold, threshold_rule = _threshold(detector, config, parts, stores, reference, progress)
    write_json(run.selection, selection.model_dump())
    run.save_decision(
        Decision(
            iteration=selection.chosen,
            rule=selection.rule,
            threshold=threshold,
            threshold_rule=threshold_rule,
            map_top=max(_map_level(detector, stores.mixed) or 1.0, 1e-3),
            region_cut=_map_level(detector, stores.threshold or stores.choice_healthy),
            diseased_share=_diseased_share(reference),
        )
    )


def pick_checkpoint(rule: str, curves: Sequence[Curve], last: int) -> tuple[int, str]:
    """The iteration that a rule takes, and why in words.

    ``validation_auc`` without labels goes by the detector's own early-stopping metric if there is one, else it takes the last.
    """
    wanted = (rule, "early_stopping") if rule == "validation_auc" else (rule,)
    for name in wanted:
        for curve in curves:
            if curve.rule == name:
                return curve.best, curve.reason
    return last, "last"


def early_stopping_curve(run: Run, candidates: Mapping[int, Path]) -> tuple[Curve, ...]:
    """The early-stopping metric that a detector noted while training, if it did."""
    metrics = {number: value for number, value in run.load_early_stopping().items() if number in candidates}
    name = "metric on held-out healthy images"
    return (Curve(rule="early_stopping", name=name, lower_is_better=True, values=metrics),) if metrics else ()


def _threshold(
    detector: Detector, config: Config, parts: Partition, stores: Stores, reference: Reference, progress: Progress
) -> tuple[float | None, str]:
    settings = config.selection
    if settings.threshold != "specificity" and stores.validation:
        units = Units.of(parts.validation, stores.validation.owner, settings)
        labels = units.diseased()
        found = units.scores(scores(detector, stores.validation, "validation", progress))
        cut = metrics.threshold_youden if settings.threshold == "youden" else metrics.threshold_equal_rates
        name = "Youden's J" if settings.threshold == "youden" else "equal recall and specificity"
        count = f"{(~labels).sum()} healthy and {labels.sum()} diseased validation {units.noun}"
        return cut(found, labels), f"{name} on {count}"
    healthy = reference.threshold
    if not len(healthy):
        return None, "none: no healthy images were held out (selection.holdout=0)"
    needed = conformal.healthy_needed(settings.specificity)
    if len(healthy) < needed:
        wanted = f"specificity {settings.specificity} needs {needed} held-out healthy {reference.noun}"
        return None, f"none: {wanted}, here are {len(healthy)}"
    threshold = conformal.threshold_for_specificity(healthy, settings.specificity)
    return threshold, f"specificity {settings.specificity} on {len(healthy)} held-out healthy {reference.noun}"


def _map_level(detector: Detector, store: ImageStore | None) -> float | None:
    """A high percentile of the difference over the pixels of some images; none without maps."""
    if store is None:
        return None
    sample = evenly_spaced(len(store), MAP_SAMPLE)
    difference = predict(detector, store, sample).difference
    return None if difference is None else float(np.percentile(difference.numpy(), MAP_PERCENTILE))


def _diseased_share(reference: Reference) -> float | None:
    """Estimated share of the mixed set that is diseased: at least that of the disease the scores can tell."""
    healthy, mixed = reference.healthy, reference.choice_mixed
    return 1 - healthy_share(healthy, mixed) if len(healthy) and len(mixed) else None
