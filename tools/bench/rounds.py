"""A round: all holders are given work and all products are back. Small ones, and large ones."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from protocol.limits import INLINE_BYTES_MAX, PRODUCT_BYTES_MAX
from tools.bench.nodes import Network, at_rest, running
from tools.bench.rows import PAUSE_S, Row, Scale, say, spread

_SIZES = {1_000: "1 KB", 10_000_000: "10 MB"}
_AIMS_MS = {1_000: 20, 10_000_000: 400}


def rounds(scale: Scale) -> Iterator[Row]:
    """The scheduling node and so many holders beside it. From the first task that ended (the preparation) until the
    products of all holders are verified and committed at the scheduler. Large products go by chunks, and then the round
    is over when a task has them all in hand: it puts one behind the other, which is in the figure.
    """
    for holders in scale.holders:
        with running(1 + holders) as network:
            at_rest()
            for product_bytes in scale.round_bytes:
                if product_bytes > INLINE_BYTES_MAX and holders * product_bytes > PRODUCT_BYTES_MAX:
                    say(f"  {holders} holders, {product_bytes:,} B each: more than one result may hold, left out")
                    continue
                yield round_of(network, holders, product_bytes, scale.repeats)


def round_of(network: Network, holders: int, product_bytes: int, repeats: int) -> Row:
    gather = product_bytes > INLINE_BYTES_MAX
    seconds = []
    for _ in range(repeats):
        time.sleep(PAUSE_S)
        probe = network.probe(network.members[1:], 1, product_bytes, gather=gather)
        seconds.append((probe.gathered_s if gather else probe.worked_s) - probe.prepared_s)
    size = _SIZES.get(product_bytes, f"{product_bytes} B")
    what = f"round of {holders} holders, {size} each"
    measured = spread(seconds, "ms")
    say(f"  {what}: {measured}")
    aim_ms = _AIMS_MS.get(product_bytes) if holders == 3 else None
    if aim_ms is None:
        return Row(what, measured)
    return Row(what, measured, f"≤ {aim_ms} ms", statistics.median(seconds) * 1000 <= aim_ms)
