"""The command line's end of the control socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from actors.adapters.control_socket import find_control_path, same_user
from protocol.errors import Code, DeniedError, UnreachableError
from protocol.wire.control import HEAD, body_length, decode_control, encode_control


class ControlClient:
    """One connection to the node of a work directory. Every call is bounded; errors say what to do."""

    def __init__(self, workdir: Path, *, limit_s: float = 10.0) -> None:
        """Raises UnreachableError(NODE_NOT_RUNNING | BUSY), DeniedError when another user has made the socket."""
        self._limit_s = limit_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(limit_s)
        path = find_control_path(workdir)
        try:
            self._socket.connect(str(path))
        except BlockingIOError as error:
            self._socket.close()
            raise UnreachableError(
                Code.BUSY, f"the node of {workdir} has too many clients at once", next_step="try again in a moment"
            ) from error
        except OSError as error:
            self._socket.close()
            raise UnreachableError(
                Code.NODE_NOT_RUNNING,
                f"no node runs for the work directory {workdir}",
                next_step="start it with `flotta-p2p up`, or name another one with --workdir or -c",
            ) from error
        # The folder of the socket may be one that any user can make while no node runs.
        if not same_user(self._socket, workdir.stat().st_uid if workdir.exists() else os.getuid()):
            self._socket.close()
            raise DeniedError(
                Code.FOLDER_UNUSABLE,
                f"what answers at {path} is run by another user and is not the node of {workdir}",
                next_step="remove that folder, or set XDG_RUNTIME_DIR to a folder of this user and start the node",
            )

    def request(self, message: Any, *, limit_s: float | None = None) -> Any:
        """Sends one request and returns its answer. Raises UnreachableError(TIMED_OUT | NODE_NOT_RUNNING).

        After either the connection is of no more use: an answer that comes late must not be taken for the next one.
        """
        try:
            self._socket.settimeout(limit_s or self._limit_s)
            self._socket.sendall(encode_control(message))
            length, number = body_length(self._exactly(HEAD.size))
            return decode_control(number, self._exactly(length))
        except TimeoutError as error:
            self.close()
            raise UnreachableError(
                Code.TIMED_OUT,
                f"the node did not answer within {limit_s or self._limit_s:g} s",
                next_step="see its log; `flotta-p2p status` tells whether it runs",
            ) from error
        except OSError as error:
            raise _gone() from error

    def close(self) -> None:
        self._socket.close()

    def _exactly(self, count: int) -> bytes:
        read = bytearray()
        while len(read) < count:
            data = self._socket.recv(count - len(read))
            if not data:
                raise _gone()
            read += data
        return bytes(read)


def _gone() -> UnreachableError:
    return UnreachableError(
        Code.NODE_NOT_RUNNING, "the node went away while it was asked", next_step="see its log and start it again"
    )
