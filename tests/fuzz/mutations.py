"""Mutations of valid input: of its bytes, and of the tree of values that a msgpack body is.

A mutation of the tree cuts and pastes spans of bytes and rewrites the header of the container around them, so that
what comes out is still msgpack more often than not and reaches what lies behind the parser.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

Mutation = Callable[[Random, bytes], bytes]


def _text(data: bytes) -> bytes:
    return b"\xdb" + struct.pack(">I", len(data)) + data


def _binary(data: bytes) -> bytes:
    return b"\xc6" + struct.pack(">I", len(data)) + data


# Single values in their encoding: every type, its edges, and what the wire does not allow.
VALUES: tuple[bytes, ...] = (
    b"\xc0",
    b"\xc2",
    b"\xc3",
    b"\xc1",  # never used by msgpack
    *(bytes([n]) for n in (0, 1, 2, 3, 127, 0xFF, 0xE0)),
    b"\xcd\x00\x01",  # the number 1, longer than needed
    b"\xcc\xff",
    b"\xce\xff\xff\xff\xff",
    b"\xcf" + b"\xff" * 8,  # 2**64 - 1
    b"\xcf\x7f" + b"\xff" * 7,  # 2**63 - 1
    b"\xcf\x80" + bytes(7),  # 2**63
    b"\xd3\x80" + bytes(7),  # -2**63
    b"\xd3" + b"\xff" * 8,  # -1
    *(b"\xcb" + struct.pack(">d", x) for x in (0.0, -0.0, 0.5, 1.0, 1e308, -1e308, 5e-324, 2.0**63)),
    *(b"\xcb" + struct.pack(">d", x) for x in (float("nan"), float("inf"), float("-inf"))),
    b"\xca\x7f\xc0\x00\x00",  # a short nan
    *(_text(x) for x in (b"", b"a", b"0", b"\0", b"x" * 65, b"y" * 2_000, "é\N{GRINNING FACE}\u202e".encode())),
    *(_text(x) for x in (b"\xff", b"\xed\xa0\x80", b"\xc3", b"\n\x1b[2J")),  # no UTF-8: alone, surrogate, cut; control
    *(
        _binary(x)
        for x in (b"", b"\0", bytes(16), bytes(31), bytes(32), b"\xff" * 32, bytes(33), bytes(64), bytes(9_000))
    ),
    b"\x90",
    b"\x80",
    b"\x91" * 15 + b"\xc0",
    b"\x91" * 40 + b"\xc0",  # deeper than allowed
    b"\x81\xa1k" * 40 + b"\xc0",
    b"\x82\xa1k\x01\xa1k\x02",  # one key twice
    b"\x82\xa1k\x01\xc4\x01k\x02",  # the same letters as text and as bytes
    b"\x81\x01\x02",  # a number as key
    b"\x81\xc0\x01",
    b"\xd6\xff" + bytes(4),  # a timestamp
    b"\xd7\xff" + b"\xff" * 8,
    b"\xc7\x0c\xff" + b"\xff" * 12,
    b"\xd4\x05\x00",  # an extension
    b"\xc7\x00\x01",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\xdd\xff\xff\xff\xff",  # containers and texts that claim more than there is
    b"\xdf\xff\xff\xff\xff",
    b"\xdc\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc6\x7f\xff\xff\xff",
)
TOKENS: tuple[bytes, ...] = (
    *(b"null", b"true", b"-1", b"1e999", b"-0.0", b"NaN", b"Infinity", b"1" * 400, b"18446744073709551616"),
    *(
        b'"',
        b"'",
        b"\\",
        b'"\\ud800"',
        b'"\\u0000"',
        b"[" * 50,
        b"{" * 50,
        b"[[]]",
        b"{}",
        b"]",
        b"}",
        b",",
        b":",
        b"\n",
    ),
    *(b"\0", b"\x1b", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", "\u2028\u202e\N{GRINNING FACE}".encode(), b" " * 70),
    *(
        b"&a",
        b"*a",
        b"!!python/object:os.system",
        b"<<",
        b"---",
        b"...",
        b"- ",
        b"? ",
        b"|",
        b">",
        b"#",
        b"${A}",
        b"$${",
    ),
    *(b" and ", b" or ", b"not " * 20, b"(" * 60, b" in [", b" is None", b"col('x')", b"lambda: 0", b"f'{x}'", b"0x1f"),
    *(b"http://", b":0", b":99999", b"@", b"/", b"..", b"255.255.255.255", b"::1", b"%s", b"\t", b"  "),
)


@dataclass(frozen=True)
class Value:
    """One value of an encoded tree. `parent` is the index of its container, -1 for the root."""

    start: int
    end: int
    parent: int
    is_map: bool = False
    is_array: bool = False
    header_end: int = 0
    children: tuple[int, ...] = ()  # indexes; keys and values of a map in turn


@dataclass(frozen=True)
class Sample:
    """A valid encoding; `values` is its tree, empty for what is no msgpack."""

    data: bytes
    values: tuple[Value, ...] = ()


def tree_sample(data: bytes) -> Sample:
    """Raises IndexError or ValueError for what is not exactly one valid msgpack value."""
    values: list[Value] = []
    if _read(data, 0, -1, values) != len(data):
        raise ValueError("bytes are left over")
    return Sample(data, tuple(values))


def _read(data: bytes, start: int, parent: int, values: list[Value]) -> int:
    own = len(values)
    values.append(Value(start, 0, parent))
    count, header_end, size = _head(data, start)
    is_map, is_array = count is not None and size == 2, count is not None and size == 1
    children, end = [], header_end
    for _ in range((count or 0) * size):
        children.append(len(values))
        end = _read(data, end, own, values)
    values[own] = Value(start, end, parent, is_map, is_array, header_end, tuple(children))
    return end


def _head(data: bytes, at: int) -> tuple[int | None, int, int]:
    """(items of a container or None, where its first item or the value ends, values for each item)."""
    first = data[at]
    if 0x80 <= first <= 0x9F:
        return first & 0x0F, at + 1, 1 if first & 0x10 else 2
    if 0xDC <= first <= 0xDF:
        width = 4 if first & 1 else 2
        return int.from_bytes(data[at + 1 : at + 1 + width]), at + 1 + width, 1 if first < 0xDE else 2
    for lengths, start in ((0xC4, 0), (0xD9, 0)):
        if lengths <= first <= lengths + 2:
            width = 1 << (first - lengths)
            return None, at + 1 + width + int.from_bytes(data[at + 1 : at + 1 + width]) + start, 0
    if 0xA0 <= first <= 0xBF:
        return None, at + 1 + (first & 0x1F), 0
    fixed = {0xCA: 5, 0xCB: 9} | {base + n: 1 + (1 << n) for base in (0xCC, 0xD0) for n in range(4)}
    return None, at + fixed.get(first, 1), 0


def _header(is_map: bool, count: int) -> bytes:
    if count < 16:
        return bytes([(0x80 if is_map else 0x90) | count])
    return (b"\xdf" if is_map else b"\xdd") + struct.pack(">I", count)


# --- of the tree ----------------------------------------------------------------------------------


def _replace(random: Random, sample: Sample, pool: Sequence[Sample]) -> bytes:
    value = random.choice(sample.values)
    return sample.data[: value.start] + random.choice(VALUES) + sample.data[value.end :]


def _same_kind(random: Random, sample: Sample, pool: Sequence[Sample]) -> bytes:
    """A number for a number, a text for a text: it passes the schema and reaches what lies behind."""
    value = random.choice(sample.values)
    kind = _KINDS[sample.data[value.start]]
    return sample.data[: value.start] + random.choice(_BY_KIND[kind]) + sample.data[value.end :]


def _kind(first: int) -> str:
    if first < 0x80 or first >= 0xE0 or 0xCC <= first <= 0xD3:
        return "integer"
    if 0xA0 <= first <= 0xBF or 0xD9 <= first <= 0xDB:
        return "text"
    kinds = {0xC4: "binary", 0xC5: "binary", 0xC6: "binary", 0xCA: "float", 0xCB: "float"}
    return kinds.get(first, "other")


_KINDS = tuple(_kind(first) for first in range(256))
_BY_KIND = {kind: [value for value in VALUES if _KINDS[value[0]] == kind] for kind in set(_KINDS)}


def _graft(random: Random, sample: Sample, pool: Sequence[Sample]) -> bytes:
    """A value out of another valid body."""
    value, other = random.choice(sample.values), random.choice(pool)
    taken = random.choice(other.values)
    return sample.data[: value.start] + other.data[taken.start : taken.end] + sample.data[value.end :]


def _rebuild(random: Random, sample: Sample, pool: Sequence[Sample]) -> bytes:
    """A container whose items were removed, doubled, moved, renamed or added."""
    containers = [value for value in sample.values if value.children]
    if not containers:
        return _replace(random, sample, pool)
    around = random.choice(containers)
    data = sample.data
    width = 2 if around.is_map else 1
    spans = [(sample.values[n].start, sample.values[n].end) for n in around.children]
    items = [data[spans[n][0] : spans[n + width - 1][1]] for n in range(0, len(spans), width)]
    place = random.randrange(len(items))
    match random.randrange(6):
        case 0:
            del items[place]
        case 1:
            items.insert(place, items[place])
        case 2:
            items *= random.choice((2, 3, 20, 300))
        case 3:
            random.shuffle(items)
        case 4:
            key = _text(b"unknown") if around.is_map else b""
            items.insert(place, key + random.choice(VALUES))
        case _ if around.is_map:
            key_end = sample.values[around.children[2 * place]].end
            items[place] = random.choice(VALUES) + data[key_end : spans[2 * place + 1][1]]
        case _:
            items[place] = b"\x91" + items[place]
    claimed = max(0, len(items) + (random.choice((-1, 1, 200)) if random.random() < 0.05 else 0))
    return data[: around.start] + _header(around.is_map, claimed) + b"".join(items) + data[around.end :]


TREE_MUTATIONS = (_replace, _replace, _same_kind, _same_kind, _same_kind, _graft, _rebuild, _rebuild)


# --- of the bytes -----------------------------------------------------------------------------------


def _flip(random: Random, data: bytes) -> bytes:
    mutated = bytearray(data)
    for _ in range(1 + random.getrandbits(2)):
        mutated[random.randrange(len(data))] ^= 1 << random.getrandbits(3)
    return bytes(mutated)


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data))]


def _remove(random: Random, data: bytes) -> bytes:
    start = random.randrange(len(data))
    return data[:start] + data[start + 1 + random.getrandbits(4) :]


def _repeat(random: Random, data: bytes) -> bytes:
    start = random.randrange(len(data))
    piece = data[start : start + 1 + random.getrandbits(5)]
    return data[:start] + piece * random.choice((2, 3, 50)) + data[start:]


def _continue(random: Random, data: bytes) -> bytes:
    return data + random.randbytes(1 + random.getrandbits(4))


def _noise(random: Random, data: bytes) -> bytes:
    return random.randbytes(random.getrandbits(8))


def _insert_token(random: Random, data: bytes) -> bytes:
    start = random.randrange(len(data))
    return data[:start] + random.choice(TOKENS) + data[start + random.getrandbits(3) :]


BYTE_MUTATIONS: tuple[Mutation, ...] = (_flip, _flip, _cut, _remove, _repeat, _continue, _noise)
TEXT_MUTATIONS: tuple[Mutation, ...] = (*(_insert_token,) * 5, _flip, _cut, _remove, _repeat)


def mutate_tree(random: Random, sample: Sample, pool: Sequence[Sample]) -> bytes:
    """A body near `sample`; `pool` gives what is grafted into it."""
    chance = random.random()
    if chance < 0.25:
        return random.choice(BYTE_MUTATIONS)(random, sample.data or b"\xc0")
    data = random.choice(TREE_MUTATIONS)(random, sample, pool)
    return random.choice(BYTE_MUTATIONS)(random, data) if chance > 0.95 and data else data


def mutate_text(random: Random, sample: Sample) -> bytes:
    """Bytes near a text: JSON, YAML, a line, a filter."""
    data = sample.data
    for _ in range(random.choice((1, 1, 2, 4))):
        data = random.choice(TEXT_MUTATIONS)(random, data or b" ")
    return data
