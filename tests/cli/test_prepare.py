"""``healthygan prepare`` from the command line: each protocol ends in a manifest or in one line that says why not."""

from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest

from healthygan.cli.main import main
from healthygan.cli.verbs.prepare import PROTOCOLS
from healthygan.data.cohort import Cohort, Label, Split


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_help_of_a_protocol(protocol: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["prepare", protocol, "--help"])
    assert stopped.value.code == 0
    assert f"healthygan prepare {protocol}" in capsys.readouterr().out


def covidx(folder: Path) -> list[str]:
    for part, rows in (("train", 12), ("test", 4)):
        words = [f"{part}{n} {part}{n}.png {'positive' if n % 2 else 'negative'} rsna" for n in range(rows)]
        (touched(folder / "lists" / f"{part}_COVIDx8B.txt")).write_text("\n".join(words))
        for number in range(rows):
            touched(folder / "images" / f"{part}{number}.png")
    return ["prepare", "covidx", "--images", str(folder / "images"), "--lists", str(folder / "lists")]


def test_covidx_redraw_and_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = [*covidx(tmp_path), "-o", str(tmp_path / "m.csv")]
    assert main(base) == 2
    assert "these are the lists of COVIDx 8B, and the official split is of 7B" in capsys.readouterr().err
    assert main([*base, "--seed", "1"]) == 2
    assert capsys.readouterr().err.startswith("healthygan prepare: --seed: the official split is fixed")
    redraw = [*base, "--split", "redraw", "--counts", "healthy=3", "mixed=2+3", "test=2+2"]
    assert main([*redraw, "--drop-torn"]) == 2
    capsys.readouterr()
    assert main([*redraw, "--seed", "1", "--stratify"]) == 0
    shown = capsys.readouterr().out
    assert "drawn with seed 1" in shown and "healthygan train" in shown
    found = Counter((image.split, image.label) for image in Cohort.from_manifest(tmp_path / "m.csv").images)
    assert found[Split.HEALTHY, Label.HEALTHY] == 3 and found[Split.TEST, Label.DISEASED] == 2


def test_chestxray14(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["Image Index,Finding Labels,Patient ID,View Position"]
    for number in range(20):
        touched(tmp_path / "images_001" / f"{number}.png")
        lines.append(f"{number}.png,{'No Finding' if number % 2 else 'Mass'},{number},PA")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    base = ["prepare", "chestxray14", "--metadata", str(tmp_path / "t.csv"), "--images", str(tmp_path / "images_001")]
    assert main([*base, "--counts", "healthy=4", "test=3+3", "--by-image", "-o", str(tmp_path / "m.csv")]) == 0
    assert len(Cohort.from_manifest(tmp_path / "m.csv").images) == 10
    shown = capsys.readouterr().out
    assert "image by image" in shown and "the mixed set is empty, and train needs it" in shown


def test_migraine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, split in enumerate(("healthy", "mixed")):
        (tmp_path / split).mkdir()
        voxels = np.random.default_rng(number).integers(0, 99, (8, 8, 8)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / split / f"{split}.nii")
    base = ["prepare", "migraine", "--healthy", str(tmp_path / "healthy"), "--mixed", str(tmp_path / "mixed")]
    options = ["-o", str(tmp_path / "out"), "--size", "16"]
    assert main([*base, *options, "--slices", "0.5", "1", "--step", "2"]) == 0
    assert len(Cohort.from_manifest(tmp_path / "out" / "manifest.csv").images) == 2 * 2
    capsys.readouterr()
    for wrong in (["--slices", "0.9", "0.1"], ["--size", "3"], ["--series", "("], ["--source-pattern", "x"]):
        assert main([*base, *options, *wrong]) == 2
        assert wrong[0] in capsys.readouterr().err


def test_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(10):
        touched(tmp_path / "well" / f"p{number}.png")
        touched(tmp_path / "ill" / f"q{number}.png")
    base = ["prepare", "folders", "--healthy", str(tmp_path / "well"), "--diseased", str(tmp_path / "ill")]
    assert main([*base, "--patient-pattern", r"(\w+)\.png", "-o", str(tmp_path / "m.csv")]) == 0
    assert Counter(image.split for image in Cohort.from_manifest(tmp_path / "m.csv").images)[Split.HEALTHY] == 5
    capsys.readouterr()
    assert main([*base, "--counts", "nowhere=3", "-o", str(tmp_path / "n.csv")]) == 2
    assert "--counts nowhere=3" in capsys.readouterr().err


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["path,finding,subject"]
    for number in range(20):
        touched(tmp_path / "images" / f"{number}.png")
        lines.append(f"{number}.png,{'none' if number % 2 else 'Mass'},{number // 4}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    base = ["prepare", "table", "--table", str(tmp_path / "t.csv"), "--images", str(tmp_path / "images")]
    rules = ["--healthy", 'finding == "none"', "--diseased", '"Mass" in finding', "--patient", "subject"]
    counts = ["--counts", "healthy=2", "mixed=2+2", "test=2+2"]
    assert main([*base, *rules, *counts, "--also", "finding", "-o", str(tmp_path / "m.csv")]) == 0
    assert len(Cohort.from_manifest(tmp_path / "m.csv").images) == 10
    capsys.readouterr()
    assert main([*base, "--healthy", "finding(", "--diseased", "1 == 2", "-o", str(tmp_path / "n.csv")]) == 2
    assert "rule 'finding('" in capsys.readouterr().err


def test_config_takes_a_presets_name_too(
    tmp_path: Path, set_options: list[str], cohort_factory, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = cohort_factory(tmp_path / "cohort", seed=2)
    assert main(["inspect", str(manifest), "--config", "migraine", "--control", "source"]) == 0
    assert "source (not a)" in capsys.readouterr().out
    assert main(["inspect", str(manifest), "--config", "migrain"]) == 2
    assert "migrain" in capsys.readouterr().err
