"""Two flame nodes as real processes, joined by an edge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flame.executor_stand_in import Edge, StandIn

pytestmark = pytest.mark.system

COUNTER = """
    import flame
    node = flame.Node("Counter")
    count = node.outputs.runtime("count", int)
    node.register()
    for number in range(1, {last} + 1):
        node.outputs.set(count=number)
"""
SUM = """
    import flame
    node = flame.Node("Sum")
    number = node.inputs.flow("number", int)
    node.register()
    print(sum(record.value for record in number))
"""


def test_a_flow_brings_every_value_and_ends_with_its_producer(tmp_path: Path) -> None:
    with StandIn(
        tmp_path, {"counter": COUNTER.format(last=1_000), "sum": SUM}, [Edge("counter/count", "sum/number")]
    ) as run:
        assert run.run() == {"counter": 0, "sum": 0}
        assert run.output("sum") == "500500\n"
        assert run.byes["sum"].beat.inputs["number"].received == 1_000
        assert run.byes["counter"].beat.sent == {"count": 1_000}
