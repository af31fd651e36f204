"""Parts of one-line messages."""

import pytest

from healthygan.common.messages import hint, shorten_list


@pytest.mark.parametrize(
    ("names", "expected"),
    [([], ""), (["a"], "a"), (["a", "b", "c"], "a, b, c"), (list("abcde"), "a, b, c and 2 more")],
)
def test_the_first_names_stand_for_many(names: list[str], expected: str) -> None:
    assert shorten_list(names) == expected


def test_many_more_are_counted_in_thousands() -> None:
    assert shorten_list(["x"] * 1_234).endswith("and 1,231 more")


def test_the_nearest_candidate_is_named_as_it_is_written() -> None:
    assert hint("PATIENT", ["Patient ID", "Path"]) == " (did you mean 'Patient ID'?)"
    assert hint("quite another", ["a", "b"]) == ""
    assert hint("a", []) == ""
