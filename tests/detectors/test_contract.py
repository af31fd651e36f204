"""What every detector trained in iterations promises, whatever its method; those on features: test_pretrained.py."""

import copy
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from healthygan.cli.main import main
from healthygan.common.errors import InputError, Stopped
from healthygan.common.tensors import load_tensors, save_tensors
from healthygan.data.cohort import Cohort, Split
from healthygan.detectors import registry
from healthygan.detectors.base import EarlyStoppingConfig
from healthygan.detectors.pretrained import PretrainedDetector
from healthygan.nn.first_weights import undrawn
from healthygan.runs import train as workflow
from healthygan.runs.config import parse_config, preset_names
from healthygan.runs.partition import partition_cohort
from healthygan.training.loop import Training

SIZE = 16
SMALL = {
    "healthygan": {"width": 4, "generator_blocks": 1, "discriminator_blocks": 2},
    "healthygan+": {
        "evidence": 0.0,
        "width": 4,
        "generator_blocks": 1,
        "critic_width": 4,
        "critic_blocks": 2,
        "warm_up": 2,
    },
    "alad": {"width": 16, "pair_width": 4, "latent": 8, "ema_decay": 0.9},
    "alocc": {"width": 2},
    "fanogan": {"width": 4, "latent": 8, "encoder_iterations": 4, "generator_every": 2},
    "ganomaly": {"width": 4, "latent": 8},
    "brainomaly": {"width": 4, "generator_blocks": 1, "discriminator_blocks": 2},
    "ddad": {"members": 2, "width": 2, "hidden": 8, "latent": 4},
}
VARIANTS = [
    *SMALL.items(),
    *(("alad", SMALL["alad"] | {"score": score}) for score in ("ch", "l1", "l2")),
    ("ganomaly", SMALL["ganomaly"] | {"statistics": "running"}),
    ("brainomaly", SMALL["brainomaly"] | {"output": "clamp"}),
    ("ddad", SMALL["ddad"] | {"score": "intra"}),
]
EVALUATED = ("alad", "fanogan")
"""Kinds whose preset is taken through evaluate too: one that is watched, one of two stages. The report takes long."""
KINDS = pytest.mark.parametrize("kind", SMALL)
EVERY_VARIANT = pytest.mark.parametrize(
    ("kind", "settings"), VARIANTS, ids=[f"{kind}-{list(settings.values())[-1]}" for kind, settings in VARIANTS]
)


def config_of(kind, **training):
    return parse_config(
        {
            "detector": {"name": kind, **SMALL[kind]},
            "preprocessing": {"size": SIZE, "channels": 1},
            "training": {
                "iterations": 8,
                "decay_iterations": 2,
                "batch_size": 4,
                "device": "cpu",
                "checkpoint_every": 4,
                "sample_every": 4,
                "log_every": 4,
                **training,
            },
            "selection": {"rule": "last"},
        },
        "test",
    )


@pytest.fixture(scope="module")
def cohort(manifest):
    return Cohort.from_manifest(manifest)


@pytest.fixture(scope="module")
def fitted():
    """By kind, the weights right after fit."""
    return {}


@pytest.fixture(scope="module")
def run_of(cohort, fitted, tmp_path_factory):
    """Trains a small detector of a kind, once for all tests here."""
    runs = {}
    evaluate_checkpoints = workflow.evaluate_checkpoints

    def train(kind):
        def noting(candidates, detector, *rest):
            fitted[kind] = {name: weight.clone() for name, weight in detector.state_dict().items()}
            assert not any(module.training for module in detector.modules())
            return evaluate_checkpoints(candidates, detector, *rest)

        if kind not in runs:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(workflow, "evaluate_checkpoints", noting)
                runs[kind] = workflow.train(config_of(kind), cohort, tmp_path_factory.mktemp(kind) / "run")
        return runs[kind]

    return train


def build(kind, settings, channels=1, seed=0):
    return registry.build(registry.DETECTORS[kind].Config(**settings), channels, SIZE, seed)


def images(count=3, channels=1):
    return torch.rand(count, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) * 2 - 1


def weights_of(run):
    return load_tensors(run.model)


def parts_of(found):
    return {name: part for name, part in vars(found).items() if part is not None}


def test_every_kind_is_tried_here():
    of_iterations = {name for name, kind in registry.DETECTORS.items() if not issubclass(kind, PretrainedDetector)}
    assert set(SMALL) == of_iterations


@EVERY_VARIANT
@pytest.mark.parametrize("channels", [1, 3])
def test_predictions_have_the_promised_shapes_and_ranges(kind, settings, channels):
    found = build(kind, settings, channels).predict(images(3, channels))
    assert found.score.shape == (3,) and found.score.dtype == torch.float32
    assert found.score.isfinite().all()
    shapes = {"difference": (3, 1, SIZE, SIZE), "mask": (3, 1, SIZE, SIZE), "translated": (3, channels, SIZE, SIZE)}
    lowest = {"difference": 0, "mask": 0, "translated": -1}
    for name, part in parts_of(found).items():
        assert not part.requires_grad
        if name != "score":
            assert part.shape == shapes[name]
            assert lowest[name] <= part.min() and part.max() <= 1


@EVERY_VARIANT
def test_each_image_is_scored_on_its_own_whatever_the_batch(kind, settings):
    detector, x = build(kind, settings), images(5)
    together = parts_of(detector.predict(x))
    alone = [parts_of(detector.predict(image[None])) for image in x]
    assert together["score"].std() > 0
    for name, part in together.items():
        torch.testing.assert_close(part, torch.cat([one[name] for one in alone]), rtol=1e-3, atol=1e-5)


@KINDS
def test_a_detector_survives_its_file(kind, run_of, tmp_path):
    trained, _, _ = workflow.load(run_of(kind), "cpu")
    save_tensors(tmp_path / "model.pt", trained.state_dict())
    other = build(kind, SMALL[kind], seed=1)
    x = images()
    assert not torch.equal(other.predict(x).score, trained.predict(x).score)
    other.load_state_dict(load_tensors(tmp_path / "model.pt"))
    for name, part in parts_of(other.predict(x)).items():
        assert torch.equal(part, parts_of(trained.predict(x))[name])


@KINDS
def test_weights_of_another_size_are_refused(kind, run_of):
    weights = dict(weights_of(run_of(kind)))
    weights.pop(next(iter(weights)))
    with pytest.raises(RuntimeError):
        build(kind, SMALL[kind]).load_state_dict(weights)


@KINDS
def test_the_detector_fitted_is_the_candidate_kept(kind, run_of, fitted):
    kept = weights_of(run_of(kind))
    assert all(torch.equal(weight, kept[name]) for name, weight in fitted[kind].items())


@KINDS
def test_the_same_seed_gives_the_same_first_weights_and_leaves_the_global_generator_alone(kind):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, other, third = (build(kind, SMALL[kind], seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in one.state_dict().items())
    assert not all(torch.equal(weight, third.state_dict()[name]) for name, weight in one.state_dict().items())


@KINDS
def test_a_detector_scores_in_eval_mode_whatever_is_asked_of_it(kind):
    detector, x = build(kind, SMALL[kind]), images()
    expected, before = detector.predict(x).score, {k: v.clone() for k, v in detector.state_dict().items()}
    detector.train()
    assert not any(module.training for module in detector.modules())
    assert torch.equal(detector.predict(x).score, expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())


@KINDS
def test_several_threads_get_what_one_gets(kind):
    detector = build(kind, SMALL[kind])
    batches = [images(count) for count in (1, 2, 3, 4)] * 3
    expected = [detector.predict(x).score for x in batches]
    with ThreadPoolExecutor(4) as pool:
        scores = [*pool.map(lambda x: detector.predict(x).score, batches)]
    for one, other in zip(scores, expected, strict=True):
        torch.testing.assert_close(one, other)


@KINDS
def test_weights_that_are_loaded_need_no_drawing(kind, run_of, monkeypatch):
    expected, x = workflow.load(run_of(kind), "cpu")[0].predict(images()).score, images()
    monkeypatch.setattr(torch.random, "fork_rng", lambda **_: pytest.fail("drawn"))
    with undrawn():
        detector = build(kind, SMALL[kind])
    detector.load_state_dict(weights_of(run_of(kind)))
    assert torch.equal(detector.predict(x).score, expected)


@KINDS
def test_a_copy_is_a_detector_of_its_own(kind):
    detector, x = build(kind, SMALL[kind]), images()
    expected, copied = detector.predict(x).score, copy.deepcopy(detector)
    detector.load_state_dict(build(kind, SMALL[kind], seed=1).state_dict())
    assert torch.equal(copied.predict(x).score, expected)
    assert copied.state_dict().keys() == detector.state_dict().keys()


NAMES = {
    "healthygan": {"body"},
    "healthygan+": {"body", "bias"},
    "alad": {"encoder", "generator", "pairs"},
    "alocc": {"refiner", "discriminator"},
    "fanogan": {"generator", "critic", "encoder"},
    "ganomaly": {"encoder", "decoder", "second"},
    "brainomaly": {"map"},
    "ddad": {"a", "b"},
}


@KINDS
def test_a_model_file_holds_what_scores_and_no_network_of_training_alone(kind, run_of):
    assert {name.split(".")[0] for name in weights_of(run_of(kind))} == NAMES[kind]


@KINDS
def test_a_stopped_and_resumed_training_is_the_uninterrupted_one_bit_for_bit(
    kind, run_of, cohort, tmp_path, monkeypatch
):
    whole = run_of(kind)
    iterate = Training._iterate

    def stopping(self, recipe, iteration, batch):
        if iteration == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return iterate(self, recipe, iteration, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_iterate", stopping)
        with pytest.raises(Stopped, match="after iteration 4"):
            workflow.train(config_of(kind), cohort, tmp_path / "parts")
    # What was drawn elsewhere in between must not matter.
    torch.rand(3)
    parts = workflow.train(config_of(kind), cohort, tmp_path / "parts")
    one, other = load_tensors(whole.checkpoint), load_tensors(parts.checkpoint)
    assert all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(leaves(one), leaves(other), strict=True)
    )
    assert whole.candidates().keys() == parts.candidates().keys()
    for name in ("model", "decision"):
        assert getattr(whole, name).read_bytes() == getattr(parts, name).read_bytes()
    assert whole.log.read_text() == parts.log.read_text()
    assert whole.load_early_stopping() == parts.load_early_stopping()


def leaves(state):
    if isinstance(state, dict):
        return [leaf for key in state for leaf in leaves(state[key])]
    if isinstance(state, list):
        return [leaf for part in state for leaf in leaves(part)]
    return [state]


@KINDS
def test_labels_of_the_mixed_and_the_test_set_change_no_byte(kind, run_of, cohort, relabelled, tmp_path):
    run = workflow.train(config_of(kind), relabelled(cohort), tmp_path / "run")
    for name in ("model", "decision", "log"):
        assert getattr(run, name).read_bytes() == getattr(run_of(kind), name).read_bytes()


@pytest.mark.parametrize("kind", ["alad", "alocc", "fanogan", "ganomaly"])
def test_methods_of_healthy_images_alone_never_learn_from_the_mixed_set(kind, run_of, cohort, tmp_path):
    mixed = [image for image in cohort.images if image.split is Split.MIXED]
    fewer = Cohort(cohort.name, tuple(image for image in cohort.images if image not in mixed[2:]))
    run = workflow.train(config_of(kind), fewer, tmp_path / "run")
    assert run.model.read_bytes() == run_of(kind).model.read_bytes()


@pytest.mark.parametrize("kind", ["healthygan", "brainomaly", "ddad"])
def test_methods_of_both_sets_do_learn_from_the_mixed_set(kind, run_of, cohort, tmp_path):
    mixed = [image for image in cohort.images if image.split is Split.MIXED]
    fewer = Cohort(cohort.name, tuple(image for image in cohort.images if image not in mixed[2:]))
    run = workflow.train(config_of(kind), fewer, tmp_path / "run")
    assert run.model.read_bytes() != run_of(kind).model.read_bytes()


@KINDS
def test_training_in_bfloat16_stays_finite(kind, cohort, tmp_path):
    run = workflow.train(config_of(kind, precision="bf16", iterations=6), cohort, tmp_path / "run")
    weights = weights_of(run)
    assert all(weight.isfinite().all() for weight in weights.values())
    assert all(weight.dtype != torch.bfloat16 for weight in weights.values())


@pytest.mark.parametrize("kind", [kind for kind in SMALL if registry.DETECTORS[kind].Config.unused])
@pytest.mark.parametrize("field", ["devices", "nodes"])
def test_a_training_field_without_use_is_refused_by_name(kind, field):
    with pytest.raises(InputError, match=rf"training.{field}=2: detector {kind} has no use for it; leave it at 1"):
        config_of(kind, **{field: 2})


@pytest.mark.parametrize("kind", ["alad", "fanogan", "ganomaly", "alocc", "ddad"])
def test_a_size_that_cannot_be_halved_is_refused_with_one_that_can(kind):
    with pytest.raises(ValueError, match=r"preprocessing.size=92: .* take (64|80)"):
        registry.build(registry.DETECTORS[kind].Config(**SMALL[kind]), 1, 92, 0)


@KINDS
@pytest.mark.parametrize("size", [32, 64, 128])
def test_larger_powers_of_two_are_borne(kind, size):
    detector = registry.build(registry.DETECTORS[kind].Config(**SMALL[kind]), 1, size, 0)
    found = detector.predict(torch.zeros(1, 1, size, size))
    assert found.difference.shape == (1, 1, size, size)


@pytest.mark.parametrize("kind", ["alad", "alocc"])
def test_an_early_stopping_detector_keeps_whole_patients_of_the_healthy_set_out(kind, cohort):
    config = config_of(kind)
    assert isinstance(config.detector, EarlyStoppingConfig)
    parts = partition_cohort(cohort, config.selection, config.early_stopping_share)
    early_stopping_healthy = parts.early_stopping_healthy
    uses = (parts.healthy, early_stopping_healthy, parts.choice_healthy, parts.threshold)
    patients = [{image.patient_id for image in part} for part in uses]
    assert all(not one & other for number, one in enumerate(patients) for other in patients[number + 1 :])
    assert all(image.split is Split.HEALTHY for image in early_stopping_healthy)
    assert len(early_stopping_healthy) == 2  # a tenth of those left, rounded, in patients of two


def test_too_small_a_healthy_set_cannot_stop_training_early(cohort, tmp_path):
    one = [image for image in cohort.images if image.split is Split.HEALTHY][:2]
    rest = [image for image in cohort.images if image.split is not Split.HEALTHY]
    with pytest.raises(
        InputError, match="knows when to stop by patients kept out of its training, and one patient alone"
    ):
        workflow.train(config_of("alad"), Cohort("small", (*one, *rest)), tmp_path / "run")


def test_the_lowest_early_stopping_metric_chooses_where_that_is_the_rule(run_of, cohort, tmp_path):
    run = run_of("alad")
    early_stopping_values = run.load_early_stopping()
    assert list(early_stopping_values) == [4, 8] and np.isfinite(list(early_stopping_values.values())).all()
    config = parse_config(config_of("alad").model_dump(mode="json") | {"selection": {"rule": "early_stopping"}}, "test")
    decision = workflow.train(config, cohort, tmp_path / "run").load_decision()
    assert decision.iteration == min(early_stopping_values, key=early_stopping_values.get)
    assert "lowest metric on held-out healthy images" in decision.rule


def test_an_early_stopping_metric_cannot_choose_for_a_detector_without_one():
    with pytest.raises(
        InputError, match=r"selection.rule=early_stopping: detector ganomaly has no early-stopping metric of its own"
    ):
        parse_config(config_of("ganomaly").model_dump(mode="json") | {"selection": {"rule": "early_stopping"}}, "t")


@pytest.mark.parametrize("kind", sorted(set(SMALL) & set(preset_names())))
def test_the_preset_of_a_kind_trains_and_is_evaluated(kind, manifest, tmp_path):
    small = {f"detector.{name}": value for name, value in SMALL[kind].items()}
    small |= {"preprocessing.size": SIZE, "training.iterations": 6, "training.decay_iterations": 0}
    small |= {"training.batch_size": 4, "training.device": "cpu", "training.checkpoint_every": 3}
    overrides = [part for name, value in small.items() for part in ("--set", f"{name}={value}")]
    run = tmp_path / "run"
    assert main(["train", str(manifest), "--preset", kind, "--run", str(run), *overrides]) == 0
    if kind not in EVALUATED:
        return
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    assert (run / "evaluation" / "report.html").stat().st_size > 1000
    assert kind in (run / "evaluation" / "metrics.json").read_text()
