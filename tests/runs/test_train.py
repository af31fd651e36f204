"""The folder of a training: who may train there, and what a killed training left."""

import json
import os
import shutil
from pathlib import Path

import pytest

from healthygan.common.errors import InputError
from healthygan.common.folder_lock import locked
from healthygan.common.run_folder import Run
from healthygan.data.cohort import Cohort
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config
from healthygan.runs.train import select, train

Finished = tuple[Run, Cohort]


@pytest.fixture
def run(finished_run: Finished, tmp_path: Path) -> Run:
    """A copy, to be changed."""
    shutil.copytree(finished_run[0].path, tmp_path / "run")
    return Run(tmp_path / "run")


def test_two_trainings_in_one_folder_are_kept_apart(finished_run: Finished, run: Run) -> None:
    before = run.log.read_bytes()
    with (
        locked(run.path, "train"),
        pytest.raises(InputError, match=rf"run: train is at work there, process {os.getpid()} on .* since "),
    ):
        train(load_config(run.config), finished_run[1], run.path)
    assert run.log.read_bytes() == before


def test_no_checkpoint_is_chosen_while_another_process_trains(run: Run) -> None:
    with locked(run.path, "train"), pytest.raises(InputError, match="train is at work there"):
        select(run, "last")


@pytest.mark.parametrize("left", [(), ("data.json",), ("data.json", ".lock", ".config.yaml.healthygan.yaml")])
def test_a_folder_left_before_its_settings_were_noted_is_taken(
    finished_run: Finished, tiny_settings: tuple[str, ...], tmp_path: Path, left: tuple[str, ...]
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for name in left:
        (folder / name).write_text(json.dumps({"healthy": "0" * 32}) if name == "data.json" else "")
    run = train(load_config("small", tiny_settings), finished_run[1], folder)
    assert run.decision.exists()
    assert run.data.read_bytes() == finished_run[0].data.read_bytes()
    assert not [path.name for path in folder.rglob(".*") if path.name != ".lock"]


@pytest.mark.parametrize("content", ["{}x", '{"healthy": "mine"}', "[1]", '{"a": 1}'])
def test_a_data_json_of_others_is_no_run_folder(
    finished_run: Finished, tiny_settings: tuple[str, ...], tmp_path: Path, content: str
) -> None:
    (tmp_path / "data.json").write_text(content)
    with pytest.raises(InputError, match="not empty and not a run folder"):
        train(load_config("small", tiny_settings), finished_run[1], tmp_path)
    assert (tmp_path / "data.json").read_text() == content


def test_the_settings_are_noted_before_the_images(
    finished_run: Finished, tiny_settings: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    config = load_config("small", tiny_settings)
    for name in ("write_json", "build"):
        with monkeypatch.context() as patched:
            patched.setattr(workflow, name, killed)
            with pytest.raises(KeyboardInterrupt):
                train(config, finished_run[1], tmp_path / "run")
        assert load_config(tmp_path / "run" / "config.yaml") == config
        assert Cohort.from_manifest(tmp_path / "run" / "cohort.csv").images == finished_run[1].images
    assert train(config, finished_run[1], tmp_path / "run").decision.exists()


def test_a_file_in_place_of_the_folder_is_told_as_such(
    finished_run: Finished, tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file, not a folder"):
        train(load_config("small", tiny_settings), finished_run[1], tmp_path / "file")
