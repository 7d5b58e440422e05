"""The launcher's side of the socket to the node: which ends of children a node hears of."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from actors.child_service import ChildService
from actors.children import Children, End, EndReason
from protocol.limits import MIB


@contextmanager
def served() -> Iterator[tuple[ChildService, Children, socket.socket]]:
    """A service, its children, and the node's end of the socket."""
    ours, node = socket.socketpair()
    with node, selectors.DefaultSelector() as selector:
        children = Children({"sleeper": ("/bin/sleep", "60")}, selector)
        service = ChildService(ours, children, selector)
        try:
            yield service, children, node
        finally:
            children.end_all()
            service.close("")


def told(node: socket.socket) -> list[dict[str, Any]]:
    """All that the service has said so far; one read ends where a channel was handed over."""
    node.setblocking(False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            data += node.recv(64_000)
    return [json.loads(line) for line in data.splitlines()]


def test_a_node_does_not_hear_of_the_end_of_a_child_of_its_last_run() -> None:
    with served() as (service, _, node):
        service.report(End("task-1-1", None, 9, EndReason.NODE_GONE, keep=False))
        assert [line["event"] for line in told(node)] == ["hello"]


def test_a_key_that_a_dying_child_still_holds_is_refused_and_its_end_is_not_taken_for_the_new_ones() -> None:
    with served() as (service, children, node):
        children.spawn("task-1-1", "sleeper", keep=False, rss_bytes_max=100 * MIB)  # by the node's last run
        request = {
            "do": "spawn", "key": "task-1-1", "role": "sleeper", "on_node_death": "kill", "rss_bytes_max": 100 * MIB
        }  # fmt: skip
        node.sendall(json.dumps(request).encode() + b"\n")
        service._ready(selectors.EVENT_READ)
        service.report(End("task-1-1", None, 9, EndReason.NODE_GONE, keep=False))
        assert [line.get("reason") for line in told(node)] == [None, EndReason.KEY_TAKEN]


def test_the_end_of_a_child_of_this_node_is_told_once() -> None:
    with served() as (service, _, node):
        request = {"do": "spawn", "key": "a", "role": "sleeper", "on_node_death": "kill", "rss_bytes_max": 100 * MIB}
        node.sendall(json.dumps(request).encode() + b"\n")
        service._ready(selectors.EVENT_READ)
        for _ in range(2):
            service.report(End("a", 0, None, EndReason.EXITED, keep=False))
        assert [line["event"] for line in told(node)] == ["hello", "started", "exited"]
