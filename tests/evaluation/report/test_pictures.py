"""The page shows each case in its group, with the verdict on it."""

from healthygan.evaluation.result import GROUPS


def test_cases_stand_in_their_groups_with_the_verdict_of_the_honest_threshold(page) -> None:
    assert [anchor for anchor in page.ids if anchor in GROUPS] == ["found", "missed", "alarms"]
    assert "a.pngfoundscore 1.5 · rank 1 of 80 · diseased · source Ward 3" in page.text
    assert "b.pngmissedscore 0.1 · rank 77 of 80 · diseased" in page.text
    assert "c.pngfalse alarmscore 1 · rank 12 of 80 · healthy" in page.text
