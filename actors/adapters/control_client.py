"""The command line's end of the control socket."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any, Final

from actors.adapters.control_socket import find_control_path, same_user
from protocol.errors import Code, DeniedError, UnreachableError
from protocol.wire.control import HEAD, body_length, decode_control, encode_control

_ATTEMPTS: Final = 3  # of one request, within its one limit


class ControlClient:
    """A connection to the node of a work directory. Every call is bounded; errors say what to do."""

    def __init__(self, workdir: Path, *, limit_s: float = 10.0) -> None:
        """Raises UnreachableError(NODE_NOT_RUNNING | BUSY), DeniedError when another user has made the socket."""
        self._workdir = workdir
        self._limit_s = limit_s
        self._socket = _connected(workdir, limit_s)

    def request(self, message: Any, *, limit_s: float | None = None) -> Any:
        """Sends one request and returns its answer. Raises UnreachableError(TIMED_OUT | NODE_NOT_RUNNING | BUSY).

        A node with many clients drops the silent ones, perhaps this one between two requests. So a connection that is
        cut is made anew and the request repeated, which every request may be. After TIMED_OUT too the next request has
        a connection of its own: an answer that comes late must not be taken for the next one.
        """
        limit_s = limit_s or self._limit_s
        ends = time.monotonic() + limit_s
        for attempts_left in reversed(range(_ATTEMPTS)):
            try:
                return self._ask(message, ends)
            except TimeoutError as error:
                self.close()
                raise UnreachableError(
                    Code.TIMED_OUT,
                    f"the node did not answer within {limit_s:g} s",
                    next_step="see its log; `flotta-p2p status` tells whether it runs",
                ) from error
            except OSError as error:
                self.close()
                if not attempts_left:
                    raise _busy(self._workdir) from error
                self._connect_again(ends)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        self._socket.close()

    def _connect_again(self, ends: float) -> None:
        try:
            self._socket = _connected(self._workdir, _left(ends))
        except UnreachableError as error:
            raise (_gone() if error.code is Code.NODE_NOT_RUNNING else error) from error

    def _ask(self, message: Any, ends: float) -> Any:
        """Raises TimeoutError, and OSError when the connection is cut."""
        self._socket.settimeout(_left(ends))
        self._socket.sendall(encode_control(message))
        length, number = body_length(self._exactly(HEAD.size, ends))
        return decode_control(number, self._exactly(length, ends))

    def _exactly(self, count: int, ends: float) -> bytes:
        read = bytearray()
        while len(read) < count:
            self._socket.settimeout(_left(ends))
            data = self._socket.recv(count - len(read))
            if not data:
                raise ConnectionResetError("the node has closed the connection")
            read += data
        return bytes(read)


def _left(ends: float) -> float:
    """Seconds until then, and never 0, which would mean not to wait at all."""
    return max(0.001, ends - time.monotonic())


def _connected(workdir: Path, limit_s: float) -> socket.socket:
    path = find_control_path(workdir)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(limit_s)
    try:
        sock.connect(str(path))
    except (BlockingIOError, TimeoutError) as error:
        sock.close()
        raise _busy(workdir) from error
    except OSError as error:
        sock.close()
        raise UnreachableError(
            Code.NODE_NOT_RUNNING,
            f"no node runs for the work directory {workdir}",
            next_step="start it with `flotta-p2p up`, or name another one with --workdir or -c",
        ) from error
    # The folder of the socket may be one that any user can make while no node runs.
    if not same_user(sock, workdir.stat().st_uid if workdir.exists() else os.getuid()):
        sock.close()
        raise DeniedError(
            Code.FOLDER_UNUSABLE,
            f"what answers at {path} is run by another user and is not the node of {workdir}",
            next_step="remove that folder, or set XDG_RUNTIME_DIR to a folder of this user and start the node",
        )
    return sock


def _busy(workdir: Path) -> UnreachableError:
    return UnreachableError(
        Code.BUSY, f"the node of {workdir} has too many clients at once", next_step="try again in a moment"
    )


def _gone() -> UnreachableError:
    return UnreachableError(
        Code.NODE_NOT_RUNNING, "the node went away while it was asked", next_step="see its log and start it again"
    )
