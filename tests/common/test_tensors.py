"""Tensors come back as they were, and reading a file of them runs nothing in it."""

import os
import pickle
import resource
from pathlib import Path

import pytest
import torch

from healthygan.common.errors import InputError
from healthygan.common.tensors import load_tensors, save_tensors


def test_tensors_and_plain_values_come_back(tmp_path: Path) -> None:
    state = {"weights": {"bias": torch.arange(3.0)}, "iteration": 7, "steps": [1, 2]}
    save_tensors(tmp_path / "model.pt", state)
    read = load_tensors(tmp_path / "model.pt")
    assert torch.equal(read["weights"]["bias"], state["weights"]["bias"])
    assert (read["iteration"], read["steps"]) == (7, [1, 2])


def test_the_same_state_is_the_same_bytes_under_any_name(tmp_path: Path) -> None:
    for name in ("one.pt", "another.pt"):
        save_tensors(tmp_path / name, {"bias": torch.arange(3.0)})
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pt: no such file; copy the run folder again"):
        load_tensors(tmp_path / "none.pt")


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04cut off"])
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pt: damaged") as caught:
        load_tensors(tmp_path / "model.pt")
    assert "\n" not in str(caught.value)


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"weights": Hostile(tmp_path / "trace")}, tmp_path / "zipped.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Hostile(tmp_path / "trace"), protocol=2))
    for name in ("zipped.pt", "plain.pt"):
        with pytest.raises(InputError, match="nothing in it was run"):
            load_tensors(tmp_path / name)
    assert not (tmp_path / "trace").exists()


def test_a_file_without_names_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "model.pt")
    with pytest.raises(InputError, match="holds a list, not named weights"):
        load_tensors(tmp_path / "model.pt")


@pytest.mark.parametrize("room", [100, 5_000])
def test_a_disk_that_fills_is_told_in_one_line(tmp_path: Path, room: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(InputError, match=r"model\.pt: cannot be written \(File too large\)"):
            save_tensors(tmp_path / "model.pt", {"bias": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
