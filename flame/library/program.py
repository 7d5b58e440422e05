"""How the program of a flame node ends: what went wrong in it, as one sentence with file and line."""

from __future__ import annotations

import builtins
import os
import sys
import traceback
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, NoReturn

from protocol.errors import FlottaError

_HOME: Final = Path(__file__).resolve().parents[1]
_PYTHON: Final = str(Path(traceback.__file__).parent) + os.sep


class _Ending:
    """The process has one end, whatever number of flame nodes live in it."""

    problem = ""
    is_watched = False


def watch() -> None:
    """From now on an error of ours that nobody catches is one sentence instead of a traceback."""
    if not _Ending.is_watched:
        _Ending.is_watched = True
        sys.excepthook = _report
        sys.exit = _exit
        vars(builtins).update(exit=_exit, quit=_exit)


def _exit(code: object = None) -> NoReturn:
    """As that of Python. A code that is no success is known before the edges close, so that consumers do not take it
    for an end in order. `raise SystemExit(1)` without it is only seen by the executor, when the process has ended.
    """
    if code is not None and code != 0:
        _Ending.problem = f"{_line(sys._getframe(1))}: the program ended itself with {code!r}"
    raise SystemExit(code)


def problem() -> str:
    """What ended this program, "" as long as nothing did."""
    return _Ending.problem


def described(error: BaseException) -> str:
    """`drift_lock.py:12: sentence`, at the line of the program that led to the error."""
    where = place(error.__traceback__)
    text = str(error) if isinstance(error, FlottaError) else f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"{where}: {text}" if where else text


def place(trace: TracebackType | None) -> str:
    """The innermost line outside of this package, of the user's own files where there is one; "" without any."""
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(trace)]
    outside = [(name, line) for name, line in lines if not Path(name).resolve().is_relative_to(_HOME)]
    outside = [(name, line) for name, line in outside if not _is_installed(name)] or outside
    return f"{Path(outside[-1][0]).name}:{outside[-1][1]}" if outside else ""


def _is_installed(file: str) -> bool:
    """Whether it belongs to Python, or to a library that was installed."""
    return file.startswith(("<", _PYTHON)) or "site-packages" in file


def _line(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        _Ending.problem = f"{place(trace)}: interrupted by Ctrl-C".removeprefix(": ")
        print(_Ending.problem, file=sys.stderr)
        return
    _Ending.problem = described(error)
    if isinstance(error, FlottaError):
        print(_Ending.problem, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
