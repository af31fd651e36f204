"""The splits and the shortcuts as tables in the terminal."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from healthygan.data.cohort import Label, Split
from healthygan.data.inspection.controls import UNKNOWN
from healthygan.data.inspection.inspect import Inspection
from healthygan.data.inspection.shortcuts import SUSPICIOUS_AUC, Shortcut, groups_of
from healthygan.data.inspection.summary import SplitSummary, extra_copies
from healthygan.data.near_duplicates import NearDuplicate

SOURCES_SHOWN = 12
PAIRS_SHOWN = 50


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Show everything as tables, the warnings last."""
    console.print(splits_table(inspection.name, inspection.splits))
    if inspection.shortcuts:
        console.print(shortcuts_table(inspection.shortcuts))
    if across := [pair for pair in inspection.near_duplicates if pair.first.split is not pair.second.split]:
        console.print(near_duplicates_table(across))
    if inspection.contact_sheet is not None:
        console.print(f"Contact sheet: {inspection.contact_sheet}", markup=False, soft_wrap=True)
    console.print(f"Warnings: {len(inspection.warnings) or 'none'}", style="bold")
    for warning in inspection.warnings:
        console.print(f"- {warning}", markup=False, highlight=False, soft_wrap=True)


def splits_table(cohort: str, splits: Sequence[SplitSummary]) -> Table:
    """What each split holds, a column each."""
    labelled = any(s.split is Split.MIXED and s.labels.get(None, 0) < s.images for s in splits)
    table = Table(
        title=f"Cohort {escape(cohort)}",
        caption="* for measuring only: training reads no label of the mixed set" if labelled else None,
    )
    table.add_column("")
    for summary in splits:
        table.add_column(summary.split, justify="right")
    for section in (_count_cells, _file_cells, _fault_cells):
        columns = [section(summary) for summary in splits]
        for name in columns[0] if columns else ():
            table.add_row(name, *(column[name] for column in columns))
        table.add_section()
    sources = sum((Counter(s.sources) for s in splits), Counter[str]())
    for source, _ in sources.most_common(SOURCES_SHOWN) if set(sources) - {UNKNOWN} else ():
        table.add_row(f"source {escape(source)}", *(str(s.sources.get(source, 0)) for s in splits))
    if len(sources) > SOURCES_SHOWN:
        table.add_row(f"and {len(sources) - SOURCES_SHOWN} further sources")
    return table


def shortcuts_table(shortcuts: Sequence[Shortcut]) -> Table:
    """The AUC of every shortcut, a column for each of the groups told apart."""
    groups = groups_of(shortcuts)
    aucs = {(shortcut.name, shortcut.groups): shortcut.auc for shortcut in shortcuts}
    table = Table(
        title="What gives an image away without a look at it",
        caption=f"AUC: 0.5 says nothing, above {SUSPICIOUS_AUC} is a shortcut a detector may take",
    )
    table.add_column("")
    for group in groups:
        table.add_column(group, justify="right")
    for name in dict.fromkeys(shortcut.name for shortcut in shortcuts):
        table.add_row(escape(name), *(_auc_cell(aucs.get((name, group))) for group in groups))
    return table


def near_duplicates_table(pairs: Sequence[NearDuplicate]) -> Table:
    """The pictures that two splits share, a row each."""
    more = len(pairs) - PAIRS_SHOWN
    table = Table(
        title=f"Pictures in two splits, in other bytes: {len(pairs)}",
        caption=f"and {more:,} more" if more > 0 else None,
    )
    for heading in ("split", "file", "split", "file", "pixels"):
        table.add_column(heading)
    for pair in pairs[:PAIRS_SHOWN]:
        sides = (cell for image in (pair.first, pair.second) for cell in (image.split, escape(image.path.name)))
        table.add_row(*sides, "equal" if pair.same_pixels else "near")
    return table


def _count_cells(summary: SplitSummary) -> dict[str, str]:
    star = " *" if summary.split is Split.MIXED else ""
    labels = {label: f"{summary.labels.get(label, 0)}{star}" for label in Label}
    return {
        "images": str(summary.images),
        **{f"  {label}": count for label, count in labels.items()},
        "  unlabelled": str(summary.labels.get(None, 0)),
        "patients": str(summary.patients) if summary.patients else "unknown",
    }


def _file_cells(summary: SplitSummary) -> dict[str, str]:
    smallest, median, largest = [f"{width} x {height}" for width, height in summary.sizes] or ["-"] * 3
    return {
        "smallest (w x h)": smallest,
        "median": median,
        "largest": largest,
        "different sizes": str(summary.distinct_sizes),
        "format": _counted(summary.formats),
        "bit depth": _counted(summary.bit_depths),
        "channels": _counted(summary.channels),
        "frames": str(summary.frames),
    }


def _fault_cells(summary: SplitSummary) -> dict[str, str]:
    return {"copies": str(extra_copies(summary)), "unreadable": str(len(summary.unreadable))}


def _counted(counts: Mapping[str, int] | Mapping[int, int]) -> str:
    """The only value, or each value with its count, the commonest first."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    by_count = sorted(counts.items(), key=lambda item: -item[1])
    return "\n".join(f"{value}: {count}" for value, count in by_count) or "-"


def _auc_cell(auc: float | None) -> str:
    if auc is None:
        return "-"
    return f"[bold red]{auc:.2f}[/]" if auc > SUSPICIOUS_AUC else f"{auc:.2f}"
