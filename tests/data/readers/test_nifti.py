import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.readers import refusal
from healthygan.common.errors import UnreadableImage
from healthygan.data.margins import Margins
from healthygan.data.readers.base import ReaderOptions
from healthygan.data.readers.reading import probe, read_frames

EVERY_VALUE = {"percentiles": (0, 100)}
VOLUME = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)  # right, anterior, superior


def saved(folder: Path, voxels: NDArray[np.generic], affine: object = None, name: str = "a.nii") -> Path:
    image = nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else np.asarray(affine))
    nibabel.save(image, folder / name)
    return folder / name


def options(**fields: object) -> ReaderOptions:
    return ReaderOptions.model_validate(EVERY_VALUE | fields)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_axial_slices_show_anterior_up_and_the_left_on_the_right(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, VOLUME, name=name)
    info = probe(path, options())
    assert (info.format, info.height, info.width, info.channels) == ("NIfTI", 3, 2, 1)
    assert (info.bit_depth, info.frames) == (16, (0, 1, 2, 3))
    images = list(read_frames(path, options()))
    assert [image.frame for image in images] == [0, 1, 2, 3]
    # Rows from anterior to posterior, columns from the patient's right to the left.
    np.testing.assert_array_equal(images[1].pixels, [[21, 9], [17, 5], [13, 1]])
    assert {(image.low, image.high) for image in images} == {(0, 23)}


@pytest.mark.parametrize(
    ("axis", "shape", "frames", "corner"),
    [("sagittal", (4, 3), 2, VOLUME[1, 2, 3]), ("coronal", (4, 2), 3, VOLUME[1, 2, 3])],
)
def test_other_axes_have_superior_up(
    tmp_path: Path, axis: str, shape: tuple[int, int], frames: int, corner: int
) -> None:
    path = saved(tmp_path, VOLUME)
    images = list(read_frames(path, options(slice_axis=axis)))
    assert len(images) == frames
    assert images[-1].pixels.shape == shape
    assert images[-1].pixels[0, 0] == corner  # top left: superior and anterior, or superior and right
    info = probe(path, options(slice_axis=axis))
    assert (info.height, info.width) == shape


def test_stored_orientation_makes_no_difference(tmp_path: Path) -> None:
    # Stored as superior-to-inferior, left-to-right, anterior-to-posterior: the same patient.
    stored = VOLUME[:, ::-1, ::-1].transpose(2, 0, 1)
    affine = [[0, 1, 0, 0], [0, 0, -1, 2], [-1, 0, 0, 3], [0, 0, 0, 1]]
    expected = list(read_frames(saved(tmp_path, VOLUME), options()))
    turned_path = saved(tmp_path, stored, affine, "turned.nii")
    turned = list(read_frames(turned_path, options()))
    np.testing.assert_array_equal([i.pixels for i in turned], [i.pixels for i in expected])
    info = probe(turned_path, options())
    assert (info.height, info.width, len(info.frames)) == (3, 2, 4)


def test_scale_factors_of_the_header_are_applied(tmp_path: Path) -> None:
    path = saved(tmp_path, VOLUME)
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([2, -5], "<f4").tobytes()  # slope and intercept
    path.write_bytes(raw)
    images = list(read_frames(path, options()))
    np.testing.assert_array_equal(images[1].pixels, [[37, 13], [29, 5], [21, -3]])
    assert (images[0].low, images[0].high) == (-5, 41)


def test_percentiles_are_of_the_volume_and_its_finite_voxels(tmp_path: Path) -> None:
    voxels = np.linspace(0, 100, 101 * 4, dtype=np.float32).reshape(101, 2, 2)
    finite = voxels.copy()
    voxels[:4, 0, 0] = np.nan, np.inf, -np.inf, np.nan
    first = next(read_frames(saved(tmp_path, voxels), ReaderOptions(percentiles=(10, 90))))
    kept = np.delete(finite.reshape(-1), [0, 4, 8, 12]).astype(np.float64)
    np.testing.assert_allclose([first.low, first.high], np.percentile(kept, (10, 90)), rtol=1e-6)


def test_voxels_that_are_not_finite_become_black(tmp_path: Path) -> None:
    voxels = np.arange(8, dtype=np.float32).reshape(2, 2, 2) + 1
    voxels[0, 0, 0], voxels[1, 0, 0], voxels[0, 1, 0] = np.nan, np.inf, -np.inf
    first = next(read_frames(saved(tmp_path, voxels), options()))
    np.testing.assert_array_equal(first.pixels, [[7, 2], [2, 2]])
    assert (first.low, first.high) == (2, 8)


def test_small_bright_thing_on_an_empty_ground_stays_visible(tmp_path: Path) -> None:
    voxels = np.zeros((20, 20, 20), np.float32)
    voxels[3, 3, 3] = 7
    first = next(read_frames(saved(tmp_path, voxels)))
    assert (first.low, first.high) == (0, 7)


def test_all_slices_have_the_margins_of_their_volume(tmp_path: Path) -> None:
    voxels = np.zeros((20, 40, 3), np.int16)
    voxels[5:15, 8:30, 1] = 1000
    voxels[9:11, 30:32, 2] = 1000  # further to the front, in another slice
    images = list(read_frames(saved(tmp_path, voxels)))
    # Front is up; of 40 rows eight are empty above and eight below.
    assert {image.margins for image in images} == {Margins(0.2, 0.2, 0.25, 0.25)}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_volume_without_a_finite_voxel_is_refused(tmp_path: Path, value: float) -> None:
    assert "finite" in refusal(saved(tmp_path, np.full((2, 2, 2), value, np.float32)))


def test_constant_volume_is_refused(tmp_path: Path) -> None:
    assert "same value" in refusal(saved(tmp_path, np.full((2, 2, 2), 3, np.int16)))


@pytest.mark.parametrize(
    ("fields", "frames"),
    [
        ({"slice_range": (0.3, 0.7)}, (3, 4, 5, 6)),
        ({"slice_step": 4}, (0, 4, 8)),
        ({"slice_range": (0.5, 1.0), "slice_step": 2}, (5, 7, 9)),
        ({"slice_range": (0.5, 0.51)}, (5,)),
        ({"slice_range": (0.98, 1.0)}, (9,)),
    ],
)
def test_range_and_step_choose_the_slices(tmp_path: Path, fields: dict[str, object], frames: tuple[int, ...]) -> None:
    voxels = np.broadcast_to(np.arange(10, dtype=np.int16), (2, 2, 10))
    path = saved(tmp_path, voxels)
    assert probe(path, options(**fields)).frames == frames
    images = list(read_frames(path, options(**fields)))
    assert tuple(image.frame for image in images) == frames
    assert tuple(int(image.pixels[0, 0]) for image in images) == frames


def test_series_of_volumes_is_refused(tmp_path: Path) -> None:
    assert "(2, 2, 2, 3)" in refusal(saved(tmp_path, np.zeros((2, 2, 2, 3), np.int16)))


def test_series_of_one_volume_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path, VOLUME[..., None])
    assert len(list(read_frames(path))) == 4


def test_single_plane_is_refused(tmp_path: Path) -> None:
    assert "(3, 4)" in refusal(saved(tmp_path, np.zeros((3, 4), np.int16)))


@pytest.mark.parametrize("kind", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_voxels_that_are_no_numbers_on_one_scale_are_refused(tmp_path: Path, kind: object) -> None:
    assert "voxels of type" in refusal(saved(tmp_path, np.zeros((2, 2, 2), np.dtype(kind))))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated_volume_is_refused(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    path = saved(tmp_path, noise, name=name)
    path.write_bytes(path.read_bytes()[:1000])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("length", [20, 351])
def test_truncated_header_is_refused(tmp_path: Path, length: int) -> None:
    path = saved(tmp_path, VOLUME)
    path.write_bytes(path.read_bytes()[:length])
    refusal(path)


def test_size_is_checked_in_the_header(tmp_path: Path) -> None:
    path = saved(tmp_path, VOLUME)
    with pytest.raises(UnreadableImage, match=r"24 voxels, more than .*max_pixels=23"):
        probe(path, ReaderOptions(max_pixels=23))
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    path.write_bytes(header.binaryblock + b"\0" * 4)
    assert "27,000,000,000,000 voxels" in refusal(path)


@pytest.mark.parametrize("offset", [-1000, 0, 1e9, np.nan])
def test_senseless_start_of_the_voxels_is_refused(tmp_path: Path, offset: float) -> None:
    path = saved(tmp_path, VOLUME)
    raw = bytearray(path.read_bytes())
    raw[108:112] = np.array(offset, "<f4").tobytes()
    path.write_bytes(raw)
    assert "damaged" in refusal(path)


def test_header_that_keeps_its_voxels_elsewhere_is_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(VOLUME, np.eye(4)), tmp_path / "a.hdr")
    assert ".nii" in refusal(tmp_path / "a.hdr")


def test_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"v\.nii\.gz: damaged"):
        list(read_frames(path))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_2_is_read_as_nifti_1(tmp_path: Path, name: str) -> None:
    expected = list(read_frames(saved(tmp_path, VOLUME, name="one.nii"), options()))
    nibabel.save(nibabel.Nifti2Image(VOLUME, np.eye(4)), tmp_path / name)
    images = list(read_frames(tmp_path / name, options()))
    np.testing.assert_array_equal([i.pixels for i in images], [i.pixels for i in expected])
    assert probe(tmp_path / name, options()).frames == (0, 1, 2, 3)


def test_packed_file_that_is_no_nifti_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "brain.mgz").write_bytes(gzip.compress(b"\0\0\0\1" + bytes(400)))
    assert "no NIfTI inside" in refusal(tmp_path / "brain.mgz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_more_voxels_than_the_file_can_hold_are_refused_by_the_header(tmp_path: Path, name: str) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((400, 400, 400))
    header["vox_offset"] = 352
    content = header.binaryblock + bytes(1000)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(UnreadableImage, match="for which the file is too small"):
        probe(tmp_path / name)


def test_wide_voxels_are_bounded_by_memory(tmp_path: Path) -> None:
    path = saved(tmp_path, np.zeros((100, 100, 100), np.float64))
    assert probe(path).memory == 20_000_000
    with pytest.raises(UnreadableImage, match="decoding takes 20,000,000 bytes"):
        probe(path, ReaderOptions(max_memory=19_999_999))
