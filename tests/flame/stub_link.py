"""A flame node that speaks the control sequence by itself: what a program of a test needs of the node library."""

from __future__ import annotations

import os
import time
from typing import Any

import zmq

from flame.control import (
    BEAT_S,
    ENDPOINT_VARIABLE,
    NODE_VARIABLE,
    Beat,
    Bye,
    Connect,
    FromNode,
    Hello,
    Ready,
    Start,
    Stop,
    StopWanted,
    Wire,
    Wired,
    encode,
    read_from_executor,
)
from flame.ports import InputPort, NodeSchema


class Link:
    """Joins the run when it is made; `wire` is what the executor said. Leave it by `bye`."""

    safe = ""  # the safe program that it declares
    inputs: tuple[InputPort, ...] = ()

    def __init__(self) -> None:
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.ROUTING_ID, os.environ[NODE_VARIABLE].encode())
        self._socket.connect(os.environ[ENDPOINT_VARIABLE])
        self.sent: dict[str, int] = {}
        self.stopped = ""
        self.say(Hello(schema=NodeSchema("Stub", "stub.py", inputs=self.inputs, safe=self.safe), pid=os.getpid()))
        self.wire: Any = self._expect(Wire)
        if not self.stopped:
            self.say(Wired())
            self._expect(Connect)
        if not self.stopped:
            self.say(Ready())
            self._expect(Start)
        self._beaten = time.monotonic()

    def say(self, message: FromNode) -> None:
        self._socket.send(encode(message))

    def active(self, wait_s: float = 0.02) -> bool:
        """Whether the run goes on; beats when it is time."""
        if not self.stopped and self._socket.poll(round(wait_s * 1000)):
            self._read()
        if time.monotonic() - self._beaten > BEAT_S:
            self._beaten = time.monotonic()
            self.say(Beat(sent=self.sent))
        return not self.stopped

    def stop_run(self, reason: str) -> None:
        self.say(StopWanted(reason=reason))

    def bye(self, problem: str = "") -> None:
        self.say(Bye(beat=Beat(sent=self.sent), problem=problem))
        self._socket.close(linger=2_000)
        zmq.Context.instance().term()

    def _expect(self, kind: type) -> Any:
        while True:
            message = self._read()
            if isinstance(message, kind | Stop):
                return message

    def _read(self) -> Any:
        message = read_from_executor(self._socket.recv())
        if isinstance(message, Stop):
            self.stopped = message.reason
        return message
