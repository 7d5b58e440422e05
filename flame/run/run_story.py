"""What the log of a flame node says of its end: the last error, with file and line of the user's own file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from flame.limits import LOG_TAIL_BYTES
from flame.ordinary_files import open_ordinary

_BEGINS: Final = re.compile(r"^Traceback \(most recent call last\):$|^  File \"[^\"]+\", line \d+$", re.MULTILINE)
_GROUP_MARGIN: Final = re.compile(r"^ *(?:\| |\+ Exception Group )", re.MULTILINE)
_FRAME: Final = re.compile(r"^ +File \"([^\"]+)\", line (\d+)", re.MULTILINE)


def log_story(log: Path, since: int, file: str) -> str:
    """The sentence of the last traceback in `log` behind byte `since`, "" without one.

    `file` is the program of the flame node: the last line of its folder in the traceback is the one that is named.
    """
    return story(_tail(log, since), file)


def last_words(log: Path, since: int) -> str:
    """The last line in `log` behind byte `since`, "" without one."""
    lines = _tail(log, since).split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _tail(log: Path, since: int) -> str:
    try:
        with os.fdopen(open_ordinary(log), "rb") as stream:
            end = stream.seek(0, 2)
            stream.seek(max(since, end - LOG_TAIL_BYTES))
            return stream.read(LOG_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def story(text: str, file: str) -> str:
    """`lock.py:12: ValueError: no gain`, from the last traceback in `text`; "" without one."""
    text = _GROUP_MARGIN.sub("", text)
    begins = [match.start() for match in _BEGINS.finditer(text)]
    if not begins:
        return ""
    last = text[begins[-1] :]
    frames = [(match.group(1), int(match.group(2)), match.end()) for match in _FRAME.finditer(last)]
    if not frames:
        return ""
    folder = Path(file).parent
    own = [frame for frame in frames if Path(frame[0]) == Path(file) or Path(frame[0]).is_relative_to(folder)]
    path, line, _ = (own or frames)[-1]
    error = _error_line(last[frames[-1][2] :])
    where = Path(path)
    name = where.relative_to(folder) if where.is_relative_to(folder) else where
    return f"{name}:{line}: {error}" if error else f"{name}:{line}"


def _error_line(text: str) -> str:
    """The line of the exception: the first behind the frames that is not indented."""
    for line in text.splitlines()[1:]:
        if line and not line.startswith((" ", "\t")):
            return line.strip()
    return ""
