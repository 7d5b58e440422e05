"""A folder with a workflow, and the commands of flame typed in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from flame.run.run_folder import RUNS_FOLDER, RunFolder
from tests.system.processes import wait_until

FLAME = (sys.executable, "-m", "flotta_p2p", "flame")
LIMIT_S = 60.0


class Laboratory:
    def __init__(self, folder: Path, workflow: str, **node_files: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in {"workflow": workflow, **node_files}.items():
            (folder / f"{name}.py").write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")

    def type(self, *words: str, cwd: Path | None = None, limit_s: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        return subprocess.run(
            (*FLAME, *words), cwd=cwd or self.folder, capture_output=True, text=True, timeout=limit_s, check=False
        )

    def json(self, *words: str, limit_s: float = LIMIT_S) -> Any:
        typed = self.type(*words, "--json", limit_s=limit_s)
        assert typed.stdout, typed.stderr
        return json.loads(typed.stdout)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """One command that goes on, in a session of its own, as in a terminal."""
        return subprocess.Popen(
            (*FLAME, *words),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, alias: str = "j1") -> RunFolder:
        return RunFolder(self.folder / RUNS_FOLDER, alias)

    def wait_for(self, file: str) -> str:
        """What a flame node has written into a file of its folder."""
        path = self.folder / file
        wait_until(lambda: path.exists() and path.read_text(), LIMIT_S)
        return path.read_text()

    def kill(self, node: str) -> None:
        """SIGKILL to the flame node that wrote its process id down, and forget that."""
        path = self.folder / f"{node}.pid"
        pid = int(self.wait_for(path.name))
        path.unlink()
        os.kill(pid, signal.SIGKILL)
