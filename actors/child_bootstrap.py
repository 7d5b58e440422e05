"""What every program that a node or its launcher starts calls first, before anything heavy is imported:

    adopt_parent_death(parent_pid())
    limit_resources()
    serve(handle)                      # or a Channel, for a child that speaks unasked

A child's channel to the node is its standard input, a stream socket of frames (`actors.framing`). It reads no
key, no configuration and, but for its parent's process id, no environment. The node itself calls
`adopt_parent_death` alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable

from actors.children import PARENT_VARIABLE
from actors.framing import Unframer, to_frame
from protocol.errors import Code, UnreachableError
from protocol.limits import CHILD_ADDRESS_BYTES_MAX, CHILD_FILES_MAX, KIB

_READ_BYTES = 256 * KIB
_ORPHANED = 71  # exit code of a process whose parent has gone
_PARENT_LOOK_S = 0.25  # where the system has no signal for it; a parent's death must be noticed within 2 s
_OOM_SCORE = 500  # of 1,000: the kernel, out of memory, takes a child before the node
# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


def parent_pid() -> int:
    """The parent that this process must not outlive. Ends the process with a sentence if unnamed."""
    text = os.environ.get(PARENT_VARIABLE, "")
    if not text.isdecimal():
        sys.exit(f"This program is started by a node or its launcher, not by hand ({PARENT_VARIABLE} is {text!r}).")
    return int(text)


def adopt_parent_death(expected_parent_pid: int) -> None:
    """From now on this process dies when its parent does, by whatever cause; at once if it has died already.

    Linux: SIGKILL by the kernel when the thread that spawned us ends. Elsewhere: a thread of ours looks four
    times a second.
    """
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch_parent, args=(expected_parent_pid,), name="parent", daemon=True).start()
    if os.getppid() != expected_parent_pid:  # it died before we asked
        os._exit(_ORPHANED)


def _watch_parent(expected_parent_pid: int) -> None:
    never = threading.Event()
    while os.getppid() == expected_parent_pid:
        never.wait(_PARENT_LOOK_S)
    os._exit(_ORPHANED)


def limit_resources(*, file_bytes_max: int | None = None) -> None:
    """Take from this process what a child does not need; nothing of it can be taken back.

    No core dump, `CHILD_FILES_MAX` descriptors, `file_bytes_max` bytes per file written (None: no limit; 0
    also silences a standard error that goes to a file). On Linux also: an address space of
    `CHILD_ADDRESS_BYTES_MAX` (the limit that matters is the launcher's, on resident size), first choice of
    the kernel when memory runs out, no new privileges by exec, memory closed to other processes of this user.
    """
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, CHILD_FILES_MAX)
    if file_bytes_max is not None:
        _lower(resource.RLIMIT_FSIZE, file_bytes_max)
    if sys.platform == "linux":
        _lower(resource.RLIMIT_AS, CHILD_ADDRESS_BYTES_MAX)
        _volunteer_for_oom()
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _prctl(_PR_SET_DUMPABLE, 0)  # last: it takes /proc/self away


def _lower(which: int, limit: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(which, (limit, limit))


def _volunteer_for_oom() -> None:
    # Only a hint to the kernel, and containers may forbid it: the launcher's watch does not rest on it.
    with contextlib.suppress(OSError):
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(fd, str(_OOM_SCORE).encode())
        finally:
            os.close(fd)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {value}): {os.strerror(number)}")


class Channel:
    """Messages to and from the node. One thread may receive while one other sends.

    It takes standard input away from the rest of the program: no stray `input()` reads from the channel.
    """

    def __init__(self) -> None:
        """Once per process. Ends it with a sentence when standard input is no channel."""
        try:
            self._socket = socket.socket(fileno=os.dup(0))
        except OSError:
            sys.exit("This program is started by a node: its standard input is no channel to one.")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._socket.setblocking(True)
        self._unframer = Unframer()

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> bytes | None:
        """The node's next message; waits for it. None: the node has closed the channel or is gone."""
        while (message := self._unframer.pop()) is None:
            try:
                data = self._socket.recv(_READ_BYTES)
            except ConnectionError:
                return None
            if not data:
                return None
            self._unframer.push(data)
        return message

    def send(self, message: bytes) -> None:
        """Waits while the node is slow to read. UnreachableError when it is gone."""
        try:
            self._socket.sendall(to_frame(message))
        except ConnectionError:
            raise UnreachableError(Code.NODE_UNREACHABLE, "The node of this child is gone.") from None


def serve(handle: Callable[[bytes], bytes]) -> None:
    """Answer each message of the node by `handle(message)`, in order, until the node closes the channel."""
    channel = Channel()
    while (message := channel.receive()) is not None:
        try:
            channel.send(handle(message))
        except UnreachableError:
            return
