"""ZeroMQ alone, as a measure: PUSH connects to PULL over `ipc`, as an edge does."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from flotta_p2p.flame_bench.rows import FOUND

Socket = zmq.Socket[bytes]
END = b""


def pull(folder: str, name: str, depth: int = 1_000) -> Socket:
    socket: Socket = zmq.Context.instance().socket(zmq.PULL)
    socket.set(zmq.RCVHWM, depth)
    socket.bind(f"ipc://{Path(folder)}/{name}")
    return socket


def push(folder: str, name: str, depth: int = 1_000) -> Socket:
    socket: Socket = zmq.Context.instance().socket(zmq.PUSH)
    socket.set(zmq.SNDHWM, depth)
    socket.connect(f"ipc://{Path(folder)}/{name}")
    return socket


def echo(folder: str) -> None:
    """Answer until the end comes."""
    asked, answers = pull(folder, "ask"), push(folder, "answer")
    while data := asked.recv():
        answers.send(data)


def send_all(folder: str, data: bytes, count: int, depth: int) -> None:
    """Returns when all of it was received: ZeroMQ reads the data until then, and an end may lose what is on its way."""
    received, socket = pull(folder, "received"), push(folder, "pour", depth)
    send = socket.send if len(data) <= zmq.COPY_THRESHOLD else partial(socket.send, copy=False)
    for _ in range(count):
        send(data)
    socket.send(END)
    received.recv()


def receive_all(folder: str, socket: Socket) -> float:
    """Messages per second, from the first on. `socket`: bound before the other end connects."""
    socket.recv()
    began, count = time.perf_counter(), 0
    while len(socket.recv(copy=False)):
        count += 1
    per_s = count / (time.perf_counter() - began)
    push(folder, "received").send(b"all")
    return per_s


def tell(**found: Any) -> None:
    """To the executor's log of this flame node."""
    print(FOUND + json.dumps(found), flush=True)
