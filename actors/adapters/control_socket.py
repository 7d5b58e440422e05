"""The control socket: AF_UNIX stream under the runtime folder, for the user who runs the node and for root alone.

Its name is a hash of the work directory, since the path of a socket has at most 107 bytes. Here is the
node's end, with one thread; the command line's is `control_client`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import selectors
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from actors.adapters.descriptors import reserve
from actors.adapters.runtime_folder import prepare_runtime_folder, runtime_folder
from protocol.errors import Code, ConfigError, RemoteProtocolError
from protocol.limits import CONTROL_BYTES_MAX, CONTROL_CLIENTS_MAX
from protocol.wire.control import HEAD, body_length, decode_control, encode_control

_log = logging.getLogger(__name__)
_READ_BYTES: Final = 65_536
_NOTE: Final = "control"  # a file of the work directory
_NOTE_CHARS_MAX: Final = 4_096
_CLIENT_BYTES_MAX: Final = HEAD.size + CONTROL_BYTES_MAX + _READ_BYTES  # one frame, and what was read along with it


def control_path(workdir: Path) -> Path:
    """Where a node of this work directory would listen, in this environment."""
    name = hashlib.sha256(str(workdir.resolve()).encode()).hexdigest()[:16]
    return runtime_folder() / f"{name}.sock"


def note_control_path(workdir: Path) -> None:
    """Leaves word in the work directory, since a service and a login shell may have different runtime folders."""
    (workdir / _NOTE).write_text(f"{control_path(workdir)}\n")


def find_control_path(workdir: Path) -> Path:
    """Where the node of this work directory said that it listens."""
    try:
        noted = (workdir / _NOTE).read_text()[:_NOTE_CHARS_MAX].strip()
    except (OSError, UnicodeDecodeError):
        noted = ""
    return Path(noted) if noted else control_path(workdir)


class _Client:
    def __init__(self, sock: socket.socket, number: int) -> None:
        self.socket = sock
        self.number = number
        self.asked = False  # a request waits for its answer; the next one is taken after it
        self.read = bytearray()  # _CLIENT_BYTES_MAX
        self.write = bytearray()  # limits.CONTROL_BYTES_MAX: one answer


class ControlServer:
    """Accepts clients and reads their requests, of each client one at a time, in its own thread.

    There it calls `on_request(number, message)`; `on_gone(number)` when that client has left; `on_fault(error)` when
    the thread ends without having been asked to. `answer` may be called from any thread. A client that breaks the
    rules is dropped.
    """

    def __init__(
        self,
        path: Path,
        on_request: Callable[[int, Any], None],
        on_gone: Callable[[int], None],
        on_fault: Callable[[Exception], None],
    ) -> None:
        """Raises ConfigError(FOLDER_UNUSABLE)."""
        self._listener = _listen(path)
        self._on_request = on_request
        self._on_gone = on_gone
        self._on_fault = on_fault
        self._path = path
        self._clients: dict[int, _Client] = {}  # limits.CONTROL_CLIENTS_MAX; who asked or was answered last stands last
        self._answers: deque[tuple[int, bytes]] = deque()  # one for each client
        self._next = 0
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._stopping = False
        for sock in (self._listener, self._wake_out):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def answer(self, number: int, message: Any) -> None:
        """Queues the answer of client `number`; nothing happens when it has gone.

        Raises RemoteProtocolError(FRAME_TOO_LARGE).
        """
        self._answers.append((number, encode_control(message)))
        self._wake()

    def close(self) -> None:
        """Waits for at most two seconds."""
        self._stopping = True
        self._wake()
        self._thread.join(timeout=2)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_in.send(b"\0")

    def _run(self) -> None:
        try:
            while not self._stopping:
                for key, mask in self._selector.select(1.0):
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj is self._wake_out:
                        self._wake_out.recv(4096)
                    else:
                        self._serve(key.data, mask)
                self._take_answers()
        except Exception as error:  # the outermost frame of this thread
            self._on_fault(error)
        finally:
            for client in list(self._clients.values()):
                self._drop(client)
            for sock in (self._listener, self._wake_in, self._wake_out):
                sock.close()
            self._selector.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            with reserve():
                sock, _ = self._listener.accept()
            if not same_user(sock) or not self._make_room():
                sock.close()
                return
            sock.setblocking(False)
            self._next += 1
            client = self._clients[self._next] = _Client(sock, self._next)
            self._selector.register(sock, selectors.EVENT_READ, client)

    def _make_room(self) -> bool:
        """The client that has been silent for longest gives way; one that waits for its answer, or whose request is on
        its way, does not.
        """
        if len(self._clients) < CONTROL_CLIENTS_MAX:
            return True
        idle = next((client for client in self._clients.values() if not client.asked and _is_silent(client)), None)
        if idle is not None:
            self._drop(idle)
        return idle is not None

    def _serve(self, client: _Client, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                self._flush(client)
            if mask & selectors.EVENT_READ:
                data = client.socket.recv(_READ_BYTES)
                if not data:
                    self._drop(client)
                    return
                client.read += data
                self._next_request(client)
        except BlockingIOError:
            pass
        except (OSError, RemoteProtocolError) as error:
            _log.info("control client dropped: %s", error)
            self._drop(client)

    def _next_request(self, client: _Client) -> None:
        """Hands on one whole request, unless the one before it still waits for its answer."""
        if len(client.read) > _CLIENT_BYTES_MAX:
            raise RemoteProtocolError(Code.FRAME_TOO_LARGE, "it asks on and on before it has its answer")
        if client.asked or len(client.read) < HEAD.size:
            return
        length, number = body_length(bytes(client.read[: HEAD.size]))
        if len(client.read) < HEAD.size + length:
            return
        body = bytes(client.read[HEAD.size : HEAD.size + length])
        del client.read[: HEAD.size + length]
        message = decode_control(number, body)
        client.asked = True
        self._clients[client.number] = self._clients.pop(client.number)
        self._on_request(client.number, message)

    def _take_answers(self) -> None:
        while self._answers:
            number, frame = self._answers.popleft()
            client = self._clients.get(number)
            if client is None:
                continue
            client.write += frame
            try:
                self._flush(client)
            except (OSError, RemoteProtocolError) as error:
                _log.info("control client dropped: %s", error)
                self._drop(client)

    def _flush(self, client: _Client) -> None:
        """Writes what the client takes. Its next request is looked at once it has the whole answer."""
        while client.write:
            try:
                sent = client.socket.send(client.write)
            except BlockingIOError:
                break
            del client.write[:sent]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.write else 0)
        self._selector.modify(client.socket, wanted, client)
        if client.asked and not client.write:
            client.asked = False
            self._clients[client.number] = self._clients.pop(client.number)  # nor is it the longest silent one now
            self._next_request(client)

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.number, None) is not None:
            self._selector.unregister(client.socket)
            client.socket.close()
            self._on_gone(client.number)


def _listen(path: Path) -> socket.socket:
    """A listening socket that only this user can reach. The work directory's lock is held: an old file is stale."""
    try:
        prepare_runtime_folder(path.parent)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            listener.listen(CONTROL_CLIENTS_MAX)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(
            Code.FOLDER_UNUSABLE,
            f"the control socket {path} cannot be made: {error.strerror or error}",
            next_step="set XDG_RUNTIME_DIR to a folder of this user with a short path",
        ) from error
    return listener


def same_user(sock: socket.socket, *others: int) -> bool:
    """Whether root, this user or one of `others` is at the other end.

    Peer credentials on Linux; elsewhere the folder's mode alone keeps others out.
    """
    if not sys.platform.startswith("linux"):
        return True
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return uid in (0, os.getuid(), *others)


def _is_silent(client: _Client) -> bool:
    """Whether nothing of a request waits to be read. One that has hung up is silent too."""
    try:
        return not client.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:  # there is nothing, or it is broken
        return True
