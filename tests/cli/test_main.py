"""The command line from end to end, in process, on a tiny cohort given as folders."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import healthygan
from healthygan.benchmark import runner as benchmark
from healthygan.cli.main import VERBS, main
from healthygan.cli.options import ENGINES
from healthygan.cli.verbs.score import PRECISIONS
from healthygan.cli.verbs.select import RULES
from healthygan.common.errors import Stopped
from healthygan.common.run_folder import Run
from healthygan.common.version import __version__
from healthygan.data.cohort import Cohort, Split
from healthygan.inference.engines import Engine, Precision
from healthygan.runs import train as workflow
from healthygan.runs.config import Rule


@pytest.fixture(scope="module")
def folders(cohort_factory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """healthy/ mixed/ validation/ test/ without a manifest."""
    manifest = cohort_factory(tmp_path_factory.mktemp("folders"), seed=11)
    manifest.unlink()
    return manifest.parent


def test_help_without_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    assert f"healthygan {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["score", "--help"],
        ["train", "--config", "mine.yaml", "--epochs", "3"],
        ["prepare", "covidx", "--wrong"],
        ["select", "run", "--rule", "best"],
    ],
)
def test_help_and_wrong_options_do_not_wait_for_the_engine(arguments: list[str]) -> None:
    """In a process of its own: here torch is loaded."""
    check = (
        f"import sys; from healthygan.cli.main import main\ntry: main({arguments})\nexcept SystemExit: pass\n"
        "slow = {'torch', 'lightning', 'scipy', 'matplotlib', 'numpy', 'pydantic', 'rich'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_choices_spelt_out_are_those_of_the_library() -> None:
    assert get_args(Rule) == RULES
    assert get_args(Engine) == ENGINES
    assert get_args(Precision) == PRECISIONS


def test_every_name_of_the_api_loads_and_others_are_unknown() -> None:
    assert all(callable(getattr(healthygan, name)) for name in healthygan.__all__)
    assert {*healthygan.__all__} <= {*dir(healthygan)}
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        _ = healthygan.fit


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.strip() == f"healthygan {__version__}"


@pytest.mark.parametrize("arguments", [[], ["find"], ["score"], ["train", "--epochs", "3"]])
def test_a_wrong_command_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_inspect_counts_and_draws(
    folders: Path, tmp_path: Path, set_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(folders), *set_options, "-o", str(tmp_path / "sheet.png")]) == 0
    assert "validation" in capsys.readouterr().out
    assert (tmp_path / "sheet.png").stat().st_size > 100


def test_inspect_shows_its_tables_and_then_ends_as_train_does_where_train_refuses(
    folders: Path, tmp_path: Path, set_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    leaky = shutil.copytree(folders, tmp_path / "leaky")
    copied = sorted((leaky / "healthy").rglob("*.png"))[0]
    shutil.copy(copied, leaky / "test" / "copy.png")

    assert main(["inspect", str(leaky), *set_options]) == 2
    inspected = capsys.readouterr()
    assert main(["train", str(leaky), "--run", str(tmp_path / "run"), *set_options]) == 2
    trained = capsys.readouterr()

    assert "Cohort leaky" in inspected.out
    assert "1 image(s) with the same bytes in two splits" in inspected.err
    assert inspected.err.splitlines()[-1].removeprefix("healthygan inspect") == trained.err.splitlines()[
        -1
    ].removeprefix("healthygan train")


def test_train_score_and_evaluate(
    folders: Path, tmp_path: Path, set_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    parts = [
        part for split in ("healthy", "mixed", "validation", "test") for part in (f"--{split}", str(folders / split))
    ]
    assert main(["train", *parts, "--run", str(run), *set_options]) == 0
    assert f"healthygan score {run}" in capsys.readouterr().out

    pile = folders / "test"
    assert main(["score", str(run), str(pile), "-o", str(tmp_path / "scored"), "--arrays"]) == 0
    assert "16 images scored" in capsys.readouterr().out
    with (tmp_path / "scored" / "scores.csv").open(newline="") as file:
        scored = {row["path"]: row["score"] for row in csv.DictReader(file)}
    assert len(list((tmp_path / "scored" / "maps").iterdir())) == 32

    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "AUC" in shown and "report.html" in shown
    with (run / "evaluation" / "scores.csv").open(newline="") as file:
        judged = {row["path"]: row["score"] for row in csv.DictReader(file)}
    assert judged.keys() == scored.keys()
    for path, value in judged.items():
        assert float(value) == pytest.approx(float(scored[path]), abs=2e-6)

    # A folder of labelled images is enough for a judgement, wherever it comes from.
    elsewhere = ["evaluate", str(run), "--test", str(pile), "-o", str(tmp_path / "elsewhere"), "--device", "cpu"]
    assert main(elsewhere) == 0
    assert (tmp_path / "elsewhere" / "scores.csv").read_text() == (run / "evaluation" / "scores.csv").read_text()
    assert main(["evaluate", str(run), str(folders), "--test", str(pile)]) == 2
    assert "give one or the other" in capsys.readouterr().err


def test_resuming_a_finished_run_leaves_its_model_as_it_is(
    finished_run: tuple[Run, Cohort], capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = finished_run
    before = run.model.read_bytes(), run.decision.read_bytes()
    assert main(["train", "--resume", str(run.path)]) == 0
    assert (run.model.read_bytes(), run.decision.read_bytes()) == before
    assert "model of iteration" in capsys.readouterr().out


def test_a_stopped_training_exits_with_1_and_says_how_to_go_on(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise Stopped("stopped after iteration 3")

    monkeypatch.setattr(workflow, "train", stopped)
    said = f"healthygan train: stopped after iteration 3; go on with: healthygan train --resume {tmp_path / 'run'}"
    assert main(["train", str(folders), "--run", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err.strip() == said


def test_an_interrupted_scoring_exits_with_1(
    finished_run: tuple[Run, Cohort],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from healthygan.inference import score as scoring

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring, "_score", interrupted)
    run, cohort = finished_run
    image = str(cohort.paths(Split.TEST)[0])
    assert main(["score", str(run.path), image, "-o", str(tmp_path / "out")]) == 1
    assert "the same command goes on" in capsys.readouterr().err


def test_benchmark_writes_tables_and_pictures_and_names_what_failed(
    manifest: Path,
    tmp_path: Path,
    set_options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    budget = tmp_path / "budget.yaml"
    budget.write_text(
        "base: small\nset: [selection.rule=last]\nmethods: {one: {preset: small}, two: {preset: small}}\n"
    )
    command = ["benchmark", str(manifest), "--detectors", "one,two", "--seeds", "1", "--budget", str(budget)]
    command += [
        *set_options,
        "--set",
        "two:detector.learning_rate=1.0e+30",
        "--paper",
        "covidx",
        "-o",
        str(tmp_path / "out"),
    ]
    assert main(command) == 2
    shown = capsys.readouterr()
    assert "AUC" in shown.out and "stopped being finite" in " ".join(shown.out.split())
    assert "1 trainings failed" in shown.err and "tries the failed ones again" in shown.err
    for name in ("table.md", "table.tex", "table.csv", "runs.csv", "roc.png", "maps.png"):
        assert (tmp_path / "out" / name).stat().st_size > 100, name


def test_a_papers_budget_needs_a_papers_cohort(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", str(manifest), "--budget", "paper", "-o", str(tmp_path / "out")]) == 2
    assert "--budget covidx" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_stopped_benchmark_exits_with_1(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise Stopped("stopped")

    monkeypatch.setattr(benchmark, "benchmark", stopped)
    assert main(["benchmark", str(manifest), "--detectors", "healthygan", "-o", str(tmp_path / "out")]) == 1
    assert "the same command goes on" in capsys.readouterr().err
