"""The end every protocol comes to: a manifest written whole, a record of what was done, and tables to read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from healthygan.common.errors import InputError
from healthygan.common.files import write_json, write_text
from healthygan.common.messages import shorten_list
from healthygan.common.progress import Progress, silent
from healthygan.common.version import __version__
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.datasets.images import Problems, check_names, refuse_problems
from healthygan.data.datasets.split import Draw, Record
from healthygan.data.inspection.controls import told_scores
from healthygan.data.near_duplicates import find_likenesses
from healthygan.stats.metrics import auc


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
    advice: str = "correct the folder of images",
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
    cohort, in_several_splits = label_split_conflicts(Cohort(manifest.stem, images))
    notes = [
        *warnings,
        *_empty_warnings(cohort),
        *_several_splits_warning(in_several_splits),
        *_name_warnings(problems, listing),
    ]
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
        raise InputError(f"{manifest}: exists and holds another cohort; remove it or give another name")
    write_json(manifest.with_suffix(".json"), prepared.record())
    write_text(manifest, text)
    return prepared


def label_split_conflicts(cohort: Cohort) -> tuple[Cohort, dict[str, set[Split]]]:
    """Tell patients who are in several splits apart as ``ID in SPLIT``, so that the cohort can be opened.

    Returns:
        The cohort, and the splits of each such patient.
    """
    splits: dict[str, set[Split]] = {}
    for image in cohort.images:
        if image.patient_id is not None:
            splits.setdefault(image.patient_id, set()).add(image.split)
    in_several_splits = {patient: places for patient, places in splits.items() if len(places) > 1}
    images = tuple(
        replace(image, patient_id=f"{image.patient_id} in {image.split}")
        if image.patient_id in in_several_splits
        else image
        for image in cohort.images
    )
    return Cohort(cohort.name, images), in_several_splits


def shortfall_warnings(drawn: Draw) -> list[str]:
    """One line for each count that was not met."""
    return [f"count not met, {short}" for short in drawn.shortfalls]


def find_joined(
    records: Sequence[Record], files: Mapping[str, Sequence[str]], progress: Progress = silent
) -> list[tuple[str, str]]:
    """Pairs of records that show one picture, by name: copies and near-duplicates, to be kept in one split."""
    there = [record for record in records if record.name in files]
    paths = [Path(files[record.name][0]) for record in there]
    likenesses = find_likenesses(paths, [record.patient for record in there], progress=progress)
    return [(there[likeness.first].name, there[likeness.second].name) for likeness in likenesses]


def joined_steps(joined: Sequence[tuple[str, str]]) -> list[str]:
    """One line that says what ``find_joined`` gave; none where that is nothing."""
    names = shorten_list([f"{one} = {other}" for one, other in joined])
    return [f"near-duplicates kept in one split, {len(joined):,} pair(s): {names}"] if joined else []


def _source_aucs(cohort: Cohort) -> dict[str, float]:
    """What the source alone reaches on the test labels; empty without sources or labels of both kinds."""
    test = [image for image in cohort.split(Split.TEST) if image.label is not None]
    labels = np.array([image.label is Label.DISEASED for image in test])
    if not 0 < labels.sum() < len(labels):
        return {}
    return {name: auc(values, labels) for name, values in told_scores(cohort, (), test).items()}


def _empty_warnings(cohort: Cohort) -> list[str]:
    return [
        f"the {split} set is empty, and train needs it; draw images for it, such as {split}=20%"
        for split in (Split.HEALTHY, Split.MIXED)
        if not cohort.split(split)
    ]


def _several_splits_warning(in_several_splits: Mapping[str, set[Split]]) -> list[str]:
    if not in_several_splits:
        return []
    in_test = sum(Split.TEST in places for places in in_several_splits.values())
    return [
        f"{len(in_several_splits):,} patient(s) are in several splits, {in_test:,} of them in test: "
        f"{shorten_list(sorted(in_several_splits))}; "
        "results are too good by what is recognised of them (patient_id says which split, as in 'ID in test')"
    ]


def _name_warnings(problems: Problems, listing: Path) -> list[str]:
    kinds = {
        "listed image(s) missing, left out": problems.missing,
        "file(s) in no list, left out": problems.extra,
        "line(s) repeated, counted once": problems.listed_twice,
    }
    return [
        f"{len(names):,} {what}: {shorten_list(names)} (all in {listing})" for what, names in kinds.items() if names
    ]
