"""Answers what it is asked by an edge, journalled in a file called `kept_…`, and by ZeroMQ alone."""

from __future__ import annotations

import threading

import flame
from flotta_p2p.flame_bench import kept, raw


def main() -> None:
    node = flame.Node(kept.name(__file__, "Echo"))
    ask = node.inputs.flow("ask", bytes)
    folder = node.inputs.state("folder", str)
    kept.output(__file__, node)("answer", bytes)
    node.register()
    threading.Thread(target=raw.echo, args=(folder.get(),), daemon=True).start()
    for record in ask:
        node.outputs.set(answer=record.value)


if __name__ == "__main__":
    main()
