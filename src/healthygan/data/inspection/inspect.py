"""A look at a cohort before training: what is in it, what gives the disease away, and what to mend."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from healthygan.common.errors import InputError
from healthygan.common.progress import Progress, silent
from healthygan.data.checks import check_columns, near_duplicate_warnings, refuse_same_pixels, verify
from healthygan.data.cohort import Cohort, Split
from healthygan.data.folders import describe_skipped
from healthygan.data.inspection.contact_sheet import draw_contact_sheet
from healthygan.data.inspection.shortcuts import Shortcut, find_shortcuts
from healthygan.data.inspection.summary import SplitSummary, probe_all, summarise
from healthygan.data.inspection.warnings import find_warnings
from healthygan.data.near_duplicates import NearDuplicate, near_duplicates
from healthygan.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class Inspection:
    """All that ``inspect_cohort`` found; each warning is one line that says what to do."""

    name: str
    splits: tuple[SplitSummary, ...]
    shortcuts: tuple[Shortcut, ...]
    warnings: tuple[str, ...]
    contact_sheet: Path | None
    near_duplicates: tuple[NearDuplicate, ...] = ()
    refusal: InputError | None = None
    """Why ``train`` would refuse the cohort, in its own words."""


def inspect_cohort(
    cohort: Cohort,
    preprocessing: Preprocessing | None = None,
    contact_sheet: Path | None = None,
    control: Sequence[str] = (),
    progress: Progress = silent,
) -> Inspection:
    """Read every file's header, compare the splits and all images, and draw a contact sheet where it has a path.

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
    duplicates = near_duplicates(cohort, preprocessing.reader, progress)
    refusal = _refusal(cohort, duplicates, progress)
    probed, unreadable = probe_all(cohort, preprocessing.reader, progress)
    if contact_sheet is not None:
        unreadable |= draw_contact_sheet(cohort.name, probed, preprocessing, contact_sheet)
    splits = tuple(
        summarise(split, cohort.split(split), [entry for entry in probed if entry.image.split is split], unreadable)
        for split in Split
        if cohort.split(split)
    )
    shortcuts = find_shortcuts(probed, dict.fromkeys(("source", *control)))
    warnings = (*find_warnings(splits, shortcuts), *near_duplicate_warnings(duplicates))
    if skipped := describe_skipped(cohort.skipped):
        warnings = (f"{skipped}; convert those that are images", *warnings)
    return Inspection(cohort.name, splits, shortcuts, warnings, contact_sheet, duplicates, refusal)


def _refusal(cohort: Cohort, duplicates: Sequence[NearDuplicate], progress: Progress) -> InputError | None:
    """What ``train`` checks; kept, not raised, so that what can be shown is shown first."""
    try:
        verify(cohort, progress=progress)
        refuse_same_pixels(cohort.name, duplicates)
    except InputError as error:
        return error
    return None
