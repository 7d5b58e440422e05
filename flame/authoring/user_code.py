"""Runs a file of the user in a process of its own, to learn something from it: a node file, or a workflow.

The process writes one record, an answer or a Problem, into a file; whatever it prints is not mixed up with it. It ends
with its limit, and so does everything that it started; and it does not outlive who asks.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from flame.authoring.faults import Fault, fault_of, shown
from flame.authoring.node_files import is_generated
from flame.control import PARENT_VARIABLE
from flame.library.parent import adopt_parent_death
from protocol.errors import Code, FlottaError


class RanOutError(Exception):
    """The process was still running at its limit."""


class EndedError(Exception):
    """The process ended without an answer; `args[0]` says how, as half a sentence."""


class Children:
    """Processes that several threads wait for, to be ended by another, which was interrupted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._living: set[int] = set()  # limits.DESCRIBING_AT_ONCE_MAX
        self._is_over = False

    def begun(self, process: int) -> None:
        with self._lock:
            self._living.add(process)
            if self._is_over:
                _kill(process)

    def ended(self, process: int) -> None:
        """Before it is reaped: its id is not another's yet."""
        with self._lock:
            self._living.discard(process)

    def end(self) -> None:
        """Kill those that live, and those that begin from now on."""
        with self._lock:
            self._is_over = True
            for process in self._living:
                _kill(process)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def ask(module: str, file: Path, cwd: Path, limit_s: float, *, quiet: bool, children: Children | None = None) -> bytes:
    """Run `python -m module FILE ANSWER` in `cwd`; what it wrote to the file ANSWER. Raises RanOutError, EndedError.

    `quiet`: what it prints vanishes; else it goes to standard error. `children`: who can end it meanwhile.
    """
    children = children or Children()
    with tempfile.TemporaryDirectory(prefix="flame-") as folder:
        answer = Path(folder, "answer")
        output = subprocess.DEVNULL if quiet else 2
        process = subprocess.Popen(
            # -P: what stands in the user's folder must not take the place of our modules before they are loaded.
            [sys.executable, "-P", "-m", module, str(file), str(answer)],
            cwd=cwd,
            env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            children.begun(process.pid)
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise RanOutError from None
        finally:
            _kill(process.pid)
            children.ended(process.pid)
            process.wait()
        if answer.exists():
            return answer.read_bytes()
        raise EndedError(f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}")


def run(file: Path) -> dict[str, Any]:
    """Run `file` as Python itself would, in this process; its globals. Raises what it raises. From now on this process
    does not outlive the one that asked.
    """
    adopt_parent_death()
    os.environ.pop(PARENT_VARIABLE, None)
    sys.argv = [str(file)]
    sys.path.insert(0, str(file.parent))
    return runpy.run_path(str(file), run_name="__main__")


def fault_at(error: BaseException, file: Path, code: Code) -> Fault:
    """`error`, raised by `file`, with the line of the user's that is nearest to it."""
    if isinstance(error, FlottaError):
        return fault_of(error, place(error, file))
    sentence = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    return Fault(code.value, sentence, f"run it alone: `python {shown(file)}`", place(error, file))


def exit_of(end: SystemExit) -> str:
    """ "exit code 3", or the text that it ended with."""
    return repr(end.code) if isinstance(end.code, str) else f"exit code {end.code or 0}"


def place(error: BaseException, file: Path) -> str:
    """ "lock.py, line 12": the line of the user's that is nearest to an error which `file` raised."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{shown(error.filename)}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_of_user(frame.filename, file.parent)]
    return f"{shown(own[-1].filename)}, line {own[-1].lineno}" if own else shown(file)


def _is_of_user(path: str, folder: Path) -> bool:
    below = Path(path).is_relative_to(folder) or Path(path).is_relative_to(Path.cwd())
    return below and "site-packages" not in path and not is_generated(path)
