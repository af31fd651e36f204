"""Progress is silent unless asked for, and sparing where it goes to a file."""

import io

import pytest

from healthygan.common import progress
from healthygan.common.progress import SECONDS_BETWEEN_LINES, lines_to, silent


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_nothing_is_shown_unless_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    with silent("scoring", 3) as advance:
        advance()
        advance(2, note="loss 0.12")
    assert capfd.readouterr() == ("", "")


def test_quick_work_is_one_line_in_the_end(clock: Clock) -> None:
    stream = io.StringIO()
    with lines_to(stream)("scoring", 3) as advance:
        for _ in range(3):
            clock.now += 1
            advance()
        assert stream.getvalue() == ""
    assert stream.getvalue() == "scoring: 3/3 in 3 s\n"


def test_long_work_tells_now_and_then_how_far_it_is_and_how_long_still(clock: Clock) -> None:
    stream = io.StringIO()
    with lines_to(stream)("training", 8) as advance:
        for step in range(1, 5):
            clock.now += SECONDS_BETWEEN_LINES / 2
            advance(note=f"loss 0.{step}")
    assert stream.getvalue().splitlines() == [
        "training: 2/8, 90 s left loss 0.2",
        "training: 4/8, 60 s left loss 0.4",
        "training: 4/8 in 60 s",
    ]


def test_what_an_earlier_run_finished_counts_as_done_but_not_for_the_time_left(clock: Clock) -> None:
    stream = io.StringIO()
    with lines_to(stream)("scoring", 100, done=90) as advance:
        clock.now += SECONDS_BETWEEN_LINES
        advance(5)
    assert stream.getvalue().splitlines() == ["scoring: 95/100, 30 s left", "scoring: 95/100 in 30 s"]


def test_work_that_was_done_before_says_nothing(clock: Clock) -> None:
    stream = io.StringIO()
    with lines_to(stream)("scoring", 5, done=5):
        clock.now += 2 * SECONDS_BETWEEN_LINES
    assert stream.getvalue() == ""


def test_a_failure_passes_and_claims_no_end(clock: Clock) -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError, match="damaged"), lines_to(stream)("scoring", 5) as advance:
        advance(2)
        raise ValueError("damaged")
    assert stream.getvalue() == ""
