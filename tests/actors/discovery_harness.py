"""A real discovery process with a real socket, as its node has it, for tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from actors.children import PARENT_VARIABLE
from actors.discovery import Announce, Command, DiscoveryReady, Event, decode_event, encode_command
from actors.framing import Unframer, to_frame

LIMIT_S: Final = 15.0  # what a condition may take on a busy machine
END_LIMIT_S: Final = 2.0  # a child is gone so long after its node
_E = TypeVar("_E", bound=Event)


class DiscoveryChild:
    """The node's view: commands in, events out."""

    def __init__(self, process: subprocess.Popen[bytes], link: socket.socket) -> None:
        self.process = process
        self.link = link
        self._frames = Unframer()
        self._events: list[Event] = []

    def send(self, command: Command) -> None:
        self.link.sendall(to_frame(encode_command(command)))

    def announce(self, announce: Announce) -> DiscoveryReady:
        self.send(announce)
        return self.wait_for(DiscoveryReady)

    def wait_for(self, kind: type[_E], wanted: Callable[[_E], bool] = lambda _: True) -> _E:
        """Take the first event of that kind that is wanted; those before it stay for later calls."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            for event in self._events:
                if isinstance(event, kind) and wanted(event):
                    self._events.remove(event)
                    return event
            self.link.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.link.recv(65_536)
            except TimeoutError:
                raise AssertionError(f"no {kind.__name__} in {LIMIT_S} s, only {self._events}") from None
            assert data, f"the discovery process ended without {kind.__name__}, after {self._events}"
            self._frames.push(data)
            while (message := self._frames.pop()) is not None:
                self._events.append(decode_event(message))

    def seen(self, kind: type[_E]) -> list[_E]:
        """Events of that kind that came and were not taken."""
        return [event for event in self._events if isinstance(event, kind)]

    def close(self) -> int:
        """Close the node's end, as a node that dies does; the exit code of the process."""
        self.link.close()
        return self.process.wait(END_LIMIT_S)


@contextmanager
def discovery_child(wrap: Callable[[Sequence[str]], list[str]] = list) -> Iterator[DiscoveryChild]:
    """Start a discovery process; `wrap` may put its command line into another one, such as that of a
    namespace."""
    ours, theirs = socket.socketpair()
    environment = {**os.environ, PARENT_VARIABLE: str(os.getpid())}
    argv = wrap([sys.executable, "-m", "actors.discovery_process"])
    with theirs:
        process = subprocess.Popen(argv, env=environment, stdin=theirs.fileno())
    child = DiscoveryChild(process, ours)
    try:
        yield child
    finally:
        ours.close()
        try:
            process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
