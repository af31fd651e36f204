"""Training from a cohort to a finished run: hold out, decode, fit, choose, cut."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from healthygan.common.errors import InputError
from healthygan.common.files import write_json
from healthygan.common.progress import Progress, silent
from healthygan.common.run_folder import Decision, Run
from healthygan.common.tensors import load_tensors
from healthygan.data.checks import verify
from healthygan.data.cohort import Cohort
from healthygan.detectors import registry
from healthygan.detectors.base import Detector, load_file
from healthygan.detectors.ensemble import Ensemble
from healthygan.detectors.prediction import best_device
from healthygan.nn.backbones import load_backbone
from healthygan.nn.first_weights import undrawn
from healthygan.runs.calibration import (
    candidates_of,
    checkpoint_metrics,
    choose_checkpoint,
    early_stopping_curve,
    finalize_run,
    select_and_finalize,
    test_metric,
    validate_selection,
)
from healthygan.runs.config import Config, Rule, load_config
from healthygan.runs.mixed_report import write_mixed_report
from healthygan.runs.partition import Stores, partition_cohort
from healthygan.runs.reference import load_reference
from healthygan.runs.selection import Extractor, Selection, evaluate_checkpoints
from healthygan.training.loop import Stopped, Training, launch


def train(
    config: Config,
    cohort: Cohort,
    folder: Path,
    *,
    strict: bool = False,
    extractor: Extractor | None = None,
    clock: AbstractContextManager[object] | None = None,
    progress: Progress = silent,
) -> Run:
    """Train a detector on a cohort's healthy and mixed sets and choose the model to score with.

    The labels of the mixed set are never read. A folder in which training was stopped goes on from there; a finished
    run keeps the model that was chosen last, by its own rule or with ``select``. An ensemble is joined from whatever
    its members' models now are.

    Args:
        folder: the run folder, new or of this very configuration and cohort.
        strict: refuse an unreadable image instead of counting it.
        extractor: features for selection.rule=fid; by default those that the configuration names.
        progress: shows how far each part of the work is.
        clock: entered while the detector learns (each member of an ensemble), decoding and choosing left out.

    Raises:
        InputError: the cohort, the folder or the device cannot be used.
        Stopped: Ctrl-C or SIGTERM; a second call goes on.
    """
    run = Run(folder)
    _check_folder(run, config)
    verify(cohort, progress=progress)
    fabric = launch(config.training)
    parts = partition_cohort(cohort, config)
    stores = Stores.build(parts, config, strict, progress)
    validate_selection(config, stores)
    if config.selection.rule == "fid" and extractor is None:
        extractor = _extractor(config)
    _check_data(run, stores.trained_on)
    if fabric.is_global_zero:
        config.save(run.config)
        cohort.write_manifest(run.cohort)
    detector = build(config)
    if isinstance(detector, Ensemble):
        selection = _joined(run, detector, config, cohort, strict, extractor, clock, progress)
        finalize_run(run, detector.to(fabric.device), config, parts, stores, selection, progress)
        return run
    if run.decision.exists():
        return run
    with clock or nullcontext():
        training = Training(
            config.training,
            run,
            fabric,
            stores.early_stopping_healthy,
            stores.choice_mixed,
            progress=progress,
            report=write_mixed_report,
        )
        detector.fit(stores.healthy, stores.mixed, training)
    if fabric.is_global_zero:
        detector.to(fabric.device)
        select_and_finalize(run, detector, config, parts, stores, extractor, progress)
    fabric.barrier()
    return run


def _joined(
    run: Run,
    ensemble: Ensemble,
    config: Config,
    cohort: Cohort,
    strict: bool,
    extractor: Extractor | None,
    clock: AbstractContextManager[object] | None,
    progress: Progress,
) -> Selection:
    """Train the members, each in a folder of its own, and join them."""
    members = [run.member(number) for number in range(config.training.members)]
    for number, member in enumerate(members):
        try:
            train(
                config.member(number),
                cohort,
                member.path,
                strict=strict,
                extractor=extractor,
                clock=clock,
                progress=progress,
            )
        except Stopped as stopped:
            where = str(stopped).split(";")[0]
            raise Stopped(
                f"member {number} of {len(members)}: {where}; go on with: healthygan train --resume {run.path}"
            ) from None
    # Members are joined image by image, whatever is judged by the joined scores afterwards.
    by_image = config.selection.model_copy(update={"unit": "image"})
    references = [load_reference(member, by_image) for member in members]
    # The images that chose the checkpoints rather than those that will carry the threshold's promise.
    apart = all(len(reference.choice_healthy) > 1 for reference in references)
    healthy = [reference.choice_healthy if apart else reference.threshold for reference in references]
    try:
        ensemble.join([load_tensors(member.model) for member in members], healthy)
    except ValueError as error:
        raise InputError(f"{run.path}: {error}; raise selection.choice_holdout or add healthy images") from error
    decisions = [member.load_decision() for member in members]
    last = max(decision.iteration for decision in decisions)
    rules = "; ".join(f"seed {config.training.seed + n}: {found.rule}" for n, found in enumerate(decisions))
    return Selection(chosen=last, rule=f"mean of {len(members)} members ({rules})", last=last)


def _extractor(config: Config) -> Extractor:
    """The features that a configuration names."""
    return load_backbone(config.selection.extractor, config.selection.extractor_weights)


def build(config: Config) -> Detector:
    """An untrained detector."""
    shape = config.preprocessing
    if config.training.members > 1:
        return Ensemble([build(config.member(number)) for number in range(config.training.members)])
    return registry.build(config.detector, shape.channels, shape.size, config.training.seed)


def load(run: Run, device: str = "auto") -> tuple[Detector, Config, Decision]:
    """A finished run's detector, ready to score.

    Raises:
        InputError: the run is not finished or its files are damaged.
    """
    decision = run.load_decision()
    config = load_config(run.config)
    with undrawn():
        detector = build(config)
    load_file(detector, run.model)
    return detector.to(best_device(device)), config, decision


def select(
    run: Run,
    rule: Rule | None = None,
    *,
    extractor: Extractor | None = None,
    measure: bool = False,
    device: str = "auto",
    progress: Progress = silent,
) -> Selection:
    """Measure a finished run's candidates by every rule there are images for; keep it as ``selection.json``.

    Args:
        rule: make this rule's candidate the run's model, and cut anew; none: leave the model as it is.
        extractor: features for FID; by default those that the configuration names.
        measure: also take the AUC of every candidate on the test labels, to see what the rules are worth.

    Raises:
        InputError: the run is not finished, its images changed, or the rule cannot be followed.
    """
    decision = run.load_decision()
    config, cohort = load_config(run.config), Cohort.from_manifest(run.cohort)
    if config.training.members > 1:
        raise InputError(f"{run.path}: an ensemble has no checkpoints of its own; look at {run.member(0).path}")
    if rule is not None:
        config = config.model_copy(update={"selection": config.selection.model_copy(update={"rule": rule})})
    parts = partition_cohort(cohort, config)
    stores = Stores.build(parts, config, strict=False, progress=progress)
    validate_selection(config, stores)
    if not run.data.exists() or not _is_data(run, stores.trained_on):
        raise InputError(f"{run.path}: was trained on other images than its cohort.csv and config.yaml tell")
    if extractor is None and config.detector.translates and stores.choice_healthy and stores.choice_mixed:
        extractor = _extractor(config)
    with undrawn():
        detector = build(config).to(best_device(device))
    wanted = checkpoint_metrics(("validation_auc", "aucp", "fid"), config, parts, stores, extractor)
    judge = test_metric(cohort, config, progress) if measure else None
    candidates = candidates_of(run)
    curves = [*evaluate_checkpoints(candidates, detector, [*wanted, *([judge] if judge else [])], progress)]
    test_auc = curves.pop().values if judge else None
    curves += early_stopping_curve(run, candidates)
    if rule is not None:
        found = choose_checkpoint(run, detector, config, parts, stores, curves, progress)
    else:
        found = Selection(chosen=decision.iteration, rule=decision.rule, last=max(candidates), curves=tuple(curves))
    found = found.model_copy(update={"test_auc": test_auc})
    write_json(run.selection, found.model_dump())
    return found


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


def _check_data(run: Run, keys: Mapping[str, str]) -> None:
    """The images of a run may not change while it is stopped."""
    if run.data.exists() and not _is_data(run, keys):
        raise InputError(f"{run.path}: its images changed since it was started; train anew with another --run")
    write_json(run.data, keys)


def _is_data(run: Run, keys: Mapping[str, str]) -> bool:
    return run.data.read_bytes() == (json.dumps(keys, indent=2) + "\n").encode()
