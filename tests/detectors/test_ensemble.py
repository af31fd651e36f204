"""An ensemble's score is the mean of its members' standardised scores, and it lives in a run folder like any other."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from healthygan.cli.main import main
from healthygan.common.errors import InputError, Stopped
from healthygan.common.run_folder import Run
from healthygan.data.cohort import Cohort, Split
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors.ensemble import Ensemble
from healthygan.detectors.healthygan_plus import HealthyGANPlusRecipe
from healthygan.evaluation.evaluate import evaluate
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config
from healthygan.runs.reference import load_reference

SETTINGS = ("training.members=2", "training.iterations=4", "selection.choice_holdout=0.3", "selection.specificity=0.5")


@pytest.fixture(scope="module")
def trained(cohort_factory, tiny_settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Cohort]:
    cohort = Cohort.from_manifest(cohort_factory(tmp_path_factory.mktemp("cohort"), seed=31))
    config = load_config("small", (*tiny_settings, *SETTINGS))
    return workflow.train(config, cohort, tmp_path_factory.mktemp("runs") / "run"), cohort


def images_of(run: Run, cohort: Cohort) -> torch.Tensor:
    store = ImageStore.build(list(cohort.paths(Split.TEST)), load_config(run.config).preprocessing)
    return to_tensor(store.read(np.arange(len(store))))


def test_the_score_is_the_mean_of_the_members_standardised_scores(trained: tuple[Run, Cohort]) -> None:
    run, cohort = trained
    x = images_of(run, cohort)
    expected, maps = [], []
    for number in (0, 1):
        member, config, _ = workflow.load(run.member(number), "cpu")
        assert config.training.seed == number and config.training.members == 1
        found = member.predict(x)
        healthy = load_reference(run.member(number), config.selection).choice_healthy
        expected.append((found.score.numpy() - healthy.mean()) / healthy.std(ddof=1))
        maps.append(found.difference)
    ensemble, _, _ = workflow.load(run, "cpu")
    found = ensemble.predict(x)
    assert found.score.numpy() == pytest.approx(np.mean(expected, axis=0), abs=1e-4)
    assert found.difference is not None
    torch.testing.assert_close(found.difference, (maps[0] + maps[1]) / 2)
    assert not torch.equal(maps[0], maps[1])


def test_members_hold_the_same_images_out(trained: tuple[Run, Cohort]) -> None:
    run, _ = trained
    paths = [
        [line.split(",")[0] for line in folder.held_out.read_text().splitlines()]
        for folder in (run, run.member(0), run.member(1))
    ]
    assert paths[0] == paths[1] == paths[2]
    assert run.member(0).data.read_bytes() == run.member(1).data.read_bytes()


def test_an_ensemble_is_scored_and_judged_like_any_run(trained: tuple[Run, Cohort], tmp_path: Path, capsys) -> None:
    run, cohort = trained
    assert main(["score", str(run.path), str(cohort.paths(Split.TEST)[0].parent), "-o", str(tmp_path / "out")]) == 0
    assert "8 images scored" in capsys.readouterr().out
    found = evaluate(run, None, tmp_path / "evaluation", device="cpu")
    assert found.performance is not None and found.detector == "ensemble"
    assert "mean of 2 members" in run.load_decision().rule


def test_the_checkpoints_are_the_members(trained: tuple[Run, Cohort]) -> None:
    with pytest.raises(InputError, match=r"has no checkpoints of its own; look at .*members.0"):
        workflow.select(trained[0], device="cpu")


def test_a_stopped_member_goes_on_with_the_ensemble(
    trained: tuple[Run, Cohort], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, cohort = trained
    config = load_config(run.config)
    shutil.copytree(run.path, tmp_path / "run")
    begun = Run(tmp_path / "run")
    begun.decision.unlink()
    shutil.rmtree(begun.member(1).path)
    step = HealthyGANPlusRecipe.step

    def stopping(self, iteration, batch):
        if iteration == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, iteration, batch)

    with monkeypatch.context() as patch:
        patch.setattr(HealthyGANPlusRecipe, "step", stopping)
        with pytest.raises(Stopped, match=r"member 1 of 2: stopped after iteration 2$"):
            workflow.train(config, cohort, begun.path)
    workflow.train(config, cohort, begun.path)
    assert begun.model.read_bytes() == run.model.read_bytes()
    assert begun.decision.read_bytes() == run.decision.read_bytes()


def test_weights_of_another_number_of_members_are_refused(trained: tuple[Run, Cohort]) -> None:
    run, _ = trained
    weights = workflow.load(run, "cpu")[0].state_dict()
    config = load_config(run.config)
    three = workflow.build(load_config(run.config, ["training.members=3"]))
    with pytest.raises(RuntimeError):
        three.load_state_dict(weights)
    one = Ensemble([workflow.build(config.member(0))])
    with pytest.raises(RuntimeError, match="size mismatch for centre"):
        one.load_state_dict(weights)
    with pytest.raises(RuntimeError, match="centre"):
        one.load_state_dict({})


def test_members_without_differing_healthy_scores_cannot_be_joined(trained: tuple[Run, Cohort]) -> None:
    run, _ = trained
    config = load_config(run.config)
    ensemble = workflow.build(config)
    assert isinstance(ensemble, Ensemble)
    weights = [member.state_dict() for member in ensemble.members]
    for scores in (np.array([0.5]), np.array([0.5, 0.5])):
        with pytest.raises(ValueError, match="two or more are needed"):
            ensemble.join(weights, [scores, scores])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("training.members=2", "training.devices=2"), "on one device"),
        (("training.members=2", "selection.choice_holdout=0", "selection.holdout=0"), "held-out healthy images"),
        (("training.members=0",), "training.members=0"),
    ],
)
def test_settings_that_allow_no_ensemble_are_refused(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config("small", settings)


def test_the_option_sets_the_members(tmp_path: Path, capsys) -> None:
    assert main(["train", str(tmp_path), "--run", str(tmp_path / "run"), "--members", "0"]) == 2
    assert "training.members=0" in capsys.readouterr().err
