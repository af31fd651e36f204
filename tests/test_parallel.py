"""Two processes that share each batch train as one process with the whole batch, and stop together."""

import csv
import os
import socket
import subprocess
import sys
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import pytest
import torch

from healthygan.common.errors import InputError
from healthygan.common.run_folder import Run
from healthygan.common.tensors import load_tensors
from healthygan.training.config import TrainingConfig
from healthygan.training.loop import Training, launch
from healthygan.training.recipe import Recipe

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


def _train_until_it_is_not_finite(rank: int, port: str, folder: Path, told: "Queue[tuple[int, str]]") -> None:
    """One of two processes; a loss of the second one alone is not a number at iteration 3."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "RANK": str(rank)}
    os.environ |= {"LOCAL_RANK": "0", "GROUP_RANK": str(rank), "NODE_RANK": str(rank), "TORCHELASTIC_RUN_ID": "test"}
    settings = TrainingConfig(iterations=8, batch_size=2, device="cpu", nodes=2, log_every=4, sample_every=99)
    try:
        training = Training(settings, Run(folder), launch(settings))
        training.run(Lossy(bad=3 if rank == 1 else 99), Constant(), Constant())
    except InputError as error:
        told.put((rank, str(error)))


class Constant:
    """A store of four black images."""

    def __len__(self) -> int:
        return 4

    def read(self, indices):
        return np.zeros((len(indices), 1, 4, 4), np.uint16)


class Lossy(Recipe):
    """Trains nothing; its loss is not a number at one iteration."""

    def __init__(self, bad: int) -> None:
        self.bad = bad

    def modules(self):
        return {}

    def optimisers(self):
        return {}

    def step(self, iteration, batch):
        return {"loss": torch.tensor(torch.nan if iteration == self.bad else 0.0)}

    def weights(self):
        return {}

    def sample(self, x):
        return {"x": x}


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
def test_what_one_device_finds_not_finite_stops_all_at_the_same_iteration(tmp_path: Path) -> None:
    context = get_context("fork")  # spawned ones would load torch anew
    told, port = context.Queue(), _free_port()
    processes = [
        context.Process(target=_train_until_it_is_not_finite, args=(rank, port, tmp_path, told)) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    try:
        found = dict(told.get(timeout=300) for _ in processes)
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()
    assert all("stopped being finite at iteration 3; none was saved" in found[rank] for rank in (0, 1))


def _free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def _curve(log: Path) -> list[dict[str, float]]:
    with log.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
