"""A run loaded once: what it gives for arrays and files is what the detector and the statistics give."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from healthygan.common.errors import InputError, UnreadableImage
from healthygan.common.run_folder import Run
from healthygan.common.tensors import load_tensors, save_tensors
from healthygan.data.cohort import Cohort, Split
from healthygan.data.preprocessing import to_tensor
from healthygan.data.readers.reading import read_frames
from healthygan.inference import predictor as module
from healthygan.inference.predictor import Predictor
from healthygan.runs.train import load
from healthygan.stats.conformal import p_values

Finished = tuple[Run, Cohort]


@pytest.fixture(scope="module")
def predictor(finished_run: Finished) -> Predictor:
    return Predictor(finished_run[0], "cpu")


@pytest.fixture(scope="module")
def paths(finished_run: Finished) -> list[Path]:
    return list(finished_run[1].paths(Split.TEST))


def test_scores_maps_and_p_values_are_those_of_the_detector(
    finished_run: Finished, predictor: Predictor, paths: list[Path]
) -> None:
    detector, config, _ = load(finished_run[0], "cpu")
    x = torch.stack([to_tensor(config.preprocessing(next(read_frames(path)))) for path in paths])
    expected, predictions = detector.predict(x), predictor.predict(paths)
    assert len(predictions) == len(paths)
    np.testing.assert_allclose(predictions.scores, expected.score.numpy(), rtol=1e-5)
    for part, wanted in (
        (predictions.maps, expected.difference),
        (predictions.masks, expected.mask),
        (predictions.translated, expected.translated),
    ):
        assert part is not None and wanted is not None
        np.testing.assert_allclose(part, wanted.numpy() if part.ndim == 4 else wanted[:, 0].numpy(), atol=1e-5)
    np.testing.assert_allclose(predictions.p_values, p_values(predictions.scores, predictor.reference.threshold))
    assert predictions.owners.tolist() == list(range(len(paths))) and not predictions.frames.any()


def test_arrays_are_scored_as_the_files_that_hold_them(predictor: Predictor, paths: list[Path]) -> None:
    arrays = [np.asarray(Image.open(path)) for path in paths]
    wide = [array.astype(np.uint16) * 257 for array in arrays]
    of_files, of_arrays, of_wide = (predictor.predict(images) for images in (paths, arrays, wide))
    np.testing.assert_allclose(of_arrays.scores, of_files.scores, rtol=1e-6)
    np.testing.assert_allclose(of_wide.scores, of_files.scores, rtol=1e-4)


def test_colour_is_made_grey_for_a_grey_model(predictor: Predictor, paths: list[Path]) -> None:
    grey = np.asarray(Image.open(paths[0]))
    colour = np.repeat(grey[..., None], 3, axis=2)
    of_grey, of_colour = predictor.predict([grey, colour]).scores
    assert of_colour == pytest.approx(of_grey, rel=1e-5)


def test_every_frame_of_a_file_is_scored_and_tells_whose_it_is(predictor: Predictor, tmp_path: Path) -> None:
    import tifffile

    frames = np.random.default_rng(3).integers(0, 255, (3, 16, 16), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", frames, photometric="minisblack")
    predictions = predictor.predict([frames[2], str(tmp_path / "stack.tif")])
    assert predictions.owners.tolist() == [0, 1, 1, 1] and predictions.frames.tolist() == [0, 0, 1, 2]
    assert predictions.scores[0] == pytest.approx(predictions.scores[3], rel=1e-5)


def test_scores_do_not_depend_on_the_batch(
    predictor: Predictor, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = predictor.predict(paths).scores
    monkeypatch.setattr(Predictor, "batch_size", 1)
    np.testing.assert_allclose(predictor.predict(paths).scores, together, rtol=1e-5)


def test_a_batch_shrinks_with_the_area_of_the_image_and_never_to_nothing(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = predictor.config.preprocessing.size
    assert predictor.batch_size == module.BATCH_PIXELS["cpu"] // side**2
    monkeypatch.setitem(module.BATCH_PIXELS, "cpu", side**2 - 1)
    assert predictor.batch_size == 1


def test_threads_share_one_predictor(predictor: Predictor, paths: list[Path]) -> None:
    alone = predictor.predict(paths).scores
    with ThreadPoolExecutor(4) as pool:
        for scores in pool.map(lambda _: predictor.predict(paths).scores, range(8)):
            np.testing.assert_array_equal(scores, alone)


def test_predicting_prints_nothing_and_writes_no_file(
    predictor: Predictor, paths: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    run = predictor.run.path
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    threads, settings = torch.get_num_threads(), np.geterr()
    predictor.predict(paths)
    assert capfd.readouterr() == ("", "")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert (torch.get_num_threads(), np.geterr()) == (threads, settings)


def test_a_run_without_held_out_images_gives_no_p_values(
    finished_run: Finished, paths: list[Path], tmp_path: Path
) -> None:
    run = Run(Path(shutil.copytree(finished_run[0].path, tmp_path / "run")))
    run.held_out.unlink()
    assert Predictor(run.path, "cpu").predict(paths[:1]).p_values is None


def test_a_run_that_judges_patients_gives_no_p_value_of_one_image(
    finished_run: Finished, paths: list[Path], tmp_path: Path
) -> None:
    run = Run(Path(shutil.copytree(finished_run[0].path, tmp_path / "run")))
    text = run.config.read_text(encoding="utf-8")
    run.config.write_text(text.replace("unit: image", "unit: patient"), encoding="utf-8")
    assert Predictor(run, "cpu").predict(paths[:1]).p_values is None


def test_what_is_no_image_is_refused_by_name(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UnreadableImage, match=r"broken\.png"):
        predictor.predict([tmp_path / "broken.png"])
    with pytest.raises(ValueError, match="no images"):
        predictor.predict([])
    for shape in ((4,), (4, 4, 2), (2, 4, 4, 3), (0, 4)):
        with pytest.raises(ValueError, match="give H x W"):
            predictor.predict([np.zeros(shape, np.uint8)])


def test_a_damaged_model_s_scores_are_refused(finished_run: Finished, paths: list[Path], tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(finished_run[0].path, tmp_path / "run")))
    save_tensors(run.model, {name: part * float("nan") for name, part in load_tensors(run.model).items()})
    with pytest.raises(InputError, match=r"model\.pt: gives scores that are not finite"):
        Predictor(run, "cpu").predict(paths[:1])


def test_an_unfinished_run_and_a_device_that_is_not_there_are_refused(finished_run: Finished, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        Predictor(tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="there is no such device"):
            Predictor(finished_run[0], "cuda")


def test_it_is_at_the_top_of_the_package() -> None:
    code = "from healthygan import Predictor; print(Predictor.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "healthygan.inference.predictor"
