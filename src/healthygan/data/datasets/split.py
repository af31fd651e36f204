"""Drawing splits from labelled records: seeded, patients kept apart, spread over sources where wanted.

The order of the draw comes from a hash of the seed and of names, not from a random number generator: the same
seed gives the same splits on every machine, whatever the order of the list.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from healthygan.common.errors import Argument, InputError
from healthygan.data.cohort import Label, Split

Target = tuple[Split, Label]
Counts = Mapping[Target, int]
Amounts = Mapping[Target, int | Fraction]
Stratum = tuple[str, bool]
"""A source, and whether the patient has diseased images too: so the healthy images of all splits are alike."""

ORDER: tuple[Target, ...] = (
    (Split.HEALTHY, Label.HEALTHY),
    (Split.MIXED, Label.HEALTHY),
    (Split.MIXED, Label.DISEASED),
    (Split.VALIDATION, Label.HEALTHY),
    (Split.VALIDATION, Label.DISEASED),
    (Split.TEST, Label.HEALTHY),
    (Split.TEST, Label.DISEASED),
)
ORDINARY: Amounts = dict(zip(ORDER, (Fraction(part, 100) for part in (50, 20, 60, 10, 15, 20, 25)), strict=True))
"""Of each label's images, where nobody says otherwise."""

ROUNDS = 10
"""In which counts grow together."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a list tells of one image; ``None`` where it tells nothing."""

    name: str
    label: Label | None
    patient: str | None = None
    source: str | None = None
    more: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Shortfall:
    """A count that could not be met, and why."""

    split: Split
    label: Label
    wanted: int
    found: int
    why: str

    def __str__(self) -> str:
        return f"{self.split}: {self.found:,} of {self.wanted:,} {self.label} images ({self.why})"


@dataclass(frozen=True)
class Draw:
    """Which split each drawn record is in, by its name, and which counts were not met."""

    splits: Mapping[str, Split]
    shortfalls: tuple[Shortfall, ...]


def parse_amounts(texts: Iterable[str]) -> dict[Target, int | Fraction]:
    """Read ``healthy=10000 mixed=5000+3195 test=20%+25%``: healthy + diseased, whole numbers or shares.

    A share is of all images with that label.

    Raises:
        InputError: names the part that cannot be read.
    """
    amounts: dict[Target, int | Fraction] = {}
    for text in texts:
        given = Argument("amounts", text)
        name, equals, value = text.partition("=")
        if not equals or name not in set(Split):
            raise InputError(
                given,
                f": write SPLIT=HEALTHY+DISEASED, such as mixed=5000+3195; the splits are {', '.join(Split)}",
            )
        split, parts = Split(name), value.split("+")
        if len(parts) > (1 if split is Split.HEALTHY else 2):
            raise InputError(given, ": give healthy=N, and N+M (healthy + diseased) for the other splits")
        for label, part in zip((Label.HEALTHY, Label.DISEASED), parts, strict=False):
            if (split, label) in amounts:
                raise InputError(given, f": the split {name} is given twice; leave one out")
            amounts[split, label] = _amount(part.strip(), text)
    return amounts


def _amount(part: str, text: str) -> int | Fraction:
    number = part.removesuffix("%")
    if not (number.isascii() and number.isdigit()):
        raise InputError(Argument("amounts", text), f": {part!r} is no whole number or share; write 5000 or 20%")
    return Fraction(int(number), 100) if part.endswith("%") else int(number)


def resolve(amounts: Amounts, records: Sequence[Record]) -> dict[Target, int]:
    """Turn shares into whole numbers, rounded down.

    Raises:
        InputError: the shares of a label come to more than all of it.
    """
    supply = Counter(record.label for record in records)
    for label in Label:
        total = sum(amount for (_, of), amount in amounts.items() if of is label and isinstance(amount, Fraction))
        if total > 1:
            raise InputError(
                Argument("amounts"),
                f": the shares of {label} images come to {float(total):.0%}; keep them within 100%",
            )
    return {
        target: int(amount * supply[target[1]]) if isinstance(amount, Fraction) else amount
        for target, amount in amounts.items()
    }


def draw(
    records: Sequence[Record],
    counts: Counts,
    seed: int,
    *,
    by_patient: bool = True,
    stratify: bool = False,
    joined: Sequence[tuple[str, str]] = (),
) -> Draw:
    """Fill each split with the wanted number of healthy and of diseased images.

    Diseased images are given out first, then healthy ones, patient by patient. A patient with images of both
    labels brings both to the split it was drawn for, and where a split needs fewer images than its last patient
    has, the rest stays unused. Where the counts cannot all be met, they also grow together, a tenth at a time, so
    that no split starves for another. Unlabelled records are all in the mixed set.

    Args:
        records: with distinct names; those without a patient count as patients of their own.
        counts: wanted images by split and label; what is not named stays unused.
        by_patient: keep each patient within one split; else images are drawn one by one.
        stratify: draw from each source in proportion to its share of the label's images.
        joined: pairs of names that show one picture; where patients are kept apart, theirs count as one patient.

    Returns:
        The splits by name, and how close the counts were met.
    """
    patients = _patients(records, by_patient, joined)
    short: list[Draw] = []
    for rounds, own_first in ((1, False), (1, True), (ROUNDS, True)):
        drawing = _Drawing(records, patients, counts, seed, stratify, own_first)
        for number in range(1, rounds + 1):
            drawing.fill(Fraction(number, rounds))
        found = drawing.result()
        if not found.shortfalls:
            return found
        short.append(found)
    return min(short, key=_lack)


def _patients(records: Sequence[Record], by_patient: bool, joined: Sequence[tuple[str, str]]) -> list[str]:
    """What is drawn as one of each record: its patient, those joined with it, or else the image itself."""
    keys = [record.patient if by_patient and record.patient is not None else f"\0{record.name}" for record in records]
    if not (by_patient and joined):
        return keys
    number_of = {key: number for number, key in enumerate(sorted(set(keys)))}
    key_of = {record.name: key for record, key in zip(records, keys, strict=True)}
    ends = np.array([[number_of[key_of[name]] for name in pair] for pair in joined])
    links = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(number_of),) * 2)
    _, group_of = connected_components(links, directed=False)
    # A group goes by its first key, so that what is joined with nothing is drawn as ever.
    first: dict[int, str] = {}
    named = {key: first.setdefault(int(group_of[number]), key) for key, number in number_of.items()}
    return [named[key] for key in keys]


def _lack(found: Draw) -> tuple[Fraction, int]:
    """How far a draw is from what was wanted: the share of the worst count that is missing, then all missing images."""
    missing = [short.wanted - short.found for short in found.shortfalls]
    worst = max(Fraction(count, short.wanted) for count, short in zip(missing, found.shortfalls, strict=True))
    return worst, sum(missing)


class _Drawing:
    """One attempt at a draw. ``own_first`` uses up a split's own patients before it takes new ones."""

    def __init__(
        self,
        records: Sequence[Record],
        patients: Sequence[str],
        counts: Counts,
        seed: int,
        stratify: bool,
        own_first: bool,
    ) -> None:
        self.counts = counts
        self.seed = seed
        self.own_first = own_first
        self.splits: dict[str, Split] = {}
        self.filled = Counter[Target]()
        self.owner: dict[str, Split] = {}
        self.images: dict[Label, dict[Stratum, dict[str, list[str]]]] = {label: {} for label in Label}
        """Names by patient, of each label and stratum."""
        named = list(zip(records, patients, strict=True))
        ill = {patient for record, patient in named if record.label is Label.DISEASED}
        for record, patient in named:
            if record.label is None:
                self.splits[record.name] = self.owner[patient] = Split.MIXED
            else:
                stratum = (record.source or "") if stratify else "", patient in ill
                images_of = self.images[record.label].setdefault(stratum, defaultdict(list))
                images_of[patient].append(record.name)

    def fill(self, part: Fraction) -> None:
        """Draw until each split has this part of its counts.

        Diseased first: whoever has such images must be where they are needed.
        """
        for label in (Label.DISEASED, Label.HEALTHY):
            strata = sorted(self.images[label].items())
            sizes = [sum(map(len, patients.values())) for _, patients in strata]
            everything: dict[str, list[str]] = defaultdict(list)
            for _, patients in strata:
                for patient, names in patients.items():
                    everything[patient] += names
            for split in Split:
                wanted = int(self.counts.get((split, label), 0) * part) - self.filled[split, label]
                found = sum(
                    self._fill(split, label, patients, share)
                    for (_, patients), share in zip(strata, _apportion(wanted, sizes), strict=True)
                )
                # What a stratum cannot give, others may: the counts come before the shares.
                found += self._fill(split, label, everything, wanted - found)
                self.filled[split, label] += found

    def result(self) -> Draw:
        """What was drawn so far."""
        return Draw(self.splits, tuple(self._shortfalls()))

    def _fill(self, split: Split, label: Label, patients: Mapping[str, Sequence[str]], wanted: int) -> int:
        """Give ``split`` images of its own patients and of those nobody has; gives how many it got."""
        found = 0

        def key(name: str) -> bytes:
            # Another order for each split: else what an earlier one left would come last in every later one.
            text = f"{self.seed}\0{split}\0{label}\0{name}"
            return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).digest()

        usable = [patient for patient in patients if self.owner.get(patient, split) is split]
        usable.sort(key=lambda patient: (self.own_first and patient not in self.owner, key(patient)))
        for patient in usable:
            if found >= wanted:
                break
            free = [name for name in patients[patient] if name not in self.splits]
            taken = sorted(free, key=key)[: wanted - found]
            if taken:
                self.owner[patient] = split
                self.splits.update(dict.fromkeys(taken, split))
                found += len(taken)
        return found

    def _shortfalls(self) -> Iterable[Shortfall]:
        of_label = {
            label: [(p, name) for patients in strata.values() for p, names in patients.items() for name in names]
            for label, strata in self.images.items()
        }
        for (split, label), wanted in self.counts.items():
            images = of_label[label]
            found = sum(self.splits.get(name) is split for _, name in images)
            if found < wanted:
                used = sum(name in self.splits for _, name in images)
                locked = sum(
                    name not in self.splits and self.owner.get(patient, split) is not split for patient, name in images
                )
                why = f"{len(images):,} there are, {used:,} are in use, {locked:,} are of patients in other splits"
                yield Shortfall(split, label, wanted, found, why)


def _apportion(wanted: int, sizes: Sequence[int]) -> list[int]:
    """Share ``wanted`` out in proportion to ``sizes``; the largest remainders get what is left over."""
    total = sum(sizes)
    if not total:
        return [0 for _ in sizes]
    exact = [Fraction(wanted * size, total) for size in sizes]
    shares = [int(part) for part in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda number: (shares[number] - exact[number], number))
    for number in by_remainder[: wanted - sum(shares)]:
        shares[number] += 1
    return shares
