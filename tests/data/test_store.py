import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from healthygan.data import store as store_module
from healthygan.data.preprocessing import Preprocessing
from healthygan.data.readers import DecodedImage, ReaderOptions, read_frames
from healthygan.data.store import ImageStore
from healthygan.errors import InputError, UnreadableImage

SMALL = Preprocessing(size=8)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Four files: a grey image, a TIFF of three pages, and two more grey ones."""
    numbers = np.random.default_rng(0)
    paths = [tmp_path / name for name in ("a.png", "b.tif", "c.png", "d.png")]
    for path in paths:
        pixels = numbers.integers(0, 65536, (3, 9, 10)).astype(np.uint16)
        if path.suffix == ".tif":
            tifffile.imwrite(path, pixels, photometric="minisblack")
        else:
            Image.fromarray(pixels[0]).save(path)
    return paths


def build(paths: list[Path], preprocessing: Preprocessing = SMALL, **others: object) -> ImageStore:
    return ImageStore.build(paths, preprocessing, cache=paths[0].parent / "cache", workers=2, **others)  # type: ignore[arg-type]


def no_decoding(path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
    raise AssertionError(f"{path} decoded once more")


def test_frames_are_what_the_preprocessing_gives(images: list[Path]) -> None:
    store = build(images)
    assert len(store) == 6
    assert store.owner.tolist() == [0, 1, 1, 1, 2, 3]
    assert store.frame.tolist() == [0, 0, 1, 2, 0, 0]
    assert store.failures == ()
    expected = [SMALL(image) for path in images for image in read_frames(path)]
    np.testing.assert_array_equal(store.read(np.arange(6)), expected)
    np.testing.assert_array_equal(store.read(np.array([4, 0, 4])), [expected[4], expected[0], expected[4]])


def test_reading_gives_a_copy(images: list[Path]) -> None:
    store = build(images)
    before = store.read(np.array([0]))
    store.read(np.array([0]))[:] = 0
    np.testing.assert_array_equal(store.read(np.array([0])), before)


def test_second_build_decodes_nothing(images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(images)
    monkeypatch.setattr(store_module, "read_frames", no_decoding)
    second = build(images)
    assert second.key == first.key
    np.testing.assert_array_equal(second.read(np.arange(6)), first.read(np.arange(6)))


def test_content_and_preprocessing_choose_the_store(images: list[Path]) -> None:
    key = build(images).key
    assert build(images, Preprocessing(size=12)).key != key
    assert build(images[::-1]).key != key
    moved = [Path(shutil.copy(path, path.with_name(f"moved{path.suffix}"))) for path in images[:1]]
    assert build([*moved, *images[1:]]).key == key
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(images[0])
    changed = build(images)
    assert changed.key != key
    assert (changed.read(np.array([0])) == 0).all()


def test_interrupted_build_goes_on_where_it_was(images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        if path == images[2]:
            raise KeyboardInterrupt
        return read_frames(path, options)

    monkeypatch.setattr(store_module, "read_frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ImageStore.build(images, SMALL, cache=images[0].parent / "cache", workers=1)
    decoded = []

    def watched(path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        decoded.append(path)
        return read_frames(path, options)

    monkeypatch.setattr(store_module, "read_frames", watched)
    store = build(images)
    assert images[2] in decoded
    assert not {images[0], images[1]} & set(decoded)
    expected = [SMALL(image) for path in images for image in read_frames(path)]
    np.testing.assert_array_equal(store.read(np.arange(6)), expected)
    assert not list((images[0].parent / "cache").glob("*.partial"))


@pytest.mark.parametrize("name", ["pixels.npy", "done.npy", "plan.json"])
def test_damaged_remains_of_an_interrupted_build_are_made_anew(
    images: list[Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def interrupted(path: Path, options: ReaderOptions) -> Iterator[DecodedImage]:
        if path == images[3]:
            raise KeyboardInterrupt
        return read_frames(path, options)

    monkeypatch.setattr(store_module, "read_frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(images)
    monkeypatch.undo()
    (remains,) = (images[0].parent / "cache").glob("*.partial")
    (remains / name).write_bytes((remains / name).read_bytes()[:40])
    expected = [SMALL(image) for path in images for image in read_frames(path)]
    np.testing.assert_array_equal(build(images).read(np.arange(6)), expected)


def test_unreadable_files_are_counted_and_skipped(images: list[Path]) -> None:
    images[0].write_bytes(images[0].read_bytes()[:100])  # header whole, pixels not
    images[2].write_text("no image")
    missing = images[0].with_name("missing.png")
    store = build([*images, missing])
    assert store.owner.tolist() == [1, 1, 1, 3]
    assert [failure.path for failure in store.failures] == [images[0], images[2], missing]
    assert all(failure.reason.startswith(f"{failure.path}: ") for failure in store.failures)
    expected = [SMALL(image) for path in (images[1], images[3]) for image in read_frames(path)]
    np.testing.assert_array_equal(store.read(np.arange(4)), expected)


def test_reason_names_the_file_where_it_is_now(images: list[Path]) -> None:
    images[1].write_text("no image")
    build(images)
    moved = images[1].rename(images[1].with_name("moved.tif"))
    (failure,) = build([images[0], moved, *images[2:]]).failures
    assert failure.reason.startswith(f"{moved}: not PNG")
    assert str(images[1]) not in failure.reason


def test_strict_refuses_an_unreadable_file(images: list[Path]) -> None:
    images[1].write_text("no image")
    with pytest.raises(UnreadableImage, match=r"b\.tif: not PNG"):
        build(images, strict=True)
    build(images)
    with pytest.raises(UnreadableImage, match=r"b\.tif: not PNG"):
        build(images, strict=True)


def test_nothing_readable_is_refused_each_time(images: list[Path]) -> None:
    for path in images:
        path.write_text("no image")
    for _ in range(2):
        with pytest.raises(InputError, match=r"^heart: none of 4 files could be read; first: .*a\.png: not PNG"):
            build(images, title="heart")


def test_no_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^heart: no files"):
        ImageStore.build([], SMALL, cache=tmp_path, title="heart")


@pytest.mark.parametrize(
    ("name", "content"),
    [("pixels.npy", b""), ("pixels.npy", None), ("index.json", b"{"), ("index.json", b"[]"), ("index.json", b"{}")],
)
def test_damaged_store_is_made_anew(images: list[Path], name: str, content: bytes | None) -> None:
    store = build(images)
    damaged = store.folder / name
    damaged.write_bytes(damaged.read_bytes()[:200] if content is None else content)
    expected = [SMALL(image) for path in images for image in read_frames(path)]
    np.testing.assert_array_equal(build(images).read(np.arange(6)), expected)


def test_store_survives_pickling_without_its_pixels(images: list[Path]) -> None:
    store = build(images)
    pickled = pickle.dumps(store)
    copy = pickle.loads(pickled)
    assert store.read(np.array([0])).tobytes() not in pickled
    assert (copy.key, copy.paths, copy.failures) == (store.key, store.paths, store.failures)
    np.testing.assert_array_equal(copy.owner, store.owner)
    np.testing.assert_array_equal(copy.read(np.arange(6)), store.read(np.arange(6)))


def test_cache_that_cannot_be_written_is_named(images: list[Path]) -> None:
    blocked = images[0].parent / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="HEALTHYGAN_CACHE") as caught:
        ImageStore.build(images, SMALL, cache=blocked)
    assert "\n" not in str(caught.value)


def test_full_disk_is_reported_and_leaves_nothing_half_made(
    images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(InputError, match="No space left on device"):
        build(images)
    assert not list((images[0].parent / "cache").rglob("*.npy"))


def test_cache_folder_comes_from_the_environment(
    images: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEALTHYGAN_CACHE", str(tmp_path / "chosen"))
    assert ImageStore.build(images, SMALL).folder.parent == tmp_path / "chosen"
    monkeypatch.delenv("HEALTHYGAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert ImageStore.build(images, SMALL).folder.parent == tmp_path / "xdg" / "healthygan"
