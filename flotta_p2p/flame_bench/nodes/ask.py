"""Asks and waits for the answer by an edge, journalled in a file called `kept_…`, and by ZeroMQ alone, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import flame
from flotta_p2p.flame_bench import kept, raw

TURN = 50


def main() -> None:
    node = flame.Node(kept.name(__file__, "Ask"))
    answer = node.inputs.flow("answer", bytes)
    folder, size, count = (
        node.inputs.state("folder", str),
        node.inputs.state("size", int),
        node.inputs.state("count", int),
    )
    kept.output(__file__, node)("ask", bytes)
    node.register()
    data = bytes(size.get())
    asks, answers = raw.push(folder.get(), "ask"), raw.pull(folder.get(), "answer")

    def by_flame() -> None:
        node.outputs.set(ask=data)
        answer.get()

    def by_zmq() -> None:
        asks.send(data)
        answers.recv()

    flame_s: list[float] = []
    raw_s: list[float] = []
    measure(by_flame, TURN)
    measure(by_zmq, TURN)
    while len(flame_s) < count.get():
        flame_s += measure(by_flame, TURN)
        raw_s += measure(by_zmq, TURN)
    asks.send(raw.END)
    raw.tell(flame=statistics.median(flame_s) * 1e6, raw=statistics.median(raw_s) * 1e6)
    node.stop_workflow("all is measured")


def measure(exchange: Callable[[], None], count: int) -> list[float]:
    """Seconds of each."""
    took_s = []
    for _ in range(count):
        began = time.perf_counter()
        exchange()
        took_s.append(time.perf_counter() - began)
    return took_s


if __name__ == "__main__":
    main()
