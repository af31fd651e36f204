"""Scoring a pile: the list, the maps, going on after an interruption, files that cannot be read."""

import csv
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import rankdata

from healthygan.cli.main import main
from healthygan.common.errors import InputError
from healthygan.common.folder_lock import locked
from healthygan.common.run_folder import Run
from healthygan.data.cohort import Cohort, Split
from healthygan.data.preprocessing import to_tensor
from healthygan.data.readers.reading import read_frames
from healthygan.inference import frames as frames_module
from healthygan.inference import score as scoring
from healthygan.inference.predictor import Predictor
from healthygan.inference.score import collect, score
from healthygan.runs import train as workflow

Finished = tuple[Run, Cohort]


@pytest.fixture
def pile(finished_run: Finished, tmp_path: Path) -> Path:
    """The 16 test images in one folder."""
    folder = tmp_path / "pile"
    folder.mkdir()
    for path in finished_run[1].paths(Split.TEST):
        shutil.copy(path, folder)
    return folder


def _rows(output: Path) -> list[dict[str, str]]:
    with (output / "scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _state(path: Path) -> list[bytes]:
    """How a partial list tells a file from one put in its place: size and time of the last change."""
    return [str(number).encode() for number in (path.stat().st_size, path.stat().st_mtime_ns)]


def _interrupted(run: Run, images: list[Path], output: Path, patch: pytest.MonkeyPatch, **options: object) -> None:
    """Score four images one by one, and stop there."""
    with patch.context() as patched:
        real, count = scoring._score, 0

        def stopping(*parts):  # type: ignore[no-untyped-def]
            nonlocal count
            count += 1
            if count > 4:
                raise KeyboardInterrupt
            return real(*parts)

        patched.setattr(scoring, "_score", stopping)
        patched.setattr(Predictor, "batch_size", 1)
        with pytest.raises(KeyboardInterrupt):
            score(run, images, output, device="cpu", **options)  # type: ignore[arg-type]
    assert (output / "scores.partial.csv").read_bytes().count(b"\n") == 3


def _expected(run: Run, paths: list[Path]) -> dict[str, float]:
    """Scores computed one image at a time, without the scoring code."""
    detector, config, _ = workflow.load(run, "cpu")
    found = {}
    for path in paths:
        (image,) = read_frames(path, config.preprocessing.reader)
        x = to_tensor(config.preprocessing(image))[None]
        x_healthy = detector.predict(x).translated
        assert x_healthy is not None
        found[str(path)] = float((x.double() - x_healthy.double()).abs().mean() / 2)
    return found


def test_the_list_is_the_detectors_scores_highest_first(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    run, _ = finished_run
    done = score(run, [pile], tmp_path / "out", overlays=False, device="cpu")
    expected = _expected(run, sorted(pile.iterdir()))
    rows = _rows(tmp_path / "out")
    assert done.images == len(rows) == 16
    assert {row["path"] for row in rows} == set(expected)
    for row in rows:
        assert float(row["score"]) == pytest.approx(expected[row["path"]], abs=2e-6)
        assert row["frame"] == "0" and row["patient_id"] == row["patient_score"] == ""
    values = [float(row["score"]) for row in rows]
    assert values == sorted(values, reverse=True)
    assert [int(row["rank"]) for row in rows] == list(range(1, 17))


def test_flags_are_the_scores_at_or_above_the_threshold(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(finished_run[0].path, run.path)
    expected = _expected(run, sorted(pile.iterdir()))
    threshold = float(np.median(list(expected.values())))
    run.save_decision(run.load_decision().model_copy(update={"threshold": threshold}))
    done = score(run, [pile], tmp_path / "out", overlays=False, device="cpu")
    rows = _rows(tmp_path / "out")
    assert done.flagged == 8
    assert [row["flagged"] for row in rows] == ["1"] * 8 + ["0"] * 8


def test_without_a_threshold_nothing_is_flagged(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(finished_run[0].path, run.path)
    run.save_decision(run.load_decision().model_copy(update={"threshold": None}))
    assert score(run, [pile], tmp_path / "out", overlays=False, device="cpu").flagged is None
    assert {row["flagged"] for row in _rows(tmp_path / "out")} == {""}


def test_a_manifest_tells_patients_and_a_patients_score_is_the_mean(
    finished_run: Finished, manifest: Path, tmp_path: Path
) -> None:
    run, cohort = finished_run
    score(run, [manifest], tmp_path / "out", overlays=False, device="cpu")
    rows = _rows(tmp_path / "out")
    patient_of = {str(image.path): image.patient_id for image in cohort.images}
    of_patient = defaultdict(list)
    for row in rows:
        assert row["patient_id"] == patient_of[row["path"]]
        of_patient[row["patient_id"]].append(float(row["score"]))
    assert len(rows) == len(cohort.images)
    for row in rows:
        assert float(row["patient_score"]) == pytest.approx(np.mean(of_patient[row["patient_id"]]), abs=2e-6)


def test_equal_images_share_the_better_rank(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    first = sorted(pile.iterdir())[0]
    shutil.copy(first, pile / "copy.png")
    score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu")
    rows = _rows(tmp_path / "out")
    values = np.array([float(row["score"]) for row in rows])
    assert [int(row["rank"]) for row in rows] == list(rankdata(-values, method="min").astype(int))
    assert len({row["rank"] for row in rows if Path(row["path"]).name in (first.name, "copy.png")}) == 1


def test_maps_are_the_difference_of_image_and_translation(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    run, _ = finished_run
    score(run, [pile], tmp_path / "out", arrays=True, device="cpu")
    detector, config, _ = workflow.load(run, "cpu")
    arrays = sorted((tmp_path / "out" / "maps").glob("*.npy"))
    overlays = sorted((tmp_path / "out" / "maps").glob("*.png"))
    assert len(arrays) == len(overlays) == 16
    assert [path.stem for path in arrays] == [path.stem for path in overlays]
    for path in pile.iterdir():
        (array,) = (tmp_path / "out" / "maps").glob(f"{path.stem}_*.npy")
        (image,) = read_frames(path, config.preprocessing.reader)
        x = to_tensor(config.preprocessing(image))[None]
        translated = detector.predict(x).translated
        assert translated is not None
        found = np.load(array)
        assert found.dtype == np.float32 and found.shape == (16, 16)
        np.testing.assert_allclose(found, ((x - translated).abs() / 2)[0, 0].numpy(), atol=1e-6)
    with Image.open(overlays[0]) as picture:
        assert picture.mode == "RGB" and min(picture.size) >= 16


def test_namesakes_in_two_folders_get_a_map_each(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    (pile / "below").mkdir()
    shutil.copy(sorted(pile.glob("*.png"))[0], pile / "below")
    score(finished_run[0], [pile], tmp_path / "out", device="cpu")
    assert len(list((tmp_path / "out" / "maps").glob("*.png"))) == 17


def test_a_name_that_is_no_utf8_is_scored_and_survives_an_interruption(
    finished_run: Finished, pile: Path, tmp_path: Path
) -> None:
    odd, other, broken = (pile / os.fsdecode(name) for name in (b"\xff.png", b"\xfe.png", b"\xfd.png"))
    for copy, source in zip((odd, other), sorted(pile.iterdir()), strict=False):
        shutil.copy(source, copy)
    broken.touch()
    output = tmp_path / "out"
    score(finished_run[0], [odd, other, broken], output, device="cpu")
    lines = (output / "scores.csv").read_bytes().splitlines()
    paths = sorted(line.split(b",")[1] for line in lines[1:])
    assert paths == sorted([os.fsencode(odd), os.fsencode(other)])
    assert os.fsencode(broken) in (output / "failures.txt").read_bytes()
    rows = [b",".join([os.fsencode(path), b"0", b"0.5", b"", *_state(path)]) for path in (odd, other)]
    (output / "scores.partial.csv").write_bytes(b"\r\n".join([*rows, b""]))
    score(finished_run[0], [odd, other], output, device="cpu")
    assert b",0.500000," in (output / "scores.csv").read_bytes()  # what was done before is kept


def test_without_maps_none_are_written(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu")
    assert not (tmp_path / "out" / "maps").exists()


def test_broken_files_are_listed_and_the_others_scored(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    (pile / "torn.png").write_bytes(sorted(pile.iterdir())[0].read_bytes()[:60])
    (pile / "empty.dcm").touch()
    done = score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu")
    listed = (tmp_path / "out" / "failures.txt").read_text(encoding="utf-8").splitlines()
    assert done.images == 16
    assert {failure.path.name for failure in done.failures} == {"torn.png", "empty.dcm"}
    assert len(listed) == 2 and "empty.dcm: empty file" in listed[0] and "torn.png" in listed[1]


def test_a_pile_mended_since_leaves_no_old_list_of_failures(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    (pile / "empty.png").touch()
    score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu")
    (pile / "empty.png").unlink()
    score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu")
    assert not (tmp_path / "out" / "failures.txt").exists()


def test_an_interrupted_call_goes_on_where_it_was(
    finished_run: Finished, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = finished_run
    score(run, [pile], tmp_path / "whole", overlays=False, device="cpu")
    real, seen = scoring._score, []

    def counted(pool, detector, frames, options):  # type: ignore[no-untyped-def]
        if interrupt and len(seen) >= 8:
            raise KeyboardInterrupt
        seen.extend(frame.path for frame in frames)
        return real(pool, detector, frames, options)

    monkeypatch.setattr(scoring, "_score", counted)
    monkeypatch.setattr(Predictor, "batch_size", 2)
    interrupt = True
    with pytest.raises(KeyboardInterrupt):
        score(run, [pile], tmp_path / "out", overlays=False, device="cpu")
    assert not (tmp_path / "out" / "scores.csv").exists()
    interrupt = False
    score(run, [pile], tmp_path / "out", overlays=False, device="cpu")
    # Twice: the batch whose maps may not have been written, and the last file before it, which may be half done.
    assert len(seen) == 16 + 2 + 1 and len(set(seen)) == 16
    assert (tmp_path / "out" / "scores.csv").read_bytes() == (tmp_path / "whole" / "scores.csv").read_bytes()
    assert not (tmp_path / "out" / "scores.partial.csv").exists()


def test_a_torn_last_line_is_scored_again(
    finished_run: Finished, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = finished_run
    score(run, [pile], tmp_path / "whole", overlays=False, device="cpu")
    monkeypatch.setattr(Predictor, "batch_size", 1)
    real, count = scoring._score, 0

    def truncated(*parts):  # type: ignore[no-untyped-def]
        nonlocal count
        count += 1
        if count == 6:
            raise KeyboardInterrupt
        return real(*parts)

    monkeypatch.setattr(scoring, "_score", truncated)
    with pytest.raises(KeyboardInterrupt):
        score(run, [pile], tmp_path / "out", overlays=False, device="cpu")
    partial = tmp_path / "out" / "scores.partial.csv"
    content = partial.read_bytes()
    line = content.rstrip().rindex(b"\n") + 1
    score_begins = content.rindex(b",") + 1
    for cut in (len(content) - 1, len(content) - 3, score_begins, score_begins - 1, line + 5):
        partial.write_bytes(content[:cut])
        score(run, [pile], tmp_path / "out", overlays=False, device="cpu")
        whole = (tmp_path / "whole" / "scores.csv").read_bytes()
        assert (tmp_path / "out" / "scores.csv").read_bytes() == whole
        partial.write_bytes(content)


def test_batches_go_across_files_and_keep_their_order(
    finished_run: Finished, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tifffile

    frames = np.random.default_rng(3).integers(0, 255, (5, 16, 16), dtype=np.uint8)
    tifffile.imwrite(pile / "stack.tif", frames, photometric="minisblack")
    (pile / "broken.png").touch()
    real, sizes = scoring._score, []

    def sized(pool, detector, frames, options):  # type: ignore[no-untyped-def]
        sizes.append(len(frames))
        return real(pool, detector, frames, options)

    monkeypatch.setattr(scoring, "_score", sized)
    monkeypatch.setattr(Predictor, "batch_size", 4)
    score(finished_run[0], [pile], tmp_path / "out", device="cpu")
    assert sizes == [4, 4, 4, 4, 4, 1]
    rows = _rows(tmp_path / "out")
    assert sorted(row["frame"] for row in rows if row["path"].endswith("stack.tif")) == list("01234")
    expected = _expected(
        finished_run[0], [path for path in pile.iterdir() if path.stat().st_size and path.suffix == ".png"]
    )
    for row in rows:
        if row["path"] in expected:
            assert float(row["score"]) == pytest.approx(expected[row["path"]], abs=2e-6)
    assert len(list((tmp_path / "out" / "maps").glob("*.png"))) == 21


def test_freed_memory_is_kept_for_every_batch_and_given_back(
    finished_run: Finished, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []
    seen: list[bool] = []
    real = scoring._score

    @contextmanager
    def keeping() -> Iterator[None]:
        kept.append(True)
        yield
        kept.clear()

    def noted(*about):  # type: ignore[no-untyped-def]
        seen.append(bool(kept))
        return real(*about)

    monkeypatch.setattr(scoring, "memory_kept", keeping)
    monkeypatch.setattr(scoring, "_score", noted)
    score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu")
    assert seen and all(seen) and not kept


def test_files_ahead_of_the_network_are_bounded(
    finished_run: Finished, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        shutil.copy(next(pile.glob("test_*.png")), pile / f"more_{number}.png")
    read, real_read, real = [], frames_module.read_frames, scoring._score

    def counted(path, *options):  # type: ignore[no-untyped-def]
        read.append(path)
        return real_read(path, *options)

    def first(pool, detector, frames, options):  # type: ignore[no-untyped-def]
        found = real(pool, detector, frames, options)
        raise KeyboardInterrupt if found else AssertionError

    monkeypatch.setattr(frames_module, "read_frames", counted)
    monkeypatch.setattr(scoring, "_score", first)
    monkeypatch.setattr(Predictor, "batch_size", 8)
    with pytest.raises(KeyboardInterrupt):
        score(finished_run[0], [pile], tmp_path / "out", device="cpu")
    assert len(read) <= 8 + 2 * 8


def test_scores_do_not_depend_on_the_batch(
    finished_run: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tifffile

    frames = np.random.default_rng(3).integers(0, 255, (5, 16, 16), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", frames, photometric="minisblack")
    found = []
    for batch in (1, 2, 32):
        monkeypatch.setattr(Predictor, "batch_size", batch)
        output = tmp_path / f"out{batch}"
        score(finished_run[0], [tmp_path / "stack.tif"], output, overlays=False, device="cpu")
        found.append({row["frame"]: float(row["score"]) for row in _rows(output)})
    assert set(found[0]) == {"0", "1", "2", "3", "4"}
    assert found[0] == pytest.approx(found[1], abs=2e-6)
    assert found[0] == pytest.approx(found[2], abs=2e-6)


def test_a_folder_of_another_models_scores_is_refused(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    other = Run(tmp_path / "other")
    shutil.copytree(finished_run[0].path, other.path)
    weights = torch.load(other.model, weights_only=True)
    torch.save({name: value + 0.01 for name, value in weights.items()}, other.model)
    score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu")
    with pytest.raises(InputError, match="holds scores of another model"):
        score(other, [pile], tmp_path / "out", overlays=False, device="cpu")


def test_a_file_named_twice_is_scored_once(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    paths, patients, _ = collect([tmp_path, tmp_path / "a.png"])
    assert paths == [tmp_path / "a.png"] and patients == {}


def test_hidden_files_and_other_files_are_left_out(tmp_path: Path) -> None:
    for name in ("b.png", ".hidden.png", "notes.txt"):
        Image.new("L", (8, 8)).save(tmp_path / name, format="PNG")
    paths, _, skipped = collect([tmp_path])
    assert paths == [tmp_path / "b.png"]
    assert skipped == "1 files beside the images are of no kind that is read: 1 .txt"


def test_files_beside_the_images_are_told_of_in_one_line(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    for name in ("a.mha", "b.mha", "c.mgz"):
        (pile / name).touch()
    first, *_ = score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu").warnings
    assert first.startswith("3 files beside the images are of no kind that is read: 2 .mha, 1 .mgz; convert")


def test_two_calls_on_one_folder_are_kept_apart(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    with (
        locked(tmp_path / "out", "score"),
        pytest.raises(InputError, match=rf"out: score is at work there, process {os.getpid()} on .* since "),
    ):
        score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu")
    assert score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu").images == 16


def test_an_image_replaced_while_stopped_is_scored_anew(
    finished_run: Finished, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = finished_run
    first, *_, last = sorted(pile.iterdir())
    _interrupted(run, [pile], tmp_path / "out", monkeypatch, overlays=False)
    before = first.stat()
    first.write_bytes(last.read_bytes())
    if first.stat().st_size == before.st_size:
        os.utime(first, ns=(0, before.st_mtime_ns + 1))
    score(run, [pile], tmp_path / "out", overlays=False, device="cpu")
    rows = {row["path"]: row["score"] for row in _rows(tmp_path / "out")}
    assert rows[str(first)] == rows[str(last)]


def test_images_of_an_interrupted_call_are_not_listed_by_another(
    finished_run: Finished, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = sorted(pile.iterdir())
    _interrupted(finished_run[0], images[:8], tmp_path / "out", monkeypatch, overlays=False)
    done = score(finished_run[0], images[6:], tmp_path / "out", overlays=False, device="cpu")
    assert done.images == 10
    assert {row["path"] for row in _rows(tmp_path / "out")} == {str(path) for path in images[6:]}


def test_scores_of_two_precisions_are_not_mixed(
    finished_run: Finished, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu")
    with pytest.raises(InputError, match="out: holds scores with precision=32, not bf16"):
        score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu", precision="bf16")
    mark = json.loads((tmp_path / "out" / "model.json").read_bytes())
    assert mark.keys() == {"model", "config", "engine", "precision", "overlays", "arrays"}


def test_an_unfinished_list_goes_on_with_the_same_maps_alone(
    finished_run: Finished, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interrupted(finished_run[0], [pile], tmp_path / "out", monkeypatch, overlays=False)
    with pytest.raises(InputError, match="holds an unfinished list with arrays=False, not True"):
        score(finished_run[0], [pile], tmp_path / "out", overlays=False, arrays=True, device="cpu")
    score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu")
    score(finished_run[0], [pile], tmp_path / "out", arrays=True, device="cpu")  # a finished one may get more
    assert len(list((tmp_path / "out" / "maps").iterdir())) == 32


def test_what_a_killed_call_left_of_its_maps_is_removed(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    maps = tmp_path / "out" / "maps"
    maps.mkdir(parents=True)
    (maps / ".of another pile.png.healthygan.png").touch()
    score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu")
    assert not list(maps.iterdir())
    kept = {"maps", "scores.csv", "model.json", "scored_with.json", ".lock"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == kept


def test_long_names_of_any_script_get_their_maps(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    names = ["猫" * 83 + ".png", "é" * 125 + ".png", "a" * 251 + ".png"]
    for name, source in zip(names, sorted(pile.iterdir()), strict=False):
        source.rename(pile / name)
    assert score(finished_run[0], [pile], tmp_path / "out", device="cpu").images == 16
    assert len(list((tmp_path / "out" / "maps").iterdir())) == 16


def test_ids_that_a_spreadsheet_would_run_are_defused(finished_run: Finished, pile: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in pile.iterdir())
    ids = ["=cmd|' /C calc'!A0", "-7", "@x"]
    rows = "".join(f'{name},test,healthy,"{patient}"\n' for name, patient in zip(names, ids, strict=False))
    (pile / "cohort.csv").write_text("path,split,label,patient_id\n" + rows)
    score(finished_run[0], [pile / "cohort.csv"], tmp_path / "out", overlays=False, device="cpu")
    assert {row["patient_id"] for row in _rows(tmp_path / "out")} == {"'=cmd|' /C calc'!A0", "-7", "'@x"}


@pytest.fixture
def both(finished_run: Finished, pile: Path) -> Path:
    """The test images and copies of the run's own mixed ones in one folder."""
    for path in finished_run[1].paths(Split.MIXED):
        shutil.copy(path, pile)
    return pile


def test_images_that_the_run_has_seen_get_no_p_value_and_no_place_on_the_worklist(
    finished_run: Finished, both: Path, tmp_path: Path
) -> None:
    done = score(finished_run[0], [both], tmp_path / "out", overlays=False, device="cpu", fdr=0.9)
    rows = _rows(tmp_path / "out")
    seen = [row for row in rows if Path(row["path"]).name.startswith("mixed")]
    new = [row for row in rows if row not in seen]
    assert (len(seen), len(new)) == (12, 16)
    assert {(row["p_value"], row["worklist"]) for row in seen} == {("", "")}
    assert all(row["p_value"] and row["worklist"] in ("0", "1") for row in new)
    assert done.listed == sum(row["worklist"] == "1" for row in new)
    (warning,) = (text for text in done.warnings if "own cohort" in text)
    assert (
        warning.startswith("12 of 28 images are of the run's own cohort (12 mixed)") and "mixed_scores" not in warning
    )


def test_new_images_are_judged_as_if_no_seen_one_lay_beside_them(
    finished_run: Finished, pile: Path, tmp_path: Path
) -> None:
    def judged(output: Path) -> dict[str, tuple[str, str]]:
        score(finished_run[0], [pile], output, overlays=False, device="cpu", fdr=0.6)
        return {row["path"]: (row["p_value"], row["worklist"]) for row in _rows(output)}

    alone = judged(tmp_path / "alone")
    for path in finished_run[1].paths(Split.HEALTHY):
        shutil.copy(path, pile)
    beside = judged(tmp_path / "beside")
    assert len(beside) == 28 and {path: beside[path] for path in alone} == alone


def test_the_warning_points_to_the_cross_fitted_ranking(finished_run: Finished, both: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(finished_run[0].path, run.path)
    ranking = run.part("contrast").mixed_scores
    ranking.parent.mkdir()
    ranking.touch()
    done = score(run, [both], tmp_path / "out", overlays=False, device="cpu")
    assert any(f"{ranking} ranks the mixed ones" in text for text in done.warnings)


def test_images_far_too_small_or_of_another_kind_are_marked_and_counted(
    finished_run: Finished, pile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (1, 1), 90).save(pile / "dot.png")
    Image.fromarray(np.full((7, 60), 90, np.uint8)).save(pile / "strip.png")
    Image.new("L", (16, 16), 255).save(pile / "white.png")
    output = tmp_path / "out"
    assert main(["score", str(finished_run[0].path), str(pile), "-o", str(output), "--no-maps", "--device", "cpu"]) == 0
    remarks = {Path(row["path"]).name: row["remark"] for row in _rows(output)}
    assert remarks["dot.png"].startswith("shorter side 1 px where the model sees 16")
    assert remarks["strip.png"].startswith("shorter side 7 px") and "unlike anything seen" in remarks["white.png"]
    assert {remark for name, remark in remarks.items() if name.startswith("test_")} == {""}
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 images are far too small or unlike")


def test_remarks_survive_an_interruption(
    finished_run: Finished, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (1, 1), 90).save(pile / "a.png")
    real, calls = scoring._score, []

    def stopped(*parts):  # type: ignore[no-untyped-def]
        calls.append(parts)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*parts)

    monkeypatch.setattr(scoring, "_score", stopped)
    monkeypatch.setattr(Predictor, "batch_size", 2)
    with pytest.raises(KeyboardInterrupt):
        score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu")
    done = score(finished_run[0], [pile], tmp_path / "out", overlays=False, device="cpu")
    assert done.remarked == 1 == sum(bool(row["remark"]) for row in _rows(tmp_path / "out"))
