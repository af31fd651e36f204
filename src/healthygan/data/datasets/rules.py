"""Rules that choose rows of a table, such as ``finding == "No Finding" and age >= 18``.

A rule compares columns with texts or numbers: ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in`` (a list of
values, or a text within a column: ``"Edema" in finding``), joined by ``and``, ``or`` and ``not``. A column whose
name is not a word stands in backticks: `` `View Position` == "PA" ``. Rules are parsed, never run as code.
"""

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from healthygan.common.errors import InputError
from healthygan.common.messages import hint

Row = Mapping[str, str]
Value = str | float | tuple[str | float, ...]
COMPARISONS: dict[type[ast.cmpop], Callable[[str | float, str | float], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
LARGEST = 2_000
"""Characters of a rule."""
DEEPEST = 40
"""Expressions within one another."""


@dataclass(frozen=True)
class Rule:
    """A rule that has been read; ``columns`` are those it looks at."""

    text: str
    columns: tuple[str, ...]
    test: Callable[[Row], bool]

    def __call__(self, row: Row) -> bool:
        return self.test(row)


def parse_rule(text: str) -> Rule:
    """Read a rule.

    Raises:
        InputError: it is none; says what is not understood.
    """
    quoted: list[str] = []

    def put_away(match: re.Match[str]) -> str:
        quoted.append(match[1])
        return f"_column{len(quoted) - 1}_"

    if len(text) > LARGEST:
        raise InputError(f"rule of {len(text)} characters: too long; choose rows in a shorter way")
    try:
        tree = ast.parse(re.sub(r"`([^`]+)`", put_away, text), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f'rule {text!r}: not understood; write it like finding == "No Finding"') from error
    if _depth(tree) > DEEPEST:
        raise InputError(f"rule {text[:80]!r}: more than {DEEPEST} expressions within one another; write it flatter")
    reader = _Reader(text, {f"_column{number}_": name for number, name in enumerate(quoted)})
    test = reader.condition(tree.body)
    return Rule(text, tuple(dict.fromkeys(reader.columns)), test)


def check_rule(rule: Rule, columns: Collection[str]) -> None:
    """Refuse a rule over columns that a table does not have.

    Raises:
        InputError: names the column, and the nearest one.
    """
    for name in rule.columns:
        if name not in columns:
            raise InputError(
                f"rule {rule.text!r}: the table has no column {name!r}{hint(name, list(columns))}; "
                f'it has {", ".join(columns)} (texts stand in quotes, as in finding == "No Finding")'
            )


def _depth(tree: ast.AST) -> int:
    """Levels of a tree, without recursion."""
    levels, level = 0, [tree]
    while level:
        levels, level = levels + 1, [child for node in level for child in ast.iter_child_nodes(node)]
    return levels


class _Reader:
    """Turns a parsed expression into a function of a row; anything beyond comparisons is refused."""

    def __init__(self, text: str, quoted: Mapping[str, str]) -> None:
        self.text = text
        self.quoted = quoted
        self.columns: list[str] = []

    def condition(self, node: ast.expr) -> Callable[[Row], bool]:
        if isinstance(node, ast.BoolOp):
            parts = [self.condition(part) for part in node.values]
            join = all if isinstance(node.op, ast.And) else any
            return lambda row: join(part(row) for part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            negated = self.condition(node.operand)
            return lambda row: not negated(row)
        if isinstance(node, ast.Compare):
            sides = [self.value(side) for side in (node.left, *node.comparators)]
            links = [
                self.comparison(left, op, right) for left, op, right in zip(sides, node.ops, sides[1:], strict=False)
            ]
            return lambda row: all(link(row) for link in links)
        raise self.refused(node)

    def comparison(
        self, left: Callable[[Row], Value], op: ast.cmpop, right: Callable[[Row], Value]
    ) -> Callable[[Row], bool]:
        if isinstance(op, ast.In):
            return lambda row: _within(left(row), right(row))
        if isinstance(op, ast.NotIn):
            return lambda row: not _within(left(row), right(row))
        compare = COMPARISONS.get(type(op))
        if compare is None:
            raise InputError(f"rule {self.text!r}: compare by ==, !=, <, <=, >, >= or in")
        return lambda row: _compared(compare, left(row), right(row), isinstance(op, ast.NotEq))

    def value(self, node: ast.expr) -> Callable[[Row], Value]:
        if isinstance(node, ast.Name):
            name = self.quoted.get(node.id, node.id)
            self.columns.append(name)
            return lambda row: row[name].strip()
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            positive = node.operand.value
            if isinstance(positive, (int, float)):
                negative = -float(positive)
                return lambda _: negative
        if isinstance(node, (ast.Tuple, ast.List)):
            members = tuple(self.constant(member) for member in node.elts)
            return lambda _: members
        constant = self.constant(node)
        return lambda _: constant

    def constant(self, node: ast.expr) -> str | float:
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float)):
            return node.value if isinstance(node.value, str) else float(node.value)
        raise self.refused(node)

    def refused(self, node: ast.expr) -> InputError:
        part = ast.unparse(node)[:60]
        return InputError(
            f"rule {self.text!r}: {part!r} is not understood; compare columns with texts or numbers, "
            'as in finding == "No Finding" and age >= 18'
        )


def _within(member: Value, whole: Value) -> bool:
    if isinstance(whole, tuple):
        return any(_compared(operator.eq, member, value, False) for value in whole)
    return str(member) in str(whole)


def _compared(compare: Callable[[str | float, str | float], bool], left: Value, right: Value, otherwise: bool) -> bool:
    """As numbers where either side is one; a cell that is no number then differs from all, and is not less or more."""
    if isinstance(left, tuple) or isinstance(right, tuple):
        return False
    if isinstance(left, float) or isinstance(right, float):
        try:
            return compare(float(left), float(right))
        except ValueError:
            return otherwise
    return compare(left, right)
