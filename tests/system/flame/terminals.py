"""A command of flame in a terminal, where Ctrl-C is a key."""

from __future__ import annotations

import os
import pty
import select
import time
from collections.abc import Callable
from pathlib import Path

from tests.system.flame.laboratory import FLAME, LIMIT_S

_MARK = "FLAME_TEST_TERMINAL"
_CTRL_C = b"\x03"


class Terminal:
    """One command. It, and all that it starts, inherit a mark, by which those are found that it left behind."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.seen = ""
        self._deadline_s = time.monotonic() + LIMIT_S
        temporary = folder / "tmp"
        temporary.mkdir(exist_ok=True)
        self._temporary = temporary
        self._pid, self._screen = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            environ = {**os.environ, "TERM": "xterm", "TMPDIR": str(temporary), _MARK: str(folder)}
            environ.setdefault("XDG_RUNTIME_DIR", "/tmp")  # the path of the other is too long for sockets
            os.execve(FLAME[0], (*FLAME, *words), environ)
        self._folder = folder

    def press_ctrl_c(self) -> None:
        os.write(self._screen, _CTRL_C)

    def wait_until(self, holds: Callable[[], object]) -> None:
        while not holds():
            self._read(0.02)
            assert time.monotonic() < self._deadline_s, self.seen

    def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        while self._read(0.1):
            assert time.monotonic() < self._deadline_s, self.seen
        os.close(self._screen)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def left_behind(self) -> list[str]:
        """Command lines of processes, and temporary files."""
        mark = f"{_MARK}={self._folder}\0".encode()
        lines = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes():
                    lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return lines + [str(path) for path in self._temporary.iterdir()]

    def _read(self, wait_s: float) -> bool:
        """False when the terminal is closed."""
        if not select.select([self._screen], [], [], wait_s)[0]:
            return True
        try:
            data = os.read(self._screen, 65_536)
        except OSError:
            return False
        self.seen += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)
