"""When one may stop: against plain loops, all random orders of small piles, and simulated readings."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy.stats import binom

from healthygan.stats import stopping as module
from healthygan.stats.stopping import Verdict, random_order, random_turns, reading_order, recall_bounds, stopping


def verdicts(*values):
    return np.array(values, dtype=np.int8)


def read(diseased, ranking, share, seed, **settings):
    """Bounds and true recall before the first case and after each."""
    order, at_random = reading_order(ranking, share, seed)
    recall = np.concatenate([[0], np.cumsum(diseased[order])]) / max(diseased.sum(), 1)
    return recall_bounds(len(diseased), diseased[order].astype(np.int8), at_random, **settings), recall


def plain_bound(cases, positive, at_random, alpha):
    """The bound after the last case, one k and one draw at a time."""
    rejected = set()
    for k in range(1, cases + 1):
        wealth, found = np.ones(len(module.ALTERNATIVES)), 0
        for place, (hit, drawn) in enumerate(zip(positive, at_random, strict=True)):
            unopened = cases - place
            if drawn and 0 < k - found < unopened:
                chance = (k - found) / unopened
                bets = np.maximum(np.array(module.ALTERNATIVES) * k - found, 0) / unopened
                wealth = wealth * (bets / chance if hit else (1 - bets) / (1 - chance))
                if found + hit < k and wealth.mean() >= 1 / alpha:
                    rejected.add(k)
            found += hit
            if k - found > unopened - 1:
                rejected.add(k)
    most = cases
    while most in rejected:
        most -= 1
    return max(most, sum(positive))


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_is_that_of_plain_loops(seed):
    random = np.random.default_rng(seed)
    cases = 150
    diseased = random.random(cases) < 0.1 + 0.1 * seed
    ranking = np.argsort(-(random.standard_normal(cases) + 2 * diseased))
    order, at_random = reading_order(ranking, 0.4, seed)
    bounds = recall_bounds(cases, diseased[order].astype(np.int8), at_random)
    for count in (0, 20, 60, 99, 130, 150):
        seen = diseased[order][:count]
        most = plain_bound(cases, seen.tolist(), at_random[:count].tolist(), 0.05)
        assert bounds[count] == pytest.approx(seen.sum() / most)


def test_over_all_random_orders_a_bound_is_wrong_at_some_moment_as_seldom_as_promised(monkeypatch):
    confidence, orders = 0.6, list(permutations(range(5)))
    for pattern in product([False, True], repeat=5):
        diseased, wrong = np.array(pattern), 0
        if not diseased.any():
            continue
        for order in orders:
            monkeypatch.setattr(module, "random_order", lambda *_, order=order: np.array(order))
            bounds, recall = read(diseased, np.arange(5), 0.5, 0, confidence=confidence)
            wrong += bool((bounds > recall + 1e-12).any())
        assert wrong <= (1 - confidence) * len(orders)


@pytest.mark.parametrize(("cases", "share", "area_shift"), [(200, 0.6, 0.0), (300, 0.3, 1.2), (400, 0.05, 2.3)])
def test_whoever_stops_by_the_bound_has_found_as_much_in_95_of_100_readings(cases, share, area_shift):
    random, readings, wrong, stopped_wrong = np.random.default_rng(1), 120, 0, 0
    for seed in range(readings):
        diseased = random.permutation(cases) < share * cases
        ranking = np.argsort(-(random.standard_normal(cases) + area_shift * diseased))
        bounds, recall = read(diseased, ranking, 0.3, seed)
        stop = int(np.argmax(bounds >= 0.8))
        stopped_wrong += recall[stop] < bounds[stop] - 1e-12
        wrong += bool((bounds > recall + 1e-12).any())
    assert stopped_wrong <= wrong <= binom.ppf(0.999, readings, 0.05)


def test_a_ranking_made_anew_from_the_verdicts_breaks_no_promise():
    random, cases, readings, wrong = np.random.default_rng(2), 120, 80, 0
    for seed in range(readings):
        diseased = random.permutation(cases) < 40
        place = np.argsort(np.argsort(-(random.standard_normal(cases) + diseased)))
        order, turns, chance = [], random_turns(cases, 0.3), random_order(cases, seed)
        for drawn in turns:
            unopened = np.setdiff1d(np.arange(cases), order)
            # Neighbours of what was found come first.
            found = [case for case in order if diseased[case]] or [0]
            near = np.abs(unopened[:, None] - np.array(found)).min(axis=1)
            by_rank = unopened[np.argsort(near * cases + place[unopened])]
            order.append(next(case for case in (chance if drawn else by_rank) if case in set(unopened.tolist())))
        bounds = recall_bounds(cases, diseased[order].astype(np.int8), turns)
        recall = np.concatenate([[0], np.cumsum(diseased[order])]) / 40
        wrong += bool((bounds > recall + 1e-12).any())
    assert wrong <= binom.ppf(0.999, readings, 0.05)


def test_a_good_ranking_lets_one_stop_before_the_end():
    random = np.random.default_rng(3)
    diseased = random.permutation(2000) < 400
    ranking = np.argsort(-(random.standard_normal(2000) + 2.3 * diseased))
    bounds, recall = read(diseased, ranking, 0.3, 0)
    stop = int(np.argmax(bounds >= 0.8))
    assert stop < 1200 and recall[stop] >= 0.8


def test_without_random_draws_all_that_is_not_opened_may_be_diseased():
    state = stopping(10, verdicts(1, 1, 0, 1), np.zeros(4, bool))
    assert state.recall_lower_bound == 3 / 9
    assert state.found == 3 and state.left_interval == (0, 6, pytest.approx(0.9))
    assert np.isnan(state.left)
    assert "0 cases drawn at random" in state.rests_on


def test_after_the_last_case_all_is_known():
    state = stopping(4, verdicts(1, 0, 0, 1), np.array([False, True, False, True]))
    assert (state.recall_lower_bound, state.left, state.left_interval[:2]) == (1, 0, (0, 0))
    assert stopping(2, verdicts(0, 0), np.ones(2, bool)).recall_lower_bound == 1, "there was nothing to find"


def test_before_the_first_case_nothing_is_promised():
    assert stopping(5, verdicts(), np.zeros(0, bool)).recall_lower_bound == 0
    assert recall_bounds(5, verdicts(), np.zeros(0, bool)).tolist() == [0]


def test_the_estimate_expects_as_many_hits_as_there_were():
    # Draws as the second of 10 (1 found, 9 unopened) and the fourth (2 found, 7 unopened), of which one hit:
    # (K - 1) / 9 + (K - 2) / 7 = 1.
    state = stopping(10, verdicts(1, 1, 0, 0), np.array([False, True, False, True]))
    assert state.left == pytest.approx((1 + 1 / 9 + 2 / 7) / (1 / 9 + 1 / 7) - 2)


def test_a_case_from_the_top_is_no_evidence_of_what_is_left():
    drawn = np.array([True] * 30)
    few = stopping(1000, np.zeros(30, np.int8), drawn)
    more = stopping(1000, np.zeros(60, np.int8), np.concatenate([drawn, np.zeros(30, bool)]))
    assert more.left_interval.high == few.left_interval.high


def test_unsure_cases_count_as_diseased_and_not_as_found_where_that_hurts():
    said, drawn = verdicts(1, 2, 0, 1, 2, 0), np.array([False, True, False, True, False, True])
    cautious, plain = (stopping(6, said, drawn, conservative=flag) for flag in (True, False))
    assert (cautious.found, cautious.unsure) == (plain.found, plain.unsure) == (2, 2)
    assert cautious.recall_lower_bound == 2 / 4 and plain.recall_lower_bound == 1
    assert cautious.left_interval[:2] == (0, 2)
    assert "unsure cases count as diseased" in cautious.rests_on and "unsure" not in plain.rests_on


def test_draws_behind_an_awaited_verdict_wait_with_it_but_what_was_found_counts():
    drawn = np.ones(100, bool)
    said = np.zeros(100, np.int8)
    said[99] = Verdict.DISEASED
    waiting = said.copy()
    waiting[0] = Verdict.AWAITED
    whole, held = stopping(1000, said, drawn), stopping(1000, waiting, drawn)
    assert held.found == whole.found == 1 and (whole.read, held.read) == (100, 99)
    assert held.left_interval.high == 1000 - 98 - 1 > whole.left_interval.high
    with pytest.raises(ValueError, match="awaited"):
        recall_bounds(1000, waiting, drawn)


def test_both_ends_of_what_is_left_hold():
    random, wrong = np.random.default_rng(4), np.zeros(2)
    for seed in range(100):
        diseased = random.permutation(200) < 60
        order, drawn = reading_order(random.permutation(200), 0.5, seed)
        state = stopping(200, diseased[order[:80]].astype(np.int8), drawn[:80])
        left = 60 - state.found
        wrong += [left < state.left_interval.low, left > state.left_interval.high]
        assert state.left_interval.low <= state.left_interval.high and 0 <= state.left <= state.left_interval.high
    assert (wrong <= binom.ppf(0.999, 100, 0.05)).all()


def test_turns_are_random_in_the_share_asked_for():
    assert random_turns(20, 0.1).nonzero()[0].tolist() == [9, 19]
    assert random_turns(5, 1).all() and not random_turns(5, 0).any()
    assert random_turns(1000, 0.3).sum() == 300
    with pytest.raises(ValueError, match="share"):
        random_turns(3, 1.2)


def test_a_reading_opens_each_case_once_and_skips_what_is_opened():
    ranking = np.random.default_rng(0).permutation(50)
    order, drawn = reading_order(ranking, 0.2, 7)
    assert sorted(order.tolist()) == list(range(50)) and drawn.sum() == 10
    top = [case for case, flag in zip(order.tolist(), drawn, strict=True) if not flag]
    assert top == [case for case in ranking.tolist() if case in top], "the rest keep the ranking's order"
    chance = random_order(50, 7).tolist()
    assert order[4] == next(case for case in chance if case not in order[:4])
    with pytest.raises(ValueError, match="order"):
        reading_order(np.array([0, 0, 1]), 0.1, 0)


@pytest.mark.parametrize(
    ("cases", "said", "drawn", "confidence", "message"),
    [
        (2, verdicts(0, 0, 1), np.zeros(3, bool), 0.95, "pile of 2"),
        (5, verdicts(0, 3), np.zeros(2, bool), 0.95, "a verdict is none"),
        (5, verdicts(0, 1), np.zeros(3, bool), 0.95, "2 verdicts"),
        (5, verdicts(0, 1), np.zeros(2), 0.95, "float64"),
        (5, verdicts(0, 1), np.zeros(2, bool), 1.0, "confidence"),
    ],
)
def test_senseless_readings_are_refused(cases, said, drawn, confidence, message):
    with pytest.raises(ValueError, match=message):
        stopping(cases, said, drawn, confidence=confidence)
