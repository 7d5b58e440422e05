"""One question to one child: an answer or one sentence, and no process is left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from actors.adapters import single_child
from actors.adapters.clock import SystemClock
from actors.adapters.single_child import ask_child
from protocol.errors import Code, DataError
from protocol.limits import MIB
from tests.system.nodes import descendants

pytestmark = pytest.mark.system
SERVE = "from actors.child_bootstrap import *; adopt_parent_death(parent_pid()); serve("


def asked(program: str, *, limit_ms: int = 20_000) -> bytes:
    return ask_child((sys.executable, "-c", program), b"question", limit_ms=limit_ms, clock=SystemClock())


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = descendants(os.getpid())
    yield
    assert descendants(os.getpid()) == before


def test_the_answer_of_the_child_is_returned() -> None:
    assert asked(SERVE + "lambda message: message + b' answered')") == b"question answered"


def test_a_large_answer_is_whole() -> None:
    assert asked(SERVE + f"lambda message: bytes({8 * MIB}))") == bytes(8 * MIB)


def fault_of(program: str, **limits: int) -> Code:
    with pytest.raises(DataError) as caught:
        asked(program, **limits)
    assert caught.value.next_step
    return caught.value.code


def test_a_child_that_ends_without_an_answer_is_told() -> None:
    assert fault_of("import os; os._exit(3)") == Code.TASK_CRASHED
    assert fault_of("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)") == Code.TASK_CRASHED


def test_a_child_that_talks_nonsense_is_told() -> None:
    assert fault_of("import os; os.write(0, b'\\xff' * 64)") == Code.TASK_CRASHED


def test_a_child_that_does_not_end_is_ended() -> None:
    assert fault_of("import time; time.sleep(60)", limit_ms=300) == Code.TASK_OUT_OF_TIME


def test_a_child_that_takes_too_much_memory_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_child, "CHILD_MEMORY_BYTES_MAX", 64 * MIB)
    assert fault_of(f"import time; held = b'x' * {256 * MIB}; time.sleep(60)") == Code.TASK_OUT_OF_MEMORY


def test_a_program_that_does_not_exist_is_told() -> None:
    with pytest.raises(DataError, match="could not be started"):
        ask_child(("/nonexistent/program",), b"question", limit_ms=1_000, clock=SystemClock())
