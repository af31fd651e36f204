"""What ``prepare`` did, as the terminal shows it."""

from pathlib import Path

from rich.console import Console

from healthygan.cli.tables.prepared import print_prepared
from healthygan.data.datasets.prepared import Prepared


def test_the_sources_their_auc_and_the_next_command_are_shown(official_covidx: Prepared, tmp_path: Path) -> None:
    with (tmp_path / "shown.txt").open("w") as file:
        print_prepared(official_covidx, Console(file=file, width=120))
    shown = (tmp_path / "shown.txt").read_text()
    assert "0.895" in shown and "9,779" in shown and "--preset covidx" in shown
