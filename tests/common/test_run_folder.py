"""What a run folder keeps beside weights."""

from pathlib import Path

import pytest

from healthygan.common.errors import InputError
from healthygan.common.run_folder import Run


def test_notes_are_read_back_and_there_need_be_none(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.load_notes() == []
    run.save_notes(["the share is 0.5", "é"])
    assert Run(tmp_path).load_notes() == ["the share is 0.5", "é"]


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1]"])
def test_damaged_notes_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "notes.json").write_text(content)
    with pytest.raises(InputError, match=r"notes.json: damaged") as caught:
        Run(tmp_path).load_notes()
    assert "\n" not in str(caught.value)


def test_damaged_metrics_are_refused_by_name(tmp_path):
    run = Run(tmp_path)
    for content in ("[1]", '{"x": 1}', "{"):
        run.early_stopping.write_text(content)
        with pytest.raises(InputError, match=r"early_stopping.json: damaged"):
            run.load_early_stopping()
