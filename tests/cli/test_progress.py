"""Progress goes to the standard error: a bar on a terminal, lines elsewhere; the standard output stays clean."""

import io
import re

import pytest

from healthygan.cli.progress import shown


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_without_a_terminal_lines_go_to_the_standard_error_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with shown("scoring", 2) as advance:
        advance(2)
    out, error = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"scoring: 2/2 in \d+ s\n", error)


def test_a_terminal_gets_a_bar_that_starts_where_the_work_was_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with shown("scoring", 10, done=4) as advance:
        advance(5, note="loss 0.12")
    assert capsys.readouterr().out == ""
    assert "scoring" in terminal.getvalue()
    assert "9/10" in terminal.getvalue()
    assert "loss 0.12" in terminal.getvalue()


def test_a_note_stays_until_another_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    with shown("training", 2) as advance:
        advance(note="loss 0.5")
        advance()
    (*_, last) = (line for line in terminal.getvalue().splitlines() if "2/2" in line)
    assert "loss 0.5" in last


def test_a_failure_passes_through_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    with pytest.raises(ValueError, match="damaged"), shown("scoring", 2):
        raise ValueError("damaged")
