"""The leak check: what a test starts, it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pykka

GRACE_S: Final = 3.0  # for threads that were told to end and are about to
# Threads that libraries keep for the life of the process: pytest-timeout's clock, the pool in which asyncio resolves
# names, and threads of native libraries that once called into Python.
LIBRARY_THREADS: Final = ("pytest_timeout", "asyncio_", "Dummy-")


@contextmanager
def nothing_left_behind(grace_s: float = GRACE_S) -> Iterator[None]:
    """Raise AssertionError when threads or actors that were not there before outlive the block."""
    threads = set(threading.enumerate())
    actors = set(pykka.ActorRegistry.get_all())
    yield
    deadline = time.monotonic() + grace_s
    for thread in _threads_since(threads):
        thread.join(max(0.0, deadline - time.monotonic()))
    left_actors = [ref for ref in pykka.ActorRegistry.get_all() if ref not in actors]
    left_threads = [thread.name for thread in _threads_since(threads)]
    for ref in left_actors:
        ref.stop(block=False)  # so that the next test is not blamed
    assert not left_actors, f"actors outlived the test: {[str(ref) for ref in left_actors]}"
    assert not left_threads, f"threads outlived the test: {left_threads}"


def _threads_since(before: set[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before
        and thread is not threading.current_thread()
        and not thread.name.startswith(LIBRARY_THREADS)
    ]
