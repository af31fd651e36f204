"""Any other set: folders or a table, labels by rule, patients and sources by pattern or column."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from fixtures.pictures import textured
from healthygan.common.errors import InputError
from healthygan.data.cohort import Cohort, Label, Split
from healthygan.data.datasets.general import Columns, Plan, prepare_folders, prepare_table
from healthygan.data.datasets.rules import parse_rule
from healthygan.data.datasets.split import parse_amounts

WELL, ILL = Label.HEALTHY, Label.DISEASED
PLAN = Plan(parse_amounts(["healthy=10", "mixed=6+6", "test=4+4"]))
NORMAL, EDEMA = parse_rule('finding == "No Finding"'), parse_rule('"Edema" in finding')


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two images a patient; patients are numbered through both labels, sources are subfolders."""
    for label, first in (("well", 0), ("ill", 100)):
        for patient in range(first, first + 14):
            for view in "ab":
                touched(tmp_path / label / ("north" if patient % 2 else "south") / f"p{patient:03d}_{view}.png")
    return tmp_path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Thirty patients with two images each: a third healthy, a third with oedema, a third with something else."""
    lines = ["file,finding,subject,site,view,age"]
    for patient in range(30):
        for number, view in enumerate(("PA", "AP")):
            finding = ("No Finding", "Mass|Edema", "Hernia")[patient % 3]
            name = f"s{patient}/{number}.png"
            touched(tmp_path / "images" / name)
            lines.append(f"{name},{finding},{patient},{'ab'[patient % 2]},{view},{patient + 20}")
    path = tmp_path / "list.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def counts(path: Path) -> Counter[tuple[Split, Label | None]]:
    return Counter((image.split, image.label) for image in Cohort.from_manifest(path).images)


def from_table(table: Path, **options: object) -> Cohort:
    given = {
        "healthy": NORMAL,
        "diseased": EDEMA,
        "columns": Columns("file", "subject", "site", ("age", "view")),
        "plan": Plan(parse_amounts(["healthy=6", "mixed=4+6", "test=4+4"])),
    }
    prepare_table(table, [table.parent / "images"], table.parent / "m.csv", **(given | options))  # type: ignore[arg-type]
    return Cohort.from_manifest(table.parent / "m.csv")


def test_folders_tell_labels_and_patterns_patients_and_sources(folders: Path) -> None:
    prepare_folders(
        [folders / "well"],
        [folders / "ill"],
        folders / "m.csv",
        patient=r"(p\d+)_",
        source=r"^(\w+)/",
        plan=PLAN,
    )
    assert counts(folders / "m.csv") == PLAN.amounts
    splits: dict[str | None, set[Split]] = {}
    for image in Cohort.from_manifest(folders / "m.csv").images:
        assert image.path.is_file()
        assert image.label is (WELL if "/well/" in str(image.path) else ILL)
        assert (image.patient_id, image.source) == (image.path.name[:4], image.path.parent.name)
        splits.setdefault(image.patient_id, set()).add(image.split)
    assert all(len(places) == 1 for places in splits.values())


def test_ordinary_shares_use_every_image_and_unknown_patients_are_told(folders: Path) -> None:
    told = prepare_folders([folders / "well"], [folders / "ill"], folders / "m.csv")
    found = counts(folders / "m.csv")
    assert found[Split.HEALTHY, WELL] == 14 and sum(found.values()) >= 2 * 28 - 4  # rounded down
    assert any("56 images have no patient" in line for line in told.warnings)


def test_unlabelled_folders_are_mixed(folders: Path) -> None:
    touched(folders / "pile" / "x.png")
    prepare_folders([folders / "well"], [], folders / "m.csv", unlabelled=[folders / "pile"])
    mixed = Cohort.from_manifest(folders / "m.csv").split(Split.MIXED)
    assert [image.path.name for image in mixed if image.label is None] == ["x.png"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"patient": "p("}, "not a regular expression"),
        ({"patient": r"p\d+"}, "has no group"),
        ({"patient": r"(q\d+)"}, "fits none of 56 paths"),
        ({"plan": Plan(stratify=True)}, "no image has a source"),
    ],
)
def test_patterns_and_strata_that_cannot_work_are_refused(folders: Path, options, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        prepare_folders([folders / "well"], [folders / "ill"], folders / "m.csv", **options)


def test_a_file_with_both_labels_is_refused(folders: Path) -> None:
    with pytest.raises(InputError, match="give folders that share no file"):
        prepare_folders([folders / "well"], [folders / "well" / "north"], folders / "m.csv")


def test_a_table_with_rules_and_columns(table: Path) -> None:
    cohort = from_table(table)
    assert Counter((image.split, image.label) for image in cohort.images) == parse_amounts(
        ["healthy=6", "mixed=4+6", "test=4+4"]
    )
    for image in cohort.images:
        patient = int(image.path.parent.name[1:])
        assert image.label is (WELL if patient % 3 == 0 else ILL) and patient % 3 < 2
        assert (image.patient_id, image.source) == (str(patient), "ab"[patient % 2])
        assert image.more == {"age": str(patient + 20), "view": ("PA", "AP")[int(image.path.stem)]}
    assert len({(i.patient_id, i.split) for i in cohort.images}) == len({i.patient_id for i in cohort.images})


def test_rows_are_kept_by_a_rule_and_the_rest_can_be_the_mixed_set(table: Path) -> None:
    cohort = from_table(table, keep=parse_rule('view == "PA"'), rest_to_mixed=True, plan=None)
    assert all(image.more["view"] == "PA" for image in cohort.images)
    unlabelled = [image for image in cohort.images if image.label is None]
    assert len(unlabelled) == 10 and {image.split for image in unlabelled} == {Split.MIXED}


def test_files_are_found_by_name_alone_where_the_table_has_no_paths(tmp_path: Path) -> None:
    for number in range(8):
        touched(tmp_path / "deep" / f"part{number % 2}" / f"{number}.png")
    (tmp_path / "t.csv").write_text("path,ill\n" + "".join(f"{n}.png,{n % 2}\n" for n in range(8)))
    rules = {"healthy": parse_rule("ill == 0"), "diseased": parse_rule("ill == 1")}
    prepare_table(tmp_path / "t.csv", [tmp_path / "deep"], tmp_path / "m.csv", **rules)
    assert all(image.path.is_file() for image in Cohort.from_manifest(tmp_path / "m.csv").images)
    touched(tmp_path / "deep" / "again" / "0.png")
    with pytest.raises(InputError, match=r"several files each: 0\.png"):
        prepare_table(tmp_path / "t.csv", [tmp_path / "deep"], tmp_path / "m.csv", **rules)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"diseased": parse_rule('finding != ""')}, "both rules hold"),
        ({"healthy": parse_rule("finding == No")}, "the table has no column 'No'"),
        ({"columns": Columns("fil")}, r"column 'fil' is missing \(did you mean 'file'\?\)"),
        ({"columns": Columns("subject")}, "30 image\\(s\\) listed twice"),
        ({"columns": Columns("file", also=("source", "path"))}, "^also=path: .*use source or patient"),
    ],
)
def test_rules_and_columns_that_do_not_fit_are_refused(table: Path, options, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        from_table(table, **options)
    assert not (table.parent / "m.csv").exists()


def test_missing_and_extra_files_of_a_table_are_named(table: Path) -> None:
    touched(table.parent / "images" / "stray.png")
    gone = from_table(table).images[0].path
    gone.unlink()
    (table.parent / "m.csv").unlink()
    with pytest.raises(InputError, match=rf"missing: s\d+/{gone.name}"):
        from_table(table)
    assert "in no list: stray.png" in (table.parent / "m.problems.txt").read_text()


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """Forty pictures, twenty of them twice: as PNG and, encoded anew, as JPEG."""
    for label, first in (("well", 0), ("ill", 100)):
        (tmp_path / label).mkdir()
        for seed in range(first, first + 20):
            Image.fromarray(textured(seed, 96)).save(tmp_path / label / f"{seed}.png")
            if seed % 2:
                Image.fromarray(textured(seed, 96)).save(tmp_path / label / f"{seed}.jpg", quality=80)
    return tmp_path


def split_by_picture(manifest: Path) -> dict[str, set[Split]]:
    places: dict[str, set[Split]] = {}
    for image in Cohort.from_manifest(manifest).images:
        places.setdefault(image.path.stem, set()).add(image.split)
    return places


@pytest.mark.parametrize("seed", range(3))
def test_near_duplicates_stay_in_one_split_and_patients_stay_unknown(copies: Path, seed: int) -> None:
    prepared = prepare_folders([copies / "well"], [copies / "ill"], copies / "m.csv", plan=Plan(seed=seed))

    assert all(len(places) == 1 for places in split_by_picture(copies / "m.csv").values())
    assert all(image.patient_id is None for image in prepared.cohort.images)
    assert any(step.startswith("near-duplicates kept in one split, 20 pair(s): ") for step in prepared.steps)


def test_image_by_image_near_duplicates_fall_apart_like_patients(copies: Path) -> None:
    prepare_folders([copies / "well"], [copies / "ill"], copies / "m.csv", plan=Plan(by_patient=False))

    assert any(len(places) == 2 for places in split_by_picture(copies / "m.csv").values())
