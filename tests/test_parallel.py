"""Two processes that share each batch train as one process with the whole batch."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from healthygan.run import Run, load_tensors

DETECTOR = (
    "detector.name=healthygan",
    "detector.width=4",
    "detector.generator_blocks=1",
    "detector.discriminator_blocks=2",
    # Without the mask's second term, whose gradient jumps at M = 0.5, rounding stays rounding.
    "detector.focus_zero_one=0",
)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no torch.distributed")
@pytest.mark.parametrize("way", ["devices", "nodes"])
def test_two_processes_give_the_loss_curve_and_the_weights_of_one(manifest, tmp_path, tiny_settings, way):
    alone, shared = Run(tmp_path / "alone"), Run(tmp_path / "shared")
    overrides = [*(override for override in tiny_settings if not override.startswith("detector.")), *DETECTOR]
    settings = [part for override in overrides for part in ("--set", override)]

    def train(run, *more, **environment):
        command = [sys.executable, "-m", "healthygan", "train", str(manifest), "--run", str(run.path), *settings, *more]
        own = {"HEALTHYGAN_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=os.environ | own | environment, stderr=subprocess.PIPE, text=True)

    started = [train(alone)]
    if way == "devices":
        started.append(train(shared, "--set", "training.devices=2"))
    else:
        # What torchrun sets on two machines of one device each.
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port(), "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
        common |= {"LOCAL_WORLD_SIZE": "1", "GROUP_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
        for rank in "01":
            ranks = {"RANK": rank, "GROUP_RANK": rank, "NODE_RANK": rank}
            started.append(train(shared, "--set", "training.nodes=2", **common, **ranks))
    for process in started:
        _, messages = process.communicate(timeout=1200)
        assert process.returncode == 0, messages
    curves = [_curve(run.log) for run in (alone, shared)]
    assert [row["iteration"] for row in curves[0]] == [2, 4, 6, 8]
    for expected, found in zip(*curves, strict=True):
        # A weight whose gradient is all but 0 may be turned by rounding, and Adam's step is a rate long.
        assert found == pytest.approx(expected, rel=3e-3, abs=1e-5, nan_ok=True)
    expected, found = (load_tensors(run.checkpoint)["modules"]["generator"] for run in (alone, shared))
    apart = sum(float((expected[name] - found[name]).abs().sum()) for name in expected)
    assert apart < 1e-3 * sum(float(weight.abs().sum()) for weight in expected.values())


def _free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def _curve(log: Path) -> list[dict[str, float]]:
    with log.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
