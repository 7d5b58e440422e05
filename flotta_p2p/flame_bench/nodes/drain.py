"""Takes values as fast as they come, then as many by ZeroMQ alone."""

from __future__ import annotations

import time

import flame
from flotta_p2p.flame_bench import raw


def main() -> None:
    node = flame.Node("Drain")
    values = node.inputs.flow("value")
    folder, count, depth = (
        node.inputs.state("folder", str),
        node.inputs.state("count", int),
        node.inputs.state("depth", int),
    )
    node.register()
    times = count.get()
    by_zmq = raw.pull(folder.get(), "pour", depth.get())
    values.get()
    began = time.perf_counter()
    for _ in range(times):
        values.get()
    per_s = times / (time.perf_counter() - began)
    raw.tell(flame=per_s, raw=raw.receive_all(folder.get(), by_zmq))


if __name__ == "__main__":
    main()
