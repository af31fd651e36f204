"""A DICOM series becomes one volume."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from fixtures.volumes import series, voxels
from healthygan.common.errors import UnreadableImage
from healthygan.data.cohort import Split
from healthygan.data.datasets import migraine
from healthygan.data.datasets.migraine import VolumeOptions, participants
from healthygan.data.readers.base import ReaderOptions
from healthygan.data.readers.dicom_series import read_series


def test_a_dicom_series_is_sorted_rescaled_and_turned(tmp_path: Path) -> None:
    volume = voxels(5)
    paths = series(tmp_path / "p", volume)  # names run against the positions
    found, sizes = read_series(paths, ReaderOptions(slice_range=(0, 1), percentiles=(0, 100)))
    assert sizes == (1.0, 1.0, 2.0)
    np.testing.assert_array_equal(found, volume.astype(np.float32) * 2 - 5)


def test_several_frames_in_a_file_are_told_to_be_converted(tmp_path: Path) -> None:
    path = series(tmp_path / "p", voxels(8))[0]
    item = pydicom.dcmread(path)
    item.NumberOfFrames = 3
    item.save_as(path)
    (person,) = participants(tmp_path, Split.HEALTHY)
    with pytest.raises(UnreadableImage, match="several frames in a file; convert"):
        migraine.read_participant(person, VolumeOptions(ReaderOptions(slice_range=(0.25, 0.75)), size=32))
