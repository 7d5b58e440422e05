"""Frames sealed and opened per second, on one core, without sockets."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from actors.adapters.entropy import SystemEntropy
from protocol.ids import node_id
from protocol.limits import KIB, MIB
from protocol.signing import SigningKey
from protocol.wire.frame import FrameRules, Header, open_frame, seal
from tools.bench.rows import Row, Scale

_TYPE = 50
_SIZES = {"200 B": 200, "64 KiB": 64 * KIB, "1 MiB": MIB}
_BYTES_MAX = 256 * MIB  # of all frames of one size
_RUNS = 5


def frames(scale: Scale) -> Iterator[Row]:
    """Each with a body of so many bytes; the body is not parsed. The median of five runs."""
    key = SigningKey(SystemEntropy().bytes(32))
    for name, size in _SIZES.items():
        count = max(_RUNS, min(scale.frames, _BYTES_MAX // size))
        runs = [_run(key, bytes(size), max(1, count // _RUNS)) for _ in range(_RUNS)]
        sealed, opened = (statistics.median(rates) for rates in zip(*runs, strict=True))
        yield Row(f"frames of {name}", f"{sealed:,.0f} sealed, {opened:,.0f} opened per s")


def _run(key: SigningKey, body: bytes, count: int) -> tuple[float, float]:
    own_id = node_id(key.public_key)
    headers = [_header(key, own_id, number) for number in range(count)]
    rules = FrameRules(own_id=own_id, allowed={_TYPE: len(body)}, sender_key=key.public_key, now_wall_ms=0)
    began = time.perf_counter()
    raws = [seal(header, body, key) for header in headers]
    sealed_s = time.perf_counter() - began
    began = time.perf_counter()
    for raw in raws:
        open_frame(raw, rules)
    return count / sealed_s, count / (time.perf_counter() - began)


def _header(key: SigningKey, audience: bytes, number: int) -> Header:
    return Header(
        type=_TYPE,
        sender_key=key.public_key,
        audience=audience,
        message_id=number.to_bytes(16),
        boot_id=1,
        sequence=number,
        issued_ms=0,
    )
