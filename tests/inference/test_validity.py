"""Warnings come when they should and stay away when all is well."""

import numpy as np
import pytest

from healthygan.inference.validity import (
    case_warnings,
    drift_warnings,
    prevalence_warnings,
    promise_warnings,
    unlike_warnings,
)
from healthygan.runs.reference import Reference
from healthygan.stats.conformal import threshold_for_specificity
from healthygan.stats.drift import Appearance


def reference(random: np.random.Generator, count: int = 80) -> Reference:
    return Reference(
        random.normal(size=count), random.normal(size=count), random.normal(size=count), names(count, "before")
    )


def names(count: int, prefix: str = "new") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_few_cases_of_a_class_are_named_with_what_each_is_worth() -> None:
    (warning,) = case_warnings(np.arange(120) < 20, "patients")
    assert "only 20 diseased patients, each worth 5.0% of a rate" in warning
    assert list(case_warnings(np.arange(120) < 60, "images")) == []


def test_a_prevalence_far_from_the_mixed_sets_is_named() -> None:
    labels = np.arange(100) < 50
    (warning,) = prevalence_warnings(labels, 0.1)
    assert "50% are diseased, in the mixed set an estimated 10%" in warning
    assert list(prevalence_warnings(labels, 0.4)) == list(prevalence_warnings(labels, None)) == []


def test_drift_is_named_and_a_pile_like_the_old_one_is_not() -> None:
    random = np.random.default_rng(0)
    held_out = reference(random)
    (warning,) = drift_warnings(random.normal(size=100) + 2, names(100), held_out)
    assert "scores differ from those of the training pile" in warning and "80 held-out and 100 new patients" in warning
    (warning,) = drift_warnings(random.normal(size=100) + 2, names(100), held_out, are_known=False)
    assert "80 held-out and 100 new images" in warning and "name patients" in warning
    quiet = [list(drift_warnings(random.normal(size=100), names(100), held_out)) for _ in range(40)]
    assert sum(map(bool, quiet)) <= 3
    assert list(drift_warnings(random.normal(size=100) + 2, names(100), reference(random, count=5))) == []


def test_many_slices_of_few_patients_are_no_drift_by_themselves() -> None:
    random = np.random.default_rng(5)
    alarms = 0
    for _ in range(40):
        before, after = (np.repeat(random.normal(size=count), 30) for count in (12, 40))
        noise = random.normal(size=(len(before) + len(after)))
        owners = [list(np.repeat(names(count, prefix), 30)) for count, prefix in ((12, "before"), (40, "new"))]
        held_out = Reference(np.empty(0), np.empty(0), before + noise[: len(before)], owners[0])
        alarms += len(list(drift_warnings(after + noise[len(before) :], owners[1], held_out)))
    assert alarms <= 2
    few = Reference(np.empty(0), np.empty(0), np.arange(300.0), list(np.repeat(names(5), 60)))
    assert list(drift_warnings(np.arange(300.0) + 900, names(300), few)) == []


def test_a_broken_promise_is_named_and_chance_is_not() -> None:
    random = np.random.default_rng(1)
    broken = []
    for _ in range(200):
        held_out = reference(random, count=40)
        threshold = threshold_for_specificity(held_out.threshold, 0.9)
        scores, labels = random.normal(size=90), np.arange(90) >= 60
        broken += promise_warnings(scores, labels, threshold, 0.9, held_out)
    assert len(broken) <= 8  # 1 % of 200, and what chance adds
    (warning,) = promise_warnings(scores + 3, labels, threshold, 0.9, held_out)
    assert "specificity 0.9 was promised from 40 held-out healthy images" in warning and "on 60" in warning


def test_no_promise_is_judged_that_was_never_made() -> None:
    random = np.random.default_rng(2)
    scores, labels = random.normal(size=30) + 9, np.arange(30) < 15
    assert list(promise_warnings(scores, labels, 0.0, 0.9, reference(random, count=5))) == []
    assert list(promise_warnings(scores, np.ones(30, dtype=bool), 0.0, 0.9, reference(random))) == []


def test_images_unlike_anything_seen_are_named() -> None:
    random = np.random.default_rng(3)
    seen = Appearance.learn(random.normal(size=(200, 6)))
    new = random.normal(size=(50, 6))
    new[7] += 40
    held_out = Reference(np.empty(0), np.empty(0), np.empty(0), appearance=seen)
    (warning,) = unlike_warnings(new, [f"{number}.png" for number in range(50)], held_out)
    assert warning.startswith("1 of 50 images are unlike anything seen in training") and "7.png" in warning
    assert list(unlike_warnings(new[:5], ["a"] * 5, held_out)) == []
    assert list(unlike_warnings(new, ["a"] * 50, reference(random))) == []


@pytest.mark.parametrize("scores", [np.empty(0)])
def test_an_empty_pile_has_not_drifted(scores: np.ndarray) -> None:
    assert list(drift_warnings(scores, [], reference(np.random.default_rng(4)))) == []
