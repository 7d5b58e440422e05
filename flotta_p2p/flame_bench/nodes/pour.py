"""Sets values as fast as it can, journalled in a file called `kept_…`; then sends as many by ZeroMQ alone."""

from __future__ import annotations

import flame
from flotta_p2p.flame_bench import kept, raw


def main() -> None:
    node = flame.Node(kept.name(__file__, "Pour"))
    folder, size, count, depth = (
        node.inputs.state("folder", str),
        node.inputs.state("size", int),
        node.inputs.state("count", int),
        node.inputs.state("depth", int),
    )
    kept.output(__file__, node)("value")
    node.register()
    length, times = size.get(), count.get()
    value: object = 1.5
    data = bytes(8)
    if length:
        import numpy as np

        value = np.zeros(length, np.uint8)
        data = value.tobytes()
    for _ in range(times + 1):
        node.outputs.set(value=value)
    raw.send_all(folder.get(), data, times + 1, depth.get())


if __name__ == "__main__":
    main()
