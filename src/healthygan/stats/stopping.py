"""When one may stop reading a ranked pile: bounds from cases drawn at random, whatever the ranking is worth.

A pile of N cases (images or patients, what the verdicts are about) is opened case by case. Most come from the top of a
ranking; some turns open a case drawn uniformly from all that nobody has opened yet. Let the i-th random draw be made
when n_i cases were not opened and F_i of the opened ones were diseased, and let K be all the diseased of the pile. K -
F_i of the n_i are diseased, so, whatever happened before,

    P(X_i = 1) = (K - F_i) / n_i.

That holds because the pile is finite and the draw is made by chance, not because of any model: the ranking may be
worthless, or be made anew from the verdicts, and images of a patient may be alike. From it follows what counts:

- A random draw counts once, when it is made. It is opened then, so it cannot come up from the top a second time.
- A case from the top is no evidence of what is left. It does change n_i and F_i of the draws after it.
- A case that came up from the top is not drawn again: the next of a random order that is not opened yet is a uniform
  draw from those that are not opened.

The hypothesis "K is k or more" is tested by betting that random draws are diseased less often. With chances q_i that
are fixed before the draw and at most p_i = (k - F_i) / n_i, the product

    M_k = prod_i (q_i / p_i)^X_i ((1 - q_i) / (1 - p_i))^(1 - X_i)

is a non-negative supermartingale under every K >= k, so that it ever reaches 1 / a with probability at most a (Ville
1939; for confidence sequences without replacement Waudby-Smith and Ramdas, NeurIPS 2020). Bets are
q_i = max(c k - F_i, 0) / n_i, averaged over the ``ALTERNATIVES`` c. The k are tested from the greatest down, on a grid
that depends on N alone, until one is not rejected: a wrong claim needs the greatest k <= K of the grid rejected, and
that is one test. What was rejected stays rejected.

So the bound holds at all moments at once, with the given confidence, and one may look after every case and stop by it.
It needs that

- which turns are random is settled without knowing what they would open (the share may change on the way),
- a verdict does not depend on when a case is read or whether it was drawn; readers should not be told which were,
- the random order was drawn independently of the cases, and is not shown.

It speaks of what readers call diseased. That they miss disease in what they read no sampling can tell.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from healthygan.stats.arrays import Booleans
from healthygan.stats.intervals import Interval

ALTERNATIVES = (0.8, 0.95)
"""Diseased of the pile, as shares of the number that is tested, that bets are placed on."""
FINE = 200
"""Up to this number of diseased all are tested; above it, numbers 1 % apart."""
STEP = 1.01
BLOCK = 32
"""Draws that are worked on at once."""


class Verdict(IntEnum):
    """What a reader said of a case."""

    AWAITED = -1
    """Opened, no verdict yet."""
    HEALTHY = 0
    DISEASED = 1
    UNSURE = 2
    """Unsure, or not assessable."""


@dataclass(frozen=True)
class Stopping:
    """How far a reading has come; counts are of cases."""

    read: int
    """With a verdict."""
    found: int
    """Diseased for certain."""
    unsure: int
    left: float
    """Estimate of the diseased not found; nan before the first random draw."""
    left_interval: Interval
    """Of the diseased not found, at all moments at once; each end holds with ``confidence``."""
    recall_lower_bound: float
    """0 to 1: at least this share of the diseased is found, with ``confidence``, at whatever moment one stops."""
    confidence: float
    rests_on: str
    """The evidence, in words."""


def random_order(cases: int, seed: int) -> NDArray[np.int64]:
    """(N,): the order to draw cases in; a random turn opens the first of it that is not opened yet."""
    return np.random.default_rng(seed).permutation(cases)


def random_turns(turns: int, share: float) -> Booleans:
    """(turns,): which turns open a random case, so that ``share`` of any first so many do.

    Raises:
        ValueError: a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of {share} random cases; give 0 to 1")
    due = np.floor(np.arange(turns + 1) * share + 1e-9)  # so that ten tenths are one
    return np.asarray(np.diff(due) > 0)


def reading_order(ranking: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], Booleans]:
    """The whole reading of a ranking that does not change.

    Args:
        ranking: (N,) cases, numbers from 0, the most suspicious first.
        share: of random turns, 0 to 1.
        seed: of the random order.

    Returns:
        (N,) cases as they are opened, and whether each was drawn at random.

    Raises:
        ValueError: ``ranking`` is no order of N cases, or a share outside [0, 1].
    """
    cases = len(ranking)
    if not np.array_equal(np.sort(ranking), np.arange(cases)):
        raise ValueError(f"the ranking is no order of {cases} cases; name each number from 0 once")
    at_random = random_turns(cases, share)
    streams = (iter(np.asarray(ranking).tolist()), iter(random_order(cases, seed).tolist()))
    is_opened = [False] * cases
    order = np.empty(cases, dtype=np.int64)
    for turn, drawn in enumerate(at_random.tolist()):
        case = next(case for case in streams[drawn] if not is_opened[case])
        order[turn], is_opened[case] = case, True
    return order, at_random


def stopping(
    cases: int,
    verdicts: NDArray[np.int8],
    at_random: Booleans,
    *,
    confidence: float = 0.95,
    conservative: bool = True,
) -> Stopping:
    """How far a reading has come, and what may be promised of it.

    Several readers share one reading: cases in the order in which they were opened, each once, with the verdict that
    stands. Random draws behind a case whose verdict is still awaited do not count until it is there.

    Args:
        cases: N, all of the pile, none opened at the start.
        verdicts: (n,) ``Verdict`` of the cases opened so far, in the order in which they were opened.
        at_random: (n,), True where the case was drawn from all that were not opened then.
        confidence: strictly between 0 and 1.
        conservative: the bound holds whichever of the unsure cases, read or not, are diseased: they count as diseased
            in the pile and are not found. False: they count as healthy, and the bound is about cases that readers call
            diseased for certain.

    Raises:
        ValueError: more verdicts than cases, shapes that differ, a verdict that is none, or a senseless confidence.
    """
    verdicts, at_random = _checked(cases, verdicts, at_random, confidence)
    found, unsure = int((verdicts == Verdict.DISEASED).sum()), int((verdicts == Verdict.UNSURE).sum())
    settled = _settled(verdicts)
    counted, drawn = verdicts[:settled], at_random[:settled]
    suspects = _is_positive(counted, conservative)
    alpha = 1 - confidence
    most = min(
        int(_most(cases, suspects, drawn, alpha)[-1]),
        cases - int((verdicts == Verdict.HEALTHY).sum()) - (0 if conservative else unsure),
    )
    fewest = cases - int(_most(cases, ~(counted == Verdict.DISEASED), drawn, alpha)[-1])
    most = max(most, int(_is_positive(verdicts, conservative).sum()))
    left = _estimate(cases, suspects, drawn) - found
    interval = Interval(float(max(fewest - found, 0)), float(most - found), 2 * confidence - 1)
    return Stopping(
        read=int((verdicts != Verdict.AWAITED).sum()),
        found=found,
        unsure=unsure,
        left=float(np.clip(left, 0, most - found)),
        left_interval=interval,
        recall_lower_bound=_share(found, most),
        confidence=confidence,
        rests_on=_in_words(suspects, drawn, conservative and unsure > 0),
    )


def recall_bounds(
    cases: int, verdicts: NDArray[np.int8], at_random: Booleans, *, confidence: float = 0.95, conservative: bool = True
) -> NDArray[np.float64]:
    """(n + 1,): ``recall_lower_bound`` before the first case and after each; arguments as of ``stopping``.

    Verdicts may not be awaited here.

    Raises:
        ValueError: as ``stopping``, or a verdict is awaited.
    """
    verdicts, at_random = _checked(cases, verdicts, at_random, confidence)
    if (verdicts == Verdict.AWAITED).any():
        raise ValueError("a verdict is awaited; give the cases before it")
    most = _most(cases, _is_positive(verdicts, conservative), at_random, 1 - confidence)
    found = np.concatenate([[0], np.cumsum(verdicts == Verdict.DISEASED)])
    return np.array([_share(*pair) for pair in zip(found.tolist(), most.tolist(), strict=True)])


def _most(cases: int, positive: Booleans, at_random: Booleans, alpha: float) -> NDArray[np.int64]:
    """(n + 1,): what the positive of the pile do not exceed, before the first case and after each.

    With a probability of at least 1 - alpha it holds at all of these moments.
    """
    before = np.concatenate([[0], np.cumsum(positive)])
    unopened = cases - np.arange(len(before))
    possible = before + unopened
    draws = np.flatnonzero(at_random)
    if not len(draws):
        return np.asarray(possible, dtype=np.int64)
    after_draw = _most_by_chance(cases, before[draws], unopened[draws], positive[draws], alpha)
    by_chance = np.append(cases, after_draw)[np.searchsorted(draws, np.arange(len(before)))]
    return np.asarray(np.clip(by_chance, before, possible), dtype=np.int64)


def _most_by_chance(
    cases: int, found: NDArray[np.int64], unopened: NDArray[np.int64], hits: Booleans, alpha: float
) -> NDArray[np.int64]:
    """(draws,): one less than the least k that is rejected with all that are greater, after each draw.

    Args:
        found, unopened, hits: (draws,) F_i, n_i and X_i.
    """
    tested = _grid(cases)
    log_wealth, was_rejected = np.zeros((len(ALTERNATIVES), len(tested))), np.zeros(len(tested), dtype=np.bool_)
    least = [np.array([cases + 1])]
    for start in range(0, len(hits), BLOCK):
        part = slice(start, start + BLOCK)
        each, mean = _log_wealth(tested, found[part], unopened[part], hits[part], log_wealth)
        is_rejected = was_rejected | np.maximum.accumulate(mean >= -np.log(alpha), axis=0)
        rejected = np.logical_and.accumulate(is_rejected[:, ::-1], axis=1).sum(axis=1)
        least.append(np.append(tested, least[-1][-1])[len(tested) - rejected])
        # What is found already is never rejected, what is rejected stays so: neither needs another look.
        open_still = slice(np.searchsorted(tested, found[part][-1], side="right"), len(tested) - rejected[-1])
        tested, log_wealth, was_rejected = tested[open_still], each[:, open_still], is_rejected[-1, open_still]
    return np.concatenate(least[1:]) - 1


def _grid(cases: int) -> NDArray[np.int64]:
    """Numbers of positives to test, from 1 to N."""
    fine = np.arange(1, min(cases, FINE) + 1)
    if cases <= FINE:
        return fine
    steps = int(np.log(cases / FINE) / np.log(STEP))
    coarse = np.floor(FINE * STEP ** np.arange(1, steps + 1)).astype(np.int64)
    return np.unique(np.concatenate([fine, coarse, [cases]]))


def _log_wealth(
    tested: NDArray[np.int64],
    found: NDArray[np.int64],
    unopened: NDArray[np.int64],
    hits: Booleans,
    before: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log wealth of each bet, (bets, tests), after the last draw; and log M_k, (draws, tests), after each.

    M_k is infinite where k has become impossible, 0 where k are found.

    Args:
        tested: (tests,) the k.
        found, unopened, hits: (draws,) F_i, n_i and X_i.
        before: (bets, tests) log wealth before the first draw.
    """
    drawn = hits[:, None]
    left, remaining = tested - found[:, None], unopened[:, None]
    # Nothing can be bet where k are found already, or only one outcome is left.
    is_open = (left > 0) & (left < remaining)
    chance = np.where(is_open, left / remaining, 0.5)
    bets = np.clip((np.array(ALTERNATIVES)[:, None, None] * tested - found[:, None]) / remaining, 0, 1)
    ratios = np.where(is_open, np.where(drawn, bets / chance, (1 - bets) / (1 - chance)), 1.0)
    with np.errstate(divide="ignore"):  # a lost bet of all there is
        each = before[:, None] + np.cumsum(np.log(ratios), axis=1)
    mean = logsumexp(each, axis=0) - np.log(len(ALTERNATIVES))
    left, remaining = left - drawn, remaining - 1
    return each[:, -1], np.where(left > remaining, np.inf, np.where(left <= 0, -np.inf, mean))


def _estimate(cases: int, positive: Booleans, at_random: Booleans) -> float:
    """Positives of the pile: the number of which as many random hits were to be expected as there were.

    sum_i X_i = sum_i (K - F_i) / n_i; nan without a draw.
    """
    draws = np.flatnonzero(at_random)
    if not len(draws):
        return float("nan")
    before: NDArray[np.int64] = (np.cumsum(positive) - positive)[draws]
    unopened = cases - draws
    return float((before / unopened + positive[draws]).sum() / (1 / unopened).sum())


def _checked(
    cases: int, verdicts: NDArray[np.int8], at_random: Booleans, confidence: float
) -> tuple[NDArray[np.int8], Booleans]:
    verdicts, at_random = np.asarray(verdicts), np.asarray(at_random)
    if verdicts.ndim != 1 or at_random.dtype != np.bool_ or at_random.shape != verdicts.shape:
        raise ValueError(f"at_random is {at_random.dtype} {at_random.shape} for {len(verdicts)} verdicts")
    if len(verdicts) > cases:
        raise ValueError(f"{len(verdicts)} verdicts for a pile of {cases} cases; give each case once")
    if not np.isin(verdicts, list(Verdict)).all():
        raise ValueError("a verdict is none of -1 (awaited), 0 (healthy), 1 (diseased) and 2 (unsure)")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1")
    return verdicts, at_random


def _settled(verdicts: NDArray[np.int8]) -> int:
    """How many cases there are before the first whose verdict is awaited."""
    awaited = np.flatnonzero(verdicts == Verdict.AWAITED)
    return int(awaited[0]) if len(awaited) else len(verdicts)


def _is_positive(verdicts: NDArray[np.int8], conservative: bool) -> Booleans:
    positive: Booleans = (verdicts == Verdict.DISEASED) | (conservative & (verdicts == Verdict.UNSURE))
    return positive


def _share(found: int, most: int) -> float:
    return found / most if most else 1.0


def _in_words(suspects: Booleans, drawn: Booleans, is_worst_case: bool) -> str:
    hits = int(suspects[drawn].sum())
    words = (
        f"{int(drawn.sum())} cases drawn at random from those not opened yet, {hits} of them diseased"
        f"{' or unsure' if is_worst_case else ''}; {len(drawn) - int(drawn.sum())} from the top of the ranking, which "
        "count as found but not as evidence of what is left; holds at whatever moment one stops"
    )
    return words + ("; unsure cases count as diseased and not as found" if is_worst_case else "")
