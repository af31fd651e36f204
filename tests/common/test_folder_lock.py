"""One process at a time in a folder: the second is told who is there, and a lock ends with its process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from healthygan.common.errors import InputError
from healthygan.common.folder_lock import LOCK, is_empty, locked

HOLDS = """
import sys, time
from pathlib import Path
from healthygan.common.folder_lock import locked
with locked(Path(sys.argv[1]), "score"):
    print("in", flush=True)
    time.sleep(60)
"""


def _holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "in\n"
    return process


def test_the_second_is_told_who_is_there_and_since_when(tmp_path: Path) -> None:
    process = _holder(tmp_path / "out")
    try:
        told = (
            rf"out: score is at work there, process {process.pid} on \S+ since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d.*; wait"
        )
        with pytest.raises(InputError, match=told), locked(tmp_path / "out", "score"):
            pass
    finally:
        process.kill()
        process.communicate()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    process = _holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with locked(tmp_path, "score"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    assert is_empty(tmp_path)


def test_a_thread_or_a_second_call_of_the_same_process_is_kept_out_too(tmp_path: Path) -> None:
    with locked(tmp_path, "train"):
        with pytest.raises(InputError, match=f"train is at work there, process {os.getpid()}"), locked(tmp_path, "x"):
            pass
        with pytest.raises(InputError, match="train is at work there"), locked(tmp_path, "x", wait=0.1):
            pass
    with locked(tmp_path, "train"):
        pass


def test_the_lock_is_given_back_where_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked(tmp_path, "train"):
        raise KeyboardInterrupt
    with locked(tmp_path, "train"):
        pass


def test_a_holder_that_said_nothing_is_another_process(tmp_path: Path) -> None:
    with locked(tmp_path, "train"):
        (tmp_path / ".lock.json").write_text("{")
        with pytest.raises(InputError, match="another process is at work there"), locked(tmp_path, "train"):
            pass


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file, not a folder"), locked(tmp_path / "file", "train"):
        pass


def test_a_folder_with_anything_in_it_is_not_empty(tmp_path: Path) -> None:
    assert is_empty(tmp_path / "none") and is_empty(tmp_path)
    (tmp_path / "thesis.txt").touch()
    assert not is_empty(tmp_path)
