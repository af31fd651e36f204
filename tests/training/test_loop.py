"""The loop: order of images, learning rate, resuming bit for bit, stopping, NaN."""

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
from healthygan.training.batches import Batch, Batches, Order, _mixed_seed
from healthygan.training.config import TrainingConfig
from healthygan.training.logger import TrainingLog
from healthygan.training.loop import Training, learning_rate_factor
from healthygan.training.recipe import EarlyStoppingRecipe

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


def test_every_pass_holds_every_image_once_and_passes_differ():
    order = Order(5, 0, 1)
    passes = [order.take(start, 5).tolist() for start in (0, 5, 10)]
    assert all(sorted(one) == list(range(5)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert Order(5, 0, 1).take(8, 4).tolist() == (passes[1] + passes[2])[3:7]


class Numbered:
    """A store whose every image holds its own number."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def read(self, indices):
        return np.repeat(indices.astype(np.uint16), 16).reshape(-1, 1, 4, 4)


def test_two_devices_together_see_the_batch_of_one():
    settings = TrainingConfig(batch_size=4, seed=3)
    whole = Batches(Numbered(9), Numbered(7), settings)(5)
    shares = [Batches(Numbered(9), Numbered(7), settings, rank, 2)(5) for rank in (0, 1)]
    for name in ("mixed", "healthy", "mix"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(share, name) for share in shares]))


def test_flips_are_left_to_right_and_can_be_turned_off():
    class Ramp(Numbered):
        def read(self, indices):
            return np.broadcast_to(np.arange(4, dtype=np.uint16), (len(indices), 1, 4, 4))

    still = Batches(Ramp(4), Ramp(4), TrainingConfig(batch_size=16, flip=False))(1).mixed
    assert torch.equal(still, still[:1].expand_as(still))
    moved = Batches(Ramp(4), Ramp(4), TrainingConfig(batch_size=16))(1).mixed
    flipped = [torch.equal(image, still[0].flip(2)) for image in moved]
    assert 0 < sum(flipped) < 16
    assert all(torch.equal(image, still[0]) for image, was in zip(moved, flipped, strict=True) if not was)


def test_parts_of_a_batch_share_its_images_out():
    whole = Batches(Numbered(9), Numbered(7), TrainingConfig(batch_size=2), draws=3)(5)
    parts = whole.parts(3)
    for name in ("mixed", "healthy", "mix"):
        assert [len(getattr(part, name)) for part in parts] == [2, 2, 2]
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_a_recipe_without_the_mixed_set_draws_none_of_it_and_the_same_parts():
    class Closed(Numbered):
        def read(self, indices):
            raise AssertionError("the mixed set was read")

    batch = Batches(Numbered(9), Closed(7), TrainingConfig(batch_size=2), uses_mixed=False, draws=2)(5)
    assert len(batch.mixed) == 0
    assert [(len(part.mixed), len(part.healthy)) for part in batch.parts(2)] == [(0, 2), (0, 2)]


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


def test_noise_is_no_copy_of_what_the_batches_were_drawn_with():
    """A seed that ends in zeros would be the same seed without them."""
    assert len({_mixed_seed(0, 5), _mixed_seed(0, 5, 1), _mixed_seed(0, 5, 2)}) == 3


class Watching(EarlyStoppingRecipe):
    """Trains one number; its metrics are given; it stops at the third."""

    uses_mixed = False

    def __init__(self, early_stopping_values):
        self.weight = torch.nn.Linear(1, 1)
        self.optimiser = torch.optim.SGD(self.weight.parameters(), 0.1)
        self.given = iter(early_stopping_values)
        self.steps = []

    def modules(self):
        return {"weight": self.weight}

    def optimisers(self):
        return {"weight": self.optimiser}

    def step(self, iteration, batch):
        self.steps.append(iteration)
        return {"loss": torch.zeros(())}

    def weights(self):
        return self.weight.state_dict()

    def sample(self, x):
        return {"x": x}

    def early_stopping_metric(self, x):
        assert len(x) <= 2  # the batch size
        return torch.full((len(x),), next(self.given))

    def finished(self, early_stopping_values):
        return len(early_stopping_values) >= 3

    def can_score(self, iteration):
        return iteration > 2


def watching(tmp_path, early_stopping_values):
    settings = TrainingConfig(
        iterations=20, batch_size=2, device="cpu", checkpoint_every=2, sample_every=99, log_every=2
    )
    recipe = Watching(early_stopping_values)
    fabric = Fabric(accelerator="cpu", devices=1)
    training = Training(settings, Run(tmp_path / "run"), fabric, Numbered(2))
    training.run(recipe, Numbered(4), Numbered(4))
    return recipe, training.folder


def test_an_early_stopping_recipe_stops_when_it_has_finished_and_keeps_its_metrics(tmp_path):
    recipe, run = watching(tmp_path, [3.0, 1.0, 2.0])
    assert recipe.steps == [1, 2, 3, 4, 5, 6, 7, 8]
    assert run.load_early_stopping() == {4: 3.0, 6: 1.0, 8: 2.0}
    assert list(run.candidates()) == [4, 6, 8]


def test_a_finished_training_does_not_go_on_when_resumed(tmp_path):
    watching(tmp_path, [3.0, 1.0, 2.0])
    recipe, run = watching(tmp_path, [])
    assert recipe.steps == []
    assert list(run.load_early_stopping()) == [4, 6, 8]


def test_metrics_after_the_checkpoint_are_forgotten(tmp_path):
    _, run = watching(tmp_path, [3.0, 1.0, 2.0])
    run.save_early_stopping({4: 3.0, 6: 1.0, 8: 2.0, 10: 0.0})
    recipe, run = watching(tmp_path, [])
    assert recipe.steps == []


def test_damaged_metrics_are_refused_by_name(tmp_path):
    run = Run(tmp_path)
    for content in ("[1]", '{"x": 1}', "{"):
        run.early_stopping_values.write_text(content)
        with pytest.raises(InputError, match=r"early_stopping.json: damaged"):
            run.load_early_stopping()


def test_a_later_stage_s_losses_get_their_own_columns(tmp_path):
    run = Run(tmp_path)
    with TrainingLog(run, 0, enabled=True) as log:
        log.write(1, {"critic": 0.5})
        log.write(2, {"critic": 0.25, "encoder": 2.0})
        log.write(3, {"encoder": 1.0})
    assert run.log.read_text().splitlines() == ["iteration,critic,encoder", "1,0.5,", "2,0.25,2.0", "3,,1.0"]
    with TrainingLog(run, 2, enabled=True) as log:
        log.write(3, {"encoder": 1.5})
    assert run.log.read_text().splitlines()[-1] == "3,,1.5"


def test_a_batch_must_be_shareable():
    with pytest.raises(InputError, match="3 cannot be shared by 2 devices"):
        Batches(Numbered(4), Numbered(4), TrainingConfig(batch_size=3), 0, 2)


@pytest.mark.parametrize(("iteration", "factor"), [(1, 1.0), (300_001, 1.0), (350_001, 0.5), (400_000, 1e-5)])
def test_the_learning_rate_falls_to_zero_over_the_last_iterations(iteration, factor):
    assert learning_rate_factor(iteration, TrainingConfig()) == pytest.approx(factor)
