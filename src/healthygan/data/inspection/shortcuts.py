"""What gives an image away without a look at it: AUCs of columns and of the files' properties."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sklearn.metrics import roc_auc_score

from healthygan.data.cohort import Label, Split, column_value
from healthygan.data.inspection.controls import column_scores
from healthygan.data.inspection.summary import Probed

SUSPICIOUS_AUC = 0.65
TRAINING_SETS = "healthy or mixed set"


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


def find_shortcuts(probed: Sequence[Probed], columns: Iterable[str]) -> tuple[Shortcut, ...]:
    """Compare the healthy with the mixed set, and healthy with diseased where a split has labels of both."""

    def of(split: Split, label: Label | None = None) -> list[Probed]:
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


def groups_of(shortcuts: Iterable[Shortcut]) -> list[str]:
    """What is told apart, each once, in order."""
    return list(dict.fromkeys(shortcut.groups for shortcut in shortcuts))


def _column_aucs(
    one: Sequence[Probed],
    other: Sequence[Probed],
    training: tuple[Sequence[Probed], Sequence[Probed]],
    columns: Iterable[str],
) -> Iterable[tuple[str, str, float]]:
    truth = [0] * len(one) + [1] * len(other)
    for column in columns:
        healthy, mixed, asked = (
            [column_value(entry.image, column) for entry in entries] for entries in (*training, [*one, *other])
        )
        for rule, scores in column_scores(healthy, mixed, asked).items():
            yield column, rule, _auc(truth, scores.tolist())


def _feature_aucs(one: Sequence[Probed], other: Sequence[Probed]) -> Iterable[tuple[str, str, float]]:
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
