"""The flame node's side of control: the handshake, then a thread that beats and hears Stop.

The program makes the handshake itself; afterwards the socket belongs to the thread.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
import zmq

from flame import control, values
from flame.control import BEAT_S, Beat, Bye, Connect, Hello, Ready, Start, Stop, StopWanted, Wire, Wired
from flame.edges.tap import Tap
from flame.library.stopping import StopFlag, Stopped
from flame.limits import LINK_LINGER_MS
from flame.ports import NodeSchema

M = TypeVar("M", Wire, Connect, Start)


class NodeLink:
    def __init__(self, endpoint: str, node: str, stop: StopFlag) -> None:
        """`endpoint`: ZeroMQ address of the executor; `node`: name of the flame node, the routing id."""
        self._stop = stop
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.ROUTING_ID, node.encode())
        self._socket.set(zmq.LINGER, LINK_LINGER_MS)
        self._socket.connect(endpoint)
        self.tap: Final = Tap(self._context, endpoint, node)
        self._outbox: deque[control.FromNode] = deque()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.tap.wake_by(self._wake)
        self._beat: Callable[[], Beat] = Beat
        self._is_ending = False
        self._thread: Final = threading.Thread(target=self._run, name=f"link of {node}", daemon=True)

    # --- the handshake, in the program's thread -------------------------------------------------

    def hello(self, schema: NodeSchema) -> Wire:
        """Raises Stopped when the run stops meanwhile, as all of the handshake does."""
        self._send(Hello(schema, os.getpid()))
        return self._expect(Wire)

    def wired(self, notes: tuple[str, ...] = ()) -> None:
        self._send(Wired(notes))
        self._expect(Connect)

    def ready(self, beat: Callable[[], Beat]) -> None:
        """Waits for the start, then begins to beat. `beat` is called from the thread."""
        self._send(Ready())
        self._expect(Start)
        self._beat = beat
        self.tap.tells(lambda: values.encode(msgspec.to_builtins(beat())))
        self._thread.start()

    def _expect(self, kind: type[M]) -> M:
        while True:
            message = self._read(self._socket.recv())
            if isinstance(message, kind):
                return message
            if isinstance(message, Stop):
                raise Stopped(message.reason)

    # --- while it runs, from any thread ---------------------------------------------------------

    def ask_stop(self, reason: str) -> None:
        """Ask for the end of the whole run."""
        self._later(StopWanted(reason))

    def bye(self, beat: Beat, problem: str) -> None:
        """The last message; the link is closed when this returns."""
        if self._thread.is_alive():
            self._outbox.append(Bye(beat, problem))
            self._is_ending = True
            self._wake()
            self._thread.join()
        else:
            self._send(Bye(beat, problem))
            self._close()
        os.close(self._wake_read)  # not by the thread, which may end before it is woken
        os.close(self._wake_write)

    def _later(self, message: control.FromNode) -> None:
        self._outbox.append(message)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it is awake already
            os.write(self._wake_write, b"\0")

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake_read, zmq.POLLIN)
        poller.register(self.tap.socket, zmq.POLLIN)
        next_beat = time.monotonic()
        is_last = False
        while not is_last:
            if self._wake_read in dict(poller.poll(max(0, round((next_beat - time.monotonic()) * 1e3)))):
                os.read(self._wake_read, 4_096)
            is_last = self._is_ending  # read before the outbox: the last message was put there before it was set
            self._send_outbox()
            self.tap.serve()
            self._hear()
            if time.monotonic() >= next_beat and not is_last:
                self._send(self._beat())
                next_beat = time.monotonic() + BEAT_S
        self._close()

    def _send_outbox(self) -> None:
        while self._outbox:
            self._send(self._outbox.popleft())

    def _hear(self) -> None:
        while self._socket.poll(0):
            message = self._read(self._socket.recv())
            if isinstance(message, Stop):
                self._stop.set(message.reason)

    def _send(self, message: control.FromNode) -> None:
        self._socket.send(control.encode(message))

    @staticmethod
    def _read(data: bytes) -> control.FromExecutor | None:
        try:
            return control.read_from_executor(data)
        except (msgspec.DecodeError, ValueError):
            return None  # of a newer executor: unknown kinds are passed over

    def _close(self) -> None:
        self._socket.close()
        self.tap.close()
        self._context.term()
