"""Ctrl-C while no command runs yet, or no longer: the process ends at once, with its exit code and without a word.

Loaded before everything else, so it imports next to nothing: until `end_quietly` has run, Ctrl-C is a traceback.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_HAMMERING_S = 1.0  # nobody waits longer before he presses again, as nothing seems to happen
_INTERRUPTED = 130  # exit_codes.INTERRUPTED, whose module is not loaded yet


def end_quietly() -> None:
    """From now on SIGINT ends this process, save where it is ignored, as under nohup. Main thread only."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def raising() -> Iterator[None]:
    """What runs inside cleans up after SIGINT, which raises KeyboardInterrupt as usual in Python; but not again within
    _HAMMERING_S, so that who presses Ctrl-C several times does not interrupt the cleaning up. Main thread only.
    """
    quiet = signal.getsignal(signal.SIGINT) is _end
    if quiet:
        signal.signal(signal.SIGINT, _Raising())
    try:
        yield
    finally:
        if quiet:
            signal.signal(signal.SIGINT, _end)


class _Raising:
    def __init__(self) -> None:
        self._raised_s = -_HAMMERING_S

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if now_s - self._raised_s >= _HAMMERING_S:
            self._raised_s = now_s
            raise KeyboardInterrupt


def end_interrupted(code: object) -> None:
    """Ends this process if `code` says that it was interrupted. Python itself would end it by SIGINT now and then,
    which shells call 130 too, and others do not; and it would wait for threads that nobody stopped.
    """
    if code == _INTERRUPTED:
        os._exit(_INTERRUPTED)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)  # there is nothing to clean up, and an exception could be told or swallowed on its way
