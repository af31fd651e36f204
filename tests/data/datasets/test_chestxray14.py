"""ChestX-ray14: PA views, none or one disease, exact counts, patients apart; on the real table where it is at hand."""

import gzip
import importlib.util
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from healthygan.common.errors import InputError
from healthygan.data.cohort import Cohort, Label, Split
from healthygan.data.datasets import chestxray14
from healthygan.data.datasets.chestxray14 import COUNTS, DISEASES, prepare_chestxray14
from healthygan.data.datasets.split import ORDER

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
SMALL = dict(zip(ORDER, (100, 50, 32, 40, 40, 100, 100), strict=True))
"""A hundredth of the paper's."""


def real_table() -> Path | None:
    """Named by the environment, or shipped with an installed torchxrayvision."""
    if named := os.environ.get("HEALTHYGAN_CHESTXRAY14"):
        return Path(named)
    spec = importlib.util.find_spec("torchxrayvision")
    place = Path(spec.origin).parent / "data" / "Data_Entry_2017_v2020.csv.gz" if spec and spec.origin else None
    return place if place is not None and place.is_file() else None


REAL = real_table()


@pytest.fixture
def no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every listed name has a file: the counts are the table's business."""

    class All(dict[str, list[str]]):
        def __contains__(self, name: object) -> bool:
            return True

        def __missing__(self, name: str) -> list[str]:
            return [f"/images/{name}"]

    monkeypatch.setattr(chestxray14, "find_images", lambda folders: All())


def rows(patients: int = 900, seed: int = 0) -> list[list[object]]:
    """Follow-ups of each patient, with or without findings, as in the published table."""
    chance = random.Random(seed)
    diseases = sorted(DISEASES)
    made: list[list[object]] = []
    for patient in range(1, patients + 1):
        ill = chance.random() < 0.5
        for number in range(chance.randint(1, 5)):
            findings = "No Finding"
            if ill and chance.random() < 0.6:
                findings = "|".join(sorted(chance.sample(diseases, chance.choice([1, 1, 1, 2]))))
            view = chance.choice(["PA", "PA", "AP"])
            made.append(
                [f"{patient:08d}_{number:03d}.png", findings, number, patient, 50, "F", view, 2500, 2048, 0.1, 0.1]
            )
    return made


def table(path: Path, made: list[list[object]], header: str = HEADER) -> Path:
    lines = [header, *(",".join(map(str, row)) for row in made)]
    path.write_bytes(gzip.compress("\n".join(lines).encode()) if path.suffix == ".gz" else "\n".join(lines).encode())
    return path


@pytest.mark.usefixtures("no_images")
def test_counts_are_exact_and_patients_apart_on_a_table_of_the_published_structure(tmp_path: Path) -> None:
    made = rows()
    metadata = table(tmp_path / "Data_Entry_2017_v2020.csv.gz", made)
    prepared = prepare_chestxray14([tmp_path], metadata, tmp_path / "m.csv", amounts=SMALL)
    usable = [row for row in made if row[6] == "PA" and "|" not in str(row[1])]
    healthy = sum(row[1] == "No Finding" for row in usable)
    assert f"of these {healthy:,} have no finding and {len(usable) - healthy:,} exactly one disease" in prepared.steps
    images = Cohort.from_manifest(tmp_path / "m.csv").images
    assert Counter((image.split, image.label) for image in images) == SMALL
    assert len({(image.patient_id, image.split) for image in images}) == len({image.patient_id for image in images})
    known = {str(row[0]): row for row in usable}
    for image in images:
        row = known[image.path.name]
        assert (image.label is Label.HEALTHY) == (row[1] == "No Finding")
        assert (image.patient_id, image.more["finding"], image.more["sex"]) == (str(row[3]), row[1], "F")
    assert any("112,120 are published; this is not the whole set" in line for line in prepared.warnings)


@pytest.mark.usefixtures("no_images")
def test_image_by_image_torn_patients_are_told_and_marked(tmp_path: Path) -> None:
    metadata = table(tmp_path / "t.csv", rows())
    prepared = prepare_chestxray14([tmp_path], metadata, tmp_path / "m.csv", amounts=SMALL, by_patient=False)
    assert Counter((image.split, image.label) for image in prepared.cohort.images) == SMALL
    assert any("patient(s) are in several splits" in line for line in prepared.warnings)
    ids = {(image.patient_id, image.split) for image in prepared.cohort.images}
    assert len(ids) == len({patient for patient, _ in ids})
    assert any(str(patient).endswith(" in test") for patient, _ in ids)


@pytest.mark.usefixtures("no_images")
def test_counts_beyond_the_supply_say_how_close(tmp_path: Path) -> None:
    metadata = table(tmp_path / "t.csv", rows(40))
    prepared = prepare_chestxray14([tmp_path], metadata, tmp_path / "m.csv", amounts=SMALL)
    assert any(line.startswith("count not met, test: ") and "of 100" in line for line in prepared.warnings)


@pytest.mark.skipif(
    REAL is None, reason="no Data_Entry_2017_v2020.csv: install torchxrayvision or name it in HEALTHYGAN_CHESTXRAY14"
)
@pytest.mark.usefixtures("no_images")
def test_the_real_table_gives_the_counts_of_the_paper(tmp_path: Path) -> None:
    assert REAL is not None
    prepared = prepare_chestxray14([tmp_path], REAL, tmp_path / "m.csv")
    assert prepared.steps[:2] == (
        "Data_Entry_2017_v2020: 112,120 images, 67,310 of them PA views",
        "of these 39,302 have no finding and 17,828 exactly one disease",
    )
    images = prepared.cohort.images
    assert Counter((image.split, image.label) for image in images) == COUNTS
    assert len({(image.patient_id, image.split) for image in images}) == len({image.patient_id for image in images})
    assert prepared.warnings == ()


def test_images_are_found_in_several_folders_and_missing_ones_named(tmp_path: Path) -> None:
    made = rows(30)
    metadata = table(tmp_path / "t.csv", made)
    for number, row in enumerate(made):
        folder = tmp_path / f"images_{number % 2 + 1:03d}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(row[0])).write_bytes(b"x")
    folders = [tmp_path / "images_001", tmp_path / "images_002"]
    counts = {(Split.HEALTHY, Label.HEALTHY): 5, (Split.TEST, Label.DISEASED): 3}
    prepared = prepare_chestxray14(folders, metadata, tmp_path / "m.csv", amounts=counts)
    assert all(image.path.is_file() for image in prepared.cohort.images) and len(prepared.cohort.images) == 8
    gone = prepared.cohort.images[0].path
    gone.unlink()
    (tmp_path / "m.csv").unlink()
    with pytest.raises(InputError, match=rf"missing: {gone.name} .*nihcc"):
        prepare_chestxray14(folders, metadata, tmp_path / "m.csv", amounts=counts)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda made: made.append(made[0]), "1 image\\(s\\) listed twice: 00000001_000.png"),
        (lambda made: made[3].__setitem__(1, "Broken Leg"), "'Broken Leg', which ChestX-ray14 does not know"),
        (lambda made: made[3].__delitem__(slice(4, 11)), "line 5: 4 cells"),
    ],
)
def test_a_table_that_is_not_as_published_is_refused(tmp_path: Path, change, reason: str) -> None:
    made = rows(20)
    change(made)
    with pytest.raises(InputError, match=reason):
        prepare_chestxray14([tmp_path], table(tmp_path / "t.csv", made), tmp_path / "m.csv")


def test_another_table_and_its_versions_are_recognised(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column 'Finding Labels' is missing"):
        prepare_chestxray14([tmp_path], table(tmp_path / "t.csv", [], "Image Index,Patient ID"), tmp_path / "m.csv")
    assert "v2020" in chestxray14.version(table(tmp_path / "new.csv", []))
    assert "first version" in chestxray14.version(table(tmp_path / "old.csv", [], HEADER + ","))
    with pytest.raises(InputError, match=r"damaged|cannot be read"):
        (tmp_path / "torn.csv.gz").write_bytes(gzip.compress(b"Image Index," * 500)[:40])
        prepare_chestxray14([tmp_path], tmp_path / "torn.csv.gz", tmp_path / "m.csv")
