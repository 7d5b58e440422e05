"""From 2 to 16 real nodes on this machine: what grows, and how."""

from __future__ import annotations

from collections.abc import Iterator

from tools.bench.memory import sizes_mb
from tools.bench.nodes import at_rest, running
from tools.bench.rows import Row, Scale, say


def growth(scale: Scale) -> Iterator[Row]:
    """All nodes share these processors, so that times grow with their number whatever the protocol does."""
    for nodes in scale.nodes:
        with running(nodes) as network:
            at_rest()
            sizes = [size for member in network.members for size in sizes_mb(member)]
            job = network.probe(network.members[1:])
        own_share = sum(size[2] for size in sizes) / nodes
        measured = (
            f"started in {network.started_s:.1f} s, all met in {network.met_s:.1f} s, "
            f"a job of one task each {job.result_s * 1000:.0f} ms, {own_share:.0f} MB a node"
        )
        say(f"  {nodes} nodes: {measured}")
        yield Row(f"{nodes} nodes", measured)
