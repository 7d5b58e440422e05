"""Feedback loops that may never start are told of when a workflow is read; those that start by themselves are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from flame.authoring.loading import load
from tests.flame.labs import Lab

SCOPE = """
    import flame
    node = flame.Node("Scope")
    inp, out = node.inputs, node.outputs
    {gain} = inp.state("gain", float)
    pause = inp.state("pause", float, default=0.1)
    trace = out.permanent("trace", float)
    node.register()
    {program}
"""
LOCK = """
    import flame
    node = flame.Node("Lock")
    trace = node.inputs.{kind}("trace", float)
    node.outputs.permanent("error", float)
    node.register()
    for record in trace:
        node.outputs.set(error=record.value)
"""
WORKFLOW = """
    from flame import Workflow
    from flame_nodes import Lock, Scope
    wf = Workflow("loop")
    scope = Scope("scope")
    lock = Lock("lock", trace=scope.o.trace)
    scope.i.gain = lock.o.error
"""
IN_A_LOOP = "for _ in node.every(pause.get()): out.set(trace={read})"


def warnings(folder: Path, program: str, kind: str = "flow", gain: str = "gain") -> list[str]:
    lab = Lab(folder)
    lab.write("scope.py", SCOPE.format(program=program, gain=gain))
    lab.write("lock.py", LOCK.format(kind=kind))
    told: list[str] = []
    load(lab.write("workflow.py", WORKFLOW), warn=told.append).checked()
    return told


@pytest.mark.parametrize("kind", ["flow", "state"])
def test_a_loop_in_which_each_reads_before_it_sets_is_told(tmp_path: Path, kind: str) -> None:
    told = warnings(tmp_path, IN_A_LOOP.format(read="gain.get()"), kind)
    (line,) = told
    assert line.startswith("scope → lock → scope: each may wait for the first value of the one before it; ")


@pytest.mark.parametrize(
    "program",
    [
        "out.set(trace=0.0); value = gain.get()",
        IN_A_LOOP.format(read="gain.get() if gain.updated() else 0.0"),
        IN_A_LOOP.format(read="inp['gain'].get(timeout=0.1)"),
        "while node.select(gain, timeout=1.0): out.set(trace=gain.get())",
    ],
)
def test_a_loop_that_one_starts_by_itself_is_not_told(tmp_path: Path, program: str) -> None:
    assert warnings(tmp_path, program) == []


@pytest.mark.parametrize("gain", ["gain", "gain: flame.State[float]"])
def test_an_input_that_is_declared_with_a_type_is_known_as_well(tmp_path: Path, gain: str) -> None:
    looks_first = IN_A_LOOP.format(read="gain.get() if gain.updated() else 0.0")
    assert warnings(tmp_path, looks_first, gain=gain) == []
