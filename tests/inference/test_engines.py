"""Exports: what other engines make of a model, and what is said where they are missing."""

import csv
import importlib.util
import json
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from healthygan.cli import options as cli
from healthygan.cli.main import main
from healthygan.common.errors import InputError
from healthygan.common.run_folder import Decision, Run
from healthygan.common.tensors import save_tensors
from healthygan.detectors.ensemble import Ensemble
from healthygan.inference import engines as exports
from healthygan.inference.engines import PACKAGES, load_engine
from healthygan.inference.export import export
from healthygan.inference.score import score
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config


def engine(name):
    missing = [package for package in PACKAGES[name] if importlib.util.find_spec(package) is None]
    return pytest.param(name, marks=pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"))


@pytest.fixture
def run(finished_run, tmp_path):
    return Run(Path(shutil.copytree(finished_run[0].path, tmp_path / "run")))


def untrained(folder, *settings):
    """A run folder with first weights, ready to score."""
    run, config = Run(folder), load_config("small", settings)
    config.save(run.config)
    detector = workflow.build(config)
    if isinstance(detector, Ensemble):
        detector.join(
            [member.state_dict() for member in detector.members], [np.array([0.1, 0.3]), np.array([0.2, 0.5])]
        )
    save_tensors(run.model, detector.state_dict())
    run.save_decision(Decision(iteration=1, rule="none", threshold=None, threshold_rule="none", map_top=1.0))
    return run


@pytest.mark.parametrize("name", [engine("torch"), engine("onnx"), engine("openvino")])
@pytest.mark.parametrize(
    "settings",
    [
        ("detector.name=healthygan", "detector.width=32", "detector.generator_blocks=1", "preprocessing.size=64"),
        ("detector.name=healthygan+", "detector.evidence=0", "training.members=2", "preprocessing.size=64"),
    ],
    ids=["healthygan", "ensemble"],
)
def test_the_paper_s_detector_and_ensembles_are_exported_too(tmp_path, settings, name):
    run = untrained(tmp_path / "run", *settings)
    detector, *_ = workflow.load(run, "cpu")
    x = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1
    found, expected = exports._predict(name, export(run, name).model)(x), detector.predict(x)
    for output in exports.OUTPUTS:
        torch.testing.assert_close(getattr(found, output), getattr(expected, output), rtol=0, atol=1e-4)


@pytest.mark.parametrize("members", [1, 2])
def test_a_detector_without_an_export_is_named_in_one_line(tmp_path, members):
    run = untrained(tmp_path / "run", "detector.name=ganomaly", f"training.members={members}", "preprocessing.size=32")
    with pytest.raises(InputError, match=r"its detector ganomaly cannot be exported; score it with engine=torch$"):
        export(run, "torch")


def test_the_command_line_offers_every_engine_and_precision():
    assert cli.ENGINES == exports.ENGINES
    assert get_args(exports.Precision) == cli.PRECISIONS


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
    # Not the healthy images held out: each would be as high as itself, or just not.
    lines = [line for line in manifest.read_text().splitlines() if ",validation," not in line]
    others = manifest.with_name("others.csv")
    others.write_text("\n".join(lines))
    common = {"overlays": False, "device": "cpu", "fdr": 0.5}
    expected, found = (
        _numbers(score(run, [others], tmp_path / each, engine=each, **common).table) for each in ("torch", name)
    )
    assert len(found) == len(lines) - 1 > 30 and {"score", "p_value", "worklist", "patient_score"} <= set(found[0])
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def _numbers(table):
    """The rows of scores.csv without their names, files in order."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["path"])
    wanted = ("rank", "score", "p_value", "worklist", "patient_score")
    return [{name: float(row[name]) for name in wanted} for row in rows]


@pytest.mark.parametrize("name", [engine("onnx")])
def test_an_engine_s_model_is_kept_until_the_run_changes(run, name, monkeypatch):
    loaded = workflow.load(run, "cpu")
    load_engine(name, run, *loaded)
    with monkeypatch.context() as patch:
        patch.setattr(exports, "write_export", lambda *_: pytest.fail("exported again"))
        load_engine(name, run, *loaded)
    weights = torch.load(run.model, weights_only=True)
    torch.save({key: value * 1.5 for key, value in weights.items()}, run.model)
    detector, config, decision = workflow.load(run, "cpu")
    x = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(
        load_engine(name, run, detector, config, decision)(x).difference,
        detector.predict(x).difference,
        rtol=0,
        atol=1e-4,
    )


def test_an_export_that_differs_from_pytorch_is_not_handed_out(run, monkeypatch):
    def wrong(model):
        return lambda x: [np.zeros(len(x), np.float32), *(np.ones((len(x), 1, 16, 16), np.float32) for _ in range(3))]

    monkeypatch.setattr(exports, "_torch", wrong)
    with pytest.raises(InputError, match="torch differs from PyTorch by"):
        export(run, "torch")
    assert not (run.path / "export" / "torch").exists()


def test_what_a_killed_export_left_is_removed(run):
    (run.path / "export" / "torch" / ".new").mkdir(parents=True)
    (run.path / "export" / "torch" / ".new" / "model.pt2").touch()
    export(run, "torch")
    left = {path.name for path in (run.path / "export" / "torch").iterdir()}
    assert left == {"model.pt2", "model.json", ".lock"}


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


def test_scores_in_bfloat16_are_near_those_in_full_precision(run, manifest, tmp_path):
    detector, config, decision = workflow.load(run, "cpu")
    x = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found, expected = load_engine("torch", run, detector, config, decision, "bf16")(x), detector.predict(x)
    assert not torch.equal(found.score, expected.score)
    for output in exports.OUTPUTS:
        assert getattr(found, output).dtype == torch.float32
        torch.testing.assert_close(getattr(found, output), getattr(expected, output), rtol=0, atol=0.05)
    torch.testing.assert_close(found.score, found.difference.mean(dim=(1, 2, 3)))
    command = ["score", str(run.path), str(manifest), "-o", str(tmp_path / "out"), "--no-maps", "--precision", "bf16"]
    assert main(command) == 0
    near = _numbers(score(run, [manifest], tmp_path / "32", overlays=False, device="cpu", fdr=0.5).table)
    with (tmp_path / "out" / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["path"])
    assert [float(row["score"]) for row in rows] == pytest.approx([row["score"] for row in near], rel=0.02)


def test_bfloat16_is_refused_where_it_is_not_known_to_keep_the_scores(run, tmp_path):
    with pytest.raises(InputError, match=r"^precision=bf16: is for engine=torch, not for onnx; leave one of them out"):
        score(run, [run.model], tmp_path / "out", engine="onnx", precision="bf16")
    other = untrained(tmp_path / "run2", "detector.name=ganomaly", "preprocessing.size=32")
    with pytest.raises(InputError, match=r"precision=bf16 is for healthygan and healthygan\+ alone; leave it out"):
        score(other, [run.model], tmp_path / "out", precision="bf16")


def test_an_engine_on_a_gpu_is_refused(run, tmp_path):
    with pytest.raises(InputError, match=r"^engine=onnx: computes on the CPU, not on cuda"):
        score(run, [tmp_path], tmp_path / "out", engine="onnx", device="cuda")
