"""An input that may be written while its flame node runs, as a program sees it."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from flame.control import WriteStamp, Written
from flame.library.inputs import State
from flame.library.stopping import StopFlag, Stopped
from flame.library.writable import WritableInput
from flame.ports import InputPort
from protocol.errors import WorkflowError

PORT = InputPort("target", "state", "float", unit="MHz", limits=(0, 100))
LIMIT_S = 20.0


class Setup:
    def __init__(self) -> None:
        self.stop = StopFlag()
        self.source = WritableInput(PORT, 80.0, WriteStamp(), self.stop)
        self.input: State[Any] = State(PORT)
        self.input.join(self.source, self.stop)

    def write(self, value: object, seq: int) -> None:
        self.source.write(Written("target", value, seq, 1_000 + seq))

    @property
    def is_readable(self) -> bool:
        return bool(select.select((self.source.pollable,), (), (), 0)[0])


@pytest.fixture
def setup() -> Iterator[Setup]:
    made = Setup()
    yield made
    made.source.close()


def test_the_parameter_is_the_first_value(setup: Setup) -> None:
    assert setup.input.updated()
    assert setup.input.get() == 80.0
    assert not setup.input.updated()
    assert setup.input.get() == 80.0  # a state keeps it
    last = setup.input.last()
    assert last is not None and last.seq == 0


def test_a_write_is_an_update_and_the_newest_value(setup: Setup) -> None:
    assert setup.input.get() == 80.0
    setup.write(81.5, 1)
    assert setup.input.updated() and setup.is_readable
    assert setup.input.get() == 81.5
    last = setup.input.last()
    assert last is not None and (last.seq, last.time) == (1, 1_001)
    assert not setup.input.updated() and not setup.is_readable


def test_updated_never_takes_a_value_away(setup: Setup) -> None:
    setup.input.get()
    setup.write(81.5, 1)
    assert setup.input.updated() and setup.input.updated()
    assert setup.input.get() == 81.5


def test_of_several_writes_the_newest_stays(setup: Setup) -> None:
    for seq in (1, 2, 3):
        setup.write(float(seq), seq)
    assert setup.input.get() == 3.0
    assert setup.source.seq == 3


def test_a_message_that_comes_twice_or_late_says_nothing_new(setup: Setup) -> None:
    setup.write(82.0, 2)
    assert setup.input.get() == 82.0
    for value, seq in ((82.0, 2), (81.0, 1)):
        setup.write(value, seq)
        assert not setup.input.updated()
    assert setup.input.get() == 82.0


def test_a_value_that_was_written_before_this_start_keeps_number_and_time() -> None:
    source = WritableInput(PORT, 81.5, WriteStamp(7, 42), StopFlag())
    record = source.newest()
    assert record is not None and (record.value, record.seq, record.time) == (81.5, 7, 42)
    source.write(Written("target", 90.0, 7, 43))
    assert not source.peek()
    source.close()


def test_a_value_arrives_as_the_input_declares_it(setup: Setup) -> None:
    setup.write(90, 1)
    value = setup.input.get()
    assert value == 90.0 and type(value) is float
    setup.write({"$float": "nan"}, 2)
    with pytest.raises(WorkflowError, match="outside of what is allowed"):
        setup.input.get()


def test_who_waits_for_a_change_is_woken_by_a_write(setup: Setup) -> None:
    seen: list[Any] = []
    stopped = threading.Event()

    def program() -> None:
        for record in setup.input:
            seen.append(record.value)
            if len(seen) == 2:
                stopped.set()

    thread = threading.Thread(target=program)
    thread.start()
    while not seen:
        thread.join(0.01)
    setup.write(81.5, 1)
    assert stopped.wait(LIMIT_S)
    setup.stop.set("enough")
    thread.join(LIMIT_S)
    assert not thread.is_alive() and seen == [80.0, 81.5]


def test_a_wait_ends_after_its_time_and_at_the_stop(setup: Setup) -> None:
    setup.input.get()
    assert setup.source.take(0.01) is None
    before = setup.source.is_ended
    setup.stop.set("enough")
    assert (before, setup.source.is_ended) == (False, True)
    with pytest.raises(Stopped):
        setup.source.take(None)


def test_what_is_written_after_the_end_of_the_flame_node_hurts_nobody(setup: Setup) -> None:
    setup.input.get()
    setup.source.close()
    setup.write(81.5, 1)
    with pytest.raises(Stopped):
        setup.source.take(None)
    setup.source.close()
