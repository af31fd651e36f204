"""The page tells what the choice of the checkpoint cost."""

from dataclasses import replace

from healthygan.evaluation.result import Evaluation


def test_the_choice_of_the_checkpoint_is_told_with_what_it_cost(written, selection, labelled: Evaluation) -> None:
    page, content = written(replace(labelled, selection=selection(True)))
    assert "Choice of the checkpoint" in page.text and "Chosen by: highest AUCp." in page.text
    assert "FID (x): rough: few." in page.text
    for cells in (
        ("aucp", "2", "AUCp 0.8", "0.950", "+0.000", "+0.050"),
        ("fid", "3", "FID (x) 4", "0.900", "-0.050", "+0.000"),
        ("last", "3", "", "0.900", "-0.050", "+0.000"),
        ("oracle", "2", "no rule: it sees the test labels", "0.950", "+0.000", "+0.050"),
    ):
        assert "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" in content
