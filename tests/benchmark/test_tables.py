"""Every table tells the same numbers; marks, captions and pictures say what they should."""

import csv
import io
import math
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from fixtures.benchmarks import results, row
from healthygan.benchmark.job import Cost
from healthygan.benchmark.results import Finished, Results, Row
from healthygan.benchmark.tables import (
    captions,
    sheets,
    to_latex,
    to_markdown,
    write_benchmark,
)
from healthygan.cli.tables.benchmark import to_terminal


def test_cells_are_mean_deviation_and_interval(benchmarked: Results) -> None:
    quality = sheets(benchmarked)[0]
    cell = benchmarked.rows[0].cells["auc"]
    entry = quality.rows[0][1]
    assert entry.text == f"{cell.mean:.3f}".removeprefix("0")
    assert entry.spread == f"{cell.deviation:.3f}".removeprefix("0")
    assert entry.detail == "–".join(f"{end:.3f}".removeprefix("0") for end in (cell.low, cell.high))
    assert quality.columns[:3] == ("method", "AUC", "precision, paper's way")


def test_best_is_bold_and_second_underlined_in_every_format(benchmarked: Results) -> None:
    best, second = (benchmarked.rows[n].cells["auc"] for n in (0, 1))
    assert best.mean > second.mean > benchmarked.rows[2].cells["auc"].mean
    first, next_best = (f"{cell.mean:.3f}".removeprefix("0") for cell in (best, second))
    markdown, latex = to_markdown(benchmarked), to_latex(benchmarked)
    assert f"**{first}**" in markdown and f"<ins>{next_best}</ins>" in markdown
    assert rf"\textbf{{{first}}}" in latex and rf"\underline{{{next_best}}}" in latex
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system="standard")
    console.print(to_terminal(sheets(benchmarked)[0]))
    shown = console.file.getvalue()
    assert f"\x1b[1m{first}" in shown and f"\x1b[4m{next_best}" in shown


def test_the_papers_figures_stand_below_ours(benchmarked: Results) -> None:
    rows = sheets(benchmarked)[0].rows
    assert [rows[n][0].text for n in range(4)] == ["healthygan", "(the paper)", "padim", "(the paper)"]
    assert rows[1][1].text == ".84" and rows[3][1].text == ".56 or .52"
    assert {entry.text for entry in rows[1][6:]} == {""}
    assert any("SASHIMI 2022, table 1, covidx" in caption for caption in captions(benchmarked))
    assert not any("SASHIMI" in caption for caption in captions(results(row("weak", 1.0))))


def test_costs_and_budgets_are_stated(benchmarked: Results) -> None:
    costs = sheets(benchmarked)[1]
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


def test_captions_state_selection_thresholds_and_the_strongest_control(benchmarked: Results) -> None:
    text = " ".join(captions(benchmarked))
    assert "the last checkpoint, for which no label is read (selection.rule=last)" in text
    assert "specificity 0.9 on 9 healthy" in text and "on the test labels themselves" in text
    assert "30 images, 15 of them diseased, of 15 patients" in text
    assert "mean intensity, AUC .700" in text and "machine & co" in text


def test_failures_are_listed_and_escaped(benchmarked: Results) -> None:
    assert [entry.text for entry in sheets(benchmarked)[2].rows[0]] == [
        "bro_ken",
        "0",
        "out of 100% luck | memory",
    ]
    assert r"out of 100% luck \| memory" in to_markdown(benchmarked)
    latex = to_latex(benchmarked)
    assert r"bro\_ken" in latex and r"100\% luck" in latex and r"machine \& co" in latex
    assert len(sheets(results(row("weak", 1.0)))) == 2


def test_latex_rows_have_as_many_cells_as_columns(benchmarked: Results) -> None:
    for sheet, table in zip(sheets(benchmarked), to_latex(benchmarked).split(r"\begin{table}")[1:], strict=True):
        body = table.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
        assert len(body) == len(sheet.rows)
        for line in body:
            assert line.replace(r"\&", "").count("&") == len(sheet.columns) - 1


def test_without_an_honest_threshold_its_columns_are_empty_dashes() -> None:
    honest = sheets(results(row("a", 1.0, threshold=None, maps=False)))[0].rows[0][6:]
    assert [(entry.text, entry.spread, entry.detail, entry.mark) for entry in honest] == [("–", "", "", "")] * 4


def test_localisation_has_a_column_where_masks_tell_it_and_a_dash_for_a_method_without_maps(
    benchmarked: Results,
) -> None:
    quality = sheets(benchmarked)[0]
    assert quality.columns[-1] == "pixel AUROC"
    shown = {line[0].text: (line[-1].text, line[-1].spread, line[-1].detail) for line in quality.rows}
    assert shown["healthygan"] == (".900", ".000", "") and shown["padim"] == ("–", "", "")
    assert "pixel AUROC" not in sheets(results(row("a", 1.0, maps=False)))[0].columns


def test_csv_files_hold_the_numbers_in_full(benchmarked: Results, tmp_path: Path) -> None:
    write_benchmark(tmp_path, benchmarked)
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    with (tmp_path / "runs.csv").open(newline="", encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    assert [line["method"] for line in table] == ["healthygan"] * 2 + ["padim"] * 3 + ["weak", "bro_ken"]
    cell = benchmarked.rows[0].cells["paper_f1"]
    assert float(table[0]["paper_f1_mean"]) == pytest.approx(cell.mean, rel=1e-5)
    assert table[1]["auc_mean"] == "0.84" and "SASHIMI" in table[1]["origin"]
    assert table[-1]["auc_mean"] == ""
    assert [line["auc"] for line in runs[:2]] == [f"{value:.6g}" for value in benchmarked.rows[0].cells["auc"].seeds]
    assert runs[0]["fit_seconds"] == "90.0" and runs[0]["chosen_by"] == "last"
    assert runs[-1]["failure"] == "out of 100% luck | memory"
    for name in ("roc.png", "maps.png"):
        assert Image.open(tmp_path / name).width > 400


def test_undefined_deviation_is_left_out() -> None:
    single = results(row("a", 1.0, seeds=1))
    assert math.isnan(single.rows[0].cells["auc"].deviation)
    assert "±" not in to_markdown(single).split("Test set")[0]
