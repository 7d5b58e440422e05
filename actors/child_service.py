"""The launcher's side of the socket between launcher and node: starts, kills and reports the node's children.

Lines of JSON on a stream socket, at most `LAUNCHER_LINE_BYTES_MAX` bytes each. From the node:

    {"do": "spawn", "key": K, "role": R, "on_node_death": "kill" | "keep", "rss_bytes_max": N}
    {"do": "kill", "key": K, "reason": WHY}

To the node, the first one at once:

    {"event": "hello", "kept": {K: PID, …}}                  children that outlived the node's last run
    {"event": "started", "key": K, "pid": PID}               with the child's channel as SCM_RIGHTS
    {"event": "exited", "key": K, "code": …, "signal": …, "reason": WHY}    also for a child that never ran

Standard library only; one thread.
"""

from __future__ import annotations

import json
import selectors
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from actors.children import Children, End, SpawnRefusedError
from protocol.errors import Code, RemoteProtocolError
from protocol.limits import CHILD_KEY_CHARS_MAX, KIB, LAUNCHER_LINE_BYTES_MAX, LAUNCHER_OUTBOX_LINES_MAX

_READ_BYTES = 64 * KIB


class Spawn(NamedTuple):
    key: str
    role: str
    keep: bool
    rss_bytes_max: int


class Kill(NamedTuple):
    key: str
    reason: str


def read_request(line: bytes) -> Spawn | Kill:
    """One line of the node. RemoteProtocolError for anything else."""
    try:
        match json.loads(line):
            case {
                "do": "spawn",
                "key": str(key),
                "role": str(role),
                "on_node_death": "kill" | "keep" as on_node_death,
                "rss_bytes_max": int(rss_bytes_max),
                **rest,
            } if not rest and 1 <= len(key) <= CHILD_KEY_CHARS_MAX and rss_bytes_max > 0:
                return Spawn(key, role, on_node_death == "keep", rss_bytes_max)
            case {"do": "kill", "key": str(key), "reason": str(reason), **rest} if not rest:
                return Kill(key, reason)
    except (ValueError, RecursionError):
        pass
    raise RemoteProtocolError(Code.BODY_MALFORMED, f"a line that is no request: {line[:80]!r}")


class ChildService:
    """Serves one node until it closes its end.

    `closed` is None until then; after it, "" or what the node did wrong. The owner sees to the processes.
    """

    def __init__(self, node: socket.socket, children: Children, selector: selectors.BaseSelector) -> None:
        self.closed: str | None = None
        self._node = node
        self._children = children
        self._selector = selector
        self._inbox = bytearray()
        self._outbox: deque[tuple[bytes, socket.socket | None]] = deque()
        kept = children.kept()
        self._keys = set(kept)  # CHILDREN_MAX: of the children that this node knows
        node.setblocking(False)
        selector.register(node, selectors.EVENT_READ, self._ready)
        self._say({"event": "hello", "kept": kept})

    def report(self, end: End) -> None:
        """Tell the node of a child's end. Of one that its last run has left dying it has never heard: the same key may
        be that of another child by now.
        """
        if end.key in self._keys:
            self._keys.remove(end.key)
            self._tell_end(end)

    def _tell_end(self, end: End) -> None:
        self._say({"event": "exited", "key": end.key, "code": end.code, "signal": end.signal, "reason": end.reason})

    def close(self, why: str) -> None:
        """Let go of the node. The first reason stands."""
        if self.closed is not None:
            return
        self.closed = why
        self._selector.unregister(self._node)
        self._node.close()
        for _, channel in self._outbox:
            if channel is not None:
                channel.close()
        self._outbox.clear()

    def _ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush()
        if mask & selectors.EVENT_READ and self.closed is None:
            self._read()

    def _read(self) -> None:
        try:
            data = self._node.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # it ended without reading all that it was told
        if not data:
            self.close("")
            return
        self._inbox += data
        try:
            self._answer_lines()
        except RemoteProtocolError as error:
            self.close(f"it sent {error.sentence}")

    def _answer_lines(self) -> None:
        while self.closed is None and (end := self._inbox.find(b"\n")) >= 0:
            line = bytes(self._inbox[:end])
            del self._inbox[: end + 1]
            self._answer(read_request(line))
        if len(self._inbox) > LAUNCHER_LINE_BYTES_MAX:
            raise RemoteProtocolError(Code.FRAME_TOO_LARGE, f"a line of more than {LAUNCHER_LINE_BYTES_MAX} bytes")

    def _answer(self, request: Spawn | Kill) -> None:
        if isinstance(request, Kill):
            self._children.kill(request.key, request.reason)
            return
        try:
            pid, channel = self._children.spawn(
                request.key, request.role, keep=request.keep, rss_bytes_max=request.rss_bytes_max
            )
        except SpawnRefusedError as refusal:
            self._tell_end(End(request.key, None, None, str(refusal), request.keep))
        else:
            self._keys.add(request.key)
            self._say({"event": "started", "key": request.key, "pid": pid}, channel)

    def _say(self, event: dict[str, Any], channel: socket.socket | None = None) -> None:
        if self.closed is not None or len(self._outbox) >= LAUNCHER_OUTBOX_LINES_MAX:
            if channel is not None:
                channel.close()
            self.close("it does not read what the launcher says")
            return
        self._outbox.append((json.dumps(event).encode() + b"\n", channel))
        self._flush()

    def _flush(self) -> None:
        while self._outbox:
            line, channel = self._outbox[0]
            try:
                sent = socket.send_fds(self._node, [line], [channel.fileno()] if channel else [])
            except BlockingIOError:
                break
            except OSError:
                # The node has gone: its end of the socket says so to `_read`, after what it had still sent.
                sent = len(line)
            if channel is not None:
                channel.close()
            if sent < len(line):
                self._outbox[0] = (line[sent:], None)
            else:
                self._outbox.popleft()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outbox else 0)
        self._selector.modify(self._node, wanted, self._ready)


def serve_children(node: socket.socket, roles: Mapping[str, Sequence[str]]) -> None:
    """Be the launcher of one node in this thread, until it has closed its end and every child is gone."""
    with selectors.DefaultSelector() as selector:
        children = Children(roles, selector)
        service = ChildService(node, children, selector)
        try:
            while service.closed is None:
                for key, mask in selector.select(children.wait_s()):
                    key.data(mask)
                children.watch_memory()
                for end in children.collect():
                    service.report(end)
        finally:
            children.end_all()
            service.close("")
