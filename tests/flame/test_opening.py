"""`lock.writable(…)`: which inputs a workflow opens for `flame write`, and to whom."""

from __future__ import annotations

import getpass
import grp
import os
from pathlib import Path

import pytest

from flame.graph import Writable
from tests.flame.labs import Lab, graph_of, texts

ME = getpass.getuser()
GROUP = grp.getgrgid(os.getgid()).gr_name
NODES = "scope = Scope('scope', rate=1.0)\nlock = Lock('lock', trace=scope.o.trace, target=1.0)\n"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path).nodes()


def test_an_input_is_opened_to_users_and_groups(lab: Lab) -> None:
    graph = graph_of(
        lab.load(NODES + f"lock.writable('target').writable('label', by=['{ME}', '@{GROUP}'])\n" + "scope.o.count\n")
    )
    assert graph.node("lock").writable == (Writable("target"), Writable("label", (ME, f"@{GROUP}")))
    assert graph.node("scope").writable == ()


def test_the_last_word_on_an_input_counts(lab: Lab) -> None:
    graph = graph_of(lab.load(NODES + f"lock.writable('target', by=['{ME}'])\nlock.writable('target')\n"))
    assert graph.node("lock").writable == (Writable("target"),)


def test_an_included_workflow_keeps_what_it_opens(lab: Lab) -> None:
    body = """
        inner = Workflow("inner")
        Scope("scope", inner, rate=1.0).writable("gain")
        wf.include(inner, "one")
        two = wf.include(inner, "two")
        two.scope.writable("rate")
    """
    graph = graph_of(lab.load(body))
    assert [node.writable for node in graph.nodes] == [
        (Writable("gain"),),
        (Writable("gain"), Writable("rate")),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lock.writable('tagret')", "Lock has no input 'tagret' [wiring-wrong]"),
        ("lock.writable(5)", "Lock has no input 5 [wiring-wrong]"),
        (
            "lock.writable('trace')",
            "lock/trace is fed by the output scope/trace, so nobody can write it [wiring-wrong]",
        ),
        ("lock.writable('target', by='tom')", "by='tom' is no list of names [workflow-wrong]"),
        ("lock.writable('target', by=[5])", "by=[5] is no list of names [workflow-wrong]"),
        ("lock.writable('target', by=5)", "by=5 is no list of names [workflow-wrong]"),
        ("lock.writable('target', by=['no such one'])", "this machine knows no user 'no such one' [workflow-wrong]"),
        ("lock.writable('target', by=['a\\0b'])", "this machine knows no user 'a\\x00b' [workflow-wrong]"),
        ("lock.writable('target', by=['@no such'])", "this machine knows no group 'no such' [workflow-wrong]"),
        ("lock.writable('target', by=[''])", "this machine knows no user '' [workflow-wrong]"),
    ],
)
def test_what_cannot_be_opened_is_told_at_its_line(lab: Lab, line: str, words: str) -> None:
    loaded = lab.load(NODES + line + "\n")
    (text,) = texts(loaded.faults)
    assert text.endswith(words) and "workflow.py, line 6: " in text
    assert loaded.faults[0].next_step


def test_a_flow_without_an_edge_cannot_be_opened(lab: Lab) -> None:
    loaded = lab.load("lock = Lock('lock', trace=[0, 0, 0, 0], target=1.0)\nlock.writable('trace')\n")
    assert "lock/trace is a flow, and only a state can be written" in texts(loaded.faults)[0]


def test_an_edge_that_comes_later_closes_the_input(lab: Lab) -> None:
    body = NODES + "scope.writable('gain')\nscope.i.gain = lock.o.error\n"
    assert texts(lab.load(body).faults)[0].endswith(
        "line 6: scope/gain is fed by the output lock/error, so nobody can write it [wiring-wrong]"
    )
