"""Warnings, a line each."""

from collections.abc import Sequence

from rich.console import Console


def print_warnings(warnings: Sequence[str], console: Console) -> None:
    """A line for each."""
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True, markup=False)
