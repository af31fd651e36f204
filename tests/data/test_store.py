"""Stores decode once, survive interruption and damage, and never lose a file silently."""

import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from healthygan.common.errors import InputError, UnreadableImage
from healthygan.data import file_hashes as hashes_module
from healthygan.data import store as store_module
from healthygan.data.file_hashes import default_cache
from healthygan.data.preprocessing import Preprocessing
from healthygan.data.readers.reading import read_frames
from healthygan.data.store import ImageStore

SIZE = 8
SMALL = Preprocessing(size=SIZE)
STEP = 257  # an 8-bit value in 16 bits


def png(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (SIZE, SIZE), value).save(path)
    return path


def stack(path: Path, values: list[int]) -> Path:
    pages = np.array(values, np.uint8)[:, None, None].repeat(SIZE, 1).repeat(SIZE, 2)
    tifffile.imwrite(path, pages, photometric="minisblack")
    return path


def truncated(path: Path) -> Path:
    """A PNG with a good header and half its pixels."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(path, "PNG")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def values(store: ImageStore) -> list[int]:
    """The value of each frame of one colour."""
    pixels = store.read(np.arange(len(store)))
    assert np.ptp(pixels, axis=(1, 2, 3)).max() == 0
    found: NDArray[np.uint16] = pixels[:, 0, 0, 0] // STEP
    return [int(value) for value in found]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Files of 1, 3, 0 (torn), 0 (no image) and 1 frames."""
    (tmp_path / "note.png").write_text("no image")
    return [
        png(tmp_path / "a.png", 10),
        stack(tmp_path / "b.tif", [20, 21, 22]),
        truncated(tmp_path / "c.png"),
        tmp_path / "note.png",
        png(tmp_path / "e.png", 50),
    ]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files decoded since the test began."""
    names: list[str] = []
    monkeypatch.setattr(
        store_module, "read_frames", lambda path, *options: (names.append(path.name), read_frames(path, *options))[1]
    )
    return names


def test_frames_follow_the_order_of_files_and_failed_ones_own_none(paths: list[Path], cache: Path) -> None:
    store = ImageStore.build(paths, SMALL, cache=cache)
    assert len(store) == 5
    assert values(store) == [10, 20, 21, 22, 50]
    np.testing.assert_array_equal(store.owner, [0, 1, 1, 1, 4])
    np.testing.assert_array_equal(store.frame, [0, 0, 1, 2, 0])


def test_failures_name_the_file_and_why(paths: list[Path], cache: Path) -> None:
    failures = ImageStore.build(paths, SMALL, cache=cache).failures
    assert [failure.path for failure in failures] == [paths[2], paths[3]]
    assert failures[0].reason.startswith(f"{paths[2]}: damaged")
    assert failures[1].reason.startswith(f"{paths[3]}: not PNG")


def test_pixels_are_those_of_the_preprocessing(tmp_path: Path, cache: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (20, 14, 3), np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise, photometric="rgb")
    preprocessing = Preprocessing(size=SIZE, channels=3)
    store = ImageStore.build([path], preprocessing, cache=cache)
    (image,) = read_frames(path)
    np.testing.assert_array_equal(store.read(np.array([0]))[0], preprocessing(image))


def test_read_gives_a_copy_of_the_asked_frames_in_the_asked_order(paths: list[Path], cache: Path) -> None:
    store = ImageStore.build(paths, SMALL, cache=cache)
    pixels = store.read(np.array([4, 0, 4]))
    assert pixels.shape == (3, 1, SIZE, SIZE)
    assert pixels.dtype == np.uint16
    assert [int(image[0, 0, 0]) // STEP for image in pixels] == [50, 10, 50]
    pixels[:] = 0
    assert values(store)[4] == 50


def test_second_build_decodes_nothing(paths: list[Path], cache: Path, decoded: list[str]) -> None:
    first = ImageStore.build(paths, SMALL, cache=cache)
    assert sorted(decoded) == ["a.png", "b.tif", "c.png", "e.png"]
    decoded.clear()
    second = ImageStore.build(paths, SMALL, cache=cache)
    assert decoded == []
    assert (second.key, values(second)) == (first.key, values(first))
    assert second.failures == first.failures


def test_moved_files_reuse_the_store_and_are_reported_where_they_are(
    paths: list[Path], cache: Path, decoded: list[str]
) -> None:
    ImageStore.build(paths, SMALL, cache=cache)
    decoded.clear()
    moved = [path.rename(path.with_name(f"moved_{path.name}")) for path in paths]
    store = ImageStore.build(moved, SMALL, cache=cache)
    assert decoded == []
    assert all(failure.reason.startswith(f"{failure.path}: ") for failure in store.failures)
    assert [failure.path for failure in store.failures] == [moved[2], moved[3]]


def test_other_content_order_or_preprocessing_is_another_store(tmp_path: Path, cache: Path) -> None:
    one, two = png(tmp_path / "a.png", 1), png(tmp_path / "b.png", 2)
    stores = [
        ImageStore.build([one, two], SMALL, cache=cache),
        ImageStore.build([two, one], SMALL, cache=cache),
        ImageStore.build([one, two], SMALL.model_copy(update={"crop_top": 0.5}), cache=cache),
    ]
    png(one, 3)
    stores.append(ImageStore.build([one, two], SMALL, cache=cache))
    assert len({store.key for store in stores}) == 4
    assert [values(store) for store in stores] == [[1, 2], [2, 1], [1, 2], [3, 2]]


def test_unchanged_files_are_not_hashed_again(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes_module, "SETTLED", -1.0)
    hashed: list[str] = []
    content_hash = hashes_module.content_hash
    monkeypatch.setattr(hashes_module, "content_hash", lambda path: (hashed.append(path.name), content_hash(path))[1])
    files = [png(tmp_path / "a.png", 1), png(tmp_path / "b.png", 2)]
    ImageStore.build(files, SMALL, cache=cache)
    assert sorted(hashed) == ["a.png", "b.png"]
    hashed.clear()
    png(files[1], 3)
    store = ImageStore.build(files, SMALL, cache=cache)
    assert hashed == ["b.png"]
    assert values(store) == [1, 3]


def test_hash_of_a_file_just_written_is_not_remembered(tmp_path: Path, cache: Path) -> None:
    ImageStore.build([png(tmp_path / "a.png", 1)], SMALL, cache=cache)
    assert not (cache / "hashes.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"x": 1}'])
def test_damaged_list_of_hashes_is_ignored(tmp_path: Path, cache: Path, content: str) -> None:
    cache.mkdir()
    (cache / "hashes.json").write_text(content)
    assert values(ImageStore.build([png(tmp_path / "a.png", 1)], SMALL, cache=cache)) == [1]


def test_interrupted_build_goes_on_where_it_was(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "BATCH", 2)
    files = [png(tmp_path / f"{number}.png", number) for number in range(6)]

    def interrupted(path: Path, *options: object) -> object:
        if path.name == "4.png":
            raise KeyboardInterrupt
        return read_frames(path)

    monkeypatch.setattr(store_module, "read_frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ImageStore.build(files, SMALL, cache=cache, workers=1)
    assert [path.name.endswith(".partial") for path in cache.iterdir() if path.is_dir()] == [True]

    names: list[str] = []
    monkeypatch.setattr(store_module, "read_frames", lambda path, *_: (names.append(path.name), read_frames(path))[1])
    store = ImageStore.build(files, SMALL, cache=cache, workers=1)
    assert names == ["4.png", "5.png"]
    assert values(store) == [0, 1, 2, 3, 4, 5]
    assert not list(cache.glob("*.partial"))


@pytest.mark.parametrize("name", ["plan.json", "pixels.npy", "done.npy"])
@pytest.mark.parametrize("kept", [None, 0, 0.5])
def test_damaged_interrupted_build_starts_afresh(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, kept: float | None
) -> None:
    files = [png(tmp_path / f"{number}.png", number) for number in range(3)]

    def interrupted(path: Path, *options: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "read_frames", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ImageStore.build(files, SMALL, cache=cache)
    (partial,) = cache.glob("*.partial")
    damage(partial / name, kept)
    assert values(ImageStore.build(files, SMALL, cache=cache)) == [0, 1, 2]


@pytest.mark.parametrize("name", ["index.json", "pixels.npy"])
@pytest.mark.parametrize("kept", [None, 0, 0.05, 0.95])
def test_damaged_store_is_made_anew(paths: list[Path], cache: Path, name: str, kept: float | None) -> None:
    folder = ImageStore.build(paths, SMALL, cache=cache).folder
    damage(folder / name, kept)
    assert values(ImageStore.build(paths, SMALL, cache=cache)) == [10, 20, 21, 22, 50]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda index: [],
        lambda index: index | {"place": index["place"][:-1]},
        lambda index: index | {"place": [*index["place"][:-1], 99]},
        lambda index: index | {"place": [*index["place"][:-1], -1]},
        lambda index: index | {"failures": []},
        lambda index: {key: value for key, value in index.items() if key != "frame"},
    ],
)
def test_index_that_does_not_fit_is_made_anew(
    paths: list[Path], cache: Path, spoil: Callable[[dict[str, list[object]]], object]
) -> None:
    path = ImageStore.build(paths, SMALL, cache=cache).folder / "index.json"
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    store = ImageStore.build(paths, SMALL, cache=cache)
    assert values(store) == [10, 20, 21, 22, 50]
    assert len(store.failures) == 2


def damage(path: Path, kept: float | None) -> None:
    """Delete the file, or cut it down to a share of its bytes."""
    if kept is None:
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept)])


def test_strict_refuses_the_first_bad_file_in_a_new_and_in_a_finished_store(paths: list[Path], cache: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"note\.png: not PNG"):  # found by its header, before any decoding
        ImageStore.build(paths, SMALL, cache=cache, strict=True)
    ImageStore.build(paths, SMALL, cache=cache)
    with pytest.raises(UnreadableImage, match=r"c\.png: damaged"):
        ImageStore.build(paths, SMALL, cache=cache, strict=True)


def test_strict_stops_at_the_first_file_that_cannot_be_decoded(
    tmp_path: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "BATCH", 1)
    files = [
        truncated(tmp_path / "0.png"),
        *(png(tmp_path / f"{number}.png", number) for number in range(1, 9)),
    ]
    with pytest.raises(UnreadableImage, match=r"0\.png: damaged"):
        ImageStore.build(files, SMALL, cache=cache, workers=1, strict=True)
    assert decoded == ["0.png"]


@pytest.mark.parametrize("make", [truncated, lambda path: path])
def test_store_without_a_good_frame_is_refused(tmp_path: Path, cache: Path, make: Callable[[Path], Path]) -> None:
    for _ in range(2):  # made, then found
        with pytest.raises(InputError, match=r"none of 1 files could be read; first: .*a\.png") as caught:
            ImageStore.build([make(tmp_path / "a.png")], SMALL, cache=cache)
        assert "\n" not in str(caught.value)


def test_no_files_at_all_are_refused(cache: Path) -> None:
    with pytest.raises(InputError, match="healthy: no image file is given"):
        ImageStore.build([], SMALL, cache=cache, title="healthy")


@pytest.mark.parametrize("frames", [1, 3])
def test_file_with_other_frames_than_its_header_tells_is_a_failure(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    files = [stack(tmp_path / "a.tif", [1, 2]), png(tmp_path / "b.png", 5)]

    def other(path: Path, *options: object) -> object:
        return list(read_frames(path))[:1] * (frames if path == files[0] else 1)

    monkeypatch.setattr(store_module, "read_frames", other)
    store = ImageStore.build(files, SMALL, cache=cache)
    assert values(store) == [5]
    assert f"{frames} frames where its header tells of 2" in store.failures[0].reason


def test_frames_know_the_group_of_their_file(paths: list[Path], cache: Path) -> None:
    alone = ImageStore.build(paths, SMALL, cache=cache)
    assert alone.frame_groups == tuple(str(paths[owner]) for owner in alone.owner)
    grouped = ImageStore.build(paths, SMALL, cache=cache, groups=["a", "a", "b", "b", "c"])
    assert grouped.frame_groups == ("a", "a", "a", "a", "c")
    assert grouped.key == alone.key
    assert pickle.loads(pickle.dumps(grouped)).frame_groups == grouped.frame_groups
    with pytest.raises(ValueError, match="2 groups for 5 paths"):
        ImageStore.build(paths, SMALL, cache=cache, groups=["a", "b"])


def test_pickled_store_maps_the_same_file(paths: list[Path], cache: Path) -> None:
    store = ImageStore.build(paths, SMALL, cache=cache)
    content = pickle.dumps(store)
    assert len(content) < 2000
    copy = pickle.loads(content)
    assert values(copy) == values(store)
    assert copy.failures == store.failures


def test_builders_of_the_same_store_do_not_disturb_each_other(tmp_path: Path, cache: Path, decoded: list[str]) -> None:
    # Each opens the lock file anew, so that threads exclude each other just as processes do.
    files = [png(tmp_path / f"{number}.png", number) for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: ImageStore.build(files, SMALL, cache=cache, workers=2), range(4)))
    assert all(values(store) == list(range(40)) for store in stores)
    assert len(decoded) == 40
    assert not list(cache.glob("*.partial"))


def test_full_disk_is_told_before_decoding(
    tmp_path: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1000, 990, 10))
    with pytest.raises(InputError, match=r"need .* GB .*HEALTHYGAN_CACHE"):
        ImageStore.build([png(tmp_path / "a.png", 1)], SMALL, cache=cache)
    assert decoded == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="nothing can be reserved here")
@pytest.mark.parametrize("resumed", [False, True])
def test_room_for_all_pixels_is_reserved_before_decoding(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    files = [png(tmp_path / f"{n}.png", n) for n in range(64)]
    if resumed:
        _stop_while_decoding(files, cache, monkeypatch)
        (pixels,) = cache.glob("*.partial/pixels.npy")
        content = pixels.read_bytes()
        with pixels.open("r+b") as file:  # as it is where a disk was full: a file of holes
            file.truncate(0)
            file.write(content[:128])
            file.truncate(len(content))
        assert pixels.stat().st_blocks * 512 < len(content)
    taken = []

    def noting(path, *options):  # type: ignore[no-untyped-def]
        (pixels,) = cache.glob("*.partial/pixels.npy")
        taken.append(pixels.stat().st_blocks * 512 >= pixels.stat().st_size)
        return read_frames(path, *options)

    monkeypatch.setattr(store_module, "read_frames", noting)
    ImageStore.build(files, SMALL, cache=cache)
    assert len(taken) == 64 and all(taken)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_disk_that_filled_up_meanwhile_is_told_in_one_line(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    files = [png(tmp_path / f"{n}.png", n) for n in range(4)]
    if resumed:
        _stop_while_decoding(files, cache, monkeypatch)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full, raising=False)
        with pytest.raises(InputError, match=r"the decoded images need .* make room or set HEALTHYGAN_CACHE"):
            ImageStore.build(files, SMALL, cache=cache)
    assert values(ImageStore.build(files, SMALL, cache=cache)) == [0, 1, 2, 3]


def _stop_while_decoding(files: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "read_frames", stopped)
        with pytest.raises(KeyboardInterrupt):
            ImageStore.build(files, SMALL, cache=cache)


def test_cache_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file.*cannot be written.*HEALTHYGAN_CACHE") as caught:
        ImageStore.build([png(tmp_path / "a.png", 1)], SMALL, cache=tmp_path / "file" / "cache")
    assert "\n" not in str(caught.value)


def test_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEALTHYGAN_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "own"
    monkeypatch.delenv("HEALTHYGAN_CACHE")
    assert default_cache() == tmp_path / "xdg" / "healthygan"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "healthygan"
