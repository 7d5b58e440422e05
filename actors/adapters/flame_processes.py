"""Processes of flame nodes and of safe programs: started, killed with their whole group, collected.

Everything belongs to one thread, which outlives the processes: a flame node has the kernel kill it when the thread
that started it ends. `actors.flame_guard` does the rest when this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from actors import flame_guard
from actors.children import PARENT_VARIABLE, Process
from flame.run.whole_files import like_its_folder, make_like_its_parent
from protocol.limits import FLAME_GUARD_MS, FLAME_SAFE_MS
from protocol.record import Record

_GUARD: Final = (sys.executable, "-I", "-S", flame_guard.__file__, str(FLAME_SAFE_MS / 1000))


class Program(Record, frozen=True):
    """A file to run with the interpreter `python` in `folder`. What it prints is appended to `log`.

    It sees the environment of this process, and `variables`. `safe`: the program that the guard runs after it has
    killed this one.
    """

    file: str
    folder: str
    log: str
    variables: dict[str, str]
    safe: Program | None = None
    python: str = sys.executable


class ProgramGone(NamedTuple):
    """(code, None), (None, signal), or (None, None) when it could not even be killed."""

    node: str
    code: int | None
    signal: int | None


class FlameProcesses:
    """At most one process for each flame node at a time."""

    def __init__(self, selector: selectors.BaseSelector, lock: int, memory: Path | None) -> None:
        """`lock`: descriptor of the lock that the guard holds as well. `memory`: a folder that the guard removes."""
        self._selector = selector
        self._lock = lock
        self._memory = memory
        self._running: dict[str, tuple[Process, Program]] = {}  # limits.FLAME_NODES_MAX
        self._guard: _Guard | None = None

    def start(self, node: str, program: Program) -> None:
        """Raises OSError when it cannot be started."""
        if self._guard is None:
            self._renew_guard()
        path = Path(program.log)
        with contextlib.suppress(FileExistsError):
            make_like_its_parent(path.parent)
        with open(path, "ab", opener=like_its_folder) as log:
            process = Process(
                (program.python, program.file),
                environment(program.variables),
                self._selector,
                stdout=log.fileno(),
                stderr=subprocess.STDOUT,
                cwd=program.folder,
            )
        self._running[node] = process, program
        self._tell_guard_of(process, program)

    def kill(self, node: str) -> None:
        """The whole group. One that has ended meanwhile is no fault: its end is told anyway."""
        if node in self._running:
            self._running[node][0].kill()

    def collect(self) -> list[ProgramGone]:
        """Those that have ended since the last call. Never waits for one that runs."""
        if self._guard is not None and not self._guard.is_alive():
            self._renew_guard()
        ended = [node for node, (process, _) in self._running.items() if process.has_ended()]
        return [self._bury(node) for node in ended]

    def end_all(self) -> None:
        """Kill all and wait for their ends, `CHILD_END_MS` each at worst. When some still run, their executor has
        crashed: the guard makes their hardware safe, and is waited for.
        """
        limit_ms = FLAME_SAFE_MS + FLAME_GUARD_MS if self._running else 0
        for process, _ in self._running.values():
            process.kill()
        if self._guard is not None:
            self._guard.end(limit_ms)
            self._guard = None
        for process, _ in self._running.values():
            process.reap()  # last: the guard may kill by its id
        self._running.clear()

    def _bury(self, node: str) -> ProgramGone:
        process, _ = self._running.pop(node)
        process.kill()  # its descendants, while its id is still ours
        self._tell_guard(f"-{process.pid}")
        code, by_signal = process.reap()
        return ProgramGone(node, code, by_signal)

    def _renew_guard(self) -> None:
        if self._guard is not None:
            self._guard.end(0)
        self._guard = _Guard(self._selector, self._lock, self._memory)
        for process, program in self._running.values():
            self._tell_guard_of(process, program)

    def _tell_guard_of(self, process: Process, program: Program) -> None:
        safe = "" if program.safe is None else f" {msgspec.json.encode(program.safe).decode()}"
        self._tell_guard(f"+{process.pid}{safe}")

    def _tell_guard(self, line: str) -> None:
        if self._guard is not None:
            self._guard.tell(line)


class _Guard:
    """Our end of the guard. It ends by itself when this process does."""

    def __init__(self, selector: selectors.BaseSelector, lock: int, memory: Path | None) -> None:
        argv = _GUARD if memory is None else (*_GUARD, str(memory))
        theirs, self._ours = os.pipe()
        try:
            nowhere = subprocess.DEVNULL  # whoever reads what this process prints must not wait for the guard
            self._process = Process(
                argv, os.environ, selector, stdin=theirs, stdout=nowhere, stderr=nowhere, pass_fds=(lock,)
            )
        except OSError:
            os.close(self._ours)
            raise
        finally:
            os.close(theirs)

    def is_alive(self) -> bool:
        return not self._process.has_ended()

    def tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # the next start finds it gone
            os.write(self._ours, f"{line}\n".encode())

    def end(self, limit_ms: int) -> None:
        """Let it do what is left to do, for so long."""
        os.close(self._ours)
        self._process.wait_end(limit_ms)
        self._process.reap()


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """`print` shows at once in the log, whose lines may be all that is left of a crash."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", PARENT_VARIABLE: str(os.getpid()), **variables}


def cpu_ms(pid: int) -> int:
    """CPU time of a process so far; 0 where the system does not tell."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(words[11]) + int(words[12])) * 1_000 // os.sysconf("SC_CLK_TCK")
