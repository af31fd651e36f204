"""A benchmark's sheet as a table in the terminal."""

from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from healthygan.benchmark.tables import Entry, Sheet


def to_terminal(sheet: Sheet) -> Table:
    """For rich."""
    table = Table(title=Text(sheet.title), title_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False)
    for number, column in enumerate(sheet.columns):
        justify: Literal["left", "right"] = "left" if number in sheet.wordy else "right"
        table.add_column(Text(column.replace(", ", "\n")), justify=justify, overflow="fold")
    styles = {"best": "bold", "second": "underline", "": ""}

    def written(entry: Entry) -> Text:
        below = [line for line in (entry.spread and f"± {entry.spread}", entry.detail) if line]
        return Text.assemble((entry.text, styles[entry.mark]), *(f"\n{line}" for line in below))

    for row in sheet.rows:
        table.add_row(*map(written, row))
    return table
