"""Sets numbers that are kept, as fast as it can."""

from __future__ import annotations

import time

import flame
from flotta_p2p.flame_bench import raw


def main() -> None:
    node = flame.Node("Store")
    count = node.inputs.state("count", int)
    node.outputs.permanent("value", float)
    node.register()
    times = count.get()
    began = time.perf_counter()
    for number in range(times):
        node.outputs.set(value=number / 3)
    raw.tell(flame=times / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
