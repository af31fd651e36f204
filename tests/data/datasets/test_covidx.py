"""The official split has the paper's counts, hides what it hides, and other lists are told by name."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from fixtures.covidx import SMALL, no_images, small
from healthygan.common.errors import InputError
from healthygan.data.checks import verify
from healthygan.data.cohort import Cohort, Label, Split
from healthygan.data.datasets.covidx import COUNTS, official_sources, prepare_covidx, read_lists
from healthygan.data.datasets.prepared import Prepared

SHARED = Path(os.environ.get("HEALTHYGAN_SHARED", Path(__file__).parents[4] / "shared")) / "protocols" / "covidx"


def test_the_official_split_has_the_counts_of_the_paper(official_covidx: Prepared) -> None:
    written = Cohort.from_manifest(official_covidx.manifest)
    assert Counter((image.split, image.label) for image in written.images) == COUNTS
    assert sum(COUNTS.values()) == 15_464
    assert "in no split: 200 of the listed images" in official_covidx.steps


def test_the_official_split_is_solved_by_asking_for_the_source(official_covidx: Prepared) -> None:
    prepared = official_covidx
    # 79 of 100 negatives are RSNA's and none of the positives: 0.79 + 0.21 / 2.
    assert prepared.aucs["source alone (not rsna)"] == pytest.approx(0.895, abs=1e-9)
    # Healthy share: rsna .975, cohen .0145, actmed .0107, others none; by hand from the counts by source.
    pairs = 33 * (79 + 1 + 10) + 39 * (79 + 0.5) + 28 * 100
    assert prepared.aucs["source alone (rare in healthy)"] == pytest.approx(pairs / 10_000, abs=1e-9)
    sources = Counter((i.split, i.label, i.source) for i in prepared.cohort.images)
    assert sources[Split.HEALTHY, Label.HEALTHY, "rsna"] == 9_779
    assert sources[Split.MIXED, Label.DISEASED, "rsna"] == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the published lists are not in {SHARED} (set HEALTHYGAN_SHARED)")
def test_the_published_lists_give_the_same_and_torn_patients_are_told(tmp_path: Path) -> None:
    with no_images():
        prepared = prepare_covidx(tmp_path, SHARED, tmp_path / "m.csv")
        apart = prepare_covidx(tmp_path, SHARED, tmp_path / "apart.csv", keep_apart=True)
        redrawn = prepare_covidx(tmp_path, SHARED, tmp_path / "redraw.csv", official=False, seed=1)
    assert Counter((image.split, image.label) for image in prepared.cohort.images) == COUNTS
    assert any("29 patient(s) are in several splits, 1 of them in test" in line for line in prepared.warnings)
    assert not any("several splits" in line for line in apart.warnings)
    counts = Counter((image.split, image.label) for image in apart.cohort.images)
    assert counts == COUNTS | {(Split.HEALTHY, Label.HEALTHY): 10_031 - 56}
    assert Counter((image.split, image.label) for image in redrawn.cohort.images) == COUNTS
    assert not any("several splits" in line for line in redrawn.warnings)


def test_pneumonia_among_the_healthy_is_counted_from_the_three_class_list(
    covidx_lists: Path, official_covidx: Prepared, tmp_path: Path
) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    for path in covidx_lists.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert any("three-class list" in line and "is not known" in line for line in official_covidx.warnings)
    healthy = [name for name, (split, _, _) in official_sources().items() if split is Split.HEALTHY]
    train = [f"p {name} {'pneumonia' if number < 3724 else 'normal'}" for number, name in enumerate(healthy[215:])]
    (folder / "train_COVIDx7A.txt").write_text("\n".join(train))
    (folder / "test_COVIDx7A.txt").write_text("x x.png normal\n")
    with no_images():
        told = prepare_covidx(tmp_path, folder, tmp_path / "b.csv")
    assert (
        "healthy: of 10,031 'healthy' images 3,724 carry non-COVID pneumonia, 215 are not in the three-class list"
        in told.warnings
    )
    assert {image.more["three_class"] for image in told.cohort.images} == {"pneumonia", "normal", "absent"}


def test_a_later_list_is_drawn_with_patients_apart_and_can_be_opened(tmp_path: Path) -> None:
    images, listing = small(tmp_path)
    prepared = prepare_covidx(images, listing, tmp_path / "m.csv", official=False, amounts=SMALL)
    assert prepared.steps[0] == "lists: COVIDx CXR-3B, 21 images"
    read = Cohort.from_manifest(tmp_path / "m.csv")
    verify(
        Cohort("names", tuple(image for image in read.images if image.split is Split.HEALTHY)), needs=[Split.HEALTHY]
    )
    assert Counter((image.split, image.label) for image in read.images) == SMALL
    assert {image.patient_id for image in read.split(Split.MIXED) if image.label is Label.DISEASED} <= {
        f"sirm:COVID {number}" for number in range(4)
    }
    record = json.loads((tmp_path / "m.json").read_text())
    assert record["protocol"] == "covidx" and record["steps"] == list(prepared.steps)


def test_another_version_is_named_when_the_official_split_is_wanted(tmp_path: Path) -> None:
    images, listing = small(tmp_path)
    with pytest.raises(InputError, match=r"lists of COVIDx CXR-3B, and the official split is of 7B"):
        prepare_covidx(images, listing, tmp_path / "m.csv")


def test_a_renamed_list_is_recognised_by_its_lines(covidx_lists: Path, tmp_path: Path) -> None:
    (tmp_path / "train_COVIDx8B.txt").write_bytes((covidx_lists / "train_COVIDx7B.txt").read_bytes())
    (tmp_path / "test_COVIDx8B.txt.gz").write_bytes((covidx_lists / "test_COVIDx7B.txt.gz").read_bytes())
    with pytest.raises(InputError, match="named 8B but have the lines of COVIDx 7B"):
        read_lists(tmp_path)
    (tmp_path / "train_COVIDx8B.txt").rename(tmp_path / "train.txt")
    (tmp_path / "test_COVIDx8B.txt.gz").rename(tmp_path / "test.txt.gz")
    assert read_lists(tmp_path).version == "7B"


def test_lines_listed_twice_count_once_and_contradictions_are_refused(tmp_path: Path) -> None:
    images, listing = small(tmp_path)
    path = listing / "train_COVIDx_CXR-3B.txt"
    path.write_text(path.read_text() + "\nn0 n0.png negative rsna\n")
    told = prepare_covidx(images, listing, tmp_path / "m.csv", official=False, amounts=SMALL)
    assert any("1 line(s) repeated, counted once: n0.png" in line for line in told.warnings)
    path.write_text(path.read_text() + "n1 n1.png positive rsna\n")
    with pytest.raises(InputError, match=r"listed twice with different facts: n1\.png"):
        read_lists(listing)


@pytest.mark.parametrize("line", ["one two", "patient a.png maybe rsna", "a.png negative rsna"])
def test_a_line_that_is_none_of_a_list_is_named(tmp_path: Path, line: str) -> None:
    _, listing = small(tmp_path)
    (listing / "test_COVIDx_CXR-3B.txt").write_text(f"t t.png negative rsna\n{line}\n")
    with pytest.raises(InputError, match=r"test_COVIDx_CXR-3B\.txt, line 2: .*patient filename class source"):
        read_lists(listing)


def test_folders_without_lists_tell_where_they_are_published(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no COVIDx list there; .*COVID-Net.*train_COVIDx7B\.txt"):
        read_lists(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        read_lists(tmp_path / "none")
    (tmp_path / "train_COVIDx7B.txt").write_text("p a.png negative rsna\n")
    with pytest.raises(InputError, match="the test list is missing"):
        read_lists(tmp_path)


def test_of_several_versions_one_must_be_chosen(tmp_path: Path) -> None:
    for version in ("8B", "9B"):
        for part in ("train", "test"):
            (tmp_path / f"{part}_COVIDx{version}.txt").write_text(f"p {part}{version}.png negative rsna\n")
    with pytest.raises(InputError, match="holds the lists of COVIDx 8B, 9B; choose one"):
        read_lists(tmp_path)
    assert {record.name for record in read_lists(tmp_path, "9B").records} == {"train9B.png", "test9B.png"}
