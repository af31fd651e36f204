"""A message of the library in the words of the command line: flags for arguments, commands for calls."""

from collections.abc import Iterable, Mapping

from healthygan.common.errors import Argument, Call, Part

COMMANDS = {"train": "healthygan train --resume", "select": "healthygan select"}


def phrase(parts: Iterable[Part], flags: Mapping[str, str]) -> str:
    """One line.

    Args:
        parts: of the message.
        flags: how each argument is given on the command line, such as ``--fdr`` for ``fdr``; what has no flag stays
            as Python writes it.
    """
    return "".join(_phrased(part, flags) for part in parts)


def _phrased(part: Part, flags: Mapping[str, str]) -> str:
    if isinstance(part, Call):
        return f"{COMMANDS[part.function]} {part.run}"
    if not isinstance(part, Argument) or part.name not in flags:
        return str(part)
    flag = flags[part.name]
    return flag if part.value is None or part.value is True else f"{flag} {part.value}"
