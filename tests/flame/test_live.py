"""Watching values that nobody keeps: the tap of a flame node and its watcher."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import zmq

from flame.edges.live import live_values
from flame.edges.tap import Tap
from flame.values import encode

WAIT_S = 10.0


class Served:
    """A tap, and a thread that serves it as that of a link does."""

    def __init__(self, folder: Path) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.tap = Tap(self.context, f"ipc://{folder}/control", "lock")
        self.watched = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ending.is_set():
            self.tap.socket.poll(5)
            self.tap.serve()
            if self.tap.wanted:
                self.watched.set()
            else:
                self.watched.clear()
        self.tap.close()

    def end(self) -> None:
        self._ending.set()
        self._thread.join()
        self.context.term()


@pytest.fixture
def sockets() -> Iterator[Path]:
    with TemporaryDirectory() as folder:  # a short path
        yield Path(folder)


@pytest.fixture
def served(sockets: Path) -> Iterator[Served]:
    one = Served(sockets)
    yield one
    one.end()


def watching(sockets: Path, output: str, count: int) -> tuple[threading.Thread, list[Any]]:
    seen: list[Any] = []

    def watch() -> None:
        for value in live_values(sockets, "lock", output, lambda: True, WAIT_S):
            seen.append(value)
            if len(seen) == count:
                return

    thread = threading.Thread(target=watch)
    thread.start()
    return thread, seen


def test_a_watcher_gets_every_value_in_order_with_number_and_time(served: Served, sockets: Path) -> None:
    odd = [0.0, math.nan, b"\x00", None, 2**63, [[1.0], [2, 3]], np.array([1.5])]
    thread, seen = watching(sockets, "error", len(odd))
    assert served.watched.wait(WAIT_S)
    for seq, value in enumerate(odd, 1):
        served.tap.offer("error", seq, seq * 10, value)
    thread.join(WAIT_S)
    assert [(one.seq, one.time_ns) for one in seen] == [(seq, seq * 10) for seq in range(1, len(odd) + 1)]
    assert [encode(one.value) for one in seen] == [encode(value) for value in odd]


def test_a_watcher_that_comes_late_gets_the_newest_value_at_once(served: Served, sockets: Path) -> None:
    served.tap.shows(lambda output: (7, 70, encode([0.5])) if output == "error" else (0, 0, None))
    thread, seen = watching(sockets, "error", 1)
    thread.join(WAIT_S)
    assert [(one.seq, one.time_ns, one.value) for one in seen] == [(7, 70, [0.5])]


def test_an_array_in_shared_memory_is_not_shown_late(served: Served, sockets: Path) -> None:
    elsewhere = encode(np.zeros(100_000), lambda content: b"a place")
    served.tap.shows(lambda output: (7, 70, elsewhere))
    assert list(live_values(sockets, "lock", "error", lambda: True, 0.2)) == []


def test_an_output_whose_name_begins_alike_is_another_one(served: Served, sockets: Path) -> None:
    thread, seen = watching(sockets, "err", 1)
    assert served.watched.wait(WAIT_S)
    served.tap.offer("error", 1, 10, "other")
    served.tap.offer("err", 1, 10, "this")
    thread.join(WAIT_S)
    assert [one.value for one in seen] == ["this"]


def test_nothing_is_kept_for_an_output_that_nobody_watches(served: Served, sockets: Path) -> None:
    thread, _ = watching(sockets, "error", 1)
    assert served.watched.wait(WAIT_S)
    served.tap.offer("error", 1, 10, 1)
    thread.join(WAIT_S)
    gone = threading.Event()
    for _ in range(200):
        if not served.tap.wanted:
            break
        gone.wait(0.05)
    assert not served.tap.wanted


def test_watching_ends_with_the_run(sockets: Path) -> None:
    assert list(live_values(sockets, "lock", "error", lambda: False)) == []


def test_a_tap_that_cannot_be_bound_holds_nobody_up(tmp_path: Path) -> None:
    served = Served(tmp_path / "missing" / ("x" * 200))
    served.tap.offer("error", 1, 10, 1.0)
    served.end()
