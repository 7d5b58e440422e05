"""What is told of a measurement: what flame reached, what ZeroMQ alone did, and whether the aim is met."""

from __future__ import annotations

from typing import Final

import msgspec

FOUND: Final = "found "  # before the JSON that a flame node prints


class Aim(msgspec.Struct, frozen=True):
    """`of_raw`: of the ratio to ZeroMQ alone, else of the value itself. `at_most`, else at least."""

    limit: float
    at_most: bool = False
    of_raw: bool = False

    def is_met(self, value: float, raw: float) -> bool:
        seen = value / raw if self.of_raw else value
        return seen <= self.limit if self.at_most else seen >= self.limit

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.limit:,g}{' x raw' if self.of_raw else ''}"


class Row(msgspec.Struct, frozen=True):
    """`raw`: None where there is nothing to compare with. `fault`: why it could not be measured, "" if it was."""

    what: str
    unit: str
    flame: float | None
    raw: float | None
    ratio: float | None
    aim: str
    met: bool | None
    fault: str = ""


def row(what: str, unit: str, flame: float, raw: float | None, aim: Aim | None) -> Row:
    ratio = flame / raw if raw else None
    met = None if aim is None else aim.is_met(flame, raw or 0.0)
    return Row(what, unit, flame, raw, ratio, "" if aim is None else str(aim), met)


def fault(what: str, unit: str, aim: Aim | None, why: str) -> Row:
    return Row(what, unit, None, None, None, "" if aim is None else str(aim), None if aim is None else False, why)


HEADERS: Final = ("measured", "flame", "raw", "ratio", "unit", "aim", "met")
NUMBERS: Final = frozenset({1, 2, 3})


def cells(one: Row) -> tuple[str, ...]:
    met = {None: "", True: "yes", False: "no"}[one.met]
    return (one.what, _number(one.flame), _number(one.raw), _number(one.ratio), one.unit, one.aim, one.fault or met)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
