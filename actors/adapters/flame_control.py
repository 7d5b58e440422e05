"""The executor's side of its flame nodes: one thread with a ROUTER over `ipc` and all their processes.

The sockets lie in a fresh folder that only this user may enter; `edge` names those of the edges between flame nodes.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
import zmq

from actors.adapters.flame_processes import FlameProcesses, Program
from actors.adapters.runtime_folder import SocketFolder, memory_folder
from actors.children import CAN_WATCH_ENDS
from actors.inbox import Answer
from flame.control import FromExecutor, FromNode, encode, read_from_node
from flame.limits import SHARED_BYTES_MAX
from protocol.limits import FLAME_CONTROL_BYTES_MAX, FLAME_CONTROL_QUEUE_MAX, FLAME_LOOK_MS, KIB

_log = logging.getLogger(__name__)


class NodeSaid(Answer, frozen=True):
    """A flame node sent a message. Who calls itself `node` is not proved: all that can come are of this user."""

    node: str
    message: Any  # flame.control.FromNode


class ProgramEnded(Answer, frozen=True):
    """The process of a flame node is gone, with its group. `fault`: why it could not be started."""

    node: str
    code: int | None = None
    signal: int | None = None
    fault: str = ""


class ControlLost(Answer, frozen=True):
    """The thread has failed, which is our own mistake; every process has been killed."""

    error: Any  # Exception


ControlEvent = NodeSaid | ProgramEnded | ControlLost


class FlameControl:
    """Commands come from any thread and never wait; `on_event` is called by the thread of this object.

    All that a flame node sent before its process ended is told before that end, as far as it has arrived.
    """

    def __init__(self, lock: int, on_event: Callable[[ControlEvent], object]) -> None:
        """`lock`: descriptor of the lock of the run. Raises ConfigError(FOLDER_UNUSABLE)."""
        self._lock = lock
        self._on_event = on_event
        self._folder = SocketFolder()
        self.folder = self._folder.path
        self._memory = memory_folder(SHARED_BYTES_MAX)
        self.memory = None if self._memory is None else self._memory.path  # for payloads of large arrays
        self.endpoint = f"ipc://{self.folder}/control"
        self._commands: deque[Callable[[], None]] = deque()  # bounded by a few for each flame node
        self._stopping = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="flame control", daemon=True)
        self._thread.start()

    # --- any thread ------------------------------------------------------------------------------

    def edge(self, number: int) -> str:
        """The address of an edge; 1, 2, …"""
        return f"ipc://{self._folder.path}/{number}"

    def send(self, node: str, message: FromExecutor) -> None:
        """To whom has said Hello. One that is gone does not get it."""
        self._command(lambda: self._send(node, encode(message)))

    def start(self, node: str, program: Program) -> None:
        """`ProgramEnded` tells when it has ended, or why it was not started."""
        self._command(lambda: self._start(node, program))

    def kill(self, node: str) -> None:
        """SIGKILL to the process group of the flame node; `ProgramEnded` tells the end."""
        self._command(lambda: self._processes.kill(node))

    def stop(self) -> None:
        """End the thread, and every process that still runs; waits for it."""
        self._stopping.set()
        self._wake_up()
        self._thread.join()

    def _command(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        self._wake_up()

    def _wake_up(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake already; closed: nobody is left to wake
            self._wake.send(b"\0")

    # --- its own thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            self._on_event(ControlLost(error=error))
        finally:
            self._wake.close()
            self._woken.close()
            self._folder.close()
            if self._memory is not None:
                self._memory.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as self._selector, zmq.Context() as context:
            self._processes = FlameProcesses(self._selector, self._lock, self.memory)
            self._router = _bound_router(context, self.endpoint)
            try:
                self._selector.register(self._woken, selectors.EVENT_READ)
                self._selector.register(self._router.fileno(), selectors.EVENT_READ)
                while not self._stopping.is_set():
                    self._step()
            finally:
                self._processes.end_all()
                self._router.close()

    def _step(self) -> None:
        """ZeroMQ's descriptor tells of changes once: after anything the socket is read until it is empty."""
        ready = self._selector.select(None if CAN_WATCH_ENDS else FLAME_LOOK_MS / 1000)
        if any(key.fileobj is self._woken for key, _ in ready):
            self._woken.recv(KIB)
        while self._commands:
            self._commands.popleft()()
        self._read()
        ended = self._processes.collect()
        if ended:
            self._read()
        for one in ended:
            self._on_event(ProgramEnded(node=one.node, code=one.code, signal=one.signal))
        self._read()

    def _read(self) -> None:
        while True:
            try:
                parts = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if (said := self._understood(parts)) is not None:
                self._on_event(said)

    def _understood(self, parts: list[bytes]) -> NodeSaid | None:
        try:
            routing_id, data = parts
            message: FromNode = read_from_node(data)
            return NodeSaid(node=routing_id.decode("utf-8"), message=message)
        except (ValueError, msgspec.DecodeError) as error:
            _log.warning("a flame node sent what is no message: %s", error)
            return None

    def _send(self, node: str, data: bytes) -> None:
        try:
            self._router.send_multipart((node.encode("utf-8"), data), zmq.NOBLOCK)
        except zmq.ZMQError as error:  # it is gone, or does not read: its own wait tells
            _log.info("flame node %s took no message: %s", node, error)

    def _start(self, node: str, program: Program) -> None:
        try:
            self._processes.start(node, program)
        except OSError as error:
            self._on_event(ProgramEnded(node=node, fault=f"its process could not be started: {error.strerror}"))


_OPTIONS: Final = (
    (zmq.LINGER, 0),
    (zmq.ROUTER_MANDATORY, 1),  # whom it cannot reach is told, not passed over
    (zmq.ROUTER_HANDOVER, 1),  # a flame node that was started anew has the name of the one before
    (zmq.SNDHWM, FLAME_CONTROL_QUEUE_MAX),
    (zmq.RCVHWM, FLAME_CONTROL_QUEUE_MAX),
    (zmq.MAXMSGSIZE, FLAME_CONTROL_BYTES_MAX),
)


def _bound_router(context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> zmq.Socket[bytes]:
    router = context.socket(zmq.ROUTER)
    for option, value in _OPTIONS:
        router.setsockopt(option, value)
    router.bind(endpoint)
    return router
