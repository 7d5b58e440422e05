"""The node's side of the socket between launcher and node.

`actors.child_service` is the other side and describes the lines.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections import deque
from typing import Literal

import msgspec

from actors.adapters.descriptors import reserve
from actors.launcher import LAUNCHER_VARIABLE
from protocol.errors import Code, ConfigError
from protocol.limits import KIB, LAUNCHER_GREETING_MS, LAUNCHER_LINE_BYTES_MAX

_READ_BYTES = 64 * KIB
_CHANNELS_PER_READ_MAX = 64  # the kernel hands over those of one line at a time; a line carries one


class LauncherLostError(Exception):
    """The socket to the launcher is of no more use; the text says why."""


class _Line(msgspec.Struct, frozen=True, tag_field="event", forbid_unknown_fields=True):
    pass


class Hello(_Line, frozen=True, tag="hello"):
    """The launcher's first line: process ids, by key, of children that outlived this node's last run."""

    kept: dict[str, int]


class Started(_Line, frozen=True, tag="started"):
    key: str
    pid: int


class Exited(_Line, frozen=True, tag="exited"):
    key: str
    code: int | None
    signal: int | None
    reason: str


class _Request(msgspec.Struct, frozen=True, tag_field="do"):
    pass


class SpawnRequest(_Request, frozen=True, tag="spawn"):
    key: str
    role: str
    on_node_death: Literal["kill", "keep"]
    rss_bytes_max: int


class KillRequest(_Request, frozen=True, tag="kill"):
    key: str
    reason: str


_decoder = msgspec.json.Decoder(Hello | Started | Exited)


def launcher_socket() -> socket.socket:
    """The socket that this process inherited from its launcher. ConfigError when no launcher started it."""
    number = os.environ.get(LAUNCHER_VARIABLE, "")
    try:
        inherited = socket.socket(fileno=int(number))
    except (ValueError, OSError, OverflowError):
        raise ConfigError(
            Code.VARIABLE_UNSET,
            f"{LAUNCHER_VARIABLE} should be the descriptor of the socket to the launcher; it is {number!r}.",
            next_step="start the node by its launcher",
        ) from None
    inherited.set_inheritable(False)
    return inherited


class LauncherLink:
    """Lines and channels over one socket. One thread. Every method may raise LauncherLostError."""

    def __init__(self, launcher: socket.socket) -> None:
        """Takes over `launcher`; waits up to LAUNCHER_GREETING_MS for the launcher's first line."""
        self._socket = launcher
        self._inbox = bytearray()
        self._outbox = bytearray()  # bounded by the callers' number of children: one spawn and two kills each
        # Received; the line of each is still to come or was just read. None: this process had no descriptor for it.
        self._channels: deque[socket.socket | None] = deque()
        launcher.settimeout(LAUNCHER_GREETING_MS / 1000)
        try:
            self.kept = self._greeting()
        except LauncherLostError:
            self.close()
            raise
        launcher.setblocking(False)

    def _greeting(self) -> dict[str, int]:
        while b"\n" not in self._inbox and len(self._inbox) <= LAUNCHER_LINE_BYTES_MAX:
            self._receive()
        greeting, _, rest = self._inbox.partition(b"\n")
        self._inbox = greeting + b"\n"
        lines = self._lines()
        self._inbox = rest  # a kept child may have ended at once: the first `read` tells
        match lines:
            case [Hello(kept=kept)]:
                return kept
            case _:
                raise LauncherLostError("the launcher did not greet")

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wanted(self) -> int:
        """The events of a selector that `read` and `flush` wait for."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outbox else 0)

    def ask(self, request: SpawnRequest | KillRequest) -> None:
        """Send a request, or keep it until `flush`."""
        self._outbox += msgspec.json.encode(request) + b"\n"
        self.flush()

    def flush(self) -> None:
        try:
            while self._outbox:
                del self._outbox[: self._socket.send(self._outbox)]
        except BlockingIOError:
            return
        except OSError as error:
            raise LauncherLostError(f"the launcher cannot be reached ({error.strerror})") from None

    def read(self) -> list[Hello | Started | Exited]:
        """The whole lines that have arrived; the first call also tells what came with the greeting.

        `take_channel` must be called for each `Started`, in order.
        """
        self._receive()
        return self._lines()

    def take_channel(self) -> socket.socket | None:
        """The channel of the next `Started`; non-blocking. None when it was lost, for lack of a descriptor."""
        if not self._channels:
            raise LauncherLostError("the launcher started a child without a channel")
        return self._channels.popleft()

    def close(self) -> None:
        for end in (self._socket, *self._channels):
            if end is not None:
                end.close()

    def _receive(self) -> None:
        try:
            with reserve():
                data, fds, flags, _ = socket.recv_fds(self._socket, _READ_BYTES, _CHANNELS_PER_READ_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            raise LauncherLostError(f"the launcher cannot be reached ({error})") from None
        for fd in fds:
            os.set_inheritable(fd, False)
            channel = socket.socket(fileno=fd)
            channel.setblocking(False)
            self._channels.append(channel)
        if flags & socket.MSG_CTRUNC:  # strangers hold all descriptors, and those of the reserve
            self._channels.append(None)
        if not data:
            raise LauncherLostError("the launcher has gone")
        self._inbox += data

    def _lines(self) -> list[Hello | Started | Exited]:
        *whole, rest = self._inbox.split(b"\n")
        self._inbox = bytearray(rest)
        if len(rest) > LAUNCHER_LINE_BYTES_MAX:
            raise LauncherLostError("the launcher sent a line that is too long")
        try:
            return [_decoder.decode(line) for line in whole]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LauncherLostError(f"the launcher sent what is no event ({error})") from None
