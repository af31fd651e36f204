"""A benchmark's results as tables: terminal, Markdown, LaTeX, CSV."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from healthygan.benchmark.job import Cost
from healthygan.benchmark.pictures import maps_picture, roc_picture
from healthygan.benchmark.results import (
    DIGITS,
    LEVEL,
    NONE,
    PAPER,
    PIXELS,
    RATES,
    RESAMPLES,
    Cell,
    Finished,
    Results,
    Row,
    columns_of,
    marks,
    short,
)
from healthygan.common.csv_text import CsvWriter
from healthygan.common.files import atomic_path, write_text

RULES = {
    "last": "the last checkpoint, for which no label is read",
    "validation_auc": "the highest AUC on the labels of the validation set, where it has any",
    "aucp": "the highest AUCp of held-out healthy and unlabelled images, for which no label is read",
    "fid": "the lowest FID of held-out healthy and unlabelled images, for which no label is read",
    "early_stopping": "the method's own metric on held-out healthy images, for which no label is read",
}
SOURCE = "Rahman Siddiquee et al., HealthyGAN, SASHIMI 2022, table 1"


@dataclass(frozen=True)
class Entry:
    """One place of a table."""

    text: str
    spread: str = ""
    """What follows the plus-or-minus sign."""
    detail: str = ""
    """Smaller, below."""
    mark: str = ""
    """"best", "second" or nothing."""


@dataclass(frozen=True)
class Sheet:
    """One table: a heading for each column, then the rows; the first column names them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    wordy: tuple[int, ...] = (0,)
    """Columns of words; the others are numbers."""


def write_benchmark(folder: Path, results: Results) -> None:
    """Write ``table.md``, ``.tex`` and ``.csv``, ``runs.csv``, ``roc.png`` and ``maps.png``.

    Raises:
        InputError: a file cannot be written.
    """
    write_text(folder / "table.md", to_markdown(results))
    write_text(folder / "table.tex", to_latex(results))
    _write_csv(folder / "table.csv", _summary_lines(results))
    _write_csv(folder / "runs.csv", _run_lines(results))
    for name, picture in (("roc.png", roc_picture(results)), ("maps.png", maps_picture(results))):
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(picture)


def sheets(results: Results) -> list[Sheet]:
    """How well, at what cost and, where there are any, what failed."""
    tables = [_quality(results), _costs(results)]
    if results.failures:
        rows = tuple((Entry(f.method), Entry(str(f.seed)), Entry(f.reason)) for f in results.failures)
        tables.append(Sheet("Failed", ("method", "seed", "reason"), rows, wordy=(0, 2)))
    return tables


def captions(results: Results) -> list[str]:
    """What a reader must know of the numbers, a sentence or two each."""
    labels = results.test.labels
    rules = {row.method.config.selection.rule for row in results.rows}
    lines = [
        f"Test set: {len(labels):,} {results.test.noun}, {int(labels.sum()):,} of them diseased, of "
        f"{len(set(results.test.patients)):,} patients. Mean ± standard deviation over the seeds (the table of "
        "costs tells how many); below it the "
        f"{100 * LEVEL:g} % bootstrap interval of the mean ({RESAMPLES:,} times, patients drawn with all their "
        "images). The best is bold, the second underlined.",
        "Paper's way: the threshold where recall equals specificity on the test labels themselves, as the paper does "
        f"it; optimistic. Honest: {_honest_rule(results)}.",
        f"Checkpoint of every method: {'; '.join(RULES.get(rule, rule) for rule in sorted(rules))} "
        f"(selection.rule={', '.join(sorted(rules))}).",
        "Budgets: every setting of a method is in NAME/seed_0/run/config.yaml. Iterations are those done; parameters "
        "are all numbers that the saved model holds, which is what scoring needs; memory is "
        f"the peak of a process of its own, of which {_libraries(results):,.0f} MiB are Python and its libraries; "
        "decoding of the images is in neither time nor memory. ≥: a killed process took a part of the time with it.",
    ]
    if results.controls:
        name, area = max(results.controls.items(), key=lambda item: item[1])
        lines.append(f"Strongest shallow control: {name}, AUC {short(area)}. A detector is worth its difference to it.")
    if any(row.published for row in results.rows):
        lines.append(
            f"In the paper: {SOURCE}, {results.paper}. Which of its last two columns is PatchCore and which PaDiM is "
            "not certain: both are given."
        )
    return [*lines, *results.notes]


def to_markdown(results: Results) -> str:
    """All tables with their captions and pictures."""
    marked = {"best": "**{}**", "second": "<ins>{}</ins>", "": "{}"}

    def written(entry: Entry) -> str:
        text = marked[entry.mark].format(_markdown(entry.text)) if entry.text else ""
        text += f" ± {entry.spread}" if entry.spread else ""
        return f"{text}<br>{_markdown(entry.detail)}" if entry.detail else text

    parts = [f"# Benchmark: {_markdown(results.cohort)}\n"]
    for sheet in sheets(results):
        lines = [
            [_markdown(column) for column in sheet.columns],
            ["---" if number in sheet.wordy else "---:" for number in range(len(sheet.columns))],
        ]
        lines += [[written(entry) for entry in row] for row in sheet.rows]
        parts.append(f"## {sheet.title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines))
    parts += [f"{_markdown(caption)}\n" for caption in captions(results)]
    parts += ["![ROC curves](roc.png)\n", "![maps](maps.png)\n"]
    return "\n".join(parts)


def to_latex(results: Results) -> str:
    """A table environment a sheet; needs the packages booktabs and graphicx."""
    marked = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}

    def written(entry: Entry) -> str:
        text = marked[entry.mark] % _latex(entry.text) if entry.text else ""
        text += rf" $\pm$ {entry.spread}" if entry.spread else ""
        return rf"\shortstack{{{text}\\{{\scriptsize {_latex(entry.detail)}}}}}" if entry.detail else text

    parts = ["% needs \\usepackage{booktabs,graphicx}"]
    for number, sheet in enumerate(sheets(results)):
        caption = " ".join([f"{sheet.title}.", *(captions(results) if number == 0 else [])])
        lines = [" & ".join(_latex(column) for column in sheet.columns) + r" \\", r"\midrule"]
        lines += [" & ".join(written(entry) for entry in row) + r" \\" for row in sheet.rows]
        shape = "".join("l" if number in sheet.wordy else "r" for number in range(len(sheet.columns)))
        parts.append(
            "\\begin{table}\n"
            f"\\caption{{{_latex(caption)}}}\n"
            f"\\resizebox{{\\linewidth}}{{!}}{{\\begin{{tabular}}{{{shape}}}\n\\toprule\n"
            + "\n".join(lines)
            + "\n\\bottomrule\n\\end{tabular}}\n\\end{table}"
        )
    return "\n\n".join(parts) + "\n"


def _quality(results: Results) -> Sheet:
    names = {"f1": "F1"}
    heads = ["method", "AUC"]
    for way in ("paper's way", "honest"):
        heads += [f"{names.get(rate, rate)}, {way}" for rate in RATES]
    columns = columns_of(results.rows)
    heads += ["pixel AUROC"] * (PIXELS in columns)
    rows = []
    for row in results.rows:
        rows.append(
            (Entry(row.method.name), *(_cell(row, column, results) for column in columns))
            if row.cells
            else (Entry(row.method.name, detail="failed"), *[Entry(NONE)] * len(columns))
        )
        if row.published:
            texts = [" or ".join(short(value, 2) for value in values) for values in zip(*row.published, strict=True)]
            rows.append((Entry("(the paper)"), *map(Entry, texts), *[Entry("")] * (len(columns) - len(texts))))
    return Sheet(f"{results.cohort}: how well", tuple(heads), tuple(rows))


def _cell(row: Row, column: str, results: Results) -> Entry:
    if column not in row.cells:  # a method without maps
        return Entry(NONE)
    cell = row.cells[column]
    best, second = marks(results.rows, column, DIGITS)
    mark = "best" if row.method.name in best else "second" if row.method.name in second else ""
    spread = short(cell.deviation) if math.isfinite(cell.deviation) else ""
    interval = f"{short(cell.low)}–{short(cell.high)}" if math.isfinite(cell.low) else ""
    return Entry(short(cell.mean), spread, interval, mark)


def _costs(results: Results) -> Sheet:
    on_device = any(run.fit.device_memory is not None for row in results.rows for run in row.finished)
    columns = (
        "method",
        "trainings",
        "iterations",
        "batch",
        "parameters",
        "fit",
        "fit, peak MiB",
        "predict, an image",
        "predict, peak MiB",
    )
    extra = ("fit, peak MiB on the GPU", "predict, peak MiB on the GPU") if on_device else ()
    return Sheet("At what cost", (*columns, *extra), tuple(_cost_row(row, results, on_device) for row in results.rows))


def _cost_row(row: Row, results: Results, on_device: bool) -> tuple[Entry, ...]:
    name = Entry(row.method.name)
    if not row.finished:
        return (name, Entry(f"0 of {results.seeds}"), *[Entry(NONE)] * (9 if on_device else 7))
    fits, predictions = [run.fit for run in row.finished], [run.predicted.cost for run in row.finished]
    images = len(row.finished[0].predicted.scores)
    mean = float(np.mean([cost.seconds for cost in fits]))
    unused = row.method.config.detector.unused
    texts = [
        f"{len(row.finished)} of {results.seeds}",
        NONE if "iterations" in unused else _span(run.iterations for run in row.finished),
        NONE if "batch_size" in unused else f"{row.method.config.training.batch_size:,}",
        _span(run.predicted.numbers for run in row.finished),
        ("" if all(cost.whole for cost in fits) else "≥ ") + _duration(mean),
        f"{max(cost.memory for cost in fits):,.0f}",
        f"{1000 * float(np.mean([cost.seconds for cost in predictions])) / images:.3g} ms",
        f"{max(cost.memory for cost in predictions):,.0f}",
    ]
    if on_device:
        texts += [_device_memory(fits), _device_memory(predictions)]
    return (name, *map(Entry, texts))


def _device_memory(costs: Sequence[Cost]) -> str:
    known = [cost.device_memory for cost in costs if cost.device_memory is not None]
    return f"{max(known):,.0f}" if known else NONE


def _span(values: Iterable[int]) -> str:
    """One number, or from the least to the greatest."""
    ordered = sorted(set(values))
    return f"{ordered[0]:,}" if len(ordered) == 1 else f"{ordered[0]:,} to {ordered[-1]:,}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _honest_rule(results: Results) -> str:
    rules = {run.decision.threshold_rule for row in results.rows for run in row.finished}
    return f"the threshold is set without the test set ({'; '.join(sorted(rules))})"


def _libraries(results: Results) -> float:
    return float(np.mean([run.fit.libraries for row in results.rows for run in row.finished]))


Line = dict[str, object]


def _summary_lines(results: Results) -> list[Line]:
    """A line a method; and one for each published column."""
    lines: list[Line] = []
    for row in results.rows:
        line: Line = {"method": row.method.name, "origin": "measured", "seeds": len(row.finished)}
        for column in columns_of(results.rows):
            cell = row.cells.get(column)
            for name in ("mean", "deviation", "low", "high"):
                line[f"{column}_{name}"] = _number(getattr(cell, name)) if isinstance(cell, Cell) else ""
        lines.append(line)
        for values in row.published:
            names = ["auc", *(f"{PAPER}_{rate}" for rate in RATES)]
            means = {f"{name}_mean": value for name, value in zip(names, values, strict=True)}
            lines.append({"method": row.method.name, "origin": SOURCE, **means})
    return lines


def _run_lines(results: Results) -> list[Line]:
    """A line for every training, the failed ones too."""
    lines: list[Line] = []
    for row in results.rows:
        for place, run in enumerate(row.finished):
            numbers: Line = {column: _number(cell.seeds[place]) for column, cell in row.cells.items()}
            lines.append({"method": row.method.name, "seed": run.seed} | numbers | _run_facts(row, run))
    lines += [{"method": failed.method, "seed": failed.seed, "failure": failed.reason} for failed in results.failures]
    return lines


def _run_facts(row: Row, run: Finished) -> Line:
    """What one training was and took."""
    training = row.method.config.training
    return {
        "threshold": "" if run.decision.threshold is None else _number(run.decision.threshold),
        "chosen_iteration": run.decision.iteration,
        "chosen_by": run.decision.rule,
        "iterations_done": run.iterations,
        "iterations_planned": training.iterations,
        "batch_size": training.batch_size,
        "model_numbers": run.predicted.numbers,
        **_cost_facts("fit", run.fit),
        **_cost_facts("predict", run.predicted.cost),
    }


def _cost_facts(stage: str, cost: Cost) -> Line:
    return {f"{stage}_{name}": "" if value is None else value for name, value in asdict(cost).items()}


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _write_csv(path: Path, lines: Sequence[Line]) -> None:
    fields = list(dict.fromkeys(name for line in lines for name in line))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = CsvWriter(file)
        writer.writerow(fields)
        writer.writerows([line.get(name, "") for name in fields] for line in lines)


def _escaped(pattern: str, replace: Callable[[re.Match[str]], str]) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, replace, text)


_markdown = _escaped(r"[\\|*_<>`\[\]]", lambda match: "\\" + match[0])
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "≥": r"$\geq$",
}
_latex = _escaped(r"[\\~^±–≥&%$#_{}]", lambda match: _LATEX.get(match[0], "\\" + match[0]))
