"""Sets values as fast as it can, without a journal; then sends as many by ZeroMQ alone."""

from __future__ import annotations

import flame
from flotta_p2p.flame_bench import raw


def main() -> None:
    node = flame.Node("Pour")
    folder, size, count, depth = (
        node.inputs.state("folder", str),
        node.inputs.state("size", int),
        node.inputs.state("count", int),
        node.inputs.state("depth", int),
    )
    node.outputs.runtime("value")
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
