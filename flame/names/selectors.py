"""Which values of a stream an address means: by position, or by the time of measurement.

    [-1]          the last value                    [100:200]    positions, the end not included, as in Python
    [0]           the first that was ever set       [-10:]       the last ten
    @2026-11-22T10:00    the value that held then: the last one that is not later
    @-5m..               those of the last five minutes
    @2026-11-22T10:00..2026-11-22T11:00             from the first time to the second, both included

Position 0 belongs to the first value of the stream for ever, whether it is still kept or not, so that an address never
comes to mean another value. A time without `Z` or an offset is local time. A time that is counted back, `-5m`, starts
from now while the run is running, and from its end afterwards. Pure.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import msgspec

from protocol.errors import AddressError, Code

_UNITS_NS: Final = {
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_TIME_NS_MAX: Final = 2**63 - 1  # times are int64, as in the journal and the archive: the year 2262
_DIGITS: Final = "[0-9]{1,18}"  # a position beyond that fits no sequence number
_POSITION: Final = re.compile(rf"\[(-?{_DIGITS})\]", re.ASCII)
_POSITIONS: Final = re.compile(rf"\[(-?{_DIGITS})?:(-?{_DIGITS})?\]", re.ASCII)
_AGO: Final = re.compile(r"-([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)", re.ASCII)
_STAMP: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)?)(?:\.([0-9]{1,9}))?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?",
    re.ASCII,
)
_FORMS: Final = "[-1], [100:200], @2026-11-22T10:00, @-5m.. or @2026-11-22T10:00..2026-11-22T11:00"


class Absolute(msgspec.Struct, frozen=True):
    """`ns`: nanoseconds since 1970, UTC."""

    ns: int


class Ago(msgspec.Struct, frozen=True):
    """So many nanoseconds before now, or before the end of a run that has ended."""

    ns: int


Moment = Absolute | Ago


class Position(msgspec.Struct, frozen=True):
    index: int


class Positions(msgspec.Struct, frozen=True):
    """None: open at this side."""

    start: int | None
    stop: int | None


class At(msgspec.Struct, frozen=True):
    moment: Moment


class Between(msgspec.Struct, frozen=True):
    """Both ends included; None: open at this side."""

    start: Moment | None
    stop: Moment | None


Selector = Position | Positions | At | Between


def means_one(selector: Selector) -> bool:
    """Whether it means one value rather than a list of them."""
    return isinstance(selector, Position | At)


def split(address: str) -> tuple[str, Selector | None]:
    """The address without its selector, and the selector. Raises AddressError(ADDRESS_MALFORMED)."""
    begins = len("#/@") if address.startswith("#/@") else 0  # `#/@last/…`: this sign belongs to the address
    found = re.compile(r"[\[@]").search(address, begins)
    if found is None:
        return address, None
    return address[: found.start()], parse(address[found.start() :])


def parse(text: str) -> Selector:
    """Raises AddressError(ADDRESS_MALFORMED)."""
    if match := _POSITION.fullmatch(text):
        return Position(int(match[1]))
    if match := _POSITIONS.fullmatch(text):
        return Positions(*(None if digits is None else int(digits) for digits in match.groups()))
    if not text.startswith("@") or text in ("@", "@.."):
        raise _malformed(text)
    start, dots, stop = text[1:].partition("..")
    if not dots:
        return At(_moment(start, text))
    return Between(*(_moment(side, text) if side else None for side in (start, stop)))


def sequence(selector: Position | Positions, last_seq: int) -> tuple[int, int]:
    """First and last sequence number that are meant, of a stream whose newest value is number `last_seq`.

    Sequence numbers start at 1; nothing is meant when the first is above the second.
    """
    match selector:
        case Position(index):
            seq = index + 1 if index >= 0 else last_seq + 1 + index
            return (seq, seq) if 1 <= seq <= last_seq else (1, 0)
        case Positions(start, stop):
            first, last, _ = slice(start, stop).indices(last_seq)
            return first + 1, last


def to_ns(moment: Moment, now_ns: int) -> int:
    """`now_ns`: now, or the end of the run."""
    return moment.ns if isinstance(moment, Absolute) else max(0, now_ns - moment.ns)


def _moment(text: str, whole: str) -> Moment:
    if match := _AGO.fullmatch(text):
        number, _, fraction = match[1].partition(".")
        unit_ns = _UNITS_NS[match[2]]
        return Ago(min(int(number) * unit_ns + int(fraction.ljust(9, "0") or 0) * unit_ns // 10**9, _TIME_NS_MAX))
    match = _STAMP.fullmatch(text)
    if match is None or (match[2] and match[1].count(":") != 2):
        raise _malformed(whole)
    try:
        stamp = datetime.fromisoformat(match[1] + (match[3] or ""))
        seconds = round((stamp.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    except (ValueError, OverflowError, OSError) as error:
        raise _malformed(whole) from error
    ns = seconds * 10**9 + int((match[2] or "").ljust(9, "0"))
    if not 0 <= ns <= _TIME_NS_MAX:
        raise _malformed(whole)
    return Absolute(ns)


def _malformed(text: str) -> AddressError:
    return AddressError(
        Code.ADDRESS_MALFORMED, f"{text!r} selects no values of a stream", next_step=f"write one of {_FORMS}"
    )
