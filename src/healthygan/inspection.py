"""A look at a cohort before training: what is in it, what gives the disease away, and what to mend."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sklearn.metrics import roc_auc_score

from healthygan.controls import UNKNOWN, column_scores
from healthygan.data.checks import check_columns, same_bytes
from healthygan.data.cohort import Cohort, CohortImage, Label, Split, column_value
from healthygan.data.preprocessing import Preprocessing
from healthygan.data.readers import ImageInfo, ReaderOptions, probe, read_frames
from healthygan.errors import InputError, UnreadableImage
from healthygan.files import atomic_path
from healthygan.progress import progress
from healthygan.wording import few

FEW_IMAGES = 100
SUSPICIOUS_AUC = 0.65
MIXED_SHARE = (0.1, 0.9)
PREVALENCE_GAP = 0.2
TRAINING_SETS = "healthy or mixed set"
SOURCES_SHOWN = 12
IMAGES_IN_ROW = 8
TILE = 1.6  # inches; all lengths of the contact sheet are
GAP = 0.12
MARGIN = 0.35
HEADER = 0.75
ROW_TITLE = 0.32
CAPTION = 0.22
DOTS_PER_INCH = 160
CAPTION_LENGTH = 22


@dataclass(frozen=True)
class SplitSummary:
    """What one split holds; sizes, formats, bit depths and channels are those of the readable files.

    ``labels`` of the mixed set serve measuring only. ``sizes`` are width and height in pixels of the
    smallest, the median and the largest image by area, none where no file is readable. ``copies`` are the
    groups of files with the same bytes, ``unreadable`` the reason for each file that would be skipped.
    """

    split: Split
    images: int
    labels: Mapping[Label | None, int]
    patients: int
    without_patient: int
    frames: int
    sizes: tuple[tuple[int, int], ...]
    distinct_sizes: int
    formats: Mapping[str, int]
    bit_depths: Mapping[int, int]
    channels: Mapping[int, int]
    sources: Mapping[str, int]
    copies: tuple[tuple[Path, ...], ...]
    unreadable: Mapping[Path, str]


@dataclass(frozen=True)
class Shortcut:
    """How well something that is no sign of disease tells two groups of images apart.

    ``rule`` is the way of guessing from a column of the manifest (see ``controls.column_scores``).
    ``groups`` says what is told: whether an image is in the healthy or the mixed set, or its label in a
    split. ``auc`` is the area under the ROC curve: 0.5 says nothing, 1 gives the group away. ``sides`` counts
    the images of either group.
    """

    feature: str
    groups: str
    auc: float
    sides: tuple[int, int]
    rule: str = ""

    @property
    def name(self) -> str:
        """The feature with its rule, as tables show it."""
        return f"{self.feature} ({self.rule})" if self.rule else self.feature


@dataclass(frozen=True)
class Inspection:
    """All that ``inspect_cohort`` found; each warning is one line that says what to do."""

    name: str
    splits: tuple[SplitSummary, ...]
    shortcuts: tuple[Shortcut, ...]
    warnings: tuple[str, ...]
    contact_sheet: Path | None

    def print(self, console: Console) -> None:
        """Show everything as tables, the warnings last."""
        console.print(_splits_table(self))
        if self.shortcuts:
            console.print(_shortcuts_table(self.shortcuts))
        if self.contact_sheet is not None:
            console.print(f"Contact sheet: {self.contact_sheet}", markup=False, soft_wrap=True)
        console.print(f"Warnings: {len(self.warnings) or 'none'}", style="bold")
        for warning in self.warnings:
            console.print(f"- {warning}", markup=False, highlight=False, soft_wrap=True)


class _Probed(NamedTuple):
    image: CohortImage
    info: ImageInfo


def inspect_cohort(
    cohort: Cohort,
    preprocessing: Preprocessing | None = None,
    contact_sheet: Path | None = None,
    control: Sequence[str] = (),
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
    probed, unreadable = _probe_all(cohort, preprocessing.reader)
    if contact_sheet is not None:
        unreadable |= _draw_contact_sheet(cohort.name, probed, preprocessing, contact_sheet)
    splits = tuple(
        _summarise(split, cohort.split(split), [entry for entry in probed if entry.image.split is split], unreadable)
        for split in Split
        if cohort.split(split)
    )
    shortcuts = _shortcuts(probed, dict.fromkeys(("source", *control)))
    return Inspection(cohort.name, splits, shortcuts, _warnings(splits, shortcuts), contact_sheet)


def _probe_all(cohort: Cohort, options: ReaderOptions) -> tuple[list[_Probed], dict[Path, str]]:
    def probe_or_reason(image: CohortImage) -> ImageInfo | str:
        try:
            return probe(image.path, options)
        except UnreadableImage as error:
            return str(error)

    probed: list[_Probed] = []
    unreadable: dict[Path, str] = {}
    threads = min(32, (os.cpu_count() or 1) + 4)
    with ThreadPoolExecutor(threads) as pool, progress("reading headers", len(cohort.images)) as advance:
        for image, result in zip(cohort.images, pool.map(probe_or_reason, cohort.images), strict=True):
            if isinstance(result, str):
                unreadable[image.path] = result
            else:
                probed.append(_Probed(image, result))
            advance()
    return probed, unreadable


def _summarise(
    split: Split, images: Sequence[CohortImage], probed: Sequence[_Probed], unreadable: Mapping[Path, str]
) -> SplitSummary:
    by_area = sorted((info.width * info.height, info.width, info.height) for _, info in probed)
    sizes = [(width, height) for _, width, height in by_area]
    patients = [image.patient_id for image in images if image.patient_id is not None]
    return SplitSummary(
        split=split,
        images=len(images),
        labels=Counter(image.label for image in images),
        patients=len(set(patients)),
        without_patient=len(images) - len(patients),
        frames=sum(len(info.frames) for _, info in probed),
        sizes=(sizes[0], sizes[(len(sizes) - 1) // 2], sizes[-1]) if sizes else (),
        distinct_sizes=len(set(sizes)),
        formats=Counter(info.format for _, info in probed),
        bit_depths=Counter(info.bit_depth for _, info in probed),
        channels=Counter(info.channels for _, info in probed),
        sources=Counter(_source(image) for image in images),
        copies=tuple(tuple(image.path for image in group) for group in same_bytes([image for image, _ in probed])),
        unreadable={image.path: unreadable[image.path] for image in images if image.path in unreadable},
    )


def _source(image: CohortImage) -> str:
    return image.source or UNKNOWN


# --- shortcuts


def _shortcuts(probed: Sequence[_Probed], columns: Iterable[str]) -> tuple[Shortcut, ...]:
    """Compare the healthy with the mixed set, and healthy with diseased where a split has labels of both."""

    def of(split: Split, label: Label | None = None) -> list[_Probed]:
        return [p for p in probed if p.image.split is split and (label is None or p.image.label is label)]

    training = of(Split.HEALTHY), of(Split.MIXED)
    pairs = {TRAINING_SETS: training}
    for split in (Split.VALIDATION, Split.TEST):
        pairs[f"{split} labels"] = (of(split, Label.HEALTHY), of(split, Label.DISEASED))
    return tuple(
        Shortcut(feature, groups, auc, (len(one), len(other)), rule)
        for groups, (one, other) in pairs.items()
        if one and other
        for feature, rule, auc in (*_column_aucs(one, other, training, columns), *_feature_aucs(one, other))
    )


def _column_aucs(
    one: Sequence[_Probed],
    other: Sequence[_Probed],
    training: tuple[Sequence[_Probed], Sequence[_Probed]],
    columns: Iterable[str],
) -> Iterable[tuple[str, str, float]]:
    truth = [0] * len(one) + [1] * len(other)
    for column in columns:
        healthy, mixed, asked = (
            [column_value(entry.image, column) for entry in entries] for entries in (*training, [*one, *other])
        )
        for rule, scores in column_scores(healthy, mixed, asked).items():
            yield column, rule, _auc(truth, scores.tolist())


def _feature_aucs(one: Sequence[_Probed], other: Sequence[_Probed]) -> Iterable[tuple[str, str, float]]:
    truth = [0] * len(one) + [1] * len(other)
    images = [*one, *other]
    yield "image size", "", _either_way(truth, [info.width * info.height for _, info in images])
    yield "aspect", "", _either_way(truth, [info.width / info.height for _, info in images])
    yield "format", "", _category_auc(truth, [info.format for _, info in images])
    yield "bit depth", "", _category_auc(truth, [info.bit_depth for _, info in images])
    yield "channels", "", _category_auc(truth, [info.channels for _, info in images])


def _auc(truth: Sequence[int], scores: Sequence[float]) -> float:
    return float(roc_auc_score(truth, scores))


def _either_way(truth: Sequence[int], scores: Sequence[float]) -> float:
    """AUC of a quantity of which large and small values may both point to disease."""
    auc = _auc(truth, scores)
    return max(auc, 1 - auc)


def _category_auc(truth: Sequence[int], values: Sequence[object]) -> float:
    """The best AUC that any order of the categories reaches: each scored by its share of the second group."""
    total = Counter(values)
    second = Counter(value for value, which in zip(values, truth, strict=True) if which)
    return _auc(truth, [second[value] / total[value] for value in values])


# --- warnings


def _warnings(splits: Sequence[SplitSummary], shortcuts: Sequence[Shortcut]) -> tuple[str, ...]:
    by_split = {summary.split: summary for summary in splits}
    return (
        *_file_warnings(splits),
        *_amount_warnings(by_split),
        *_label_warnings(by_split),
        *_patient_warnings(splits),
        *_shortcut_warnings(shortcuts, by_split),
    )


def _file_warnings(splits: Sequence[SplitSummary]) -> Iterable[str]:
    for summary in splits:
        if summary.unreadable:
            reasons = few(list(summary.unreadable.values()))
            yield (
                f"{summary.split}: {len(summary.unreadable)} of {summary.images} files cannot be read "
                f"and will be skipped: {reasons}; mend or remove them"
            )
        if summary.copies:
            groups = few([" = ".join(path.name for path in group) for group in summary.copies])
            yield f"{summary.split}: {_extra(summary)} file(s) copy another one: {groups}; keep one of each"


def _extra(summary: SplitSummary) -> int:
    return sum(len(group) - 1 for group in summary.copies)


def _amount_warnings(splits: Mapping[Split, SplitSummary]) -> Iterable[str]:
    for split in (Split.HEALTHY, Split.MIXED):
        if split in splits and splits[split].images < FEW_IMAGES:
            yield (
                f"{split}: only {splits[split].images} images; with fewer than {FEW_IMAGES} a detector "
                "learns little and unsteadily, add images or repeat runs with several seeds"
            )


def _label_warnings(splits: Mapping[Split, SplitSummary]) -> Iterable[str]:
    mixed, test = _diseased_share(splits.get(Split.MIXED)), _diseased_share(splits.get(Split.TEST))
    if mixed is not None and not MIXED_SHARE[0] <= mixed <= MIXED_SHARE[1]:
        yield (
            f"mixed: {mixed:.0%} of the labelled images are diseased; training needs both kinds there, "
            f"aim for {MIXED_SHARE[0]:.0%} to {MIXED_SHARE[1]:.0%}"
        )
    if Split.TEST not in splits:
        yield "test: no images; how good a detector is cannot be measured, add a test split with labels"
    elif test is None:
        yield "test: no labels; nothing can be measured there, add labels for a part of it"
    elif test in (0, 1):
        missing = Label.HEALTHY if test else Label.DISEASED
        yield f"test: no {missing} images; an AUC needs both kinds, add {missing} images"
    elif mixed is not None and abs(test - mixed) > PREVALENCE_GAP:
        yield (
            f"test: {test:.0%} are diseased, in the mixed set {mixed:.0%}; precision and F1 hold for the "
            "test split's share only, quote AUC, recall and specificity or match the shares"
        )


def _diseased_share(summary: SplitSummary | None) -> float | None:
    if summary is None:
        return None
    diseased, healthy = (summary.labels.get(label, 0) for label in (Label.DISEASED, Label.HEALTHY))
    return diseased / (diseased + healthy) if diseased + healthy else None


def _patient_warnings(splits: Sequence[SplitSummary]) -> Iterable[str]:
    missing, total = sum(s.without_patient for s in splits), sum(s.images for s in splits)
    if missing:
        yield (
            f"patients: {missing} of {total} images have no patient id, so that a patient in two splits "
            "would go unnoticed; give a manifest with the column patient_id"
        )


def _shortcut_warnings(shortcuts: Sequence[Shortcut], splits: Mapping[Split, SplitSummary]) -> Iterable[str]:
    for feature in dict.fromkeys(shortcut.feature for shortcut in shortcuts):
        rows = [s for s in shortcuts if s.feature == feature]
        best = [max((s for s in rows if s.groups == groups), key=lambda s: s.auc) for groups in _groups(rows)]
        if strong := [s for s in best if s.auc > SUSPICIOUS_AUC]:
            where = ", ".join(_place(s) for s in strong)
            yield f"{feature} alone gives much away: {where}; {_remedy(feature, splits)}"


def _groups(shortcuts: Iterable[Shortcut]) -> list[str]:
    return list(dict.fromkeys(shortcut.groups for shortcut in shortcuts))


def _place(shortcut: Shortcut) -> str:
    how = f' by "{shortcut.rule}"' if shortcut.rule else ""
    return f"{shortcut.groups} AUC {shortcut.auc:.2f}{how} ({shortcut.sides[0]} and {shortcut.sides[1]} images)"


def _remedy(feature: str, splits: Mapping[Split, SplitSummary]) -> str:
    if feature != "source":
        return (
            "a detector may learn this instead of the disease, so choose images made the same "
            "way and report this AUC beside the detector's"
        )
    only = set(splits[Split.MIXED].sources) - set(splits[Split.HEALTHY].sources) if Split.MIXED in splits else set()
    named = f" (only in the mixed set: {few(sorted(only))})" if only else ""
    return f"use the same sources in both training sets{named}, or report results within each source"


# --- tables


def _splits_table(inspection: Inspection) -> Table:
    splits = inspection.splits
    labelled = any(s.split is Split.MIXED and s.labels.get(None, 0) < s.images for s in splits)
    table = Table(
        title=f"Cohort {escape(inspection.name)}",
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
    return {"copies": str(_extra(summary)), "unreadable": str(len(summary.unreadable))}


def _counted(counts: Mapping[str, int] | Mapping[int, int]) -> str:
    """The only value, or each value with its count, the commonest first."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    by_count = sorted(counts.items(), key=lambda item: -item[1])
    return "\n".join(f"{value}: {count}" for value, count in by_count) or "-"


def _shortcuts_table(shortcuts: Sequence[Shortcut]) -> Table:
    groups = _groups(shortcuts)
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


def _auc_cell(auc: float | None) -> str:
    if auc is None:
        return "-"
    return f"[bold red]{auc:.2f}[/]" if auc > SUSPICIOUS_AUC else f"{auc:.2f}"


# --- contact sheet


def _draw_contact_sheet(
    name: str, probed: Sequence[_Probed], preprocessing: Preprocessing, target: Path
) -> dict[Path, str]:
    """Write the sheet; return the reason for each picked file that could not be decoded."""
    rows = [[p for p in probed if p.image.split is split] for split in Split]
    picks = [_evenly_spaced(row) for row in rows if row]
    with ThreadPoolExecutor() as pool:
        tiles = [list(pool.map(lambda entry: _tile(entry, preprocessing), row)) for row in picks]
    width = 2 * MARGIN + IMAGES_IN_ROW * (TILE + GAP) - GAP
    row_height = ROW_TITLE + TILE + CAPTION + GAP
    height = 2 * MARGIN + HEADER + len(picks) * row_height
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")
    sheet = _Sheet(figure, width, height)
    sheet.text(MARGIN, MARGIN, name, size=16, bold=True)
    sheet.text(MARGIN, MARGIN + 0.34, _geometry(preprocessing), size=9, color="0.4")
    for number, (row, row_tiles) in enumerate(zip(picks, tiles, strict=True)):
        top = MARGIN + HEADER + number * row_height
        split = row[0].image.split
        total = sum(p.image.split is split for p in probed)
        sheet.text(MARGIN, top, split, size=11, bold=True)
        sheet.text(MARGIN + 1.0, top + 0.02, f"{len(row)} of {total} images", size=9, color="0.4")
        for place, (entry, tile) in enumerate(zip(row, row_tiles, strict=True)):
            sheet.tile(MARGIN + place * (TILE + GAP), top + ROW_TITLE, tile, _caption(entry.image))
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="png")
    return {
        entry.image.path: tile
        for entry, tile in zip((e for row in picks for e in row), (t for row in tiles for t in row), strict=True)
        if isinstance(tile, str)
    }


@dataclass(frozen=True)
class _Sheet:
    """Places text and images by inches from the upper left corner."""

    figure: Figure
    width: float
    height: float

    def text(self, x: float, y: float, text: str, size: float, color: str = "black", bold: bool = False) -> None:
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            text,
            va="top",
            ha="left",
            size=size,
            color=color,
            weight="bold" if bold else "normal",
            parse_math=False,  # a dollar sign in a file name stays one
        )

    def tile(self, x: float, y: float, tile: NDArray[np.uint8] | str, caption: str) -> None:
        axes = self.figure.add_axes(
            (x / self.width, 1 - (y + TILE) / self.height, TILE / self.width, TILE / self.height)
        )
        axes.set_axis_off()
        if isinstance(tile, str):
            self.text(x, y, "cannot be decoded", size=8, color="tab:red")
        else:
            axes.imshow(tile, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
        self.text(x, y + TILE + 0.04, caption, size=6, color="0.3")


def _evenly_spaced(entries: Sequence[_Probed]) -> list[_Probed]:
    count = min(IMAGES_IN_ROW, len(entries))
    return [entries[round(place)] for place in np.linspace(0, len(entries) - 1, count)]


def _tile(entry: _Probed, preprocessing: Preprocessing) -> NDArray[np.uint8] | str:
    """The middle frame as a detector sees it, (size, size) or (size, size, 3); or why there is none."""
    try:
        middle = len(entry.info.frames) // 2
        image = next(islice(read_frames(entry.image.path, preprocessing.reader), middle, None))
    except UnreadableImage as error:
        return str(error)
    stored = (preprocessing(image) >> 8).astype(np.uint8)
    return stored[0] if preprocessing.channels == 1 else stored.transpose(1, 2, 0)


def _geometry(preprocessing: Preprocessing) -> str:
    size, colours = preprocessing.size, "grey" if preprocessing.channels == 1 else "colour"
    cut = f", upper {preprocessing.crop_top:.0%} cut off" if preprocessing.crop_top else ""
    shapes = {"square": "central square", "pad": "padded to a square", "squash": "squashed to a square"}
    return f"As a detector sees them: {size} x {size} pixels, {colours}{cut}, {shapes[preprocessing.shape]}"


def _caption(image: CohortImage) -> str:
    """The file's name, shortened in its middle, and its label where looking at it does no harm."""
    name = image.path.name.encode(errors="replace").decode()
    if len(name) > CAPTION_LENGTH:
        half = (CAPTION_LENGTH - 1) // 2
        name = f"{name[:half]}…{name[-half:]}"
    labelled = image.label is not None and image.split in (Split.VALIDATION, Split.TEST)
    return f"{name}  {image.label}" if labelled else name
