"""Exports: what other engines make of a model, and what is said where they are missing."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from healthygan import export as exports
from healthygan import workflow
from healthygan.cli import main
from healthygan.errors import InputError
from healthygan.export import PACKAGES, export, load_engine
from healthygan.run import Run
from healthygan.scoring import score


def engine(name):
    missing = [package for package in PACKAGES[name] if importlib.util.find_spec(package) is None]
    return pytest.param(name, marks=pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"))


@pytest.fixture
def run(finished_run, tmp_path):
    return Run(Path(shutil.copytree(finished_run[0].path, tmp_path / "run")))


@pytest.mark.parametrize("name", [engine("torch"), engine("onnx"), engine("openvino")])
def test_an_export_gives_pytorch_s_numbers_for_any_batch(run, name):
    done = export(run, name)
    assert 0 <= done.difference < 1e-4
    detector, config, decision = workflow.load(run, "cpu")
    predict = exports._predict(name, done.model)
    for count in (1, 2, 5):
        x = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(count)) * 2 - 1
        found, expected = predict(x), detector.predict(x)
        for output in exports.OUTPUTS:
            torch.testing.assert_close(getattr(found, output), getattr(expected, output), rtol=0, atol=1e-4)
    about = json.loads((done.model.parent / "model.json").read_text())
    assert about["preprocessing"] == config.preprocessing.model_dump(mode="json")
    assert about["decision"]["threshold"] == decision.threshold
    assert about["input"]["shape"] == ["N", 1, 16, 16]
    assert about["largest_difference_to_pytorch"] == done.difference


@pytest.mark.parametrize("name", [engine("onnx"), engine("openvino")])
def test_scores_of_an_engine_are_pytorch_s(run, manifest, tmp_path, name):
    expected = score(run, [manifest], tmp_path / "torch", overlays=False, device="cpu").table.read_text().splitlines()
    found = score(run, [manifest], tmp_path / name, overlays=False, engine=name).table.read_text().splitlines()
    values = [{row.split(",")[1]: float(row.split(",")[2]) for row in rows[1:]} for rows in (expected, found)]
    assert found[0] == expected[0] and values[1] == pytest.approx(values[0], abs=1e-5)


@pytest.mark.parametrize("name", [engine("onnx")])
def test_an_engine_s_model_is_kept_until_the_run_changes(run, name, monkeypatch):
    detector, *_ = workflow.load(run, "cpu")
    load_engine(name, run, detector)
    with monkeypatch.context() as patch:
        patch.setattr(exports, "export", lambda *_: pytest.fail("exported again"))
        load_engine(name, run, detector)
    weights = torch.load(run.model, weights_only=True)
    torch.save({key: value * 1.5 for key, value in weights.items()}, run.model)
    detector, *_ = workflow.load(run, "cpu")
    x = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(
        load_engine(name, run, detector)(x).difference, detector.predict(x).difference, rtol=0, atol=1e-4
    )


def test_an_export_that_differs_from_pytorch_is_not_handed_out(run, monkeypatch):
    def wrong(model):
        return lambda x: [np.zeros(len(x), np.float32), *(np.ones((len(x), 1, 16, 16), np.float32) for _ in range(3))]

    monkeypatch.setattr(exports, "_torch", wrong)
    with pytest.raises(InputError, match="torch differs from PyTorch by"):
        export(run, "torch")
    assert not (run.path / "export" / "torch").exists()


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_missing_engine_is_named_in_one_line(run, tmp_path, name, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda package, *rest: None if package == "onnx" else find(package)
    )
    assert main(["export", str(run.path), "--to", name]) == 2
    assert main(["score", str(run.path), str(tmp_path), "-o", str(tmp_path / "out"), "--engine", name]) == 2
    for line in capsys.readouterr().err.splitlines():
        assert f"the package onnx is missing; pip install 'healthygan[{name}]'" in line


def test_an_engine_on_a_gpu_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="--engine onnx: computes on the CPU, not on cuda"):
        score(run, [tmp_path], tmp_path / "out", engine="onnx", device="cuda")
