"""Tensors in files: written whole or not at all, read without running anything."""

from pathlib import Path
from typing import Any

import torch

from healthygan.common.errors import InputError
from healthygan.common.files import atomic_path


def save_tensors(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, atomically.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    # Through an open file: given a path, torch writes its (temporary) name into the file.
    with atomic_path(path) as temporary:
        try:
            with temporary.open("wb") as file:
                torch.save(state, file)
        except RuntimeError as error:
            # Where writing fails, torch complains of its own position in the file; the reason is in the context.
            raise _reason(error) from error


def _reason(error: RuntimeError) -> OSError:
    """The operating system's word for what went wrong, or else torch's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return OSError(str(error).splitlines()[0])


def load_tensors(path: Path) -> dict[str, Any]:
    """Read what ``save_tensors`` wrote, onto the CPU; anything but tensors and plain values is refused.

    Raises:
        InputError: the file is missing, damaged, or holds something that could run code.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; copy the run folder again or train anew") from error
    except Exception as error:  # torch raises many kinds for a damaged or hostile file
        raise InputError(
            f"{path}: damaged, or not a file of weights; nothing in it was run; copy it again or train anew"
        ) from error
    if not isinstance(state, dict):
        raise InputError(f"{path}: holds a {type(state).__name__}, not named weights; copy it again or train anew")
    return state
