"""Watching a run of real processes from another process."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from flame.graph import Graph, GraphNode
from flame.ports import NodeSchema, OutputPort
from tests.system.flame.executions import LIMIT_S, Execution

pytestmark = pytest.mark.system

CLOCK = """
    import flame
    node = flame.Node("Clock")
    ticks = node.outputs.runtime("ticks", int)
    kept = node.outputs.permanent("kept", int)
    node.register()
    for tick in node.every(0.01):
        node.outputs.set(ticks=tick, kept=tick)
"""


@pytest.fixture
def clock(tmp_path: Path) -> Graph:
    file = tmp_path / "clock.py"
    file.write_text(textwrap.dedent(CLOCK))
    outputs = (OutputPort("ticks", "runtime", "int"), OutputPort("kept", "permanent", "int"))
    schema = NodeSchema("Clock", "clock.py", outputs=outputs)
    return Graph("clock", (GraphNode("clock", str(file), schema),), workflow_file=str(tmp_path / "workflow.py"))


def watch(folder: Path, address: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-u", "-m", "flotta_p2p", "flame", "watch", address]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def values(watcher: subprocess.Popen[str], count: int) -> list[int]:
    assert watcher.stdout is not None
    return [int(watcher.stdout.readline().split()[-1]) for _ in range(count)]


@pytest.mark.parametrize("output", ["ticks", "kept"])
def test_a_run_is_watched_live_whether_its_values_are_kept_or_not(clock: Graph, tmp_path: Path, output: str) -> None:
    execution = Execution(tmp_path, clock)
    try:
        execution.wait_for("running")
        watcher = watch(tmp_path, f"#clock/{output}")
        seen = values(watcher, 20)
        assert seen == list(range(seen[0], seen[0] + 20))
        execution.process.send_signal(signal.SIGTERM)
        assert execution.end().end == "stopped"
        _, said = watcher.communicate(timeout=LIMIT_S)
        assert (watcher.returncode, said) == (0, "run j1 is over: stopped\n")
    finally:
        execution.process.kill()


def test_ctrl_c_ends_watching_quietly_and_not_the_run(clock: Graph, tmp_path: Path) -> None:
    execution = Execution(tmp_path, clock)
    try:
        execution.wait_for("running")
        watcher = watch(tmp_path, "#clock/ticks")
        values(watcher, 3)
        watcher.send_signal(signal.SIGINT)
        _, said = watcher.communicate(timeout=LIMIT_S)
        assert (watcher.returncode, said) == (0, "")
        assert execution.process.poll() is None
        execution.process.send_signal(signal.SIGTERM)
        execution.end()
    finally:
        execution.process.kill()
