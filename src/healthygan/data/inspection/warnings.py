"""What to mend before training: each warning is one line that says what to do."""

from collections.abc import Iterable, Mapping, Sequence

from healthygan.common.messages import shorten_list
from healthygan.data.cohort import Label, Split
from healthygan.data.inspection.shortcuts import SUSPICIOUS_AUC, Shortcut, groups_of
from healthygan.data.inspection.summary import SplitSummary, extra_copies

FEW_IMAGES = 100
MIXED_SHARE = (0.1, 0.9)
PREVALENCE_GAP = 0.2


def find_warnings(splits: Sequence[SplitSummary], shortcuts: Sequence[Shortcut]) -> tuple[str, ...]:
    """All warnings: of files, amounts, labels, patients and shortcuts."""
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
            reasons = shorten_list(list(summary.unreadable.values()))
            yield (
                f"{summary.split}: {len(summary.unreadable)} of {summary.images} files cannot be read "
                f"and will be skipped: {reasons}; mend or remove them"
            )
        if summary.copies:
            groups = shorten_list([" = ".join(path.name for path in group) for group in summary.copies])
            yield f"{summary.split}: {extra_copies(summary)} file(s) copy another one: {groups}; keep one of each"


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
        best = [max((s for s in rows if s.groups == groups), key=lambda s: s.auc) for groups in groups_of(rows)]
        if strong := [s for s in best if s.auc > SUSPICIOUS_AUC]:
            where = ", ".join(_place(s) for s in strong)
            yield f"{feature} alone gives much away: {where}; {_remedy(feature, splits)}"


def _place(shortcut: Shortcut) -> str:
    how = f' by "{shortcut.rule}"' if shortcut.rule else ""
    return f"{shortcut.groups} AUC {shortcut.auc:.2f}{how} ({shortcut.sides[0]} and {shortcut.sides[1]} images)"


def _remedy(feature: str, splits: Mapping[Split, SplitSummary]) -> str:
    if feature != "source":
        return (
            "a detector may learn this instead of the disease, so choose images made the same "
            "way and report this AUC beside the detector's"
        )
    both = {Split.MIXED, Split.HEALTHY} <= set(splits)
    only = set(splits[Split.MIXED].sources) - set(splits[Split.HEALTHY].sources) if both else set()
    named = f" (only in the mixed set: {shorten_list(sorted(only))})" if only else ""
    return f"use the same sources in both training sets{named}, or report results within each source"
