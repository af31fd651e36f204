from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels.utils import compress
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage, generate_uid

from fixtures.readers import only, refusal
from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import ReaderOptions
from healthygan.data.readers.dicom import DicomReader
from healthygan.data.readers.reading import probe, read_frames

STORED = np.array([[0, 10, 20, 30], [40, 50, 60, 70], [100, 200, 1000, 4095]], np.uint16)
FULL = ReaderOptions(dicom_range="full")


def dataset(pixels: NDArray[np.generic], bits: int = 12, **tags: object) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.Rows, ds.Columns = pixels.shape[-2:] if tags.get("SamplesPerPixel", 1) == 1 else pixels.shape[-3:-1]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = pixels.dtype.itemsize * 8, bits, bits - 1
    ds.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    for name, value in tags.items():
        setattr(ds, name, value)
    return ds


def saved(folder: Path, ds: Dataset) -> Path:
    path = folder / "a.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def test_without_a_window_the_stored_bits_are_the_range(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset(STORED))
    image = only(path)
    np.testing.assert_array_equal(image.pixels, STORED)
    assert (image.low, image.high, image.frame) == (0, 4095, 0)
    info = probe(path)
    assert (info.format, info.height, info.width, info.channels) == ("DICOM", 3, 4, 1)
    assert (info.bit_depth, info.frames) == (12, (0,))


def test_rescale_moves_values_and_range(tmp_path: Path) -> None:
    image = only(saved(tmp_path, dataset(STORED, RescaleSlope=2, RescaleIntercept=-1024)))
    np.testing.assert_array_equal(image.pixels, STORED * 2.0 - 1024)
    assert (image.low, image.high) == (-1024, 4095 * 2 - 1024)


def test_slope_alone_and_empty_slope_are_understood(tmp_path: Path) -> None:
    image = only(saved(tmp_path, dataset(STORED, RescaleSlope=2)))
    np.testing.assert_array_equal(image.pixels, STORED * 2.0)
    assert image.high == 8190
    image = only(saved(tmp_path, dataset(STORED, RescaleSlope=None, RescaleIntercept=None)))
    np.testing.assert_array_equal(image.pixels, STORED)


def test_window_clips_after_the_rescale(tmp_path: Path) -> None:
    # PS3.3 C.11.2.1.2: black at c - 0.5 - (w - 1) / 2, white at c - 0.5 + (w - 1) / 2.
    ds = dataset(STORED, RescaleSlope=1, RescaleIntercept=-10, WindowCenter=40.5, WindowWidth=41)
    image = only(saved(tmp_path, ds))
    assert (image.low, image.high) == (20, 60)
    np.testing.assert_array_equal(image.pixels, np.clip(STORED - 10.0, 20, 60))


def test_first_of_several_windows_counts(tmp_path: Path) -> None:
    image = only(saved(tmp_path, dataset(STORED, WindowCenter=[40.5, 900], WindowWidth=[41, 3])))
    assert (image.low, image.high) == (20, 60)


def test_exact_linear_window_has_its_own_ends(tmp_path: Path) -> None:
    ds = dataset(STORED, WindowCenter=40, WindowWidth=40, VOILUTFunction="LINEAR_EXACT")
    image = only(saved(tmp_path, ds))
    assert (image.low, image.high) == (20, 60)


def test_window_is_ignored_for_the_full_range(tmp_path: Path) -> None:
    image = only(saved(tmp_path, dataset(STORED, WindowCenter=40.5, WindowWidth=41)), FULL)
    np.testing.assert_array_equal(image.pixels, STORED)
    assert (image.low, image.high) == (0, 4095)


@pytest.mark.parametrize("width", [0, -5, None])
def test_window_without_width_is_ignored(tmp_path: Path, width: float | None) -> None:
    image = only(saved(tmp_path, dataset(STORED, WindowCenter=40, WindowWidth=width)))
    assert (image.low, image.high) == (0, 4095)


@pytest.mark.parametrize("options", [ReaderOptions(), FULL])
def test_monochrome1_is_inverted(tmp_path: Path, options: ReaderOptions) -> None:
    image = only(saved(tmp_path, dataset(STORED, PhotometricInterpretation="MONOCHROME1")), options)
    np.testing.assert_array_equal(image.pixels, 4095.0 - STORED)
    assert (image.low, image.high) == (0, 4095)


def test_monochrome1_is_inverted_within_its_window(tmp_path: Path) -> None:
    ds = dataset(STORED, PhotometricInterpretation="MONOCHROME1", WindowCenter=40.5, WindowWidth=41)
    image = only(saved(tmp_path, ds))
    np.testing.assert_array_equal(image.pixels, 80 - np.clip(STORED.astype(float), 20, 60))


def test_signed_values_keep_their_sign(tmp_path: Path) -> None:
    stored = np.array([[-2048, -1], [0, 2047]], np.int16)
    image = only(saved(tmp_path, dataset(stored)))
    np.testing.assert_array_equal(image.pixels, stored)
    assert (image.low, image.high) == (-2048, 2047)


def table(first: int, values: list[int], bits: int) -> Dataset:
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [len(values), first, bits])
    lut.add_new("LUTData", "US", values)
    return lut


def test_voi_table_is_looked_up(tmp_path: Path) -> None:
    stored = np.array([[0, 1], [2, 3]], np.uint16)
    ds = dataset(stored, VOILUTSequence=Sequence([table(1, [5, 700, 1023], 10)]))
    image = only(saved(tmp_path, ds))
    np.testing.assert_array_equal(image.pixels, [[5, 5], [700, 1023]])
    assert (image.low, image.high) == (0, 1023)


def test_modality_table_sets_values_and_range(tmp_path: Path) -> None:
    stored = np.array([[0, 1], [2, 3]], np.uint16)
    lut = table(0, [0, 10, 100, 255], 8)
    lut.ModalityLUTType = "US"
    image = only(saved(tmp_path, dataset(stored, ModalityLUTSequence=Sequence([lut]))), FULL)
    np.testing.assert_array_equal(image.pixels, [[0, 10], [100, 255]])
    assert (image.low, image.high) == (0, 255)


def test_frames_come_in_order(tmp_path: Path) -> None:
    frames = np.stack([STORED, STORED // 2, STORED // 3])
    path = saved(tmp_path, dataset(frames, NumberOfFrames=3))
    assert probe(path).frames == (0, 1, 2)
    images = list(read_frames(path))
    assert [image.frame for image in images] == [0, 1, 2]
    np.testing.assert_array_equal([image.pixels for image in images], frames)


def test_more_frames_than_the_file_has_bytes_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset(STORED, NumberOfFrames=2_000_000_000))
    with pytest.raises(UnreadableImage, match=r"a\.dcm: 2,000,000,000 frames"):
        probe(path)


def test_colour_keeps_its_values(tmp_path: Path) -> None:
    colour = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    ds = dataset(colour, 8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    path = saved(tmp_path, ds)
    image = only(path)
    np.testing.assert_array_equal(image.pixels, colour)
    assert (image.low, image.high, probe(path).channels) == (0, 255, 3)


def test_palette_becomes_its_colours(tmp_path: Path) -> None:
    ds = dataset(np.array([[0, 1], [2, 0]], np.uint8), 8, PhotometricInterpretation="PALETTE COLOR")
    for name, values in {"Red": [1, 20, 255, 0], "Green": [2, 30, 0, 0], "Blue": [3, 40, 9, 0]}.items():
        ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [4, 0, 8])
        ds.add_new(f"{name}PaletteColorLookupTableData", "OW", bytes(values))
    path = saved(tmp_path, ds)
    image = only(path)
    np.testing.assert_array_equal(image.pixels, [[[1, 2, 3], [20, 30, 40]], [[255, 0, 9], [1, 2, 3]]])
    assert (image.low, image.high, probe(path).channels) == (0, 255, 3)


def test_compressed_pixels_are_decoded(tmp_path: Path) -> None:
    ds = dataset(STORED)
    compress(ds, RLELossless, encoding_plugin="pydicom")
    np.testing.assert_array_equal(only(saved(tmp_path, ds)).pixels, STORED)


def test_report_without_pixels_is_refused(tmp_path: Path) -> None:
    ds = dataset(STORED)
    del ds.Rows, ds.Columns, ds.PixelData
    assert "without pixels" in refusal(saved(tmp_path, ds))


def test_image_whose_pixels_are_missing_is_refused(tmp_path: Path) -> None:
    ds = dataset(STORED)
    del ds.PixelData
    assert "without pixels" in refusal(saved(tmp_path, ds))


def test_truncated_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset(STORED))
    path.write_bytes(path.read_bytes()[:-9])
    assert "damaged" in refusal(path)


def test_rubbish_after_the_preamble_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff\x01rubbish" * 9)
    refusal(tmp_path / "a.dcm")


def test_size_is_checked_in_the_header(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset(STORED, Rows=60000, Columns=60000))
    with pytest.raises(UnreadableImage, match="3,600,000,000 pixels"):
        probe(path)


def test_reader_is_chosen_without_a_suffix(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset(STORED)).rename(tmp_path / "IM0001")
    assert probe(path) == DicomReader().probe(path, ReaderOptions())
