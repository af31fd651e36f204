"""What ``prepare`` did, in the terminal: steps, counts, sources, and what to beware of."""

from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from healthygan.data.cohort import Cohort, Label, Split
from healthygan.data.datasets.prepared import Prepared

SOURCES_SHOWN = 12


def print_prepared(prepared: Prepared, console: Console) -> None:
    """Show what was done, the counts, the sources, and what to beware of."""
    for step in prepared.steps:
        console.print(f"- {step}", markup=False, highlight=False, soft_wrap=True)
    console.print(_counts_table(prepared.cohort))
    if any(image.source for image in prepared.cohort.images):
        console.print(_sources_table(prepared.cohort))
    if prepared.aucs:
        console.print("AUC that the source alone reaches on the test set, learned from the training sets:")
        for name, area in prepared.aucs.items():
            console.print(f"  {name:<32} {area:.3f}", markup=False, highlight=False)
    for warning in prepared.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    preset = f" --preset {prepared.preset}" if prepared.preset else ""
    run = f"next: healthygan train {prepared.manifest}{preset} --run DIR"
    console.print(f"manifest: {prepared.manifest}\n{run}", markup=False, highlight=False, soft_wrap=True)


def _counts_table(cohort: Cohort) -> Table:
    table = Table(title=f"Cohort {escape(cohort.name)}", title_justify="left")
    for name in ("split", "healthy", "diseased", "unlabelled", "patients"):
        table.add_column(name, justify="left" if name == "split" else "right")
    for split in Split:
        images = cohort.split(split)
        labels = Counter(image.label for image in images)
        patients = {image.patient_id for image in images if image.patient_id is not None}
        cells = (labels[Label.HEALTHY], labels[Label.DISEASED], labels[None], len(patients))
        table.add_row(split, *(f"{cell:,}" for cell in cells))
    return table


def _sources_table(cohort: Cohort) -> Table:
    counts = Counter((image.source or "unknown", image.split, image.label) for image in cohort.images)
    totals = Counter[str]()
    for (source, _, _), count in counts.items():
        totals[source] += count
    groups = sorted(
        {(split, label) for _, split, label in counts},
        key=lambda group: (list(Split).index(group[0]), str(group[1])[::-1]),
    )
    table = Table(title="Images by source", title_justify="left")
    table.add_column("source")
    for split, label in groups:
        table.add_column(f"{split}\n{label or 'unlabelled'}", justify="right")
    for source, _ in totals.most_common(SOURCES_SHOWN):
        table.add_row(escape(source), *(f"{counts[source, split, label]:,}" for split, label in groups))
    if len(totals) > SOURCES_SHOWN:
        table.add_row(f"and {len(totals) - SOURCES_SHOWN} more")
    return table
