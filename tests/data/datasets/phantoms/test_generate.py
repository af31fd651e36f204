"""Phantoms: a seed gives the same images, lesions are where the masks say, nothing else gives them away."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures.phantoms import LESIONS, drawn, each_kind
from healthygan.common.errors import InputError
from healthygan.data.checks import verify
from healthygan.data.cohort import Cohort, Label, Split
from healthygan.data.datasets.phantoms import generate as phantoms
from healthygan.data.datasets.phantoms.generate import KINDS, Kind, Phantom, make_phantom, write_cohort
from healthygan.data.inspection.controls import control_aucs, controls


def small_cohort(folder: Path, seed: int = 3, size: int = 32) -> Path:
    return write_cohort(folder, "chest", size, healthy=4, mixed=(3, 2), validation=(1, 2), test=(2, 3), seed=seed)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# single phantoms


@each_kind
def test_same_generator_gives_the_same_phantom_and_another_another(kind: Kind) -> None:
    one, again, other = drawn(kind, 0, True), drawn(kind, 0, True), drawn(kind, 1, True)

    assert one.image.tobytes() == again.image.tobytes()
    assert one.lesion.tobytes() == again.lesion.tobytes()
    assert (one.kinds, one.severity) == (again.kinds, again.severity)
    assert np.abs(one.image - other.image).mean() > 0.03


@each_kind
@pytest.mark.parametrize("size", [32, 50, 128])
def test_image_and_mask_have_the_asked_size_type_and_range(kind: Kind, size: int) -> None:
    phantom = drawn(kind, 2, True, size)

    assert phantom.image.shape == phantom.lesion.shape == (size, size)
    assert phantom.image.dtype == np.float32
    assert phantom.lesion.dtype == np.bool_
    assert phantom.image.min() >= 0
    assert phantom.image.max() <= 1
    assert phantom.image.std() > 0.1


@each_kind
def test_healthy_phantoms_have_no_lesion(kind: Kind) -> None:
    phantom = drawn(kind, 3, False)

    assert not phantom.lesion.any()
    assert (phantom.kinds, phantom.severity) == ((), 0.0)


@each_kind
def test_no_shallow_statistic_tells_the_diseased(kind: Kind) -> None:
    images = np.stack([drawn(kind, 1000 + number, number % 2 == 1).image for number in range(300)])

    areas = control_aucs(controls(images), np.arange(300) % 2 == 1)

    assert max(areas.values()) < 0.65, areas


def test_too_small_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="31"):
        drawn("chest", 0, False, 31)


# cohorts


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cohort]:
    yield Cohort.from_manifest(small_cohort(tmp_path_factory.mktemp("phantoms") / "chest"))


def test_cohort_has_the_asked_numbers_in_each_split_and_stands_verification(cohort: Cohort) -> None:
    verify(cohort, Split)
    counts = {
        (split, label): sum(image.label is label for image in cohort.split(split)) for split in Split for label in Label
    }

    assert list(counts.values()) == [4, 0, 3, 2, 1, 2, 2, 3]
    assert len({image.patient_id for image in cohort.images}) == len(cohort.images) == 17


def test_files_are_eight_bit_grey_and_masks_black_and_white(cohort: Cohort) -> None:
    for image in cohort.images:
        with Image.open(image.path) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (32, 32))
        if image.mask:
            assert set(np.unique(np.asarray(Image.open(image.mask)))) == {0, 255}


def test_only_the_diseased_of_validation_and_test_have_masks(cohort: Cohort) -> None:
    for image in cohort.images:
        measured = image.split in (Split.VALIDATION, Split.TEST)
        assert (image.mask is not None) == (measured and image.label is Label.DISEASED)


def test_image_files_are_the_phantoms_of_their_number_and_label(cohort: Cohort) -> None:
    for image in cohort.images[:6]:
        generator = np.random.default_rng((3, KINDS.index("chest"), int(image.path.stem)))
        expected = make_phantom("chest", 32, generator, image.label is Label.DISEASED)
        assert np.asarray(Image.open(image.path)).tolist() == np.rint(expected.image * 255).tolist()


def test_names_and_order_do_not_give_the_label_away() -> None:
    plan = phantoms._Recipe("brain", 64, 0, (0, 0), (0, 0), (500, 500), 0).parts()
    sick = np.array([label is Label.DISEASED for _, label in plan])

    assert control_aucs({"number": np.arange(1000.0)}, sick)["number"] < 0.55


def test_lesions_table_names_each_diseased_subject_once(cohort: Cohort) -> None:
    folder = cohort.images[0].path.parent.parent
    with (folder / "lesions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    sick = [image.path for image in cohort.images if image.label is Label.DISEASED]
    assert [folder / row["path"] for row in rows] == sick
    assert all(set(row["kinds"].split(" + ")) <= LESIONS["chest"] for row in rows)
    assert all(0 <= float(row["severity"]) <= 1 for row in rows)


def test_same_seed_gives_the_same_bytes_in_another_folder_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    small_cohort(first)
    small_cohort(again)
    small_cohort(other, seed=4)

    assert contents(first) == contents(again)
    assert contents(first)["images/00000.png"] != contents(other)["images/00000.png"]


def test_finished_cohort_is_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = small_cohort(tmp_path / "cohort")
    monkeypatch.setattr(phantoms, "make_phantom", None)

    assert small_cohort(tmp_path / "cohort") == manifest


@pytest.mark.parametrize("lost", ["images/00005.png", "manifest.csv"])
def test_cohort_that_lost_a_file_is_made_anew(tmp_path: Path, lost: str) -> None:
    small_cohort(tmp_path)
    before = contents(tmp_path)
    (tmp_path / lost).unlink()

    small_cohort(tmp_path)

    assert contents(tmp_path) == before


def test_cohort_of_other_parameters_is_replaced_without_leftovers(tmp_path: Path) -> None:
    small_cohort(tmp_path)
    write_cohort(tmp_path, "brain", 32, healthy=2, mixed=(1, 0), test=(1, 1), seed=0)

    assert len(list((tmp_path / "images").iterdir())) == 5
    assert len(list((tmp_path / "masks").iterdir())) == 1
    assert json.loads((tmp_path / "phantoms.json").read_text())["kind"] == "brain"


def test_interrupted_generation_leaves_no_manifest_and_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_late(kind: Kind, size: int, generator: np.random.Generator, diseased: bool) -> Phantom:
        if len(list((tmp_path / "images").glob("*.png"))) == 3:
            raise KeyboardInterrupt
        return make_phantom(kind, size, generator, diseased)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(phantoms, "make_phantom", fail_late)
        small_cohort(tmp_path)
    assert not (tmp_path / "manifest.csv").exists()

    verify(Cohort.from_manifest(small_cohort(tmp_path)), Split)


def test_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(InputError, match="is not empty and holds no phantoms") as caught:
        small_cohort(tmp_path)

    assert str(tmp_path) in str(caught.value)
    assert contents(tmp_path) == {"thesis.txt": b"mine"}


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cohort").write_text("mine")

    with pytest.raises(InputError, match="give a new or an empty folder"):
        small_cohort(tmp_path / "cohort")


@pytest.mark.parametrize(("size", "seed"), [(16, 0), (64, -1)])
def test_numbers_that_make_no_sense_are_refused_before_anything_is_written(
    tmp_path: Path, size: int, seed: int
) -> None:
    with pytest.raises(InputError, match="cannot be generated") as caught:
        small_cohort(tmp_path / "cohort", seed, size)

    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cohort").exists()
