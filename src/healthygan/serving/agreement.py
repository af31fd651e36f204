"""How far two readers agree."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from healthygan.serving.database import CURRENT


@dataclass(frozen=True)
class Agreement:
    """Of two readers, on the cases that both have read."""

    first: str
    second: str
    cases: int
    same: int
    kappa: float | None
    """Cohen's kappa of the four verdicts; None where chance alone would make them agree (one verdict throughout)."""


def agreements(connection: Connection, reader: str) -> list[Agreement]:
    """Of a reader with each other one who has read the same cases."""
    ours, theirs = CURRENT.alias("ours"), CURRENT.alias("theirs")
    rows = (
        select(theirs.c.reader, ours.c.kind, theirs.c.kind)
        .join(theirs, (ours.c.case_id == theirs.c.case_id) & (theirs.c.reader != reader))
        .where(ours.c.reader == reader)
        .order_by(theirs.c.reader)
    )
    pairs: dict[str, list[tuple[str, str]]] = {}
    for other, own, their in connection.execute(rows):
        pairs.setdefault(other, []).append((own, their))
    return [_agreement(reader, other, verdicts) for other, verdicts in pairs.items()]


def _agreement(first: str, second: str, verdicts: list[tuple[str, str]]) -> Agreement:
    from sklearn.metrics import cohen_kappa_score  # a second and 80 MB that a single reader need not spend

    own, theirs = zip(*verdicts, strict=True)
    same = sum(a == b for a, b in verdicts)
    kappa = None if len({*own, *theirs}) == 1 else float(cohen_kappa_score(own, theirs))
    return Agreement(first, second, len(verdicts), same, kappa)
