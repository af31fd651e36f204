from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import compress
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    KeyObjectSelectionDocumentStorage,
    MediaStorageDirectoryStorage,
    RLELossless,
    RTDoseStorage,
    RTImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    generate_uid,
)

from fixtures.readers import only, refusal
from healthygan.common.errors import UnreadableImage
from healthygan.data.readers.base import BoundedFile, ReaderOptions
from healthygan.data.readers.dicom import DicomReader
from healthygan.data.readers.reading import is_image_name, probe, read_frames

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


@pytest.mark.parametrize(
    "kind",
    [
        RTDoseStorage,
        SegmentationStorage,
        GrayscaleSoftcopyPresentationStateStorage,
        KeyObjectSelectionDocumentStorage,
        "1.2.840.10008.5.1.4.1.1.88.33",
        "1.2.840.10008.5.1.4.1.1.481.5",
    ],
)
def test_what_is_no_image_by_its_class_is_refused_though_it_holds_pixels(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path, dataset(STORED, SOPClassUID=kind))
    assert f"no image but {pydicom.uid.UID(kind).name} by its DICOM class" in refusal(path)
    with pytest.raises(UnreadableImage, match="no image"):
        probe(path)


@pytest.mark.parametrize("kind", [CTImageStorage, RTImageStorage])
def test_image_classes_are_read(tmp_path: Path, kind: str) -> None:
    np.testing.assert_array_equal(only(saved(tmp_path, dataset(STORED, SOPClassUID=kind))).pixels, STORED)


def test_dicomdir_is_called_by_its_name(tmp_path: Path) -> None:
    assert "a DICOMDIR, the list of other files" in refusal(
        saved(tmp_path, dataset(STORED, SOPClassUID=MediaStorageDirectoryStorage))
    )


@pytest.mark.parametrize("implicit", [True, False])
def test_file_without_preamble_is_read(tmp_path: Path, implicit: bool) -> None:
    bare = Dataset()
    bare.update(dataset(STORED))
    path = tmp_path / "IM0001"
    pydicom.dcmwrite(path, bare, implicit_vr=implicit, little_endian=True)
    assert path.read_bytes()[:2] == b"\x08\0"
    np.testing.assert_array_equal(only(path).pixels, STORED)
    assert is_image_name(path)


def test_text_that_begins_like_a_group_of_elements_is_no_dicom(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x08\0\x01rubbish" * 50)
    assert "not PNG" in refusal(tmp_path / "a")


def groups(**macros: dict[str, object]) -> Dataset:
    """Functional groups, each of one macro with elements."""
    group = Dataset()
    for name, elements in macros.items():
        macro = Dataset()
        for element, value in elements.items():
            setattr(macro, element, value)
        setattr(group, name, Sequence([macro]))
    return group


RESCALE = {"PixelValueTransformationSequence": {"RescaleSlope": 1, "RescaleIntercept": -1024}}


def test_rescale_and_window_of_functional_groups_count(tmp_path: Path) -> None:
    frames = np.stack([STORED, STORED // 2])
    shared = groups(**RESCALE)
    each = [groups(FrameVOILUTSequence={"WindowCenter": c, "WindowWidth": 400}) for c in (40, 60)]
    ds = dataset(frames, 16, NumberOfFrames=2)
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    ds.PerFrameFunctionalGroupsSequence = Sequence(each)
    first, second = read_frames(saved(tmp_path, ds))
    assert (first.low, first.high) == (-160, 239)
    assert (second.low, second.high) == (-140, 259)
    np.testing.assert_array_equal(first.pixels, np.clip(STORED - 1024.0, -160, 239))
    np.testing.assert_array_equal(second.pixels, np.clip(STORED // 2 - 1024.0, -140, 259))


def test_a_frames_own_rescale_comes_before_the_shared_one_and_the_files(tmp_path: Path) -> None:
    own = groups(PixelValueTransformationSequence={"RescaleSlope": 2, "RescaleIntercept": 5})
    ds = dataset(np.stack([STORED, STORED]), NumberOfFrames=2, RescaleSlope=9, RescaleIntercept=9)
    ds.SharedFunctionalGroupsSequence = Sequence([groups(**RESCALE)])
    ds.PerFrameFunctionalGroupsSequence = Sequence([own, Dataset()])
    first, second = read_frames(saved(tmp_path, ds), FULL)
    np.testing.assert_array_equal(first.pixels, STORED * 2.0 + 5)
    np.testing.assert_array_equal(second.pixels, STORED - 1024.0)
    assert (first.low, first.high) == (5, 8195)


def encapsulated(ds: FileDataset, syntax: str, *frames: bytes) -> FileDataset:
    ds.PixelData = encapsulate(list(frames))
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def test_twelve_bit_extended_jpeg_is_read(tmp_path: Path) -> None:
    ramp = (np.add.outer(np.arange(32), np.arange(40)) * 50).astype(np.uint16)
    jpeg = imagecodecs.jpeg_encode(ramp, level=100, bitspersample=12)
    image = only(saved(tmp_path, encapsulated(dataset(ramp), JPEGExtended12Bit, jpeg)))
    assert np.abs(image.pixels - ramp).max() <= 3
    assert image.high == 4095


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless])
def test_compressed_pixels_of_another_size_than_the_header_are_refused_undecoded(
    tmp_path: Path, syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = np.zeros((8, 8), np.uint8), np.zeros((64, 96), np.uint8)
    encode = imagecodecs.jpeg_encode if syntax == JPEGBaseline8Bit else imagecodecs.jpeg2k_encode
    path = saved(tmp_path, encapsulated(dataset(small, 8), syntax, bytes(encode(large))))
    monkeypatch.setattr("healthygan.data.readers.dicom_file.iter_pixels", lambda _: iter(()))
    assert "compressed pixels are 96 x 64 x 1, the file says 8 x 8 x 1" in refusal(path)


@pytest.mark.parametrize("bits", [8, 16])
def test_run_lengths_of_several_frames_are_decoded(tmp_path: Path, bits: int) -> None:
    frames = np.stack([STORED, STORED[::-1]]).astype(f"u{bits // 8}")
    ds = dataset(frames, bits, NumberOfFrames=2)
    compress(ds, RLELossless, encoding_plugin="pydicom")
    images = list(read_frames(saved(tmp_path, ds)))
    np.testing.assert_array_equal([image.pixels for image in images], frames)


def test_run_lengths_of_signed_values_keep_their_sign(tmp_path: Path) -> None:
    stored = np.array([[-2048, -1], [0, 2047]], np.int16)
    ds = dataset(stored)
    compress(ds, RLELossless, encoding_plugin="pydicom")
    np.testing.assert_array_equal(only(saved(tmp_path, ds)).pixels, stored)


def test_run_lengths_of_colours_keep_them(tmp_path: Path) -> None:
    colour = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    ds = dataset(colour, 8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    compress(ds, RLELossless, encoding_plugin="pydicom")
    np.testing.assert_array_equal(only(saved(tmp_path, ds)).pixels, colour)


@pytest.mark.parametrize("place", [0, 4, 80])
def test_damaged_run_lengths_are_refused(tmp_path: Path, place: int) -> None:
    ds = dataset(np.random.default_rng(0).integers(0, 4096, (20, 30)).astype(np.uint16))
    compress(ds, RLELossless, encoding_plugin="pydicom")
    frame = bytearray(next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)))
    frame[place : place + 40] = b"\xff" * 40
    assert "damaged" in refusal(saved(tmp_path, encapsulated(ds, RLELossless, bytes(frame))))


def test_more_pixels_than_the_file_has_bytes_are_refused_by_the_header(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset(STORED, NumberOfFrames=500))
    with pytest.raises(UnreadableImage, match=r"damaged \(12,000 bytes of pixels by its header"):
        probe(path)


def test_deflated_file_that_packs_out_beyond_memory_is_refused(tmp_path: Path) -> None:
    ds = dataset(np.zeros((2000, 2000), np.uint16))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = saved(tmp_path, ds)
    assert path.stat().st_size < 20_000
    with pytest.raises(UnreadableImage, match=r"decoding takes 1\d,\d+,\d+ bytes of memory"):
        probe(path, ReaderOptions(max_memory=10_000_000))


def test_compressed_frames_without_number_are_bounded_by_the_files_size(tmp_path: Path) -> None:
    frame = np.zeros((500, 500), np.uint8)
    ds = dataset(frame, 8, NumberOfFrames=400)
    path = saved(tmp_path, encapsulated(ds, JPEGBaseline8Bit, *[bytes(imagecodecs.jpeg_encode(frame))] * 2))
    with pytest.raises(UnreadableImage, match="more than so small a file can hold"):
        probe(path, ReaderOptions(max_memory=20_000_000))


def test_length_of_an_element_beyond_the_file_asks_for_no_more_memory(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset(STORED))
    content = path.read_bytes()
    at = content.index(b"\xe0\x7f\x10\x00") + 8
    path.write_bytes(content[:at] + b"\xf0\xff\xff\xff" + content[at + 4 :])
    with BoundedFile(path) as file:
        assert len(file.read(2**40)) == len(content)
    only(path)  # as much as there is, which is all
