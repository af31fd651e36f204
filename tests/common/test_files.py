"""Files are written whole or not at all."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from healthygan.common.errors import InputError
from healthygan.common.files import atomic_path, content_hash, write_json, write_text


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
