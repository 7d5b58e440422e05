import math
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.limits import KIB, MIB, MSGPACK_ARRAY_ITEMS_MAX, MSGPACK_DEPTH_MAX, MSGPACK_MAP_ITEMS_MAX
from protocol.record import Record
from protocol.wire.codec import TYPED_FIRST_BYTES, decode, decode_record, encode, encode_record

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=40),
    st.binary(max_size=40),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5) | st.binary(max_size=5), inner, max_size=20)
    ),
    max_leaves=40,
)


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@given(values)
def test_every_plain_value_reads_back(value: Any) -> None:
    assert decode(encode(value), bytes_max=MIB) == value


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinities_pass(value: float) -> None:
    assert decode(encode(value), bytes_max=9) == value


def test_nan_passes() -> None:
    assert math.isnan(decode(encode(math.nan), bytes_max=9))


@pytest.mark.parametrize("size", [1, 31, 32, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize("item", ["x", b"x", [0]])
def test_every_form_of_length_reads_back(item: Any, size: int) -> None:
    assert decode(encode([item * size, 1]), bytes_max=MIB) == [item * size, 1]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00\x00", id="bytes left over"),
        pytest.param(b"\xc1", id="the byte that is never used"),
        pytest.param(b"\x92\x00", id="an array that ends early"),
        pytest.param(b"\xa5abc", id="a text that ends early"),
        pytest.param(b"\xcd\x00", id="a number that ends early"),
        pytest.param(b"\xa1\xff", id="text that is not UTF-8"),
        pytest.param(b"\x82\xa1a\x01\xa1a\x02", id="a key twice"),
        pytest.param(b"\x81\x01\x01", id="an integer as key"),
        pytest.param(b"\x81\xc0\x01", id="nil as key"),
        pytest.param(b"\x81\x90\x01", id="a list as key"),
        pytest.param(b"\xc7\x00\x05", id="an extension without data"),
        pytest.param(b"\xd4\x05\x00", id="an extension"),
        pytest.param(b"\xd6\xff\x00\x00\x00\x00", id="timestamp 32"),
        pytest.param(b"\xd7\xff" + bytes(8), id="timestamp 64"),
        pytest.param(b"\xc7\x0c\xff" + bytes(12), id="timestamp 96"),
        pytest.param(b"\xc7\x0c\xff" + b"\xff" * 12, id="a timestamp beyond all calendars"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="an array that claims 4 billion items"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="a map that claims 4 billion items"),
        pytest.param(b"\xc6\xff\xff\xff\xff", id="bytes that claim 4 GB"),
        pytest.param(b"\x91" * 100_000, id="very deep arrays"),
        pytest.param(b"\x81\xa1a" * 30_000, id="very deep maps"),
        pytest.param(b"\xdc\xff\xff" * 300_000, id="deep claims"),
        pytest.param(b"\xde\x01\x01" + b"".join(encode(f"{n:03}") + b"\x00" for n in range(257)), id="a wide map"),
        pytest.param(b"\xdd\x00\x01\x00\x01" + bytes(65_537), id="a long array"),
    ],
)
def test_what_is_no_plain_value_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(data, bytes_max=MIB)
    assert caught.value.code == Code.BODY_MALFORMED


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(b"\xdc\xff\xff", id="arrays"),
        pytest.param(b"\xdd\x00\x00\xff\xff", id="long arrays"),
        pytest.param(b"\x92\xdc\xff\xff", id="arrays in small ones"),
        pytest.param(b"\xde\x01\x00\xa1a", id="maps"),
        pytest.param(b"\xdf\x00\x00\x01\x00\xa1a", id="long maps"),
        pytest.param(b"\xc6\x7f\xff\xff\xff", id="bytes"),
        pytest.param(b"\xdb\x7f\xff\xff\xff", id="texts"),
    ],
)
@pytest.mark.parametrize("depth", [1, 15, 300, 13_000])
def test_a_claim_of_more_values_than_came_takes_no_memory(claim: bytes, depth: int) -> None:
    data = claim * depth
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            decode(data, bytes_max=MIB)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100 * KIB


@pytest.mark.parametrize(("size", "passes"), [(99, True), (100, True), (101, False)])
def test_the_byte_limit_is_exact(size: int, passes: bool) -> None:
    data = encode("x" * (size - 2))
    assert len(data) == size
    if passes:
        decode(data, bytes_max=100)
    else:
        with pytest.raises(RemoteProtocolError):
            decode(data, bytes_max=100)


def test_the_limits_of_depth_and_width_are_exact() -> None:
    edge: list[Any] = [
        nested(MSGPACK_DEPTH_MAX),
        [0] * MSGPACK_ARRAY_ITEMS_MAX,
        {str(n): n for n in range(MSGPACK_MAP_ITEMS_MAX)},
    ]
    for value in edge:
        assert decode(encode(value), bytes_max=MIB) == value
    beyond: list[Any] = [
        nested(MSGPACK_DEPTH_MAX + 1),
        [0] * (MSGPACK_ARRAY_ITEMS_MAX + 1),
        {str(n): n for n in range(MSGPACK_MAP_ITEMS_MAX + 1)},
    ]
    for value in beyond:
        with pytest.raises(LocalProtocolError):
            encode(value)


def test_depth_is_counted_along_one_branch_only() -> None:
    wide = [nested(MSGPACK_DEPTH_MAX - 1)] * 50
    assert decode(encode(wide), bytes_max=MIB) == wide


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, {1: 2}, {None: 1}, object(), {1, 2}, [bytearray(1)], "\ud800", nested(2000)]
)
def test_what_nobody_would_read_is_not_encoded(value: Any) -> None:
    with pytest.raises(LocalProtocolError):
        encode(value)


class Circle(Record, frozen=True, tag="circle"):
    radius: float


class Tagged(Record, frozen=True, tag="tagged"):
    key: bytes
    names: tuple[str, ...] = ()
    extra: dict[str, Any] = {}
    shapes: tuple[Circle, ...] = ()


def test_a_record_reads_back_with_its_bytes_and_tuples() -> None:
    record = Tagged(key=b"\x00\xff", names=("a", "b"), extra={"z": [1, b"x"]}, shapes=(Circle(radius=1.5),))
    assert decode_record(encode_record(record), Tagged, bytes_max=200) == record


@pytest.mark.parametrize("record", [Circle(radius=2.0), Tagged(key=b"k")])
def test_a_tagged_union_reads_back_as_the_member_it_was(record: Record) -> None:
    assert decode_record(encode_record(record), Circle | Tagged, bytes_max=200) == record


def test_equal_records_have_equal_bytes() -> None:
    left, right = Tagged(key=b"k", extra={"a": 1, "b": 2}), Tagged(key=b"k", extra={"b": 2, "a": 1})
    assert left == right and encode_record(left) == encode_record(right)


def test_fields_are_written_in_the_order_of_their_declaration() -> None:
    assert list(decode(encode_record(Tagged(key=b"k")), bytes_max=200)) == [
        "type",
        "key",
        "names",
        "extra",
        "shapes",
    ]


GOOD: dict[str, Any] = {"type": "tagged", "key": b"k", "names": ["a"], "extra": {}, "shapes": []}


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"key": "aw=="},
        {"key": None},
        {"names": [1]},
        {"names": "a"},
        {"extra": {b"k": 1}},
        {"shapes": [{"type": "circle", "radius": "1"}]},
        {"shapes": [{"type": "circle", "radius": 1.0, "more": 1}]},
        {"type": "square"},
        {"type": 1},
    ],
)
def test_no_field_is_coerced_or_passed_over(change: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_record(encode(GOOD | change), Circle | Tagged, bytes_max=200)
    assert caught.value.code == Code.BODY_MALFORMED


@pytest.mark.parametrize("value", [None, 1, "tagged", [], [GOOD], {}])
def test_what_is_no_record_is_refused(value: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_record(encode(value), Tagged, bytes_max=200)


def test_a_record_that_checks_itself_refuses_as_the_codec_does() -> None:
    class Even(Record, frozen=True):
        number: int

        def __post_init__(self) -> None:
            if self.number % 2:
                raise LocalProtocolError("odd")

    with pytest.raises(RemoteProtocolError):
        decode_record(encode({"number": 1}), Even, bytes_max=200)


class Names(Record, frozen=True):
    names: tuple[bytes, ...]
    note: str = ""


LARGE = (b"name" * 16,) * 200


@given(st.lists(st.binary()), st.text())
def test_a_large_record_reads_back(names: list[bytes], note: str) -> None:
    record = Names((*LARGE, *names), note)
    data = encode_record(record)
    assert len(data) > TYPED_FIRST_BYTES
    assert decode_record(data, Names, bytes_max=MIB) == record


def test_a_large_body_of_another_shape_is_refused_before_its_values_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_data: bytes) -> None:
        raise AssertionError("taken apart")

    monkeypatch.setattr("protocol.wire.codec._unpack", never)
    for wrong in (b"\x90", b"\x80", b"\x91\x90"):
        count = MSGPACK_ARRAY_ITEMS_MAX
        body = b"\x81" + encode("names") + b"\xdd" + count.to_bytes(4) + wrong * count
        with pytest.raises(RemoteProtocolError) as caught:
            decode_record(body, Names, bytes_max=MIB)
        assert caught.value.code == Code.BODY_MALFORMED


def test_a_large_body_whose_text_is_no_text_is_refused() -> None:
    body = encode_record(Names(LARGE, "note")).replace(b"\xa4note\xa4note", b"\xa4note\xa4\xed\xa0\x80x")
    with pytest.raises(RemoteProtocolError) as caught:
        decode_record(body, Names, bytes_max=MIB)
    assert caught.value.code == Code.BODY_MALFORMED


@pytest.mark.parametrize("names", [LARGE[:1], LARGE], ids=["small", "large"])
def test_what_only_the_careful_reader_refuses_is_refused_in_any_size(names: tuple[bytes, ...]) -> None:
    twice = b"\x83" + encode("names") + encode(list(names)) + 2 * (encode("note") + encode("n"))
    with pytest.raises(RemoteProtocolError):
        decode_record(twice, Names, bytes_max=MIB)


@pytest.mark.parametrize("names", [LARGE[:1], LARGE], ids=["small", "large"])
def test_the_byte_limit_of_a_record_holds_in_any_size(names: tuple[bytes, ...]) -> None:
    data = encode_record(Names(names))
    with pytest.raises(RemoteProtocolError):
        decode_record(data, Names, bytes_max=len(data) - 1)
    assert decode_record(data, Names, bytes_max=len(data)) == Names(names)


def test_a_record_that_nobody_would_read_is_not_encoded() -> None:
    class Loose(msgspec.Struct):
        value: Any

    for value in (2**70, object(), {1: 2}, nested(5000)):
        with pytest.raises(LocalProtocolError):
            encode_record(Loose(value))
