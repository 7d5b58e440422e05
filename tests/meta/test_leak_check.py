from __future__ import annotations

import threading

import pykka
import pytest

from tests.leaks import nothing_left_behind


def test_a_thread_that_outlives_the_test_is_found() -> None:
    go = threading.Event()
    thread = threading.Thread(target=go.wait, name="straggler", daemon=True)
    with pytest.raises(AssertionError, match="straggler"), nothing_left_behind(grace_s=0.01):
        thread.start()
    go.set()
    thread.join()


def test_an_actor_that_outlives_the_test_is_found_and_stopped() -> None:
    class Straggler(pykka.ThreadingActor):
        use_daemon_thread = True

    with pytest.raises(AssertionError, match="Straggler"), nothing_left_behind(grace_s=0.01):
        ref = Straggler.start()
    assert ref.actor_stopped.wait(5)


def test_a_thread_that_is_ending_gets_its_grace() -> None:
    go = threading.Event()
    with nothing_left_behind():
        threading.Thread(target=go.wait, daemon=True).start()
        go.set()
