"""The `Spawner` port: a node's child processes, by way of the launcher or, without one, of a thread.

One thread owns the socket to the launcher and the channels of all children. Callers only queue under a lock.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from actors.adapters.child_stream import ChildStream
from actors.adapters.launcher_link import (
    Exited,
    KillRequest,
    LauncherLink,
    LauncherLostError,
    SpawnRequest,
    Started,
    launcher_socket,
)
from actors.child_service import serve_children
from actors.children import EndReason
from actors.framing import to_frame
from actors.ports import ChildGone, ChildSaid, ChildStarted, LauncherGone, SpawnerEvent
from protocol.errors import Code, LocalProtocolError, UnreachableError
from protocol.limits import (
    CHILD_CHANNEL_CLOSED_MS,
    CHILD_END_MS,
    CHILD_KEY_CHARS_MAX,
    CHILD_OUTBOX_BYTES_MAX,
    CHILDREN_MAX,
    KIB,
)

_log = logging.getLogger(__name__)

_LAST_READS_MAX = 1_024  # of a dead child: beyond any socket buffer; its descendants could write for ever


class _Child:
    """One child. The spawner's lock guards `queued_bytes` and `kill_asked`; its thread owns the stream."""

    def __init__(self, key: str, deaf: bool, stream: ChildStream) -> None:
        self.key = key
        self.deaf = deaf  # it was kept from this node's last run: its stream never opens
        self.stream = stream
        self.queued_bytes = 0
        self.kill_asked = False


def _cost(frame_bytes: int) -> int:
    """What a frame counts against CHILD_OUTBOX_BYTES_MAX: small ones cost their bookkeeping too."""
    return max(frame_bytes, KIB)


class LauncherSpawner:
    """The port `Spawner` over the socket to the launcher.

    `on_event` is called by the spawner's thread and must not wait. The node must stop at `LauncherGone`.
    """

    def __init__(self, launcher: socket.socket, on_event: Callable[[SpawnerEvent], None]) -> None:
        """Takes over `launcher`. UnreachableError when no launcher answers within LAUNCHER_GREETING_MS."""
        try:
            self._link = LauncherLink(launcher)
        except LauncherLostError as lost:
            raise UnreachableError(Code.NODE_UNREACHABLE, f"No launcher: {lost}.") from None
        self._on_event = on_event
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self.kept: Mapping[str, int] = MappingProxyType(self._link.kept)
        self._children = {key: self._child(key, deaf=True) for key in self.kept}  # guarded by the lock
        # Guarded by the lock; per child one spawn, one kill, and sends up to CHILD_OUTBOX_BYTES_MAX.
        self._commands: deque[Callable[[], None]] = deque()
        self._open = True  # guarded by the lock
        # Children that closed their channels, at most CHILDREN_MAX a second, and when they should have ended.
        self._leaving: deque[tuple[float, _Child]] = deque()
        self._stopping = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._take_commands)
        self._selector.register(self._link, self._link.wanted, self._launcher_ready)
        self._thread = threading.Thread(target=self._run, name="spawner", daemon=True)
        self._thread.start()

    @classmethod
    def of_this_process(cls, on_event: Callable[[SpawnerEvent], None]) -> LauncherSpawner:
        """For a node that a launcher started. ConfigError when none did."""
        return cls(launcher_socket(), on_event)

    # --- any thread ------------------------------------------------------------------------------

    def spawn(self, key: str, role: str, *, on_node_death: Literal["kill", "keep"], rss_bytes_max: int) -> None:
        if not 1 <= len(key) <= CHILD_KEY_CHARS_MAX or rss_bytes_max <= 0:
            raise LocalProtocolError(
                f"A child needs a key of 1 to {CHILD_KEY_CHARS_MAX} characters and a memory limit."
            )
        request = SpawnRequest(key, role, on_node_death, rss_bytes_max)
        with self._lock:
            if not self._open:
                raise UnreachableError(Code.NODE_STOPPING, f"Child {key!r} cannot be started: the launcher has gone.")
            if key in self._children or len(self._children) >= CHILDREN_MAX:
                raise LocalProtocolError(f"Child {key!r} has not ended yet, or {CHILDREN_MAX} others have not.")
            self._children[key] = self._child(key)
            self._commands.append(lambda: self._link.ask(request))
        self._wake_up()

    def kill(self, key: str) -> None:
        with self._lock:
            child = self._children.get(key)
            if child is None or child.kill_asked:
                return
            child.kill_asked = True
            self._commands.append(lambda: self._kill(child, EndReason.KILLED))
        self._wake_up()

    def send(self, key: str, message: bytes) -> bool:
        frame = to_frame(message)
        with self._lock:
            child = self._children.get(key)
            if child is None or child.deaf or child.queued_bytes + _cost(len(frame)) > CHILD_OUTBOX_BYTES_MAX:
                return False
            child.queued_bytes += _cost(len(frame))
            self._commands.append(lambda: self._queue(child, frame))
        self._wake_up()
        return True

    def stop(self) -> None:
        """Waits up to CHILD_END_MS for the thread. Children that are not kept are killed by the launcher."""
        self._stopping.set()
        self._wake_up()
        if threading.current_thread() is not self._thread:
            self._thread.join(CHILD_END_MS / 1000)

    def _child(self, key: str, *, deaf: bool = False) -> _Child:
        return _Child(key, deaf, ChildStream(self._selector, lambda mask: self._stream_ready(key, mask)))

    def _wake_up(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake already; closed: nobody is left to wake
            self._wake.send(b"\0")

    # --- the spawner's thread --------------------------------------------------------------------

    def _run(self) -> None:
        reason = "the spawner failed"
        try:
            self._launcher_ready(selectors.EVENT_READ)
            while not self._stopping.is_set():
                self._step()
        except LauncherLostError as lost:
            reason = str(lost)
        except Exception:
            _log.exception("The spawner's thread failed.")
        finally:
            self._close()
        if not self._stopping.is_set():
            self._on_event(LauncherGone(reason=reason))

    def _step(self) -> None:
        wait_s = max(0.0, self._leaving[0][0] - time.monotonic()) if self._leaving else None
        for ready, mask in self._selector.select(wait_s):
            ready.data(mask)
        while self._leaving and self._leaving[0][0] <= time.monotonic():
            _, child = self._leaving.popleft()
            self._kill(child, EndReason.CHANNEL_CLOSED)
        self._selector.modify(self._link, self._link.wanted, self._launcher_ready)

    def _close(self) -> None:
        with self._lock:
            self._open = False
            children = list(self._children.values())
            self._children.clear()
            self._commands.clear()
        for child in children:
            child.stream.close()
        self._selector.close()
        self._link.close()
        self._wake.close()
        self._woken.close()

    def _take_commands(self, mask: int) -> None:
        self._woken.recv(KIB)
        with self._lock:
            commands, self._commands = self._commands, deque()
        for command in commands:
            command()

    def _kill(self, child: _Child, reason: str) -> None:
        if self._children.get(child.key) is child:
            self._link.ask(KillRequest(child.key, reason))

    def _launcher_ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._link.flush()
        if mask & selectors.EVENT_READ:
            for line in self._link.read():
                match line:
                    case Started():
                        self._started(line)
                    case Exited():
                        self._exited(line)
                    case _:
                        raise LauncherLostError("the launcher greeted twice")

    def _started(self, line: Started) -> None:
        child = self._children[line.key]
        channel = self._link.take_channel()
        if channel is None:
            self._kill(child, EndReason.NO_DESCRIPTOR)
            return
        child.stream.open(channel)
        self._on_event(ChildStarted(key=child.key, pid=line.pid))
        self._write(child)

    def _exited(self, line: Exited) -> None:
        child = self._children.get(line.key)
        if child is None:
            return  # of this node's last run: it was being killed when this one began
        for _ in range(_LAST_READS_MAX):
            if not self._read(child):
                break
        child.stream.close()
        with self._lock:
            del self._children[line.key]
        fault = child.stream.fault if line.reason == EndReason.EXITED else None
        self._on_event(ChildGone(key=line.key, code=line.code, signal=line.signal, reason=fault or line.reason))

    def _stream_ready(self, key: str, mask: int) -> None:
        child = self._children.get(key)
        if child is None:
            return  # its end came with the same round of the selector
        if mask & selectors.EVENT_WRITE:
            self._write(child)
        if mask & selectors.EVENT_READ:
            self._read(child)

    def _queue(self, child: _Child, frame: bytes) -> None:
        child.stream.queue(frame, _cost(len(frame)))
        self._write(child)

    def _write(self, child: _Child) -> None:
        done = child.stream.write()
        with self._lock:
            child.queued_bytes -= done

    def _read(self, child: _Child) -> bool:
        """Take in what one read yields. False: nothing more for now, or ever."""
        if not child.stream.is_open():
            return False
        messages = child.stream.read()
        for message in messages or ():
            self._on_event(ChildSaid(key=child.key, message=message))
        if child.stream.fault is not None:
            self._kill(child, child.stream.fault)
        elif not child.stream.is_open():
            self._leaving.append((time.monotonic() + CHILD_CHANNEL_CLOSED_MS / 1000, child))
        return messages is not None


class DirectSpawner(LauncherSpawner):
    """The port `Spawner` for a node without a launcher: a thread of its own process does the launcher's work.

    All children end with `stop` or with this process, those with `on_node_death="keep"` too.
    """

    def __init__(self, roles: Mapping[str, Sequence[str]], on_event: Callable[[SpawnerEvent], None]) -> None:
        """`roles` names the programs that may be started, as in the launcher's plan."""
        ours, theirs = socket.socketpair()
        self._service = threading.Thread(target=serve_children, args=(theirs, roles), name="children", daemon=True)
        self._service.start()
        super().__init__(ours, on_event)

    def stop(self) -> None:
        super().stop()
        self._service.join(CHILD_END_MS / 1000)
