"""Training from a cohort to a finished run: hold out, decode, fit, choose, cut."""

import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from healthygan.common.errors import Call, InputError
from healthygan.common.files import TEMPORARY, remove_leftovers, write_json
from healthygan.common.folder_lock import OWN, is_empty, locked
from healthygan.common.progress import Progress, silent
from healthygan.common.run_folder import Decision, Run
from healthygan.data.checks import check_near_duplicates, verify
from healthygan.data.cohort import Cohort, Split
from healthygan.detectors import registry
from healthygan.detectors.base import Detector, load_file
from healthygan.detectors.ensemble import Ensemble
from healthygan.detectors.prediction import best_device
from healthygan.nn.backbones import load_backbone
from healthygan.nn.first_weights import undrawn
from healthygan.runs.calibration import finalize_run
from healthygan.runs.checkpoint_metrics import Extractor, checkpoint_metrics, evaluate_checkpoints, oracle_metric
from healthygan.runs.config import Config, Rule, SelectionConfig, load_config
from healthygan.runs.members import join_members, train_members
from healthygan.runs.mixed_report import write_mixed_report
from healthygan.runs.partition import Stores, decode_parts
from healthygan.runs.seen import save_seen
from healthygan.runs.selection import Selection, choose_checkpoint, early_stopping_curve
from healthygan.training.loop import Training, launch

if TYPE_CHECKING:
    from lightning import Fabric

STORE_KEY = re.compile(r"[0-9a-f]{32}")


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

    No label of the mixed set reaches training or choosing. A folder in which training was stopped goes on from there;
    a finished run keeps the model that was chosen last, by its own rule or with ``select``. An ensemble is joined from
    whatever its members' models now are.

    Args:
        folder: the run folder, new or of this very configuration and cohort.
        strict: refuse an unreadable image instead of counting it.
        extractor: features for selection.rule=fid; by default those that the configuration names.
        progress: shows how far each part of the work is.
        clock: entered while the detector learns (each member of an ensemble), decoding and choosing left out.

    Raises:
        InputError: the cohort, the folder or the device cannot be used, or another process trains in the folder.
        Stopped: Ctrl-C or SIGTERM; a second call goes on.
    """
    run = Run(folder)
    _check_folder(run, config)
    verify(cohort, progress=progress)
    check_near_duplicates(cohort, config.preprocessing.reader, progress)
    fabric = launch(config.training)
    # Further devices are processes of the same training, let in by the first.
    with locked(folder, "train") if fabric.is_global_zero else nullcontext():
        if fabric.is_global_zero:
            _check_folder(run, config)  # again: another training may have ended there since
            remove_leftovers(folder, below=True)
        _train(config, cohort, run, fabric, strict, extractor, clock, progress)
    return run


def _train(
    config: Config,
    cohort: Cohort,
    run: Run,
    fabric: "Fabric",
    strict: bool,
    extractor: Extractor | None,
    clock: AbstractContextManager[object] | None,
    progress: Progress,
) -> None:
    stores = decode_parts(cohort, config, strict, progress)
    if config.selection.rule == "fid":
        extractor = extractor or load_backbone(config.selection.extractor, config.selection.extractor_weights)
    _check_data(run, stores.trained_on)
    if fabric.is_global_zero:
        _begin(run, config, cohort, stores.trained_on)
        save_seen(run, cohort, progress)
    detector = build(config)
    selection = None
    if isinstance(detector, Ensemble):

        def train_member(member: Config, place: Path) -> Run:
            return train(member, cohort, place, strict=strict, extractor=extractor, clock=clock, progress=progress)

        train_members(run, config, train_member)
        selection = join_members(run, config, detector)
    elif not run.decision.exists():
        training = Training(
            config.training,
            run,
            fabric,
            stores.early_stopping_healthy,
            stores.choice_mixed.store if stores.choice_mixed else None,
            progress=progress,
            report=write_mixed_report,
        )
        with clock or nullcontext():
            detector.fit(stores.healthy, stores.mixed, training)
        if fabric.is_global_zero:
            selection = _choose(run, detector.to(fabric.device), stores, config.selection, extractor, progress)
    if selection is not None:
        finalize_run(run, detector.to(fabric.device), stores, config.selection, selection, progress)
    fabric.barrier()


def _choose(
    run: Run,
    detector: Detector,
    stores: Stores,
    settings: SelectionConfig,
    extractor: Extractor | None,
    progress: Progress,
) -> Selection:
    """Measure what the run's own rule asks for, and load the candidate that it takes."""
    candidates = _candidates(run)
    rules = [settings.rule] if len(candidates) > 1 else []
    metrics = checkpoint_metrics(rules, stores, settings, extractor)
    curves = evaluate_checkpoints(candidates, detector, metrics, progress)
    noted = early_stopping_curve(run.load_early_stopping(), candidates)
    selection = choose_checkpoint(settings.rule, (*curves, *noted), candidates)
    load_file(detector, candidates[selection.chosen])
    return selection


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
        InputError: the run is not finished, its images changed, the rule cannot be followed, or another process
            trains or chooses there.
    """
    decision = run.load_decision()
    with locked(run.path, "select"):
        remove_leftovers(run.path, below=True)
        return _select(run, decision, rule, extractor, measure, device, progress)


def _select(
    run: Run,
    decision: Decision,
    rule: Rule | None,
    extractor: Extractor | None,
    measure: bool,
    device: str,
    progress: Progress,
) -> Selection:
    config, cohort = load_config(run.config), Cohort.from_manifest(run.cohort)
    if config.training.members > 1:
        raise InputError(f"{run.path}: an ensemble has no checkpoints of its own; look at {run.member(0).path}")
    if rule is not None:
        config = config.model_copy(update={"selection": config.selection.model_copy(update={"rule": rule})})
    stores = decode_parts(cohort, config, strict=False, progress=progress)
    if not run.data.exists() or not _is_data(run, stores.trained_on):
        raise InputError(f"{run.path}: was trained on other images than its cohort.csv and config.yaml tell")
    settings, candidates = config.selection, _candidates(run)
    if extractor is None and config.detector.translates and stores.choice_healthy and stores.choice_mixed:
        extractor = load_backbone(settings.extractor, settings.extractor_weights)
    with undrawn():
        detector = build(config).to(best_device(device))
    metrics = checkpoint_metrics(("validation_auc", "aucp", "fid"), stores, settings, extractor)
    oracle = oracle_metric(cohort.split(Split.TEST), settings, config.preprocessing, progress) if measure else None
    curves = [*evaluate_checkpoints(candidates, detector, [*metrics, *([oracle] if oracle else [])], progress)]
    test_auc = curves.pop().values if oracle else None
    curves += early_stopping_curve(run.load_early_stopping(), candidates)
    if rule is None:
        selection = Selection(chosen=decision.iteration, rule=decision.rule, last=max(candidates), curves=tuple(curves))
    else:
        selection = choose_checkpoint(rule, curves, candidates)
        load_file(detector, candidates[selection.chosen])
        finalize_run(run, detector, stores, settings, selection, progress)
    selection = selection.model_copy(update={"test_auc": test_auc})
    write_json(run.selection, selection.model_dump())
    return selection


def _candidates(run: Run) -> dict[int, Path]:
    """The run's candidates by iteration.

    Raises:
        InputError: there is none.
    """
    candidates = run.candidates()
    if not candidates:
        raise InputError(f"{run.path}: its candidates/ folder is empty; train anew in another folder")
    return candidates


def _check_folder(run: Run, config: Config) -> None:
    if run.path.exists() and not run.path.is_dir():
        raise InputError(f"{run.path}: is a file, not a folder; choose a new folder")
    if is_empty(run.path):
        return
    if not run.config.exists():
        if _is_stillborn(run):
            return
        raise InputError(f"{run.path}: not empty and not a run folder; choose a new folder")
    if load_config(run.config) != config:
        raise InputError(
            f"{run.path}: holds a run of another configuration; choose a new folder, or go on with it: ",
            Call("train", run.path),
        )


def _is_stillborn(run: Run) -> bool:
    """Whether a folder holds nothing but what a training left that was killed before it could note its settings."""
    names = {entry.name for entry in run.path.iterdir() if not TEMPORARY.fullmatch(entry.name)} - OWN
    if names != {run.data.name}:
        return not names
    try:
        keys = json.loads(run.data.read_bytes())
        return all(STORE_KEY.fullmatch(key) for key in keys.values())
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return False


def _check_data(run: Run, keys: Mapping[str, str]) -> None:
    """The images of a run may not change while it is stopped."""
    if run.config.exists() and run.data.exists() and not _is_data(run, keys):
        raise InputError(f"{run.path}: its images changed since it was started; train anew in another folder")


def _begin(run: Run, config: Config, cohort: Cohort, keys: Mapping[str, str]) -> None:
    """Note what the run is made from; the settings first: with them, the folder is a run folder."""
    if not run.config.exists():
        run.data.unlink(missing_ok=True)  # of a training that never began
    config.save(run.config)
    cohort.write_manifest(run.cohort)
    write_json(run.data, keys)


def _is_data(run: Run, keys: Mapping[str, str]) -> bool:
    return run.data.read_bytes() == (json.dumps(keys, indent=2) + "\n").encode()
