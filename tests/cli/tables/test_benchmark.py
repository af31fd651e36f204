"""A benchmark's table in the terminal."""

import io

from rich.console import Console

from healthygan.benchmark.results import Results
from healthygan.benchmark.tables import (
    sheets,
)
from healthygan.cli.tables.benchmark import to_terminal


def test_the_terminal_table_fits_120_columns_without_breaking_numbers(benchmarked: Results) -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(to_terminal(sheets(benchmarked)[0]))
    shown = console.file.getvalue()
    for cell in benchmarked.rows[1].cells.values():
        assert "–".join(f"{end:.3f}".removeprefix("0") for end in (cell.low, cell.high)) in shown
