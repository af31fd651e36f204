"""What a folder tells of its ranking: one that ``score`` wrote, a run's, or one that is damaged."""

from pathlib import Path

import pytest

from healthygan.common.errors import InputError
from healthygan.common.files import content_hash
from healthygan.serving.scored_folder import open_scored_folder


def write_run(folder: Path) -> Path:
    part = folder / "contrast"
    part.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        "preprocessing:\n  size: 64\n  crop_top: 0.1\n  reader: {slice_axis: coronal}\n"
    )
    (part / "model.pt").write_bytes(b"weights")
    (part / "notes.json").write_text('["distance 1.2"]')
    (part / "mixed_scores.csv").write_text(
        "rank,path,frame,score,probability,patient_id\n1,/pile/a.png,0,2.5,0.92,P1\n2,/pile/b.png,0,-1.0,0.27,\n"
    )
    return folder


def test_a_scored_folder_tells_model_framing_and_notes(scored):
    folder = open_scored_folder(scored)
    assert (folder.model, folder.framing.size, folder.map_top, folder.notes) == (
        "abc123",
        96,
        0.4,
        ("made of phantoms",),
    )
    assert folder.database == scored / "review.sqlite"


def test_a_run_shows_its_piles_ranking_with_probabilities(tmp_path, opened, enter):
    run = write_run(tmp_path / "run")
    folder = open_scored_folder(run)
    assert (folder.reader.slice_axis, folder.framing.crop_top, folder.notes) == ("coronal", 0.1, ("distance 1.2",))
    assert folder.model == content_hash(run / "contrast" / "model.pt")
    reader = enter(opened(run))
    shown = reader.get("/").text
    assert "0.92" in shown and "diseased expected" in shown and "p-value" not in shown
    assert "92.0%" in reader.get("/case/1").text
    assert (run / "contrast" / "review.sqlite").exists()


def test_scores_of_before_there_were_settings_can_be_read(tmp_path, scored):
    (tmp_path / "scores.csv").write_text((scored / "scores.csv").read_text())
    folder = open_scored_folder(tmp_path)
    assert (folder.framing, folder.model, folder.notes) == (None, "", ())


@pytest.mark.parametrize("content", ["{", '{"preprocessing": {"size": "wide"}}'])
def test_damaged_settings_are_refused_in_one_line(scored, content):
    (scored / "scored_with.json").unlink()
    (scored / "scored_with.json").write_text(content)
    with pytest.raises(InputError, match="settings are damaged"):
        open_scored_folder(scored)
