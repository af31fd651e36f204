"""Choosing a checkpoint: the curve of each metric over the candidates, and the rule that takes one of them.

What chooses a checkpoint may not promise its specificity afterwards: ``partition`` keeps the two apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from healthygan.common.errors import Call, InputError

ORACLE = "oracle"


class Curve(BaseModel):
    """One metric over a run's candidates."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    name: str
    lower_is_better: bool = False
    values: dict[int, float]
    """By iteration, ascending."""
    remark: str = ""

    @property
    def best(self) -> int:
        """The iteration that it takes; of equals the last."""
        sign = -1 if self.lower_is_better else 1
        return max(self.values, key=lambda iteration: (sign * self.values[iteration], iteration))

    @property
    def reason(self) -> str:
        """Why, in words."""
        extreme = "lowest" if self.lower_is_better else "highest"
        text = f"{extreme} {self.name} ({self.values[self.best]:.4g}) of {len(self.values)} candidates"
        return f"{text}; {self.remark}" if self.remark else text


class Choice(NamedTuple):
    """One rule's candidate; the AUCs are on the test labels, none where they were not measured."""

    rule: str
    iteration: int
    measurement: str
    test_auc: float | None = None
    from_best: float | None = None
    """0 or below: what the rule lost to the best candidate."""
    from_last: float | None = None


class Selection(BaseModel):
    """What was measured of a run's candidates, kept as ``selection.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chosen: int
    """Iteration of the run's model."""
    rule: str
    last: int
    """Iteration of the last candidate."""
    curves: tuple[Curve, ...] = ()
    test_auc: dict[int, float] | None = None
    """For measuring only: AUC on the labels of the test set, which no rule sees."""

    def picks(self) -> dict[str, int]:
        """The iteration that each rule takes."""
        return {curve.rule: curve.best for curve in self.curves} | {"last": self.last}

    def choices(self) -> "list[Choice]":
        """What each rule takes and, where the test labels were measured, what that is worth; the oracle last."""
        measurements = {curve.rule: f"{curve.name} {curve.values[curve.best]:.4g}" for curve in self.curves}
        choices = [
            self._choice(rule, iteration, measurements.get(rule, "")) for rule, iteration in self.picks().items()
        ]
        if self.test_auc:
            oracle = max(self.test_auc, key=lambda iteration: (self.test_auc or {})[iteration])
            choices.append(self._choice(ORACLE, oracle, "no rule: it sees the test labels"))
        return choices

    def _choice(self, rule: str, iteration: int, measurement: str) -> "Choice":
        areas = self.test_auc
        if not areas:
            return Choice(rule, iteration, measurement)
        area = areas[iteration]
        return Choice(rule, iteration, measurement, area, area - max(areas.values()), area - areas[self.last])

    @classmethod
    def load(cls, path: Path) -> "Selection | None":
        """What a run has measured; none if nothing.

        Raises:
            InputError: the file is damaged.
        """
        if not path.exists():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise InputError(
                f"{path}: damaged ({error.errors()[0]['msg']}); repeat ", Call("select", path.parent)
            ) from error


def choose_checkpoint(rule: str, curves: Sequence[Curve], candidates: Iterable[int]) -> Selection:
    """What a rule makes of a run's candidates.

    Args:
        curves: what was measured of the candidates; a rule without a curve takes the last one.
        candidates: their iterations, one or more.
    """
    iterations = sorted(candidates)
    last = iterations[-1]
    chosen, reason = pick_checkpoint(rule, curves, last) if len(iterations) > 1 else (last, "the only candidate")
    return Selection(chosen=chosen, rule=reason, last=last, curves=tuple(curves))


def pick_checkpoint(rule: str, curves: Sequence[Curve], last: int) -> tuple[int, str]:
    """The iteration that a rule takes, and why in words.

    ``validation_auc`` without labels goes by the detector's own early-stopping metric if there is one, else it takes
    the last.
    """
    wanted = (rule, "early_stopping") if rule == "validation_auc" else (rule,)
    for name in wanted:
        for curve in curves:
            if curve.rule == name:
                return curve.best, curve.reason
    return last, "last"


def early_stopping_curve(metrics: Mapping[int, float], candidates: Iterable[int]) -> tuple[Curve, ...]:
    """The early-stopping metric that a detector noted while training, of the candidates; empty where it noted none."""
    kept = {*candidates}
    values = {iteration: value for iteration, value in metrics.items() if iteration in kept}
    name = "metric on held-out healthy images"
    return (Curve(rule="early_stopping", name=name, lower_is_better=True, values=values),) if values else ()
