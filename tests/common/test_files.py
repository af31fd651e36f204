"""Files are written whole or not at all."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from healthygan.common.errors import InputError
from healthygan.common.files import (
    atomic_path,
    content_hash,
    remove_leftovers,
    shorten_name,
    write_json,
    write_text,
)


def _fails(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "note.txt"
    write_text(target, "old")
    write_text(target, "new: é")
    assert target.read_bytes() == "new: é".encode()
    assert list(target.parent.iterdir()) == [target]


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None], "é": True}
    write_json(tmp_path / "x.json", content)
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == content


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    target = tmp_path / "note.txt"
    write_text(target, "old")
    monkeypatch.setattr(os, call, _fails)
    with pytest.raises(InputError, match=r"note\.txt: cannot be written \(No space left"):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_exception_of_the_writer_keeps_the_old_file_and_passes(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    write_text(target, "old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_half_a_file_is_never_seen_under_the_final_name(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_text() == "half"


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "file" / "note.txt", "x")


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "note.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "note.txt").stat().st_mode & 0o777 == 0o640


def test_the_content_hash_is_blake2b_of_all_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000  # more than one piece of 1 MiB
    (tmp_path / "x").write_bytes(content)
    assert content_hash(tmp_path / "x") == hashlib.blake2b(content, digest_size=16).hexdigest()


KILLED = """
import os, signal, sys
from pathlib import Path
from healthygan.common.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _killed_while_writing(target: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert ended.returncode == -signal.SIGKILL


def test_what_a_killed_process_left_goes_with_the_next_writing(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint.pt"
    _killed_while_writing(target)
    assert len(list(tmp_path.iterdir())) == 1 and not target.exists()
    write_text(target, "whole")
    assert list(tmp_path.iterdir()) == [target]


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    _killed_while_writing(tmp_path / "maps" / "a.png")
    for name in (".hidden", ".a.png.x8f3k2a1.png", "a.healthygan.png", ".gitignore"):
        (tmp_path / "maps" / name).touch()
    (tmp_path / "maps" / ".folder.healthygan").mkdir()
    with atomic_path(tmp_path / "maps" / "b.png") as being_written:
        remove_leftovers(tmp_path)
        assert len(list((tmp_path / "maps").iterdir())) == 7
        remove_leftovers(tmp_path, below=True)
        assert being_written.exists()
        assert len(list((tmp_path / "maps").iterdir())) == 6
        being_written.write_text("x")


def test_two_who_write_the_same_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    with atomic_path(target) as one:
        one.write_text("one")
        write_text(target, "two")
        assert target.read_text() == "two"
        assert one.read_text() == "one"
    assert target.read_text() == "one"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["猫" * 83 + ".csv", "a" * 255, "é" * 126 + ".pt", "x." + "y" * 250], ids=range(4))
def test_a_name_of_up_to_255_bytes_is_written(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_names_are_cut_between_characters() -> None:
    assert shorten_name("猫猫猫", 8) == "猫猫"
    assert shorten_name("abc", 3) == "abc"
    assert shorten_name("\udcff\udcfeé", 3) == "\udcff\udcfe"


def test_a_file_where_a_folder_should_be_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file is a file, not a folder") as told:
        write_text(tmp_path / "file" / "below" / "note.txt", "x")
    assert "disk space" not in str(told.value)


def test_a_folder_where_the_file_should_be_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "note.txt").mkdir()
    with pytest.raises(InputError, match=r"Is a directory\); choose another name"):
        write_text(tmp_path / "note.txt", "x")


def test_the_permissions_of_others_files_are_left_alone_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(_: int) -> int:
        raise AssertionError("the umask is the whole process's")

    monkeypatch.setattr(os, "umask", changed)
    threads = [threading.Thread(target=write_text, args=(tmp_path / f"{n}.txt", "x")) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.iterdir())) == 4
