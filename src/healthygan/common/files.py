"""Writing files whole or not at all, and naming files by their content."""

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from healthygan.common.errors import InputError

LONGEST_NAME = 255
"""Bytes of a file's name that every usual file system takes."""
MARK = ".healthygan"
"""In the name of each temporary file, so that nothing else is ever taken for one."""
TEMPORARY = re.compile(rf"\..*{re.escape(MARK)}(\.[^.]*)?", re.DOTALL)
REMEDIES = {
    errno.ENOSPC: "free disk space or choose another folder",
    errno.EDQUOT: "free disk space or choose another folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "choose another name",
}


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; on success it is flushed to disk and takes ``target``'s name.

    On any exception the temporary file is removed and an existing ``target`` stays as it was. What a killed process
    left of the same ``target`` is removed first.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    handle = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = _claim(target)
        try:
            yield temporary
            os.fsync(handle)
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise not_writable(target, error) from error
    finally:
        if handle is not None:
            os.close(handle)


def not_writable(target: Path, error: OSError) -> InputError:
    """What to tell where ``target`` could not be written: the reason, and what mends it."""
    for place in target.parents:
        if place.exists() and not place.is_dir():
            return InputError(f"{target}: cannot be written, since {place} is a file, not a folder; choose another one")
    remedy = REMEDIES.get(error.errno or 0, "mend it or choose another folder")
    return InputError(f"{target}: cannot be written ({error.strerror or error}); {remedy}")


def remove_leftovers(folder: Path, *, below: bool = False) -> None:
    """Remove the temporary files of processes that were killed; those that are being written stay.

    Args:
        below: also in all folders below.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            if TEMPORARY.fullmatch(name):
                _remove_abandoned(Path(place, name))
        if not below:
            return


def shorten_name(name: str, longest: int) -> str:
    """The beginning of a file's name, of at most ``longest`` bytes; no character is cut in two."""
    while name and len(os.fsencode(name)) > longest:
        name = name[:-1]
    return name


def _claim(target: Path) -> tuple[Path, int]:
    """A new empty file beside ``target``, locked for as long as the handle given with it is open.

    The lock, which ends with its process, tells a file that is being written from one that was left behind.
    """
    suffix = MARK + shorten_name(target.suffix, 20)
    unique = f".{secrets.token_hex(4)}"
    beginning = shorten_name(target.name, LONGEST_NAME - len(os.fsencode(suffix)) - len(unique) - 1)
    # The same name each time, so that what was left behind is met again; another one where two write at once.
    usual, other = (target.with_name(f".{beginning}{middle}{suffix}") for middle in ("", unique))
    _remove_abandoned(usual)
    for path in (usual, other):
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        with suppress(BlockingIOError):
            _lock(handle)
            if os.fstat(handle).st_nlink:
                return path, handle
        os.close(handle)  # another process took it for abandoned before it was locked
    raise FileExistsError(errno.EEXIST, "others are writing it", str(target))


def _remove_abandoned(path: Path) -> None:
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if _lock(handle):
                path.unlink(missing_ok=True)
        finally:
            os.close(handle)


def _lock(handle: int) -> bool:
    """Lock a file for this process; false where the file system knows no locks.

    Raises:
        BlockingIOError: another process has it.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        raise
    except OSError:
        return False


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON, atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def content_hash(path: Path) -> str:
    """BLAKE2b hash of a file's bytes, 32 hexadecimal digits, read in pieces of 1 MiB."""
    digest = hashlib.blake2b(digest_size=16)
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
        raise OSError(errno.EINVAL, "no plain file", str(path))
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
