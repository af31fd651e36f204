"""Draws meet their counts with patients kept apart, alike on every machine, and say why where they cannot."""

import random
from collections import Counter

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from healthygan.common.errors import InputError
from healthygan.data.cohort import Label, Split
from healthygan.data.datasets.split import ORDER, ORDINARY, Draw, Record, draw, parse_amounts, resolve

WELL, ILL = Label.HEALTHY, Label.DISEASED
HEALTHY, MIXED, VALIDATION, TEST = Split
COUNTS = dict(zip(ORDER, (60, 30, 20, 20, 20, 40, 40), strict=True))


def people(number: int, seed: int, sources: str = "a") -> list[Record]:
    """Patients with one to five images, a third of them with images of both labels."""
    chance = random.Random(seed)
    records = []
    for patient in range(number):
        kind = chance.choice([(WELL,), (ILL,), (WELL, ILL)])
        for image in range(chance.randint(1, 5)):
            records.append(Record(f"{patient}_{image}.png", chance.choice(kind), f"p{patient}", chance.choice(sources)))
    return records


def counted(found: Draw, records: list[Record]) -> Counter[tuple[Split, Label | None]]:
    labels = {record.name: record.label for record in records}
    return Counter((split, labels[name]) for name, split in found.splits.items())


def patient_splits(found: Draw, records: list[Record]) -> dict[str | None, set[Split]]:
    places: dict[str | None, set[Split]] = {}
    for record in records:
        if record.name in found.splits:
            places.setdefault(record.patient, set()).add(found.splits[record.name])
    return places


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_met_exactly_with_every_patient_in_one_split(seed: int) -> None:
    records = people(150, seed)
    found = draw(records, COUNTS, seed)
    assert found.shortfalls == ()
    assert counted(found, records) == COUNTS
    assert all(len(places) == 1 for places in patient_splits(found, records).values())


def test_the_same_seed_gives_the_same_splits_whatever_the_order_of_the_list() -> None:
    records = people(150, 1)
    shuffled = records[:]
    random.Random(2).shuffle(shuffled)
    assert draw(records, COUNTS, 7).splits == draw(shuffled, COUNTS, 7).splits
    assert draw(records, COUNTS, 7).splits != draw(records, COUNTS, 8).splits


def test_a_known_draw_stays_what_it_is_on_every_machine() -> None:
    records = [Record(f"{number}.png", WELL, f"p{number}") for number in range(8)]
    found = draw(records, {(HEALTHY, WELL): 3, (TEST, WELL): 3}, 0)
    assert sorted(name for name, split in found.splits.items() if split is HEALTHY) == ["0.png", "1.png", "5.png"]


def test_healthy_images_of_diseased_patients_are_shared_out_alike() -> None:
    records = people(3000, 3)
    found = draw(records, {target: count * 10 for target, count in COUNTS.items()}, 0)
    ill = {record.patient for record in records if record.label is ILL}
    shares = {
        split: np.mean([r.patient in ill for r in records if found.splits.get(r.name) is split and r.label is WELL])
        for split in (MIXED, VALIDATION, TEST)
    }
    assert max(shares.values()) - min(shares.values()) < 0.02


def test_image_by_image_a_patient_may_be_in_several_splits() -> None:
    records = people(150, 4)
    found = draw(records, COUNTS, 0, by_patient=False)
    assert counted(found, records) == COUNTS
    assert any(len(places) > 1 for places in patient_splits(found, records).values())


def test_stratified_each_split_has_the_sources_in_proportion() -> None:
    records = people(2000, 5, sources="aaab")
    found = draw(records, COUNTS, 0, stratify=True)
    assert counted(found, records) == COUNTS
    for (split, label), count in COUNTS.items():
        supply = [record.source for record in records if record.label is label]
        got = [r.source for r in records if r.label is label and found.splits.get(r.name) is split]
        assert got.count("b") == pytest.approx(count * supply.count("b") / len(supply), abs=2)


def test_unlabelled_images_and_all_of_their_patients_are_mixed() -> None:
    records = [*people(150, 6), Record("x.png", None, "p3"), Record("y.png", None)]
    found = draw(records, COUNTS, 0)
    assert found.splits["x.png"] is found.splits["y.png"] is MIXED
    assert patient_splits(found, records)["p3"] == {MIXED}


def test_a_count_that_cannot_be_met_says_how_close_and_why() -> None:
    records = [Record(f"{n}.png", WELL, "one") for n in range(5)] + [Record("ill.png", ILL, "one")]
    found = draw(records, {(HEALTHY, WELL): 3, (TEST, WELL): 2, (TEST, ILL): 1}, 0)
    # The one patient is diseased, so is wanted in test, and nobody is left for the healthy set.
    assert counted(found, records) == {(TEST, WELL): 2, (TEST, ILL): 1}
    (short,) = found.shortfalls
    assert (short.split, short.wanted, short.found) == (HEALTHY, 3, 0)
    assert "5 there are, 2 are in use, 3 are of patients in other splits" in str(short)


@pytest.mark.parametrize("seed", range(12))
def test_no_count_is_missed_by_much_that_an_integer_program_could_meet(seed: int) -> None:
    """Tight sets: nearly all diseased images are wanted, as in ChestX-ray14."""
    records = people(60, seed)
    supply = Counter(record.label for record in records)
    counts = {(HEALTHY, WELL): supply[WELL] // 4, (MIXED, WELL): supply[WELL] // 4}
    counts |= {(MIXED, ILL): supply[ILL] // 3, (TEST, ILL): supply[ILL] // 2, (TEST, WELL): supply[WELL] // 5}
    missed = sum(short.wanted - short.found for short in draw(records, counts, seed).shortfalls)
    assert missed <= _least_missed(records, counts) + 2


def _least_missed(records: list[Record], counts: dict[tuple[Split, Label], int]) -> int:
    """Of all ways to give patients to splits, the fewest images that counts are short of."""
    patients = sorted({str(record.patient) for record in records})
    has = Counter((record.patient, record.label) for record in records)
    splits, targets = list(Split), list(counts)
    size = len(patients) * len(splits) + len(targets)  # whether a patient is in a split, and what is missed
    cost = np.r_[np.zeros(len(patients) * len(splits)), np.ones(len(targets))]
    rows, low, high = [], [], []
    for number in range(len(patients)):
        row = np.zeros(size)
        row[number * len(splits) : (number + 1) * len(splits)] = 1
        rows.append(row), low.append(0), high.append(1)
    for place, (split, label) in enumerate(targets):
        row = np.zeros(size)
        for number, patient in enumerate(patients):
            row[number * len(splits) + splits.index(split)] = has[patient, label]
        row[len(patients) * len(splits) + place] = 1
        rows.append(row), low.append(counts[split, label]), high.append(np.inf)
    upper = np.r_[np.ones(len(patients) * len(splits)), np.full(len(targets), np.inf)]
    solved = milp(
        cost,
        constraints=LinearConstraint(np.array(rows), low, high),
        bounds=Bounds(0, upper),
        integrality=np.ones(size),
        options={"time_limit": 20},
    )
    return round(solved.fun)


def test_amounts_are_numbers_or_shares() -> None:
    amounts = parse_amounts(["healthy=50%", "mixed=20%+7", "test=3"])
    records = [Record(str(n), WELL) for n in range(9)] + [Record(f"i{n}", ILL) for n in range(10)]
    assert resolve(amounts, records) == {(HEALTHY, WELL): 4, (MIXED, WELL): 1, (MIXED, ILL): 7, (TEST, WELL): 3}


def test_the_ordinary_shares_use_everything() -> None:
    for label in Label:
        assert sum(amount for (_, of), amount in ORDINARY.items() if of is label) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("healthy", "write SPLIT=HEALTHY"),
        ("train=3", "the splits are healthy"),
        ("healthy=3+4", "give healthy=N"),
        ("test=3+x", "'x' is no whole number"),
        ("test=-3", "no whole number"),
        ("test=²", "no whole number"),
    ],
)
def test_amounts_that_mean_nothing_are_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_amounts([text])


def test_shares_above_all_of_it_and_splits_given_twice_are_refused() -> None:
    with pytest.raises(InputError, match=r"healthy images come to 110%"):
        resolve(parse_amounts(["healthy=60%", "mixed=50%+1"]), [Record("a", WELL)])
    with pytest.raises(InputError, match="twice"):
        parse_amounts(["test=1+1", "test=2+2"])


def test_where_all_patients_have_both_labels_no_split_starves_for_another() -> None:
    """Diseased images alone would take every patient away from the healthy set."""
    records = [Record(f"{n}", (WELL, ILL)[n % 2], f"p{n // 3}") for n in range(60)]
    found = draw(records, resolve(ORDINARY, records), 0)
    counts = counted(found, records)
    for target, wanted in resolve(ORDINARY, records).items():
        assert counts[target] >= wanted / 2, target
    places = {(record.patient, found.splits[record.name]) for record in records if record.name in found.splits}
    assert len(places) == len({patient for patient, _ in places})
    assert {(short.split, short.label): short.found for short in found.shortfalls}.items() <= counts.items()


def test_joined_images_and_their_patients_share_a_split_through_others_too() -> None:
    records = [Record(f"{number}", Label.HEALTHY, f"p{number // 2}") for number in range(40)]
    joined = [("0", "11"), ("10", "31"), ("7", "7")]
    counts = {(Split.HEALTHY, Label.HEALTHY): 20, (Split.TEST, Label.HEALTHY): 14}

    for seed in range(10):
        splits = draw(records, counts, seed, joined=joined).splits
        together = {splits[name] for name in ("0", "1", "10", "11", "30", "31") if name in splits}
        assert len(together) <= 1


def test_what_is_joined_with_nothing_is_drawn_as_ever() -> None:
    records = [Record(f"{number}", Label.HEALTHY) for number in range(40)]
    counts = {(Split.HEALTHY, Label.HEALTHY): 20, (Split.TEST, Label.HEALTHY): 20}

    assert draw(records, counts, 0, joined=[("3", "3")]).splits == draw(records, counts, 0).splits
