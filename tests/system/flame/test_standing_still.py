"""A run that stands still says what each flame node waits for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.flame.laboratory import Laboratory
from tests.system.processes import wait_until

pytestmark = pytest.mark.system

SCOPE = """
    import flame
    node = flame.Node("Scope")
    gain = node.inputs.state("gain", float)
    node.outputs.permanent("trace", float)
    node.register()
    for _ in node.every(0.1):
        node.outputs.set(trace=gain.get())
"""
LOCK = """
    import flame
    node = flame.Node("Lock")
    trace = node.inputs.flow("trace", float)
    other = node.inputs.flow("other", float)
    node.outputs.permanent("error", float)
    node.register()
    while node.active:
        for one in node.select(trace, other):
            node.outputs.set(error=one.get())
"""
WORKFLOW = """
    from flame import Workflow
    from flame_nodes import Lock, Scope
    wf = Workflow("loop")
    scope = Scope("scope")
    lock = Lock("lock", trace=scope.o.trace, other=scope.o.trace)
    scope.i.gain = lock.o.error
"""


def test_each_flame_node_of_a_loop_that_never_starts_names_what_it_waits_for(tmp_path: Path) -> None:
    lab = Laboratory(tmp_path, WORKFLOW, scope=SCOPE, lock=LOCK)
    running = lab.begin("run")
    try:
        wait_until(lambda: "its first value" in lab.type("cat", "#scope/status").stdout, 30)
        assert "'its first value of lock/error'" in lab.type("cat", "#scope/status").stdout
        waits = lab.json("cat", "#lock/status")["value"]["waits_for"]
        assert waits == "its first value of scope/trace or scope/trace"
        assert running.stderr is not None
        lines = [running.stderr.readline() for _ in range(4)]
        assert lines[:2] == ["j1 starting\n", "j1 running\n"]
        assert "j1 scope: waits for its first value of lock/error\n" in lines
    finally:
        assert lab.type("stop").returncode == 0
        running.communicate(timeout=60)
