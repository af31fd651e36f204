"""Every table tells the same numbers; marks, captions and pictures say what they should."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from healthygan.benchmark import published
from healthygan.benchmark.budgets import Method
from healthygan.benchmark.job import Cost, Predicted
from healthygan.benchmark.results import Example, Failed, Finished, GroundTruth, Results, Row, summarise
from healthygan.benchmark.tables import (
    captions,
    maps_picture,
    roc_picture,
    sheets,
    to_latex,
    to_markdown,
    write_benchmark,
)
from healthygan.cli.tables.benchmark import to_terminal
from healthygan.common.run_folder import Decision
from healthygan.runs.config import load_config

N = 30
LABELS = np.arange(N) % 2 == 0
TRUTH = GroundTruth(LABELS, [f"p{number // 2}" for number in range(N)])
SHOWN = np.array([0, 2, 1, 3])


def method(name: str) -> Method:
    return Method(name, load_config("small", ["selection.rule=last"]))


def row(name: str, strength: float, *, seeds: int = 2, threshold: float | None = 1.0, maps: bool = True) -> Row:
    runs = []
    for seed in range(seeds):
        random = np.random.default_rng([seed, len(name)])
        scores = random.normal(size=N) + strength * LABELS
        decision = Decision(
            iteration=60, rule="last", threshold=threshold, threshold_rule="specificity 0.9 on 9 healthy", map_top=1.0
        )
        cost = Cost(90.0, True, 500.0, 300.0, None)
        shown = random.uniform(size=(4, 8, 8)).astype(np.float32) if maps else None
        runs.append(
            Finished(
                seed,
                decision,
                60 + seed,
                cost,
                Predicted(scores, SHOWN, shown, "key", 1234, 0.9 if maps else None, cost),
                scores,
            )
        )
    cells = summarise(TRUTH, runs, resamples=20)
    return Row(method(name), tuple(runs), cells, published.published_results("covidx", name))


def results(*rows: Row, failures: tuple[Failed, ...] = ()) -> Results:
    lesion = np.zeros((8, 8), dtype=bool)
    lesion[3:5, 3:5] = True
    examples = tuple(
        Example(f"{n}.png", bool(LABELS[n]), np.zeros((8, 8)), lesion if LABELS[n] else None) for n in SHOWN
    )
    controls = {"median": 0.6, "mean intensity": 0.7}
    return Results("a_cohort", "covidx", TRUTH, rows, 2, failures, controls, examples, ("machine & co",))


@pytest.fixture(scope="module")
def whole() -> Results:
    failed = Failed("bro_ken", 0, "out of 100% luck | memory")
    rows = (row("healthygan", 3.0), row("padim", 1.5, maps=False), row("weak", 0.0), Row(method("bro_ken")))
    return results(*rows, failures=(failed,))


def test_cells_are_mean_deviation_and_interval(whole: Results) -> None:
    quality = sheets(whole)[0]
    cell = whole.rows[0].cells["auc"]
    entry = quality.rows[0][1]
    assert entry.text == f"{cell.mean:.3f}".removeprefix("0")
    assert entry.spread == f"{cell.deviation:.3f}".removeprefix("0")
    assert entry.detail == "–".join(f"{end:.3f}".removeprefix("0") for end in (cell.low, cell.high))
    assert quality.columns[:3] == ("method", "AUC", "precision, paper's way")


def test_best_is_bold_and_second_underlined_in_every_format(whole: Results) -> None:
    best, second = (whole.rows[n].cells["auc"] for n in (0, 1))
    assert best.mean > second.mean > whole.rows[2].cells["auc"].mean
    first, next_best = (f"{cell.mean:.3f}".removeprefix("0") for cell in (best, second))
    markdown, latex = to_markdown(whole), to_latex(whole)
    assert f"**{first}**" in markdown and f"<ins>{next_best}</ins>" in markdown
    assert rf"\textbf{{{first}}}" in latex and rf"\underline{{{next_best}}}" in latex
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system="standard")
    console.print(to_terminal(sheets(whole)[0]))
    shown = console.file.getvalue()
    assert f"\x1b[1m{first}" in shown and f"\x1b[4m{next_best}" in shown


def test_the_terminal_table_fits_120_columns_without_breaking_numbers(whole: Results) -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(to_terminal(sheets(whole)[0]))
    shown = console.file.getvalue()
    for cell in whole.rows[1].cells.values():
        assert "–".join(f"{end:.3f}".removeprefix("0") for end in (cell.low, cell.high)) in shown


def test_the_papers_figures_stand_below_ours(whole: Results) -> None:
    rows = sheets(whole)[0].rows
    assert [rows[n][0].text for n in range(4)] == ["healthygan", "(the paper)", "padim", "(the paper)"]
    assert rows[1][1].text == ".84" and rows[3][1].text == ".56 or .52"
    assert {entry.text for entry in rows[1][6:]} == {""}
    assert any("SASHIMI 2022, table 1, covidx" in caption for caption in captions(whole))
    assert not any("SASHIMI" in caption for caption in captions(results(row("weak", 1.0))))


def test_costs_and_budgets_are_stated(whole: Results) -> None:
    costs = sheets(whole)[1]
    found = dict(zip(costs.columns, (entry.text for entry in costs.rows[0]), strict=True))
    assert found["trainings"] == "2 of 2" and found["iterations"] == "60 to 61" and found["batch"] == "16"
    assert found["parameters"] == "1,234" and found["fit"] == "90 s" and found["fit, peak MiB"] == "500"
    assert found["predict, an image"] == "3e+03 ms"
    assert [entry.text for entry in costs.rows[3]][:3] == ["bro_ken", "0 of 2", "–"]
    assert not any("GPU" in column for column in costs.columns)


def test_unknown_time_is_a_lower_bound_and_a_gpu_gets_its_columns() -> None:
    plain = row("a", 1.0, seeds=1)
    cost = Cost(7500.0, False, 500.0, 300.0, 2048.0)
    run = plain.finished[0]
    changed = Finished(0, run.decision, 60, cost, run.predicted, run.judged)
    costs = sheets(results(Row(plain.method, (changed,), plain.cells)))[1]
    found = dict(zip(costs.columns, (entry.text for entry in costs.rows[0]), strict=True))
    assert found["fit"] == "≥ 2.08 h"
    assert found["fit, peak MiB on the GPU"] == "2,048" and found["predict, peak MiB on the GPU"] == "–"


def test_captions_state_selection_thresholds_and_the_strongest_control(whole: Results) -> None:
    text = " ".join(captions(whole))
    assert "the last checkpoint, for which no label is read (selection.rule=last)" in text
    assert "specificity 0.9 on 9 healthy" in text and "on the test labels themselves" in text
    assert "30 images, 15 of them diseased, of 15 patients" in text
    assert "mean intensity, AUC .700" in text and "machine & co" in text


def test_failures_are_listed_and_escaped(whole: Results) -> None:
    assert [entry.text for entry in sheets(whole)[2].rows[0]] == ["bro_ken", "0", "out of 100% luck | memory"]
    assert r"out of 100% luck \| memory" in to_markdown(whole)
    latex = to_latex(whole)
    assert r"bro\_ken" in latex and r"100\% luck" in latex and r"machine \& co" in latex
    assert len(sheets(results(row("weak", 1.0)))) == 2


def test_latex_rows_have_as_many_cells_as_columns(whole: Results) -> None:
    for sheet, table in zip(sheets(whole), to_latex(whole).split(r"\begin{table}")[1:], strict=True):
        body = table.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
        assert len(body) == len(sheet.rows)
        for line in body:
            assert line.replace(r"\&", "").count("&") == len(sheet.columns) - 1


def test_without_an_honest_threshold_its_columns_are_empty_dashes() -> None:
    honest = sheets(results(row("a", 1.0, threshold=None, maps=False)))[0].rows[0][6:]
    assert [(entry.text, entry.spread, entry.detail, entry.mark) for entry in honest] == [("–", "", "", "")] * 4


def test_localisation_has_a_column_where_masks_tell_it_and_a_dash_for_a_method_without_maps(whole: Results) -> None:
    quality = sheets(whole)[0]
    assert quality.columns[-1] == "pixel AUROC"
    shown = {line[0].text: (line[-1].text, line[-1].spread, line[-1].detail) for line in quality.rows}
    assert shown["healthygan"] == (".900", ".000", "") and shown["padim"] == ("–", "", "")
    assert "pixel AUROC" not in sheets(results(row("a", 1.0, maps=False)))[0].columns


def test_csv_files_hold_the_numbers_in_full(whole: Results, tmp_path: Path) -> None:
    write_benchmark(tmp_path, whole)
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    with (tmp_path / "runs.csv").open(newline="", encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    assert [line["method"] for line in table] == ["healthygan"] * 2 + ["padim"] * 3 + ["weak", "bro_ken"]
    cell = whole.rows[0].cells["paper_f1"]
    assert float(table[0]["paper_f1_mean"]) == pytest.approx(cell.mean, rel=1e-5)
    assert table[1]["auc_mean"] == "0.84" and "SASHIMI" in table[1]["origin"]
    assert table[-1]["auc_mean"] == ""
    assert [line["auc"] for line in runs[:2]] == [f"{value:.6g}" for value in whole.rows[0].cells["auc"].seeds]
    assert runs[0]["fit_seconds"] == "90.0" and runs[0]["chosen_by"] == "last"
    assert runs[-1]["failure"] == "out of 100% luck | memory"
    for name in ("roc.png", "maps.png"):
        assert Image.open(tmp_path / name).width > 400


def test_a_method_more_is_a_column_more_and_a_curve_more(whole: Results) -> None:
    one = results(whole.rows[0])
    assert Image.open(io.BytesIO(maps_picture(whole))).width > Image.open(io.BytesIO(maps_picture(one))).width
    assert roc_picture(whole) != roc_picture(one)


def test_undefined_deviation_is_left_out() -> None:
    single = results(row("a", 1.0, seeds=1))
    assert math.isnan(single.rows[0].cells["auc"].deviation)
    assert "±" not in to_markdown(single).split("Test set")[0]
