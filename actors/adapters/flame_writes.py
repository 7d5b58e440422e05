"""The executor's socket for `flame write`: a Unix stream socket, one request for each connection.

Who writes is what the system says of the other end, never what it says itself. The socket lies in a folder that only
this user may enter; only where the workflow grants something to others, in one that others may pass through, too.
"""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import pwd
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from actors.adapters.runtime_folder import PassableFolder, SocketFolder
from actors.inbox import Answer
from flame.limits import (
    AUTHORS_NAMED_MAX,
    WRITE_BYTES_MAX,
    WRITE_REQUEST_S,
    WRITES_WAITING_EACH_MAX,
    WRITES_WAITING_MAX,
)
from flame.run.write_request import Accepted, Refused, encode, read_request
from flame.run.writes import Author
from protocol.errors import Code, ConfigError
from protocol.limits import KIB

_log = logging.getLogger(__name__)
_READ_BYTES: Final = 64 * KIB
_CREDENTIALS: Final = struct.Struct("iII")  # pid, uid, gid
_UNGRANTED: Final = -1  # the seat of all to whom nothing is granted
_NAME: Final = "write"
_AGAIN_S: Final = 0.1  # until the next connection is taken after one could not be


class WriteAsked(Answer, frozen=True):
    """Somebody asks to write; `FlameWrites.answer(number, …)` ends it. At most limits.WRITES_WAITING_MAX at a time."""

    number: int
    author: Any  # flame.run.writes.Author
    request: Any  # flame.run.writes.WriteRequest


class _Client:
    def __init__(self, number: int, sock: socket.socket, author: Author, seat: int) -> None:
        self.number = number
        self.socket = sock
        self.author = author
        self.seat = seat
        self.until_s = time.monotonic() + WRITE_REQUEST_S
        self.read = bytearray()  # limits.WRITE_BYTES_MAX and what is read at once
        self.has_asked = False


class FlameWrites:
    """Its thread hears connections, and calls `on_asked`. Other methods may be called by any thread."""

    def __init__(
        self, *, for_others: bool, is_known: Callable[[Author], bool], on_asked: Callable[[WriteAsked], object]
    ) -> None:
        """`for_others`: other users may reach it. `is_known`: whether anything is granted to a user at all.

        Raises ConfigError(FOLDER_UNUSABLE).
        """
        self._is_known = is_known
        self._on_asked = on_asked
        self._folder = PassableFolder() if for_others else SocketFolder()
        self.path = self._folder.path / _NAME
        self._clients: dict[int, _Client] = {}  # limits.WRITES_WAITING_MAX
        self._answers: deque[tuple[int, bytes]] = deque()  # one for each client
        self._number = 0
        self._warned = 0
        self._stopping = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        try:
            self._listener = _listen(self.path, 0o666 if for_others else 0o600)
        except OSError as error:
            self._folder.close()
            self._wake.close()
            self._woken.close()
            raise ConfigError(
                Code.FOLDER_UNUSABLE,
                f"the socket for writes cannot be made in {self._folder.path}: {error.strerror or error}",
                next_step="make room there, or set XDG_RUNTIME_DIR to a folder of this user with a short path",
            ) from error
        self._thread = threading.Thread(target=self._run, name="flame writes", daemon=True)
        self._thread.start()

    def answer(self, number: int, message: Accepted | Refused) -> None:
        """What became of a request; its connection then ends."""
        self._answers.append((number, encode(message)))
        self._wake_up()

    def stop(self) -> None:
        """End the thread; who has no answer yet sees its connection end. Waits for it."""
        self._stopping.set()
        self._wake_up()
        self._thread.join()

    def _wake_up(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake already; closed: nobody is left to wake
            self._wake.send(b"\0")

    # --- its own thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with selectors.DefaultSelector() as self._selector:
                self._selector.register(self._listener, selectors.EVENT_READ)
                self._selector.register(self._woken, selectors.EVENT_READ)
                while not self._stopping.is_set():
                    self._step()
                self._send_answers()
        except Exception:  # our own mistake: the run goes on, and nobody writes any more
            _log.exception("nothing can be written to this run any more")
        finally:
            for client in list(self._clients.values()):
                client.socket.close()
            self._listener.close()
            self._wake.close()
            self._woken.close()
            self._folder.close()

    def _step(self) -> None:
        for key, _ in self._selector.select(self._wait_s()):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._woken:
                self._woken.recv(KIB)
            else:
                self._read(key.data)
        self._send_answers()
        for client in [one for one in self._clients.values() if not one.has_asked]:
            if client.until_s <= time.monotonic():
                self._refuse(client, Code.TIMED_OUT, f"no whole request came within {WRITE_REQUEST_S:g} s")

    def _wait_s(self) -> float | None:
        waiting = [client.until_s for client in self._clients.values() if not client.has_asked]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:  # it has gone again; or this process has no descriptor left, and soon has one
            self._warn(f"a connection for writes was not taken: {error.strerror}")
            self._stopping.wait(_AGAIN_S)
            return
        sock.setblocking(False)
        try:
            author = author_at(sock)
        except OSError as error:
            self._warn(f"a connection for writes was not taken: {error.strerror}")
            sock.close()
            return
        self._number += 1
        client = _Client(self._number, sock, author, author.uid if self._is_known(author) else _UNGRANTED)
        seats = sum(other.seat == client.seat for other in self._clients.values())
        self._clients[client.number] = client
        self._selector.register(sock, selectors.EVENT_READ, client)
        if len(self._clients) > WRITES_WAITING_MAX or seats >= WRITES_WAITING_EACH_MAX:
            self._refuse(client, Code.BUSY, "too many writes wait already")

    def _read(self, client: _Client) -> None:
        try:
            data = client.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or client.has_asked:  # gone; or it says more than one request, which is not read
            self._selector.unregister(client.socket)
            if not client.has_asked:
                self._drop(client)
            return
        client.read += data
        line, end, _ = client.read.partition(b"\n")
        if end:
            self._ask(client, bytes(line))
        elif len(client.read) > WRITE_BYTES_MAX:
            self._refuse(client, Code.VALUE_WRONG, f"a request is longer than {WRITE_BYTES_MAX} bytes")

    def _ask(self, client: _Client, line: bytes) -> None:
        try:
            request = read_request(line)
        except ValueError as error:
            self._refuse(client, Code.BODY_MALFORMED, f"the request does not read: {error}")
            return
        client.has_asked = True
        client.read.clear()
        self._on_asked(WriteAsked(number=client.number, author=client.author, request=request))

    def _send_answers(self) -> None:
        while self._answers:
            number, data = self._answers.popleft()
            if (client := self._clients.get(number)) is not None:
                with contextlib.suppress(OSError):  # it did not wait; the socket takes so little at once
                    client.socket.send(data)
                self._drop(client)

    def _refuse(self, client: _Client, code: Code, sentence: str) -> None:
        self._warn(f"a write by {client.author} was refused: {sentence}")
        refused = Refused(code.value, sentence, "use `flame write`, one value after the other")
        with contextlib.suppress(OSError):
            client.socket.send(encode(refused))
        self._drop(client)

    def _warn(self, sentence: str) -> None:
        """The first of them: whoever connects could fill a disk."""
        self._warned += 1
        if self._warned <= AUTHORS_NAMED_MAX:
            _log.warning("%s", sentence)

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.number, None) is not None:
            with contextlib.suppress(KeyError):  # it has hung up before
                self._selector.unregister(client.socket)
            client.socket.close()


def author_at(sock: socket.socket) -> Author:
    """Who opened the other end. Raises OSError where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        raise OSError(0, "this system does not tell who is at the other end of a socket")
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return Author(uid, f"user {uid}")  # has a space, so that nobody is called so
    return Author(uid, user.pw_name, frozenset(_group_names(os.getgrouplist(user.pw_name, user.pw_gid))))


def _group_names(numbers: list[int]) -> list[str]:
    names = []
    for number in numbers:
        with contextlib.suppress(KeyError):
            names.append(grp.getgrgid(number).gr_name)
    return names


def _listen(path: Path, mode: int) -> socket.socket:
    """Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen(WRITES_WAITING_MAX)
    except OSError:
        listener.close()
        raise
    return listener
