"""The printed page shows names as they are, and sums up what would be too long."""

from pathlib import Path

from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.inspection.inspect import inspect_cohort

HEALTHY, WELL = Split.HEALTHY, Label.HEALTHY


def test_names_with_square_brackets_are_printed_as_they_are(picture, printed, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    bad = CohortImage(tmp_path / "[red]none[/].png", HEALTHY, WELL, "p", None)

    page = printed(inspect_cohort(Cohort("[bold]x", (CohortImage(path, HEALTHY, WELL, "p", "[blue]s"), bad))))

    assert "Cohort [bold]x" in page
    assert "source [blue]s" in page
    assert "[red]none[/].png" in page


def test_sources_beyond_a_dozen_are_summed_up(picture, printed, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    many = tuple(CohortImage(path, HEALTHY, WELL, "p", f"s{number}") for number in range(15))

    page = printed(inspect_cohort(Cohort("study", many)))

    assert page.count("source s") == 12
    assert "and 3 further sources" in page


def test_split_without_any_readable_file_can_be_shown(printed, tmp_path: Path) -> None:
    inspected = inspect_cohort(Cohort("study", (CohortImage(tmp_path / "none.png", Split.TEST, Label.DISEASED),)))

    assert inspected.splits[0].sizes == ()
    assert inspected.shortcuts == ()
    assert "different sizes" in printed(inspected)
