"""Two processes that share each batch train as one process with the whole batch."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from healthygan.run import Run, load_tensors


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no torch.distributed")
def test_two_processes_give_the_loss_curve_and_the_weights_of_one(manifest, tmp_path, set_options):
    runs = {devices: Run(tmp_path / str(devices)) for devices in (1, 2)}
    for devices, run in runs.items():
        command = [sys.executable, "-m", "healthygan", "train", str(manifest), "--run", str(run.path), *set_options]
        # Without the mask's second term, whose gradient jumps at M = 0.5, rounding stays rounding.
        command += ["--set", f"training.devices={devices}", "--set", "detector.focus_zero_one=0"]
        environment = os.environ | {"HEALTHYGAN_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stderr
    curves = {devices: _curve(run.log) for devices, run in runs.items()}
    assert [row["iteration"] for row in curves[1]] == [2, 4, 6, 8]
    for one, two in zip(curves[1], curves[2], strict=True):
        assert two == pytest.approx(one, rel=1e-3, abs=1e-5, nan_ok=True)
    one, two = (load_tensors(run.checkpoint)["modules"]["generator"] for run in runs.values())
    assert sum((one[name] - two[name]).abs().sum() for name in one) < 1e-3 * sum(
        each.abs().sum() for each in one.values()
    )


def _curve(log: Path) -> list[dict[str, float]]:
    with log.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
