"""Parts of messages of one line: the first of many names, the nearest of some candidates."""

import difflib
from collections.abc import Sequence

NAMES_SHOWN = 3
NEAR = 0.5
"""Likeness, 0 to 1, above which one name may be meant by another."""


def shorten_list(names: Sequence[str]) -> str:
    """The first names and how many more there are, for a message of one line."""
    shown = ", ".join(names[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN:,} more"


def hint(wanted: str, candidates: Sequence[str]) -> str:
    """Name the nearest candidate, or nothing where none is near; upper and lower case count as the same."""
    by_lower_case = {candidate.lower(): candidate for candidate in candidates}
    nearest = difflib.get_close_matches(wanted.lower(), by_lower_case, n=1, cutoff=NEAR)
    return f" (did you mean {by_lower_case[nearest[0]]!r}?)" if nearest else ""
