"""The end every protocol comes to: a manifest written whole, a record of what was done, and tables to read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from healthygan import __version__
from healthygan.controls import told_scores
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.protocols.images import Problems, check_names, refuse_problems
from healthygan.data.protocols.split import Draw, Record
from healthygan.errors import InputError
from healthygan.files import write_json, write_text
from healthygan.metrics import auc
from healthygan.wording import few

SOURCES_SHOWN = 12


@dataclass(frozen=True)
class Prepared:
    """A cohort and how it came about; ``warnings`` are what a reader of results must know."""

    protocol: str
    cohort: Cohort
    manifest: Path
    steps: tuple[str, ...]
    warnings: tuple[str, ...]
    problems: Problems = field(default_factory=Problems)
    aucs: Mapping[str, float] = field(default_factory=dict)
    """AUC on the test set of the source alone, by way of guessing (``controls.column_scores``)."""
    preset: str | None = None

    def print(self, console: Console) -> None:
        """Show what was done, the counts, the sources, and what to beware of."""
        for step in self.steps:
            console.print(f"- {step}", markup=False, highlight=False, soft_wrap=True)
        console.print(_counts_table(self.cohort))
        if any(image.source for image in self.cohort.images):
            console.print(_sources_table(self.cohort))
        if self.aucs:
            console.print("AUC that the source alone reaches on the test set, learned from the training sets:")
            for name, area in self.aucs.items():
                console.print(f"  {name:<32} {area:.3f}", markup=False, highlight=False)
        for warning in self.warnings:
            console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        preset = f" --preset {self.preset}" if self.preset else ""
        run = f"next: healthygan train {self.manifest}{preset} --run DIR"
        console.print(f"manifest: {self.manifest}\n{run}", markup=False, highlight=False, soft_wrap=True)

    def record(self) -> dict[str, object]:
        """All of it, for a file."""
        counts = Counter((image.split, image.label) for image in self.cohort.images)
        return {
            "healthygan": __version__,
            "protocol": self.protocol,
            "steps": list(self.steps),
            "warnings": list(self.warnings),
            "images": [
                {"split": split, "label": label or "unlabelled", "images": count}
                for (split, label), count in sorted(counts.items(), key=str)
            ],
            "auc of the source alone on test": dict(self.aucs),
            "problems": self.problems.lines(),
        }


def finish(
    protocol: str,
    records: Sequence[Record],
    splits: Mapping[str, Split],
    files: Mapping[str, Sequence[str]],
    manifest: Path,
    *,
    steps: Sequence[str],
    warnings: Sequence[str] = (),
    listed_twice: Sequence[str] = (),
    allow_missing: bool = False,
    advice: str = "correct --images",
    preset: str | None = None,
) -> Prepared:
    """Match drawn records with files, and write the manifest and its record (the same name, .json).

    Args:
        records: all that the lists hold.
        splits: of the drawn ones, by name.
        files: found files by name.
        manifest: the .csv to write; names that do not fit are listed beside it, in .problems.txt.

    Raises:
        InputError: files are missing or doubled, or ``manifest`` exists with other content.
    """
    if manifest.suffix.lower() != ".csv":
        raise InputError(f"{manifest}: a manifest is a CSV file; give a name that ends in .csv")
    problems = check_names(splits, {record.name for record in records}, files, listed_twice)
    listing = list_problems(problems, manifest)
    refuse_problems(problems, allow_missing, listing, advice)
    by_split = {split: number for number, split in enumerate(Split)}
    chosen = [record for record in records if record.name in splits and record.name in files]
    chosen.sort(key=lambda record: (by_split[splits[record.name]], record.name))
    images = tuple(
        CohortImage(
            path=Path(files[record.name][0]),
            split=splits[record.name],
            label=record.label,
            patient_id=record.patient,
            source=record.source,
            more=record.more,
        )
        for record in chosen
    )
    cohort, torn = tear_marked(Cohort(manifest.stem, images))
    notes = [*warnings, *_empty_warnings(cohort), *_torn_warning(torn), *_name_warnings(problems, listing)]
    prepared = Prepared(protocol, cohort, manifest, tuple(steps), tuple(notes), problems, _source_aucs(cohort), preset)
    return write(prepared)


def list_problems(problems: Problems, manifest: Path) -> Path:
    """Write all names beside ``manifest``; no list where everything fits."""
    listing = manifest.with_suffix(".problems.txt")
    if problems.lines():
        write_text(listing, "".join(f"{line}\n" for line in problems.lines()))
    else:
        listing.unlink(missing_ok=True)
    return listing


def write(prepared: Prepared) -> Prepared:
    """Write the manifest and its record.

    Raises:
        InputError: a manifest of this name exists and says something else.
    """
    manifest = prepared.manifest
    text = prepared.cohort.manifest_text(manifest)
    if manifest.exists() and manifest.read_bytes() != text.encode():
        raise InputError(f"{manifest}: exists and holds another cohort; remove it or give another name with -o")
    write_json(manifest.with_suffix(".json"), prepared.record())
    write_text(manifest, text)
    return prepared


def tear_marked(cohort: Cohort) -> tuple[Cohort, dict[str, set[Split]]]:
    """Tell patients who are in several splits apart as ``ID in SPLIT``, so that the cohort can be opened.

    Returns:
        The cohort, and the splits of each such patient.
    """
    splits: dict[str, set[Split]] = {}
    for image in cohort.images:
        if image.patient_id is not None:
            splits.setdefault(image.patient_id, set()).add(image.split)
    torn = {patient: places for patient, places in splits.items() if len(places) > 1}
    images = tuple(
        replace(image, patient_id=f"{image.patient_id} in {image.split}") if image.patient_id in torn else image
        for image in cohort.images
    )
    return Cohort(cohort.name, images), torn


def shortfall_warnings(found: Draw) -> list[str]:
    """One line for each count that was not met."""
    return [f"count not met, {short}" for short in found.shortfalls]


def _source_aucs(cohort: Cohort) -> dict[str, float]:
    """What the source alone reaches on the test labels; empty without sources or labels of both kinds."""
    test = [image for image in cohort.split(Split.TEST) if image.label is not None]
    labels = np.array([image.label is Label.DISEASED for image in test])
    if not 0 < labels.sum() < len(labels):
        return {}
    return {name: auc(values, labels) for name, values in told_scores(cohort, (), test).items()}


def _empty_warnings(cohort: Cohort) -> list[str]:
    return [
        f"the {split} set is empty, and train needs it; give it images, such as --counts {split}=20%"
        for split in (Split.HEALTHY, Split.MIXED)
        if not cohort.split(split)
    ]


def _torn_warning(torn: Mapping[str, set[Split]]) -> list[str]:
    if not torn:
        return []
    in_test = sum(Split.TEST in places for places in torn.values())
    return [
        f"{len(torn):,} patient(s) are in several splits, {in_test:,} of them in test: {few(sorted(torn))}; "
        "results are too good by what is recognised of them (patient_id says which split, as in 'ID in test')"
    ]


def _name_warnings(problems: Problems, listing: Path) -> list[str]:
    kinds = {
        "listed image(s) missing, left out": problems.missing,
        "file(s) in no list, left out": problems.extra,
        "line(s) repeated, counted once": problems.listed_twice,
    }
    return [f"{len(names):,} {what}: {few(names)} (all in {listing})" for what, names in kinds.items() if names]


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
