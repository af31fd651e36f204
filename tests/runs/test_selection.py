"""Rules over a run's candidates: metrics by definition, what they pick, and what a choice changes in the run."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from healthygan.cli.main import main
from healthygan.common.errors import InputError
from healthygan.common.run_folder import Run
from healthygan.common.tensors import load_tensors
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.nn import backbones
from healthygan.runs import train as workflow
from healthygan.runs.config import Config, load_config
from healthygan.runs.partition import Partition, partition_cohort
from healthygan.runs.reference import load_reference
from healthygan.runs.selection import ORACLE, Curve, Selection, choose_checkpoint, early_stopping_curve, pick_checkpoint
from healthygan.stats.conformal import p_values, threshold_for_specificity
from healthygan.stats.fid import frechet_distance

RULES = ("last", "validation_auc", "fid", "aucp")


class Halves:
    """Features without weights: means of the image's quarters and of its steps."""

    name = "halves"

    def pooled(self, x: Tensor) -> Tensor:
        quarters = torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)
        return torch.cat([quarters, x.diff(dim=2).abs().mean(dim=(1, 2, 3))[:, None]], dim=1)


@pytest.fixture(scope="module")
def settings(tiny_settings: tuple[str, ...]) -> tuple[str, ...]:
    """Four candidates, and more held out than of a large cohort."""
    candidates = ("training.checkpoint_every=2", "detector.warm_up=1")
    return (*tiny_settings, *candidates, "selection.choice_holdout=0.3", "selection.specificity=0.5")


@pytest.fixture(scope="module")
def trained(cohort_factory, settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Run:
    manifest = cohort_factory(tmp_path_factory.mktemp("cohort"), seed=21)
    config = load_config("small", (*settings, "selection.rule=aucp"))
    return workflow.train(config, Cohort.from_manifest(manifest), tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A copy to change."""
    shutil.copytree(trained.path, tmp_path / "run")
    return Run(tmp_path / "run")


def parts_of(cohort: Cohort, config: Config) -> Partition:
    return partition_cohort(cohort, config.selection, config.early_stopping_share)


def scored(run: Run, iteration: int, images: tuple[CohortImage, ...]) -> tuple[np.ndarray, Tensor, Tensor]:
    """Scores, translations and images of a candidate, without the selection's code."""
    config = load_config(run.config)
    detector = workflow.build(config)
    detector.load_state_dict(load_tensors(run.candidates()[iteration]))
    store = ImageStore.build([image.path for image in images], config.preprocessing)
    x = to_tensor(store.read(np.arange(len(store))))
    prediction = detector.predict(x)
    assert prediction.translated is not None
    return prediction.score.double().numpy(), prediction.translated, x


def test_aucp_and_its_choice_are_those_of_the_definition(run: Run) -> None:
    config, cohort = load_config(run.config), Cohort.from_manifest(run.cohort)
    parts = parts_of(cohort, config)
    expected = {}
    for iteration in run.candidates():
        healthy, mixed = (scored(run, iteration, part)[0] for part in (parts.choice_healthy, parts.choice_mixed))
        expected[iteration] = roc_auc_score([0] * len(healthy) + [1] * len(mixed), np.concatenate([healthy, mixed]))
    selection = Selection.load(run.selection)
    assert selection is not None and list(expected) == [2, 4, 6, 8]
    (curve,) = selection.curves
    assert curve.values == pytest.approx(expected, abs=1e-9)
    best = max(expected, key=lambda iteration: (round(expected[iteration], 12), iteration))
    assert selection.chosen == run.load_decision().iteration == best
    for name, tensor in load_tensors(run.candidates()[best]).items():
        assert torch.equal(load_tensors(run.model)[name], tensor)
    assert "AUCp" in selection.rule and "rough: only" in selection.rule


def test_fid_compares_translated_mixed_with_real_healthy_images(run: Run) -> None:
    selection = workflow.select(run, extractor=Halves(), device="cpu")
    parts = parts_of(Cohort.from_manifest(run.cohort), load_config(run.config))
    (curve,) = (curve for curve in selection.curves if curve.rule == "fid")
    for iteration in run.candidates():
        _, translated, _ = scored(run, iteration, parts.choice_mixed)
        _, _, real = scored(run, iteration, parts.choice_healthy)
        expected = frechet_distance(Halves().pooled(translated).numpy(), Halves().pooled(real).numpy())
        assert curve.values[iteration] == pytest.approx(expected, rel=1e-5)
    assert curve.name == "FID (halves)" and curve.lower_is_better
    assert curve.best == min(curve.values, key=lambda iteration: (curve.values[iteration], -iteration))
    assert "a full covariance of 5 features takes 6" in curve.remark


def test_comparing_leaves_the_model_as_it_is(run: Run) -> None:
    before = [path.read_bytes() for path in (run.model, run.decision, run.held_out, run.appearance)]
    selection = workflow.select(run, extractor=Halves(), device="cpu")
    assert [path.read_bytes() for path in (run.model, run.decision, run.held_out, run.appearance)] == before
    assert {curve.rule for curve in selection.curves} == {"validation_auc", "aucp", "fid"}
    assert Selection.load(run.selection) == selection and selection.test_auc is None


@pytest.mark.parametrize("rule", RULES)
def test_choosing_by_a_rule_makes_its_candidate_the_model_and_cuts_anew(run: Run, rule: str) -> None:
    selection = workflow.select(run, rule, extractor=Halves(), device="cpu")  # type: ignore[arg-type]
    decision = run.load_decision()
    expected = 8 if rule == "last" else next(curve.best for curve in selection.curves if curve.rule == rule)
    assert decision.iteration == selection.chosen == selection.picks()[rule] == expected
    config = load_config(run.config, [f"selection.rule={rule}"])
    parts = parts_of(Cohort.from_manifest(run.cohort), config)
    healthy = scored(run, expected, parts.threshold)[0]
    assert decision.threshold == pytest.approx(threshold_for_specificity(healthy, 0.5), abs=1e-7)
    assert load_reference(run, load_config(run.config).selection).threshold == pytest.approx(healthy, abs=1e-7)
    # What was trained scores as the run now does.
    detector, _, _ = workflow.load(run, "cpu")
    chosen = load_tensors(run.candidates()[expected])
    assert all(torch.equal(tensor, chosen[name]) for name, tensor in detector.state_dict().items())


def resumed(run: Run) -> None:
    workflow.train(load_config(run.config), Cohort.from_manifest(run.cohort), run.path)


def test_a_finished_run_that_is_resumed_keeps_what_select_chose(run: Run) -> None:
    workflow.select(run, "last", extractor=Halves(), device="cpu")
    kept = (run.model, run.decision, run.selection, run.held_out, run.checkpoint, run.log)
    before = [path.read_bytes() for path in kept]
    resumed(run)
    assert [path.read_bytes() for path in kept] == before
    assert run.load_decision().rule == "last"


def test_a_choice_that_was_broken_off_is_made_by_the_run_s_own_rule_when_resumed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run.decision.read_bytes(), run.model.read_bytes()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("healthygan.runs.calibration.save_scores", interrupt)
        workflow.select(run, "last", extractor=Halves(), device="cpu")
    with pytest.raises(InputError, match="not a finished run"):
        run.load_decision()
    resumed(run)
    assert (run.decision.read_bytes(), run.model.read_bytes()) == before


def test_the_measured_auc_is_that_of_the_test_labels_and_no_rule_sees_it(run: Run) -> None:
    blind = workflow.select(run, "aucp", device="cpu")
    judged = workflow.select(run, "aucp", measure=True, device="cpu")
    assert judged.curves == blind.curves and judged.chosen == blind.chosen
    test = Cohort.from_manifest(run.cohort).split(Split.TEST)
    labels = [image.label is Label.DISEASED for image in test]
    expected = {number: roc_auc_score(labels, scored(run, number, test)[0]) for number in run.candidates()}
    assert judged.test_auc == pytest.approx(expected, abs=1e-9)
    by_rule = {choice.rule: choice for choice in judged.choices()}
    assert by_rule[ORACLE].test_auc == pytest.approx(max(expected.values()))
    for rule, choice in by_rule.items():
        assert choice.from_best == pytest.approx(expected[choice.iteration] - max(expected.values())), rule
        assert choice.from_last == pytest.approx(expected[choice.iteration] - expected[8])


@pytest.mark.parametrize("rule", RULES)
def test_shuffled_labels_of_the_mixed_set_change_no_byte_of_model_or_selection(
    cohort_factory, settings: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    monkeypatch.setattr(workflow, "load_backbone", lambda name, weights: Halves())
    manifest = cohort_factory(tmp_path / "cohort", seed=3)
    config = load_config("small", (*settings, f"selection.rule={rule}"))

    def relabelled(image: CohortImage) -> CohortImage:
        if image.split is not Split.MIXED:
            return image
        other = Label.HEALTHY if image.label is Label.DISEASED else Label.DISEASED
        return CohortImage(image.path, image.split, other, image.patient_id, image.source, image.mask)

    cohort = Cohort.from_manifest(manifest)
    shuffled = Cohort(cohort.name, tuple(relabelled(image) for image in cohort.images))
    runs = [workflow.train(config, each, tmp_path / str(n)) for n, each in enumerate((cohort, shuffled))]
    names = ("model", "decision", "selection", "held_out", "appearance", "log", "data")

    def bytes_of(run: Run) -> list[bytes]:
        return [getattr(run, name).read_bytes() for name in names]

    assert bytes_of(runs[0]) == bytes_of(runs[1])
    for run in runs:
        workflow.select(run, rule, extractor=Halves(), measure=True, device="cpu")  # type: ignore[arg-type]
    assert bytes_of(runs[0]) == bytes_of(runs[1])


def test_of_equal_candidates_the_last_is_taken() -> None:
    higher = Curve(rule="aucp", name="AUCp", values={1: 0.5, 2: 0.7, 3: 0.7})
    lower = Curve(rule="fid", name="FID (x)", lower_is_better=True, values={1: 2.0, 2: 2.0, 3: 3.0})
    assert (higher.best, lower.best) == (3, 2)
    assert pick_checkpoint("fid", [higher, lower], 3) == (2, "lowest FID (x) (2) of 3 candidates")
    assert pick_checkpoint("last", [higher, lower], 3) == (3, "last")


def test_a_single_candidate_is_taken_whatever_the_rule() -> None:
    selection = choose_checkpoint("aucp", [], [7])
    assert (selection.chosen, selection.last, selection.rule) == (7, 7, "the only candidate")


def test_a_rule_without_a_curve_takes_the_last_of_the_candidates_in_any_order() -> None:
    selection = choose_checkpoint("aucp", [], {6: "b", 2: "a", 4: "c"})
    assert (selection.chosen, selection.last, selection.rule) == (6, 6, "last")


def test_the_early_stopping_metric_is_compared_over_the_candidates_that_are_there() -> None:
    (curve,) = early_stopping_curve({2: 0.1, 4: 0.3, 6: 0.2}, [4, 6])
    assert curve.values == {4: 0.3, 6: 0.2} and curve.best == 6
    assert early_stopping_curve({2: 0.1}, [4]) == early_stopping_curve({}, [4]) == ()


def test_labels_that_are_not_there_leave_the_metric_noted_in_training_or_the_last() -> None:
    noted = Curve(rule="early_stopping", name="metric", lower_is_better=True, values={1: 0.1, 2: 0.2})
    assert pick_checkpoint("validation_auc", [], 2) == (2, "last")
    assert pick_checkpoint("validation_auc", [noted], 2)[0] == 1
    assert pick_checkpoint("last", [noted], 2)[0] == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (("selection.rule=aucp", "selection.choice_holdout=0"), "selection.rule=aucp: no images are held out"),
        (("selection.threshold=youden",), "selection.threshold=youden: needs a validation set"),
        (("selection.rule=fid", "selection.extractor=nothing"), "nothing"),
    ],
)
def test_a_choice_that_could_not_be_made_is_refused_before_training(
    cohort_factory, settings: tuple[str, ...], tmp_path: Path, setting: tuple[str, ...], message: str
) -> None:
    whole = Cohort.from_manifest(cohort_factory(tmp_path / "cohort", seed=4))
    cohort = Cohort("tiny", tuple(image for image in whole.images if image.split is not Split.VALIDATION))
    with pytest.raises(InputError, match=message):
        workflow.train(load_config("small", (*settings, *setting)), cohort, tmp_path / "run")
    assert not (tmp_path / "run" / "candidates").exists()


@pytest.mark.parametrize(("threshold", "words"), [("youden", "Youden's J on"), ("equal_error", "equal recall and")])
def test_thresholds_from_validation_labels(run: Run, threshold: str, words: str) -> None:
    from healthygan.stats.metrics import threshold_equal_rates, threshold_youden

    config = load_config(run.config, [f"selection.threshold={threshold}"])
    config.save(run.config)
    workflow.select(run, "last", device="cpu")
    validation = Cohort.from_manifest(run.cohort).split(Split.VALIDATION)
    labels = np.array([image.label is Label.DISEASED for image in validation])
    cut = threshold_youden if threshold == "youden" else threshold_equal_rates
    decision = run.load_decision()
    assert decision.threshold == pytest.approx(cut(scored(run, 8, validation)[0], labels), abs=1e-7)
    assert decision.threshold_rule.startswith(words)
    assert "6 healthy and 6 diseased validation images" in decision.threshold_rule


def test_a_run_whose_images_changed_is_refused(run: Run) -> None:
    config = load_config(run.config, ["selection.seed=9"])
    config.save(run.config)
    with pytest.raises(InputError, match="was trained on other images"):
        workflow.select(run, device="cpu")


def test_damaged_files_of_a_selection_are_named(run: Run) -> None:
    run.selection.write_text("{")
    with pytest.raises(InputError, match=r"selection\.json: damaged"):
        Selection.load(run.selection)
    run.held_out.write_text("path,frame,patient_id,use,score\na.png,0,,threshold,nan\n")
    with pytest.raises(InputError, match=r"held_out\.csv: damaged"):
        load_reference(run, load_config(run.config).selection)
    run.held_out.unlink()
    torch.save({"centre": 3}, run.appearance)
    with pytest.raises(InputError, match=r"appearance\.pt: damaged"):
        load_reference(run, load_config(run.config).selection)


def test_a_candidate_whose_scores_are_not_finite_is_named(run: Run) -> None:
    path = run.candidates()[4]
    torch.save({name: tensor * torch.nan for name, tensor in load_tensors(path).items()}, path)
    with pytest.raises(InputError, match=r"iteration_00000004\.pt: .* cannot be computed"):
        workflow.select(run, device="cpu")


def test_a_candidate_of_another_detector_is_named(run: Run) -> None:
    path = run.candidates()[4]
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"iteration_00000004\.pt: does not fit"):
        workflow.select(run, device="cpu")


def test_a_run_keeps_the_scores_of_held_out_images(run: Run) -> None:
    with run.held_out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    parts = parts_of(Cohort.from_manifest(run.cohort), load_config(run.config))
    by_use = {use: [row["path"] for row in rows if row["use"] == use] for use in {row["use"] for row in rows}}
    assert by_use == {
        use: [str(image.path) for image in getattr(parts, use)]
        for use in ("threshold", "choice_healthy", "choice_mixed")
    }


def test_the_verb_compares_then_chooses(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backbones, "load_backbone", lambda name, weights: Halves())
    assert main(["select", str(run.path), "--extractor", "halves", "--measure", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "FID (halves)" in shown and "oracle" in shown and "the model stays" in shown
    assert main(["select", str(run.path), "--rule", "last", "--device", "cpu"]) == 0
    assert "model of iteration 8, chosen by: last" in capsys.readouterr().out
    assert json.loads(run.decision.read_text())["iteration"] == 8


@pytest.fixture
def pile(cohort_factory, tmp_path: Path) -> Path:
    """Images that no run has seen."""
    path: Path = cohort_factory(tmp_path / "pile", seed=77)
    return path


def test_score_gives_p_values_and_marks_a_worklist(run: Run, pile: Path, tmp_path: Path, capsys) -> None:
    assert main(["score", str(run.path), str(pile), "-o", str(tmp_path / "out"), "--no-maps", "--fdr", "0.9"]) == 0
    shown = capsys.readouterr().out
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = Cohort.from_manifest(pile).images
    scores = scored(run, run.load_decision().iteration, images)[0]
    expected = dict(
        zip(
            map(str, (image.path for image in images)),
            p_values(scores, load_reference(run, load_config(run.config).selection).threshold),
            strict=True,
        )
    )
    assert len(rows) == len(images)
    assert [float(row["p_value"]) for row in rows] == pytest.approx([expected[row["path"]] for row in rows])
    listed = [row["worklist"] for row in rows]
    assert set(listed) <= {"0", "1"} and listed == sorted(listed, reverse=True)
    assert f"{listed.count('1')} images on the worklist, on average at most 90% of them healthy" in shown


def test_a_worklist_that_cannot_be_promised_is_refused(run: Run, tmp_path: Path, capsys) -> None:
    arguments = ["score", str(run.path), str(run.cohort), "-o", str(tmp_path / "out"), "--no-maps"]
    assert main([*arguments, "--fdr", "1.5"]) == 2
    assert "--fdr 1.5" in capsys.readouterr().err
    run.held_out.unlink()
    assert main([*arguments, "--fdr", "0.1"]) == 2
    assert "no scores of healthy images" in capsys.readouterr().err


def test_an_empty_worklist_says_how_many_healthy_images_it_takes(run: Run, pile: Path, tmp_path: Path, capsys) -> None:
    arguments = ["score", str(run.path), str(pile), "-o", str(tmp_path / "out"), "--no-maps"]
    assert main([*arguments, "--fdr", "0.01"]) == 0
    shown = capsys.readouterr().out
    assert "0 images on the worklist" in shown and "the worklist is empty" in shown and "takes" in shown


def test_settings_survive_the_run_folder(settings: tuple[str, ...], tmp_path: Path) -> None:
    config: Config = load_config("small", (*settings, "selection.extractor_weights=weights.pth"))
    config.save(tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
