"""What a run says of its own pile, and when it warns that the numbers are worth little."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from healthygan.cli.main import main
from healthygan.common.run_folder import Run
from healthygan.detectors.contrast.findings import PileFindings
from healthygan.runs.mixed_report import pile_report, write_mixed_report
from healthygan.stats.intervals import Interval


def findings(
    share: float = 0.5,
    interval: tuple[float, float] = (0.4, 0.6),
    spread: tuple[float, float] | None = (0.1, 0.2),
    count: int = 30,
    known: int = 30,
) -> PileFindings:
    return PileFindings(
        share,
        Interval(*interval, 0.95),
        None if spread is None else Interval(*spread, 0.95),
        0.7,
        1.0,
        np.array([1.0, 0.5, 0.2]),
        np.linspace(-2, 0, count),
        np.linspace(-1, 1, count),
        [(Path(f"/{n}.png"), 0, f"p{n}" if n < known else f"/{n}.png") for n in range(count)],
        count,
    )


def reported(tmp_path: Path, found: PileFindings) -> Run:
    run = Run(tmp_path)
    write_mixed_report(run, found)
    return run


def test_where_all_is_well_nothing_is_warned_of(tmp_path: Path) -> None:
    assert reported(tmp_path, findings()).load_warnings() == []
    assert reported(tmp_path, findings(spread=None)).load_warnings() == []
    assert reported(tmp_path, findings(spread=(-0.2, 0.1))).load_warnings() == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (findings(share=0.999, interval=(0.999, 0.999)), "0.999, is as high as the estimate can get"),
        (findings(share=0.001, interval=(0.001, 0.3)), "0.001, is as low as the estimate can get"),
        (findings(interval=(0.001, 0.999)), "0.001 to 0.999, tells nothing"),
        (findings(spread=(-0.3, -0.1)), "are the two swapped"),
        (findings(count=5, known=5), "only 5 healthy and 5 mixed patients"),
        (findings(count=5, known=0), "only 5 healthy and 5 mixed images"),
    ],
)
def test_what_makes_the_numbers_worthless_is_named(tmp_path: Path, found: PileFindings, words: str) -> None:
    (warning,) = reported(tmp_path, found).load_warnings()
    assert words in warning


def test_a_patient_is_spoken_of_only_where_patients_are_known(tmp_path: Path) -> None:
    notes = reported(tmp_path, findings()).load_notes()
    assert "each by a model that never saw its patient: mixed_scores.csv" in notes[-1]
    (note,) = reported(tmp_path, findings(known=0)).load_notes()[-1:]
    assert "never saw the image (no patient is known" in note and "patient_id" in note
    (note,) = reported(tmp_path, findings(known=20)).load_notes()[-1:]
    assert "never saw the image (the patients of 10 of 30 are unknown" in note


def test_the_report_of_a_part_or_a_member_is_the_runs(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert pile_report(run) is None
    for part in (run.member(0).part("contrast"), run.part("contrast"), run):
        write_mixed_report(part, findings())
        report = pile_report(run)
        assert report is not None and report.path == part.path


def folders(folder: Path, count: int) -> list[str]:
    """Arguments that name a healthy and a mixed folder of so many images."""
    random, arguments = np.random.default_rng(0), []
    for name in ("healthy", "mixed"):
        (folder / name).mkdir()
        for number in range(count):
            pixels = random.integers(0, 255, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
        arguments += [f"--{name}", str(folder / name)]
    return arguments


def trained(folder: Path, count: int) -> int:
    settings = ["--preset", "contrast", "--set", "preprocessing.size=32", "--set", "training.device=cpu"]
    return main(["train", *folders(folder, count), "--run", str(folder / "run"), *settings])


def test_training_on_five_images_of_either_kind_says_that_they_are_few(tmp_path: Path, capsys) -> None:
    assert trained(tmp_path, 5) == 0
    shown = capsys.readouterr().out
    assert "warning: only" in shown and "mixed images to learn from" in shown
    assert "no patient is known" in shown and "its patient" not in shown


def test_training_on_three_images_of_either_kind_is_refused_in_one_line(tmp_path: Path, capsys) -> None:
    assert trained(tmp_path, 3) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("healthygan train: contrast: ") and "add healthy images" in message
