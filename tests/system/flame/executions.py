"""Executors as processes, and the flame nodes that they started, found by the process ids that those wrote down."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from flame.graph import Graph
from flame.run.run_folder import RUNS_FOLDER, RunFolder
from flame.run.run_record import RunResult, read_result
from tests.system.processes import is_alive, wait_until

# What programs of tests begin with: they leave their process id in their folder.
PID = "import os, pathlib, sys\npathlib.Path(os.environ['FLAME_NODE'] + '.pid').write_text(str(os.getpid()))\n"
LIMIT_S = 30.0


class Execution:
    """One executor. `folder` is that of the workflow; the graph is written there."""

    def __init__(self, folder: Path, graph: Graph, *words: str) -> None:
        self.folder = folder
        (folder / "graph.json").write_bytes(msgspec.json.encode(graph))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.flame.execute", str(folder), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def end(self) -> RunResult:
        """Waits for it."""
        out, err = self.process.communicate(timeout=LIMIT_S)
        assert out, err.decode()
        result = read_result(out)
        assert self.process.returncode == result.exit_code
        return result

    def refusal(self) -> str:
        """Why it did not run."""
        out, err = self.process.communicate(timeout=LIMIT_S)
        assert not out and self.process.returncode != 0
        return err.decode()

    def wait_for(self, phase: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.decode().startswith(phase):
                return
        raise AssertionError(f"the executor ended before it was {phase}")

    def pid(self, node: str) -> int:
        """Of the newest process of a flame node that wrote it down."""
        file = self.folder / f"{node}.pid"
        wait_until(lambda: file.exists() and file.read_text())
        return int(file.read_text())

    def run(self, alias: str = "j1") -> RunFolder:
        return RunFolder(self.folder / RUNS_FOLDER, alias)


def wait_gone(*pids: int) -> None:
    wait_until(lambda: not any(is_alive(pid) for pid in pids), 5.0)
