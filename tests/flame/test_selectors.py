"""Selectors: what stands behind an address and means some of its values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame.names.selectors import (
    Absolute,
    Ago,
    At,
    Between,
    Position,
    Positions,
    Selector,
    means_one,
    parse,
    sequence,
    split,
    to_ns,
)
from protocol.errors import AddressError, Code

MINUTE_NS = 60 * 10**9
TEN = 1_795_341_600 * 10**9  # 2026-11-22T10:00Z
INDEX = st.integers(-(10**17), 10**17)
SIDE = st.none() | INDEX


def written(start: int | None, stop: int | None) -> str:
    return f"[{'' if start is None else start}:{'' if stop is None else stop}]"


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("[-1]", Position(-1)),
        ("[0]", Position(0)),
        ("[100:200]", Positions(100, 200)),
        ("[-10:]", Positions(-10, None)),
        ("[:]", Positions(None, None)),
        ("@2026-11-22T10:00Z", At(Absolute(TEN))),
        ("@2026-11-22T11:00+01:00", At(Absolute(TEN))),
        ("@2026-11-22T10:00:00.000000001Z", At(Absolute(TEN + 1))),
        ("@-5m", At(Ago(5 * MINUTE_NS))),
        ("@-5m..", Between(Ago(5 * MINUTE_NS), None)),
        ("@-1.5h..-90s", Between(Ago(90 * MINUTE_NS), Ago(90 * 10**9))),
        ("@..2026-11-22T10:00Z", Between(None, Absolute(TEN))),
        ("@2026-11-22T10:00:00.5Z..-1ms", Between(Absolute(TEN + 5 * 10**8), Ago(10**6))),
    ],
)
def test_a_selector_means_what_the_manual_says(text: str, selector: Selector) -> None:
    assert parse(text) == selector
    assert split(f"#lock/beat{text}") == ("#lock/beat", selector)


def test_a_time_without_a_zone_is_local_time() -> None:
    local = datetime(2026, 11, 22, 10).astimezone().timestamp()
    assert parse("@2026-11-22T10:00") == At(Absolute(round(local) * 10**9))


def test_the_sign_before_last_belongs_to_the_address() -> None:
    assert split("#/@last/lock/beat") == ("#/@last/lock/beat", None)
    assert split("#/@last/lock/beat@-5m") == ("#/@last/lock/beat", At(Ago(5 * MINUTE_NS)))


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "[1", "[1:2:3]", "[a]", "[1.0]", "[１]", "[9999999999999999999]", "[0]@-5m", "@-5m[0]"),
        *("@", "@..", "@now", "@-5", "@5m", "@-5m....", "@2026-13-01", "@2026-11-22T10", "@2026-11-22T10:00.5"),
        *("@1969-01-01Z", "@2300-01-01Z"),
    ],
)
def test_anything_else_is_refused_with_the_forms_that_there_are(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        split(f"#lock/beat{text}")
    assert caught.value.code is Code.ADDRESS_MALFORMED
    assert "[100:200]" in caught.value.next_step


@given(st.text(max_size=40))
def test_any_text_is_split_or_refused_and_nothing_else(text: str) -> None:
    try:
        address, selector = split(text)
    except AddressError:
        return
    assert text.startswith(address)
    assert (selector is None) == (address == text)


@given(SIDE, SIDE, st.integers(0, 60))
def test_positions_select_as_a_python_list_does(start: int | None, stop: int | None, length: int) -> None:
    selector = parse(written(start, stop))
    assert isinstance(selector, Positions)
    first, last = sequence(selector, length)
    assert list(range(first, last + 1)) == list(range(1, length + 1))[start:stop]


@given(st.integers(-70, 70), st.integers(0, 60))
def test_one_position_selects_as_a_python_list_does(index: int, length: int) -> None:
    first, last = sequence(Position(index), length)
    numbers = list(range(1, length + 1))
    assert list(range(first, last + 1)) == ([numbers[index]] if -length <= index < length else [])


@given(st.integers(0, 2**63 - 1))
def test_a_time_to_the_nanosecond_is_read_exactly(ns: int) -> None:
    stamp = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=ns // 10**9)
    assert parse(f"@{stamp:%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z") == At(Absolute(ns))


@given(st.integers(0, 10**6), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_a_time_counted_back_never_leaves_what_a_clock_can_show(number: int, unit: str) -> None:
    selector = parse(f"@-{number}{unit}..")
    assert isinstance(selector, Between) and selector.start is not None
    assert 0 <= to_ns(selector.start, TEN) <= TEN


def test_one_value_is_told_from_a_list() -> None:
    assert means_one(parse("[-1]")) and means_one(parse("@-5m"))
    assert not means_one(parse("[0:1]")) and not means_one(parse("@-5m.."))
