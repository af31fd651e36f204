"""The loop: learning rate, noise, resuming bit for bit, stopping, NaN."""

import os
import signal
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from lightning import Fabric
from PIL import Image

from healthygan.common.errors import InputError, Stopped
from healthygan.common.run_folder import Run
from healthygan.common.tensors import load_tensors
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.detectors.healthygan import HealthyGANRecipe
from healthygan.runs import train as workflow
from healthygan.runs.config import parse_config
from healthygan.training.batches import Batch
from healthygan.training.config import TrainingConfig
from healthygan.training.loop import Training, learning_rate_factor

COUNTS = {
    Split.HEALTHY: {Label.HEALTHY: 8},
    Split.MIXED: {Label.HEALTHY: 4, Label.DISEASED: 4},
    Split.VALIDATION: {Label.HEALTHY: 3, Label.DISEASED: 3},
}


@pytest.fixture
def cohort(tmp_path):
    random = np.random.default_rng(0)
    images = []
    for split, labels in COUNTS.items():
        for label in (label for label, count in labels.items() for _ in range(count)):
            path = tmp_path / f"{len(images)}.png"
            Image.fromarray(random.integers(0, 255, (16, 16), dtype=np.uint8)).save(path)
            images.append(CohortImage(path, split, label, f"p{len(images)}", None, None))
    return Cohort("tiny", tuple(images))


def config_of(**training):
    return parse_config(
        {
            "detector": {"width": 2, "generator_blocks": 1, "discriminator_blocks": 2, "ema_decay": 0.9},
            "preprocessing": {"size": 16},
            "training": {
                "iterations": 40,
                "decay_iterations": 10,
                "batch_size": 2,
                "device": "cpu",
                "checkpoint_every": 20,
                "sample_every": 20,
                "log_every": 5,
                **training,
            },
            "selection": {"rule": "last"},
        },
        "test",
    )


def stop_after(monkeypatch, iteration, number):
    step = HealthyGANRecipe.step

    def stopping(self, now, batch):
        if now == iteration:
            os.kill(os.getpid(), number)
        return step(self, now, batch)

    monkeypatch.setattr(HealthyGANRecipe, "step", stopping)


def leaves(state):
    if isinstance(state, dict):
        return [leaf for key in state for leaf in leaves(state[key])]
    if isinstance(state, list):
        return [leaf for part in state for leaf in leaves(part)]
    return [state]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_and_resumed_training_is_the_uninterrupted_one_bit_for_bit(cohort, tmp_path, monkeypatch, number):
    whole = workflow.train(config_of(), cohort, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 20, number)
        with pytest.raises(Stopped, match=r"stopped after iteration 20$"):
            workflow.train(config_of(), cohort, tmp_path / "parts")
    parts = workflow.train(config_of(), cohort, tmp_path / "parts")
    for one, other in zip(leaves(load_tensors(whole.checkpoint)), leaves(load_tensors(parts.checkpoint)), strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    assert whole.log.read_text() == parts.log.read_text()
    assert whole.decision.read_bytes() == parts.decision.read_bytes()


def test_freed_memory_is_kept_for_every_step_and_given_back(cohort, tmp_path, monkeypatch):
    kept, seen, step = [], [], HealthyGANRecipe.step

    @contextmanager
    def keeping():
        kept.append(True)
        yield
        kept.clear()

    monkeypatch.setattr("healthygan.training.loop.memory_kept", keeping)
    monkeypatch.setattr(HealthyGANRecipe, "step", lambda *about: seen.append(bool(kept)) or step(*about))
    workflow.train(config_of(iterations=4), cohort, tmp_path / "run")
    assert seen == [True] * 4 and not kept


def test_a_training_asked_to_stop_in_its_last_iteration_is_finished(cohort, tmp_path, monkeypatch):
    stop_after(monkeypatch, 8, signal.SIGTERM)
    run = workflow.train(config_of(iterations=8, checkpoint_every=4), cohort, tmp_path / "run")
    assert list(run.candidates()) == [4, 8] and run.load_decision().iteration == 8


def test_a_stop_at_a_checkpoint_keeps_that_candidate(cohort, tmp_path, monkeypatch):
    stop_after(monkeypatch, 4, signal.SIGTERM)
    with pytest.raises(Stopped):
        workflow.train(config_of(iterations=8, checkpoint_every=4), cohort, tmp_path / "run")
    assert list(Run(tmp_path / "run").candidates()) == [4]


def test_shuffled_labels_of_the_mixed_set_change_no_byte_of_the_model(cohort, tmp_path):
    def relabelled(image):
        if image.split is not Split.MIXED:
            return image
        other = Label.HEALTHY if image.label is Label.DISEASED else Label.DISEASED
        return CohortImage(image.path, image.split, other, image.patient_id, image.source, image.mask)

    shuffled = Cohort("tiny", tuple(relabelled(image) for image in cohort.images))
    runs = [
        workflow.train(config_of(iterations=8), each, tmp_path / str(number))
        for number, each in enumerate((cohort, shuffled))
    ]
    for name in ("model", "decision", "log"):
        one, other = (getattr(run, name).read_bytes() for run in runs)
        assert one == other


def test_another_seed_gives_another_model(cohort, tmp_path):
    runs = [workflow.train(config_of(iterations=4, seed=s), cohort, tmp_path / str(s)) for s in (0, 1)]
    one, other = (leaves(load_tensors(run.model)) for run in runs)
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_loss_that_is_not_finite_stops_with_the_iteration_and_the_last_checkpoint(cohort, tmp_path, monkeypatch):
    step = HealthyGANRecipe.step

    def spoilt(self, iteration, batch):
        found = step(self, iteration, batch)
        return found | {"critic": torch.tensor(torch.nan)} if iteration == 27 else found

    monkeypatch.setattr(HealthyGANRecipe, "step", spoilt)
    with pytest.raises(InputError, match=r"at iteration 27; the last good checkpoint is .*\(iteration 20\)"):
        workflow.train(config_of(), cohort, tmp_path / "run")
    assert Run(tmp_path / "run").load_checkpoint()["iteration"] == 20


def test_changed_images_are_not_resumed_with(cohort, tmp_path, monkeypatch):
    stop_after(monkeypatch, 3, signal.SIGTERM)
    with pytest.raises(Stopped):
        workflow.train(config_of(), cohort, tmp_path / "run")
    Image.fromarray(np.full((16, 16), 7, dtype=np.uint8)).save(cohort.paths(Split.HEALTHY)[0])
    with pytest.raises(InputError, match="its images changed"):
        workflow.train(config_of(), cohort, tmp_path / "run")


def noise_of(training, *iterations):
    class Drawing:
        def optimisers(self):
            return {}

        def step(self, iteration, batch):
            return {"noise": torch.randn(3)}

    empty = Batch(*(torch.empty(0) for _ in range(3)))
    return [training._iterate(Drawing(), iteration, empty)["noise"] for iteration in iterations]


def test_noise_is_that_of_the_seed_and_the_iteration_and_leaves_the_global_generator_alone(tmp_path):
    fabric = Fabric(accelerator="cpu", devices=1)
    training = Training(TrainingConfig(seed=1), Run(tmp_path), fabric)
    torch.manual_seed(0)
    first = noise_of(training, 1, 2, 3)
    after = torch.rand(1)
    assert torch.equal(noise_of(training, 3)[0], first[2])
    assert not torch.equal(first[0], first[1])
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), after)
    other = noise_of(Training(TrainingConfig(seed=2), Run(tmp_path), fabric), 1)
    assert not torch.equal(other[0], first[0])


@pytest.mark.parametrize(("iteration", "factor"), [(1, 1.0), (300_001, 1.0), (350_001, 0.5), (400_000, 1e-5)])
def test_the_learning_rate_falls_to_zero_over_the_last_iterations(iteration, factor):
    assert learning_rate_factor(iteration, TrainingConfig()) == pytest.approx(factor)
