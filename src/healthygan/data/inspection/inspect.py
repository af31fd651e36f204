"""A look at a cohort before training: what is in it, what gives the disease away, and what to mend."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from healthygan.common.errors import InputError
from healthygan.common.progress import Progress, silent
from healthygan.data.checks import check_columns
from healthygan.data.cohort import Cohort, Split
from healthygan.data.folders import describe_skipped
from healthygan.data.inspection.contact_sheet import draw_contact_sheet
from healthygan.data.inspection.shortcuts import Shortcut, find_shortcuts
from healthygan.data.inspection.summary import SplitSummary, probe_all, summarise
from healthygan.data.inspection.warnings import find_warnings
from healthygan.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class Inspection:
    """All that ``inspect_cohort`` found; each warning is one line that says what to do."""

    name: str
    splits: tuple[SplitSummary, ...]
    shortcuts: tuple[Shortcut, ...]
    warnings: tuple[str, ...]
    contact_sheet: Path | None


def inspect_cohort(
    cohort: Cohort,
    preprocessing: Preprocessing | None = None,
    contact_sheet: Path | None = None,
    control: Sequence[str] = (),
    progress: Progress = silent,
) -> Inspection:
    """Read every file's header, compare the splits, and draw a contact sheet where a path for it is given.

    Args:
        cohort: the labels of its mixed set are counted only.
        preprocessing: how the images are read and drawn; as by default where ``None``.
        contact_sheet: the PNG to write, a row of up to eight images a split.
        control: columns of the manifest to look at beside ``source``.

    Raises:
        InputError: the contact sheet is not to be a PNG, or cannot be written; no image has anything in a
            control column.
    """
    check_columns(cohort, (Split.HEALTHY, Split.MIXED), control)
    if contact_sheet is not None and contact_sheet.suffix.lower() != ".png":
        raise InputError(f"{contact_sheet}: a contact sheet is a PNG; give a name that ends in .png")
    preprocessing = preprocessing or Preprocessing()
    probed, unreadable = probe_all(cohort, preprocessing.reader, progress)
    if contact_sheet is not None:
        unreadable |= draw_contact_sheet(cohort.name, probed, preprocessing, contact_sheet)
    splits = tuple(
        summarise(split, cohort.split(split), [entry for entry in probed if entry.image.split is split], unreadable)
        for split in Split
        if cohort.split(split)
    )
    shortcuts = find_shortcuts(probed, dict.fromkeys(("source", *control)))
    warnings = find_warnings(splits, shortcuts)
    if skipped := describe_skipped(cohort.skipped):
        warnings = (f"{skipped}; convert those that are images", *warnings)
    return Inspection(cohort.name, splits, shortcuts, warnings, contact_sheet)
