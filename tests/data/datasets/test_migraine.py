"""Volumes become slices of the right voxels, participants stay whole, and nothing is cut twice."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fixtures.volumes import series, voxels
from healthygan.common.errors import InputError, UnreadableImage
from healthygan.data.checks import verify
from healthygan.data.cohort import Cohort, Label, Split
from healthygan.data.datasets import migraine
from healthygan.data.datasets.migraine import VolumeOptions, cut_volume, participants, prepare_migraine
from healthygan.data.readers.base import ReaderOptions

WHOLE = ReaderOptions(slice_range=(0, 1), percentiles=(0, 100))
OPTIONS = VolumeOptions(ReaderOptions(slice_range=(0.25, 0.75)), size=32)


def nifti(path: Path, seed: int = 0, affine: NDArray[np.float64] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels(seed), np.eye(4) if affine is None else affine), path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> dict[Split, Path]:
    """IXI files, and participants in healthy/ and diseased/ as files, folders and a DICOM series."""
    for number, site in enumerate(("Guys", "HH", "IOP")):
        nifti(tmp_path / "healthy" / f"IXI{number:03d}-{site}-0{number}-T1.nii.gz", number)
    for split in ("mixed", "test"):
        nifti(tmp_path / split / "healthy" / f"{split}1.nii.gz", len(split))
        nifti(tmp_path / split / "diseased" / f"{split}2" / "t1.nii", 10 + len(split))
    series(tmp_path / "mixed" / "diseased" / "mixed3", voxels(22))
    return {split: tmp_path / split for split in (Split.HEALTHY, Split.MIXED, Split.TEST)}


def test_a_participant_is_in_one_split_with_all_chosen_slices(folders: dict[Split, Path], tmp_path: Path) -> None:
    prepared = prepare_migraine(folders, tmp_path / "out", options=OPTIONS)
    cohort = Cohort.from_manifest(tmp_path / "out" / "manifest.csv")
    verify(cohort, needs=(Split.HEALTHY, Split.MIXED, Split.TEST))
    slices: dict[str | None, set[str]] = {}
    for image in cohort.images:
        slices.setdefault(image.patient_id, set()).add(image.more["slice"])
    assert slices.keys() == {"IXI000", "IXI001", "IXI002", "mixed1", "mixed2", "mixed3", "test1", "test2"}
    assert all(numbers == {"002", "003", "004", "005"} for numbers in slices.values())
    labels = {image.patient_id: image.label for image in cohort.images}
    assert (labels["IXI001"], labels["mixed1"], labels["mixed3"]) == (Label.HEALTHY, Label.HEALTHY, Label.DISEASED)
    assert {image.source for image in cohort.split(Split.HEALTHY)} == {"IXI-Guys", "IXI-HH", "IXI-IOP"}
    assert any("mixed: 1 healthy participants; the paper has 84" in line for line in prepared.warnings)
    with Image.open(cohort.images[0].path) as picture:
        assert picture.size == (32, 32) and picture.mode == "I;16"


def test_slices_hold_the_voxels_whatever_the_orientation_of_the_file(tmp_path: Path) -> None:
    plain = nifti(tmp_path / "a.nii", 3)
    turned = nibabel.load(plain).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    nibabel.save(turned, tmp_path / "b.nii")
    options = VolumeOptions(WHOLE, size=14)
    cut = []
    for name in ("a.nii", "b.nii"):
        (person,) = participants(_only(tmp_path, name), Split.HEALTHY)
        cut.append(dict(cut_volume(*migraine.read_participant(person, options), options)))
    assert cut[0].keys() == set(range(8))
    volume = voxels(3).astype(np.float64)
    expected = (volume - volume.min()) / np.ptp(volume)
    for number in cut[0]:
        np.testing.assert_array_equal(cut[0][number], cut[1][number])
        # Rows from front to back, columns from the patient's right: 14 x 12 pixels, a black column at either side.
        np.testing.assert_allclose(cut[0][number][:, 1:-1] / 65535, expected[::-1, ::-1, number].T, atol=1e-5)
        assert not cut[0][number][:, [0, -1]].any()


def _only(folder: Path, name: str) -> Path:
    place = folder / f"only_{name}"
    place.mkdir()
    (place / name).write_bytes((folder / name).read_bytes())
    return place


def test_pixels_keep_their_shape_in_millimetres() -> None:
    flat = np.ones((10, 10, 1), np.float32)
    flat[0, 0, 0] = 0
    ((_, slice_),) = cut_volume(flat, (1.0, 2.0, 1.0), None, VolumeOptions(WHOLE, size=40))
    rows, columns = (np.flatnonzero(slice_.any(axis=axis)) for axis in (1, 0))
    assert np.ptp(rows) + 1 == 40 and np.ptp(columns) + 1 == 20


def test_scaling_is_the_volumes_own_and_a_mask_blackens_the_rest() -> None:
    volume = voxels(4).astype(np.float32)
    options = VolumeOptions(ReaderOptions(slice_range=(0, 1), percentiles=(1, 99)), size=16)
    first = dict(cut_volume(volume, (1, 1, 1), None, options))
    again = dict(cut_volume(volume * 7 + 100, (1, 1, 1), None, options))
    for number, pixels in first.items():
        assert np.abs(pixels.astype(int) - again[number]).max() <= 2
    mask = np.zeros(volume.shape, bool)
    mask[4:8, 5:9] = True
    low, high = np.percentile(volume[mask], (1, 99))
    stripped = dict(cut_volume(volume, (1, 1, 1), mask, VolumeOptions(options.reader, size=14)))
    inside = ((volume[4:8, 5:9, 2] - low) / (high - low)).clip(0, 1)
    # Rows count from the front (14 of them), columns from the patient's right (12, and a black one before).
    np.testing.assert_allclose(stripped[2][5:9, 5:9] / 65535, inside[::-1, ::-1].T, atol=1e-4)
    assert np.count_nonzero(stripped[2]) <= 16


def test_a_series_with_a_missing_slice_is_left_out_and_named(folders: dict[Split, Path], tmp_path: Path) -> None:
    sorted((tmp_path / "mixed" / "diseased" / "mixed3").iterdir())[3].unlink()
    prepared = prepare_migraine(folders, tmp_path / "out", options=OPTIONS)
    assert "mixed3" not in {image.patient_id for image in prepared.cohort.images}
    assert "slices are missing or doubled" in (tmp_path / "out" / "manifest.problems.txt").read_text()
    with pytest.raises(UnreadableImage, match="slices are missing or doubled"):
        prepare_migraine(folders, tmp_path / "strict", options=OPTIONS, strict=True)


def test_of_several_series_one_must_be_chosen(tmp_path: Path) -> None:
    series(tmp_path / "people" / "p", voxels(6), "T2 axial")
    for path in series(tmp_path / "spare", voxels(7), "T1 axial"):
        path.rename(tmp_path / "people" / "p" / f"t1_{path.name}")
    (person,) = participants(tmp_path / "people", Split.HEALTHY)
    with pytest.raises(UnreadableImage, match="2 volumes where one is wanted; there are T1 axial, T2 axial"):
        migraine.read_participant(person, OPTIONS)
    found, _, _ = migraine.read_participant(person, VolumeOptions(WHOLE, series="T1"))
    np.testing.assert_array_equal(found, voxels(7).astype(np.float32) * 2 - 5)


def test_masks_stand_beside_the_volume_and_must_fit(tmp_path: Path) -> None:
    nifti(tmp_path / "p" / "p1.nii.gz", 1)
    options = VolumeOptions(WHOLE, mask_suffix="_mask")
    (person,) = participants(tmp_path / "p", Split.HEALTHY, mask_suffix="_mask")
    with pytest.raises(UnreadableImage, match=r"0 masks \*_mask"):
        migraine.read_participant(person, options)
    inside = np.zeros((12, 14, 8), np.uint8)
    inside[3:5] = 1
    nibabel.save(nibabel.Nifti1Image(inside, np.eye(4)), tmp_path / "p" / "p1_mask.nii.gz")
    (person,) = participants(tmp_path / "p", Split.HEALTHY, mask_suffix="_mask")
    assert person.name == "p1"
    np.testing.assert_array_equal(migraine.read_participant(person, options)[2], inside > 0)
    place = tmp_path / "q" / "p1"
    place.mkdir(parents=True)
    (place / "p1.nii.gz").write_bytes((tmp_path / "p" / "p1.nii.gz").read_bytes())
    nibabel.save(nibabel.Nifti1Image(inside, np.eye(4)), place / "p1_mask.nii.gz")
    (person,) = participants(tmp_path / "q", Split.HEALTHY, mask_suffix="_mask")
    np.testing.assert_array_equal(migraine.read_participant(person, options)[2], inside > 0)
    nibabel.save(nibabel.Nifti1Image(inside[:5], np.eye(4)), place / "p1_mask.nii.gz")
    with pytest.raises(UnreadableImage, match="a mask of"):
        migraine.read_participant(person, options)


def test_masks_that_nobody_told_of_are_refused_and_no_participants(folders: dict[Split, Path], tmp_path: Path) -> None:
    nifti(folders[Split.MIXED] / "healthy" / "mixed1_brain_mask.nii.gz")
    with pytest.raises(
        InputError, match=r"mixed1_brain_mask\.nii\.gz: looks like the mask of mixed1\.nii\.gz; .*_mask"
    ):
        prepare_migraine(folders, tmp_path / "out", options=OPTIONS)


def test_a_split_without_a_usable_volume_is_refused(folders: dict[Split, Path], tmp_path: Path) -> None:
    for path in folders[Split.HEALTHY].iterdir():
        path.write_bytes(b"no volume")
    with pytest.raises(InputError, match=r"healthy=.*none of 3 participants has a usable volume; first: .*IXI000"):
        prepare_migraine(folders, tmp_path / "out", options=OPTIONS)
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_a_second_call_cuts_nothing_but_what_changed(
    folders: dict[Split, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_migraine(folders, tmp_path / "out", options=OPTIONS)
    before = (tmp_path / "out" / "manifest.csv").read_bytes()
    read: list[str] = []
    real = migraine.read_participant
    monkeypatch.setattr(
        migraine, "read_participant", lambda person, options: read.append(person.name) or real(person, options)
    )
    prepare_migraine(folders, tmp_path / "out", options=OPTIONS)
    assert read == [] and (tmp_path / "out" / "manifest.csv").read_bytes() == before
    nifti(tmp_path / "mixed" / "healthy" / "mixed1.nii.gz", 99)
    prepare_migraine(folders, tmp_path / "out", options=OPTIONS)
    assert read == ["mixed1"]
    prepare_migraine(folders, tmp_path / "out", options=VolumeOptions(OPTIONS.reader, size=16))
    assert len(read) == 1 + 8


def test_an_interrupted_call_goes_on_where_it_was(
    folders: dict[Split, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, read = migraine.read_participant, []

    def stopping(person: migraine.Participant, options: VolumeOptions):  # type: ignore[no-untyped-def]
        read.append(person.name)
        if person.name == "mixed2":
            raise KeyboardInterrupt
        return real(person, options)

    monkeypatch.setattr(migraine, "read_participant", stopping)
    monkeypatch.setattr(migraine, "usable_cores", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        prepare_migraine(folders, tmp_path / "out", options=OPTIONS)
    assert not (tmp_path / "out" / "manifest.csv").exists()
    done, read[:] = set(read) - {"mixed2"}, []
    monkeypatch.setattr(
        migraine, "read_participant", lambda person, options: read.append(person.name) or real(person, options)
    )
    prepare_migraine(folders, tmp_path / "out", options=OPTIONS)
    assert "mixed2" in read and len(done) >= 3 and not {"IXI000", "IXI001", "IXI002"} & set(read)


def test_a_participant_in_two_splits_is_refused(folders: dict[Split, Path], tmp_path: Path) -> None:
    nifti(tmp_path / "test" / "healthy" / "mixed2.nii", 1)
    with pytest.raises(InputError, match=r"mixed2 \(mixed/diseased and test/healthy\)"):
        prepare_migraine(folders, tmp_path / "out", options=OPTIONS)


def test_empty_missing_and_useless_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"healthy=.*is not a folder; IXI is published"):
        participants(tmp_path / "none", Split.HEALTHY)
    with pytest.raises(InputError, match="holds no volume"):
        participants(tmp_path, Split.MIXED)
    (tmp_path / "bad.nii").write_bytes(b"\0" * 400)
    with pytest.raises(InputError, match="none of 1 participants has a usable volume"):
        prepare_migraine({Split.HEALTHY: tmp_path}, tmp_path / "out", options=OPTIONS)


REAL = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"


@pytest.mark.skipif(not REAL.is_file(), reason=f"nibabel came without its test data ({REAL})")
def test_a_real_head_is_cut_into_slices_of_its_own_shape(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "head.nii").write_bytes(REAL.read_bytes())
    prepared = prepare_migraine({Split.HEALTHY: tmp_path / "p"}, tmp_path / "out", options=VolumeOptions(size=64))
    volume = nibabel.as_closest_canonical(nibabel.load(REAL))
    width, height = (np.array(volume.shape) * volume.header.get_zooms())[:2]
    assert len(prepared.cohort.images) == round(0.7 * volume.shape[2]) - round(0.3 * volume.shape[2])
    with Image.open(prepared.cohort.images[0].path) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (64, 64) and pixels.max() > 30_000
    covered = np.flatnonzero(pixels.any(axis=0))
    assert np.ptp(covered) + 1 <= np.ceil(64 * width / max(width, height))
