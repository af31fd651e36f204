"""A recipe that is stopped early says when, and which candidates are worth keeping."""

import torch
from lightning import Fabric

from fixtures.stores import Numbered
from healthygan.common.run_folder import Run
from healthygan.training.config import TrainingConfig
from healthygan.training.loop import Training
from healthygan.training.recipe import EarlyStoppingRecipe


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
