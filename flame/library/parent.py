"""A flame node never outlives its executor: nobody else would stop its hardware or see its values."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from typing import Final

from flame.control import PARENT_VARIABLE
from flame.limits import PARENT_LOOK_S

_ORPHANED: Final = 71  # exit code of a process whose parent has gone, as of every child of a node
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def adopt_parent_death() -> None:
    """From now on this process dies when the parent that the environment names does; at once if it has already.

    Linux: SIGKILL by the kernel. Elsewhere: a thread looks every `PARENT_LOOK_S`. Without the variable: nothing.
    """
    expected = os.environ.get(PARENT_VARIABLE, "")
    if not expected.isdecimal():
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(int(expected),), name="parent", daemon=True).start()
    if os.getppid() != int(expected):  # it died before we asked
        os._exit(_ORPHANED)


def _watch(expected: int) -> None:
    never = threading.Event()
    while os.getppid() == expected:
        never.wait(PARENT_LOOK_S)
    os._exit(_ORPHANED)
