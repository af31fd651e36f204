"""One picture in other bytes is found however it was made anew; pictures that are merely alike are not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fixtures.pictures import textured
from healthygan.data import near_duplicates as module
from healthygan.data.cohort import Cohort, CohortImage, Split
from healthygan.data.near_duplicates import Likeness, find_likenesses, near_duplicates, near_pairs, unexplained_shares

Pixels = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEALTHYGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def saved(path: Path, pixels: Pixels | Image.Image, **options: int) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def pairs(paths: list[Path], patients: list[str | None] | None = None) -> list[tuple[str, str]]:
    likenesses = find_likenesses(paths, patients or [None] * len(paths))
    return [(paths[each.first].name, paths[each.second].name) for each in likenesses]


def cropped(pixels: Pixels) -> Image.Image:
    edge = round(0.01 * len(pixels))
    return Image.fromarray(pixels[edge:, edge:])


def resized(factor: float) -> Callable[[Pixels], Image.Image]:
    return lambda pixels: Image.fromarray(pixels).resize((round(len(pixels) * factor),) * 2, Image.Resampling.BICUBIC)


MADE_ANEW: dict[str, Callable[[Pixels, Path], Path]] = {
    "JPEG of quality 60": lambda pixels, folder: saved(folder / "copy.jpg", pixels, quality=60),
    "JPEG of quality 95": lambda pixels, folder: saved(folder / "copy.jpg", pixels, quality=95),
    "half the size": lambda pixels, folder: saved(folder / "copy.png", resized(0.5)(pixels)),
    "twice the size": lambda pixels, folder: saved(folder / "copy.png", resized(2)(pixels)),
    "5 % brighter": lambda pixels, folder: saved(folder / "copy.png", (pixels * 1.05).clip(0, 255).astype(np.uint8)),
    "5 % darker": lambda pixels, folder: saved(folder / "copy.png", (pixels * 0.95).astype(np.uint8)),
    "1 % cropped": lambda pixels, folder: saved(folder / "copy.png", cropped(pixels)),
    "in colour": lambda pixels, folder: saved(folder / "copy.png", Image.fromarray(pixels).convert("RGB")),
    "16 bits": lambda pixels, folder: saved(folder / "copy.tif", Image.fromarray(pixels.astype(np.uint16) * 257)),
}


@pytest.mark.parametrize("way", MADE_ANEW)
def test_a_picture_made_anew_is_found_among_others_of_its_kind(way: str, tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{seed}.png", textured(seed)) for seed in range(8)]
    copy = MADE_ANEW[way](textured(3), tmp_path)

    assert pairs([*paths, copy]) == [("3.png", copy.name)]


def test_pictures_of_one_kind_are_no_pair(tmp_path: Path) -> None:
    assert pairs([saved(tmp_path / f"{seed}.png", textured(seed)) for seed in range(30)]) == []


def test_a_pair_that_differs_at_half_the_size_is_not_aligned_further() -> None:
    thumbnails = np.stack([textured(seed, 64) for seed in range(2)])

    (share,) = unexplained_shares(thumbnails, np.array([[0, 1]]))

    assert module.UNEXPLAINED < share <= 1


def test_equal_pixels_are_told_from_near_ones(tmp_path: Path) -> None:
    paths = [
        saved(tmp_path / "a.png", textured(1)),
        saved(tmp_path / "b.tif", textured(1)),
        saved(tmp_path / "c.jpg", textured(1), quality=90),
    ]
    found = {(each.first, each.second): each.same_pixels for each in find_likenesses(paths, [None] * 3)}
    assert found == {(0, 1): True, (0, 2): False, (1, 2): False}


def test_images_of_one_patient_are_no_pair(tmp_path: Path) -> None:
    paths = [saved(tmp_path / "a.png", textured(1)), saved(tmp_path / "b.jpg", textured(1))]

    assert pairs(paths, ["p", "p"]) == []
    assert pairs(paths, ["p", "q"]) == [("a.png", "b.jpg")]
    assert pairs(paths, ["p", None]) == [("a.png", "b.jpg")]


def test_what_cannot_be_read_or_shows_nothing_has_no_pair(tmp_path: Path) -> None:
    for name in ("broken", "broken2"):
        (tmp_path / f"{name}.png").write_bytes(b"no image")
    flat = [saved(tmp_path / f"flat{grey}.png", np.full((40, 40), grey, np.uint8)) for grey in (7, 8)]

    assert pairs([tmp_path / "broken.png", tmp_path / "broken2.png", tmp_path / "none.png", *flat]) == []
    assert find_likenesses([], []) == []


def test_files_with_the_same_bytes_are_left_to_their_own_check(tmp_path: Path) -> None:
    images = [
        CohortImage(saved(tmp_path / "a.png", textured(1)), Split.HEALTHY),
        CohortImage(saved(tmp_path / "b.png", textured(1)), Split.MIXED),
        CohortImage(saved(tmp_path / "c.jpg", textured(1)), Split.TEST),
    ]
    found = near_duplicates(Cohort("study", tuple(images)))
    assert [(pair.first.path.name, pair.second.path.name) for pair in found] == [("a.png", "c.jpg"), ("b.png", "c.jpg")]


def test_each_image_has_a_bounded_number_of_pairs_and_all_copies_hang_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    alike = np.repeat(np.asarray(Image.fromarray(textured(1)).resize((64, 64)))[None], 20, axis=0)

    near = near_pairs(alike, [None] * 20)

    assert len(near) < 20 * module.NEIGHBOURS
    links = coo_array((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(20, 20))
    assert connected_components(links, directed=False)[0] == 1


def test_a_second_look_decodes_nothing_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [saved(tmp_path / "a.png", textured(1)), saved(tmp_path / "b.jpg", textured(1))]
    first = find_likenesses(paths, [None, None])
    monkeypatch.setattr(module, "make_thumbnails", lambda *_: pytest.fail("decoded again"))

    assert find_likenesses(paths, [None, None]) == first
    saved(paths[1], textured(2))
    with pytest.raises(pytest.fail.Exception, match="decoded again"):
        find_likenesses(paths, [None, None])


@pytest.mark.parametrize("content", ["", "[", '[{"first": 1}]'])
def test_a_damaged_note_is_made_anew(content: str, own_cache: Path, tmp_path: Path) -> None:
    paths = [saved(tmp_path / "a.png", textured(1)), saved(tmp_path / "b.jpg", textured(1))]
    find_likenesses(paths, [None, None])
    (note,) = (own_cache / "near_duplicates").iterdir()
    note.write_text(content)

    assert pairs(paths) == [("a.png", "b.jpg")]


def test_a_cache_that_cannot_be_written_is_no_hindrance(own_cache: Path, tmp_path: Path) -> None:
    own_cache.write_text("a file")
    assert pairs([saved(tmp_path / "a.png", textured(1)), saved(tmp_path / "b.jpg", textured(1))]) == [
        ("a.png", "b.jpg")
    ]


def test_lists_of_different_lengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 patients for 2 paths"):
        find_likenesses([tmp_path / "a", tmp_path / "b"], [None])


def test_a_likeness_has_numbers_of_the_list_in_order(tmp_path: Path) -> None:
    paths = [
        saved(tmp_path / "a.png", textured(1)),
        saved(tmp_path / "b.png", textured(2)),
        saved(tmp_path / "c.png", textured(1)),
    ]
    (only,) = find_likenesses(paths, [None] * 3)
    assert only == Likeness(0, 2, only.unexplained, True)
    assert 0 <= only.unexplained < 1e-3
