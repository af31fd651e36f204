"""Judging a run: numbers that scikit-learn confirms, a report, and what happens without labels."""

import csv
import functools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from healthygan.common.errors import InputError
from healthygan.common.run_folder import Run
from healthygan.common.tensors import save_tensors
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.evaluation.cases import lesion_of
from healthygan.evaluation.evaluate import evaluate
from healthygan.evaluation.report.rows import auc_rows
from healthygan.evaluation.result import Evaluation
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config
from healthygan.runs.reference import load_reference
from healthygan.runs.train import train
from healthygan.stats import conformal, metrics
from healthygan.stats.intervals import delong

Finished = tuple[Run, Cohort]


@pytest.fixture(scope="module")
def evaluated(finished_run: Finished, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    output = tmp_path_factory.mktemp("evaluation")
    return evaluate(finished_run[0], None, output, device="cpu"), output


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No drawn report and few resamples: they take seconds, and other tests look at them."""
    monkeypatch.setattr("healthygan.evaluation.evaluate.write_report", lambda *_: None)
    measure = functools.partial(metrics.measure, resamples=5)
    monkeypatch.setattr("healthygan.evaluation.evaluate.metrics.measure", measure)


def _rows(output: Path) -> list[dict[str, str]]:
    with (output / "scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _changed(manifest: Path, target: Path, **cells: str) -> Cohort:
    """The cohort with some cells of its test rows replaced."""
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["path"] = str(manifest.parent / row["path"])
        row["mask"] = str(manifest.parent / row["mask"]) if row["mask"] else ""
        if row["split"] == "test":
            row.update({name: value for name, value in cells.items() if name != "mask" or row["mask"]})
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return Cohort.from_manifest(target)


def test_the_auc_is_that_of_scikit_learn_on_the_list(evaluated: tuple[Evaluation, Path]) -> None:
    found, output = evaluated
    rows = _rows(output)
    assert found.performance is not None
    diseased = [row["label"] == "diseased" for row in rows]
    expected = roc_auc_score(diseased, [float(row["score"]) for row in rows])
    assert len(rows) == 16 and sum(diseased) == 8
    assert found.performance.auc == pytest.approx(expected, abs=1e-9)
    assert f"{expected:.3f}" in (output / "report.html").read_text(encoding="utf-8")


def test_metrics_json_holds_the_same_numbers(evaluated: tuple[Evaluation, Path]) -> None:
    found, output = evaluated
    assert found.performance is not None
    written = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    assert written["auc"] == pytest.approx(found.performance.auc, abs=1e-12)
    assert (written["images"], written["diseased"]) == (16, 8)
    assert written["controls"] == pytest.approx(dict(found.controls))


def test_the_list_is_ranked_and_tells_what_is_known(evaluated: tuple[Evaluation, Path], finished_run: Finished) -> None:
    rows = _rows(evaluated[1])
    values = [float(row["score"]) for row in rows]
    assert values == sorted(values, reverse=True)
    assert [int(row["rank"]) for row in rows] == list(range(1, 17))
    known = {
        str(image.path): (image.label, image.patient_id, image.source) for image in finished_run[1].split(Split.TEST)
    }
    assert {row["path"]: (row["label"], row["patient_id"], row["source"]) for row in rows} == known


def test_controls_are_shallow_aucs_and_the_source(evaluated: tuple[Evaluation, Path]) -> None:
    controls = evaluated[0].controls
    assert {"source alone", "file size"} < set(controls)
    assert all(0 <= area <= 1 for area in controls.values())
    # Sources are spread alike over labels, so that they tell nothing.
    assert controls["source alone"] == pytest.approx(0.5, abs=0.01)


def test_file_size_is_judged_from_the_files(evaluated: tuple[Evaluation, Path], finished_run: Finished) -> None:
    images = finished_run[1].split(Split.TEST)
    area = roc_auc_score(
        [image.label == "diseased" for image in images], [image.path.stat().st_size for image in images]
    )
    assert evaluated[0].controls["file size"] == pytest.approx(max(area, 1 - area), abs=1e-9)


def test_p_values_are_those_of_the_held_out_healthy_scores(
    evaluated: tuple[Evaluation, Path], finished_run: Finished
) -> None:
    found, output = evaluated
    held_out = load_reference(finished_run[0], load_config(finished_run[0].config).selection).threshold
    expected = sorted(conformal.p_values(found.scores, held_out))
    assert [float(row["p_value"]) for row in _rows(output)] == pytest.approx(expected, rel=1e-5)
    assert found.held_out_healthy is not None and found.held_out_healthy.tolist() == held_out.tolist()


def test_regions_are_parts_of_their_images_scores(evaluated: tuple[Evaluation, Path]) -> None:
    _, output = evaluated
    score_of = {row["path"]: float(row["score"]) for row in _rows(output)}
    with (output / "regions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows and {row["path"] for row in rows} <= set(score_of)
    shares = {path: sum(float(row["score"]) for row in rows if row["path"] == path) for path in score_of}
    assert all(shares[path] <= score_of[path] + 2e-6 for path in score_of)
    for row in rows:
        assert 1 <= int(row["area"]) <= int(row["height"]) * int(row["width"]) <= 16 * 16


def test_trust_is_measured(evaluated: tuple[Evaluation, Path]) -> None:
    found = evaluated[0]
    assert any("only 8 healthy images" in warning for warning in found.warnings)
    assert not any("unlike anything seen" in warning for warning in found.warnings)
    assert found.flip_stability is not None and -1 <= found.flip_stability <= 1
    assert found.selection is not None and found.selection.chosen in (4, 8)


@pytest.mark.usefixtures("quick")
def test_strange_images_are_named(finished_run: Finished, cohort_factory, tmp_path: Path) -> None:
    path = cohort_factory(tmp_path / "cohort", seed=6)
    Image.new("L", (16, 16), 255).save(tmp_path / "cohort" / "test" / "healthy" / "test_healthy_03.png")
    found = evaluate(finished_run[0], Cohort.from_manifest(path), tmp_path / "out", device="cpu")
    (warning,) = (warning for warning in found.warnings if "unlike anything seen" in warning)
    assert warning.startswith("1 of 16 images") and "test_healthy_03.png" in warning


@pytest.mark.usefixtures("quick")
def test_a_run_without_held_out_scores_is_judged_without_p_values(finished_run: Finished, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(finished_run[0].path, run.path)
    for path in (run.held_out, run.appearance, run.selection):
        path.unlink()
    found = evaluate(run, None, tmp_path / "out", device="cpu")
    assert {row["p_value"] for row in _rows(tmp_path / "out")} == {""}
    assert found.held_out_healthy is None and found.selection is None


@pytest.mark.usefixtures("quick")
def test_two_runs_are_compared_on_the_same_patients(finished_run: Finished, tmp_path: Path) -> None:
    run, cohort = finished_run
    other = Run(tmp_path / "other")
    shutil.copytree(run.path, other.path)
    detector = workflow.build(load_config(run.config))
    save_tensors(other.model, {name: tensor.clone() for name, tensor in detector.state_dict().items()})
    found, same = (evaluate(one, None, tmp_path / one.path.name, against=other, device="cpu") for one in (run, other))
    patients = [str(image.patient_id) for image in cohort.split(Split.TEST)]
    ill = metrics.patient_scores(found.labels.astype(float), patients, "max")[1] > 0  # type: ignore[union-attr]
    ours, theirs = (metrics.patient_scores(one.scores, patients)[1] for one in (found, same))
    assert found.comparison == delong(ours, theirs, ill) and found.rival == "other" and len(ill) == 8
    assert same.comparison is not None and math.isnan(same.comparison.p_value)
    written = json.loads((tmp_path / run.path.name / "metrics.json").read_text(encoding="utf-8"))
    assert written["rival"] == "other" and written["comparison"]["second"] == found.comparison.second
    assert json.loads((tmp_path / "other" / "metrics.json").read_text())["comparison"]["p_value"] is None


def test_a_pile_without_labels_is_compared_with_nothing(finished_run: Finished, manifest: Path, tmp_path: Path) -> None:
    cohort = _changed(manifest, tmp_path / "unlabelled.csv", label="", mask="")
    with pytest.raises(InputError, match=r"^against: needs a test set with labels"):
        evaluate(finished_run[0], cohort, tmp_path / "out", against=finished_run[0], device="cpu")


def test_masks_give_localisation(evaluated: tuple[Evaluation, Path]) -> None:
    found = evaluated[0]
    assert found.aupro is not None and 0 <= found.aupro <= 1
    assert found.pixel_auroc is not None and 0 <= found.pixel_auroc <= 1
    assert found.best_dice is not None and 0 < found.best_dice <= 1


def test_an_unlabelled_test_set_gives_a_report_without_metrics(
    finished_run: Finished, manifest: Path, tmp_path: Path
) -> None:
    cohort = _changed(manifest, tmp_path / "unlabelled.csv", label="", mask="")
    found = evaluate(finished_run[0], cohort, tmp_path / "out", device="cpu")
    assert found.performance is None and found.controls == {} and found.pixel_auroc is None
    assert (tmp_path / "out" / "report.html").exists()
    assert {row["label"] for row in _rows(tmp_path / "out")} == {""}


@pytest.mark.usefixtures("quick")
def test_a_column_named_with_control_is_kept_by_the_run_and_reported(
    cohort_factory, tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    path = cohort_factory(tmp_path / "cohort", seed=3)
    lines = path.read_text().splitlines()
    lines = [
        f"{line},{'device' if not n else 'x' if ',healthy,healthy,' in line else 'y'}" for n, line in enumerate(lines)
    ]
    path.write_text("\n".join(lines))
    cohort = Cohort.from_manifest(path)
    run = train(load_config("small", tiny_settings), cohort, tmp_path / "run")
    found = evaluate(run, None, tmp_path / "out", control=["device"], device="cpu")
    assert {"device alone", "device alone (not x)", "source alone"} <= set(found.controls)
    with pytest.raises(InputError, match=r"^control=devise: .*did you mean 'device'"):
        evaluate(run, None, tmp_path / "out", control=["devise"], device="cpu")


@pytest.mark.usefixtures("quick")
def test_without_sources_there_is_no_source_control(finished_run: Finished, manifest: Path, tmp_path: Path) -> None:
    cohort = _changed(manifest, tmp_path / "plain.csv", source="")
    found = evaluate(finished_run[0], cohort, tmp_path / "out", device="cpu")
    assert "source alone" not in found.controls and "file size" in found.controls


def test_a_lesion_lies_where_its_image_was_cut(tmp_path: Path) -> None:
    image, mask = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    image[8:40, :32] = 200
    mask[10:20, 4:9] = 255
    for name, pixels in (("image.png", image), ("mask.png", mask)):
        Image.fromarray(pixels).save(tmp_path / name)
    ill = CohortImage(tmp_path / "image.png", Split.TEST, Label.DISEASED, mask=tmp_path / "mask.png")
    trimmed = lesion_of(
        ill, load_config("contrast", ["preprocessing.size=32", "preprocessing.trim=true"]).preprocessing
    )
    np.testing.assert_array_equal(trimmed, mask[8:, :32] > 0)


def test_a_mask_that_is_no_picture_is_named(finished_run: Finished, manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("no picture")
    cohort = _changed(manifest, tmp_path / "bad.csv", mask=str(tmp_path / "mask.png"))
    with pytest.raises(InputError, match=r"mask\.png: cannot be read as a mask"):
        evaluate(finished_run[0], cohort, tmp_path / "out", device="cpu")


def test_a_mask_too_large_for_the_readers_limit_is_not_opened(tmp_path: Path) -> None:
    Image.new("L", (40, 40)).save(tmp_path / "mask.png")
    ill = CohortImage(tmp_path / "image.png", Split.TEST, Label.DISEASED, mask=tmp_path / "mask.png")
    preprocessing = load_config("contrast", ["preprocessing.reader.max_pixels=1599"]).preprocessing
    with pytest.raises(InputError, match=r"mask\.png: cannot be read as a mask \(.*1,600 pixels, more than"):
        lesion_of(ill, preprocessing)


def test_a_cohort_without_a_test_set_is_refused(finished_run: Finished, manifest: Path, tmp_path: Path) -> None:
    whole = Cohort.from_manifest(manifest)
    cohort = Cohort("small", tuple(image for image in whole.images if image.split is not Split.TEST))
    with pytest.raises(InputError, match="no image in the split test"):
        evaluate(finished_run[0], cohort, tmp_path / "out", device="cpu")


@pytest.mark.usefixtures("quick")
def test_an_unreadable_test_image_is_left_out_and_named(finished_run: Finished, cohort_factory, tmp_path: Path) -> None:
    path = cohort_factory(tmp_path / "cohort", seed=5)
    truncated = tmp_path / "cohort" / "test" / "healthy" / "test_healthy_00.png"
    truncated.write_bytes(truncated.read_bytes()[:70])
    found = evaluate(finished_run[0], Cohort.from_manifest(path), tmp_path / "out", device="cpu")
    assert len(_rows(tmp_path / "out")) == 15
    assert any("test_healthy_00.png" in warning for warning in found.cautions)


@pytest.mark.usefixtures("quick")
def test_a_damaged_training_log_is_named(finished_run: Finished, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(finished_run[0].path, run.path)
    run.log.write_text("iteration,critic\n1,abc\n")
    with pytest.raises(InputError, match=r"log\.csv"):
        evaluate(run, None, tmp_path / "out", device="cpu")


@pytest.fixture
def leaky(finished_run: Finished, manifest: Path, tmp_path: Path) -> Cohort:
    """A test set of which three images are copies of training ones."""
    folder = tmp_path / "leaky"
    for label in Label:
        shutil.copytree(manifest.parent / "test" / label, folder / label)
    for path in finished_run[1].paths(Split.HEALTHY)[:2]:
        shutil.copyfile(path, folder / "healthy" / f"copy_{path.name}")
    shutil.copyfile(finished_run[1].paths(Split.MIXED)[-1], folder / "diseased" / "copy.png")
    return Cohort.from_folders(test=folder)


def test_images_that_the_run_was_trained_with_are_no_test(
    finished_run: Finished, leaky: Cohort, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"^3 of 19 test images are of the cohort that tiny.*2 healthy, 1 mixed"):
        evaluate(finished_run[0], leaky, tmp_path / "out", device="cpu")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def test_a_rival_that_has_seen_the_test_set_is_no_rival(
    finished_run: Finished, leaky: Cohort, tmp_path: Path, cohort_factory, tiny_settings: tuple[str, ...]
) -> None:
    cohort = Cohort.from_manifest(cohort_factory(tmp_path / "cohort", seed=9))
    other = train(load_config("small", tiny_settings), cohort, tmp_path / "other")
    with pytest.raises(InputError, match="of the cohort that tiny was trained with"):
        evaluate(other, leaky, tmp_path / "out", against=finished_run[0], device="cpu")


def test_judged_all_the_same_they_are_an_alarm_and_have_no_p_value(
    finished_run: Finished, leaky: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = functools.partial(metrics.measure, resamples=5)
    monkeypatch.setattr("healthygan.evaluation.evaluate.metrics.measure", measure)
    found = evaluate(finished_run[0], leaky, tmp_path / "out", allow_seen=True, device="cpu")
    (alarm,) = found.alarms
    assert "no figure on them" in alarm and alarm not in found.cautions
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert 'class="alert worst"' in page and "Not to be relied on" in page
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["alarms"] == [alarm]
    empty = {Path(row["path"]).name.startswith("copy") for row in _rows(tmp_path / "out") if not row["p_value"]}
    assert empty == {True}


@pytest.mark.usefixtures("quick")
def test_an_old_run_whose_images_are_gone_says_that_nothing_could_be_compared(
    cohort_factory, finished_run: Finished, leaky: Cohort, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(finished_run[0].path, run.path)
    run.seen.unlink()
    path = cohort_factory(tmp_path / "cohort", seed=0)
    run.cohort.write_bytes(path.read_bytes())  # paths relative to the run folder, where no image lies
    found = evaluate(run, leaky, tmp_path / "out", device="cpu")
    assert not found.alarms and any("36 images of the run's cohort are gone" in text for text in found.warnings)


@pytest.mark.usefixtures("quick")
def test_where_no_patient_is_known_nothing_is_by_patient_and_ids_are_asked_for(
    finished_run: Finished, manifest: Path, tmp_path: Path
) -> None:
    for label in Label:
        shutil.copytree(manifest.parent / "test" / label, tmp_path / "test" / label)
    cohort = Cohort.from_folders(test=tmp_path / "test")
    found = evaluate(finished_run[0], cohort, tmp_path / "out", against=finished_run[0], device="cpu")
    assert found.performance is not None and found.performance.auc_by_patient is None
    names = [name for name, _ in auc_rows(found, found.performance)]
    assert "AUC by image of tiny" in names and not any("by patient" in name for name in names)
    assert any("no patient is known" in text and "patient_id" in text for text in found.warnings)


def test_where_patients_are_known_nobody_is_asked_for_them(evaluated: tuple[Evaluation, Path]) -> None:
    found = evaluated[0]
    assert found.performance is not None and not any("no patient is known" in text for text in found.warnings)
    assert "AUC by patient" in [name for name, _ in auc_rows(found, found.performance)]
