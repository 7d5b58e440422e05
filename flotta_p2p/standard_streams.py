"""Standard streams that somebody closed: before this process began, or while it writes."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from typing import Final

_NAMES: Final = ("stdin", "stdout", "stderr")
_READER_GONE: Final = 1  # as when a write fails for it


def open_closed() -> None:
    """Whoever starts a program may close its standard streams. What is opened next would take their place, a database
    among them, and be written over by whatever prints; so they lead nowhere instead. Before anything else is opened.
    """
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", errors="replace", closefd=False))


def end_with_reader() -> None:
    """From now on this process ends when nobody reads its standard output any more, as behind `| head -1`: one that
    waits for something to write would not see it. For a command that leaves nothing behind when it ends so.
    """
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # something that a test put in its place
    if stat.S_ISFIFO(os.fstat(output).st_mode):
        threading.Thread(target=_wait_for_its_end, args=(output,), name="reader", daemon=True).start()


def _wait_for_its_end(pipe: int) -> None:
    poll = select.poll()
    poll.register(pipe, 0)  # its end is told all the same
    while not any(seen & select.POLLERR for _, seen in poll.poll()):
        pass
    os._exit(_READER_GONE)


def write_nowhere() -> None:
    """From now on what is written to standard output and standard error is lost, and nothing fails by it: of what still
    waits in their buffers Python would complain at the end.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
