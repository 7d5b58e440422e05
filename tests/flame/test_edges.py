"""What the two ends of an edge promise, policy by policy: which values arrive, in which order, and the counters."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import zmq

from flame import values
from flame.control import InputCount
from flame.edges import message
from flame.edges.message import Record
from flame.edges.newest import NewestEnd
from flame.edges.receiving import ReceivingEnd
from flame.journal import Journal
from flame.library.stopping import Stopped
from tests.flame.ends import LIMIT_S, crash, ends, eventually, finish, send, taken


def counts(end: ReceivingEnd) -> tuple[int, int, int]:
    count: InputCount = end.count
    return count.received, count.dropped, count.waiting


def test_values_arrive_in_order_with_time_and_number() -> None:
    with ends("block", 10) as edge:
        sink, source = edge.receiving(), edge.sending()
        source.send(1, message.encode_value(1, 1_700_000_000_000_000_000, values.encode(0.5)), 9)
        assert sink.take(LIMIT_S) == Record(0.5, 1_700_000_000_000_000_000, 1)
        assert counts(sink) == (1, 0, 0)


def test_block_lets_exactly_depth_values_wait_and_loses_none() -> None:
    with ends("block", 3) as edge:
        sink, source = edge.receiving(), edge.sending()
        thread = threading.Thread(target=send, args=(source, *range(1, 11)))
        thread.start()
        eventually(lambda: source.blocked)
        assert source.sent == 3  # the sender of the fourth waits
        assert taken(sink, 10) == list(range(1, 11))
        thread.join(LIMIT_S)
        assert not source.blocked and counts(sink) == (10, 0, 0)


def test_a_producer_that_waits_obeys_stop() -> None:
    with ends("block", 1) as edge:
        edge.receiving()
        source = edge.sending()
        send(source, 1)
        edge.stop.set("enough")
        with pytest.raises(Stopped, match="enough"):
            send(source, 2)


def test_a_producer_does_not_wait_for_a_consumer_that_has_ended() -> None:
    with ends("block", 1) as edge:
        sink, source = edge.receiving(), edge.sending()
        thread = threading.Thread(target=send, args=(source, *range(1, 6)))
        thread.start()
        eventually(lambda: source.blocked)
        edge.made.remove(sink)
        sink.close(in_order=True)
        thread.join(LIMIT_S)
        assert not thread.is_alive()


class _SeenSocket:
    """A socket, and the threads that received by it."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.threads: set[str] = set()
        self._socket = socket

    def recv(self, flags: int = 0) -> bytes:
        self.threads.add(threading.current_thread().name)
        return self._socket.recv(flags)

    def close(self, linger: int) -> None:
        self._socket.close(linger)


@pytest.mark.parametrize("wait_s", [None, LIMIT_S])
def test_the_socket_of_a_latest_edge_is_used_by_its_own_thread_alone(wait_s: float | None) -> None:
    with ends("latest", 5) as edge:
        sink, source = edge.receiving(), edge.sending()
        seen = sink._socket = _SeenSocket(sink._socket)  # type: ignore[assignment]
        for number in range(1, 6):
            send(source, number)
            record = sink.take(wait_s)
            assert record is not None and record.value == number
        assert seen.threads == {"newest of v"}


def test_latest_keeps_the_newest_value() -> None:
    with ends("latest", 1) as edge:
        sink, source = edge.receiving(), edge.sending()
        send(source, 1, 2, 3, 4, 5)
        eventually(lambda: (record := sink.newest()) is not None and record.value == 5)
        received, dropped, waiting = counts(sink)
        assert received + dropped == 5 and waiting == 0


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_latest_keeps_exactly_the_newest_n_values(depth: int) -> None:
    with ends("latest", depth) as edge:
        sink, source = edge.receiving(), edge.sending()
        send(source, *range(1, 11))
        finish(source, 10)
        assert counts(sink) == (0, 10 - depth, depth)
        assert isinstance(sink, NewestEnd)
        eventually(lambda: sink._end_message is not None)
        assert taken(sink, depth) == list(range(11 - depth, 11))
        assert counts(sink) == (depth, 10 - depth, 0)
        with pytest.raises(Stopped):
            sink.take(None)


def test_drop_new_keeps_exactly_the_first_n_values_until_they_are_taken() -> None:
    with ends("drop_new", 3) as edge:
        sink, source = edge.receiving(), edge.sending()
        send(source, *range(1, 11))
        assert counts(sink) == (0, 7, 3)
        assert taken(sink, 1) == [1]
        send(source, 11, 12)
        assert counts(sink) == (1, 8, 3)
        assert taken(sink, 3) == [2, 3, 11]
        assert counts(sink) == (4, 8, 0)


def test_spill_never_waits_and_loses_none(tmp_path: Path) -> None:
    with ends("spill", 2, tmp_path) as edge, Journal.open(tmp_path, ["v"]) as journal:
        sink, source = edge.receiving(), edge.sending()
        for number in range(1, 51):
            journal.append({"v": values.encode(number)}, 1)
            send(source, number)
        assert counts(sink) == (0, 0, 50)
        assert taken(sink, 30) == list(range(1, 31))
        for number in range(51, 61):
            journal.append({"v": values.encode(number)}, 1)
            send(source, number)
        assert taken(sink, 30) == list(range(31, 61))
        assert counts(sink) == (60, 0, 0)


def test_what_a_crashed_consumer_was_not_done_with_comes_again_from_the_journal(tmp_path: Path) -> None:
    with ends("block", 100, tmp_path) as edge, Journal.open(tmp_path, ["v"]) as journal:
        sink, source = edge.receiving(), edge.sending()
        for number in range(1, 21):
            journal.append({"v": values.encode(number)}, 1)
            send(source, number)
        assert taken(sink, 8) == list(range(1, 9))
        edge.made.remove(sink)
        crash(sink)
        again = edge.receiving(position=5)
        for number in range(21, 31):
            journal.append({"v": values.encode(number)}, 1)
            send(source, number)
        assert taken(again, 25) == list(range(6, 31))
        assert not again.peek()


def test_what_a_crashed_producer_had_journalled_and_not_sent_arrives(tmp_path: Path) -> None:
    with ends("block", 100, tmp_path) as edge, Journal.open(tmp_path, ["v"]) as journal:
        sink, source = edge.receiving(), edge.sending()
        for number in range(1, 6):
            journal.append({"v": values.encode(number)}, 1)
            if number < 4:
                send(source, number)
        edge.made.remove(source)
        crash(source)
        again = edge.sending()
        again.announce(5)
        assert taken(sink, 5) == [1, 2, 3, 4, 5]
        journal.append({"v": values.encode(6)}, 1)
        send(again, 6)
        assert taken(sink, 1) == [6] and counts(sink) == (6, 0, 0)


def test_numbers_of_an_output_without_journal_go_on_after_a_crash_and_the_lost_are_counted() -> None:
    with ends("block", 100) as edge:
        sink, source = edge.receiving(), edge.sending()
        send(source, 1, 2)
        assert taken(sink, 2) == [1, 2]
        source.announce(3)  # the third was about to be sent
        edge.made.remove(source)
        crash(source)
        again = edge.sending()
        assert again.sent == 3
        send(again, 4)
        assert taken(sink, 1) == [4] and counts(sink) == (3, 1, 0)


def test_a_producer_does_not_wait_for_what_a_crashed_consumer_had_in_its_queue() -> None:
    with ends("block", 2) as edge:
        sink, source = edge.receiving(), edge.sending()
        send(source, 1, 2)
        eventually(sink.peek)
        edge.made.remove(sink)
        crash(sink)
        again = edge.receiving()
        send(source, 3, 4)  # would wait for ever
        source.finish(message.encode(message.END, 4))
        with pytest.raises(Stopped):
            while again.take(None):
                pass
        received, dropped, waiting = counts(again)
        assert received + dropped == 4 and waiting == 0


def test_the_end_of_the_producer_comes_after_its_last_value() -> None:
    with ends("block", 10) as edge:
        sink, source = edge.receiving(), edge.sending()
        send(source, 1, 2)
        finish(source, 2)
        assert taken(sink, 2) == [1, 2]
        with pytest.raises(Stopped, match="source/v has ended"):
            sink.take(None)
        assert sink.is_ended


def test_the_newest_value_arrives_although_the_producer_ended_at_once() -> None:
    with ends("latest", 1) as edge:
        sink, source = edge.receiving(), edge.sending()
        send(source, 1, 2, 3)
        finish(source, 3)
        eventually(lambda: (record := sink.newest()) is not None and record.value == 3)
        with pytest.raises(Stopped):
            sink.take(None)


def test_looking_takes_nothing_away() -> None:
    with ends("block", 10) as edge:
        sink, source = edge.receiving(), edge.sending()
        assert not sink.peek()
        send(source, 1)
        eventually(sink.peek)
        assert sink.peek() and counts(sink) == (0, 0, 1)
        assert taken(sink, 1) == [1]


def test_taking_ends_after_its_limit() -> None:
    with ends("block", 10) as edge:
        sink = edge.receiving()
        assert sink.take(0.01) is None
        edge.stop.set("enough")
        with pytest.raises(Stopped, match="enough"):
            sink.take(None)


def test_messages_of_a_newer_flame_are_passed_over() -> None:
    with ends("block", 10) as edge:
        sink, source = edge.receiving(), edge.sending()
        source.finish(b"\x83\xa1k\xa1z\xa1n\x01\xa1x\xc0")  # an unknown kind
        source.send(1, b"\x84\xa1k\xa1v\xa1n\x01\xa1v\x07\xa1x\xc3", 1)  # an unknown key
        assert taken(sink, 1) == [7]


def test_a_consumer_started_anew_learns_that_its_producer_has_ended() -> None:
    with ends("block", 10) as edge:
        sink, source = edge.receiving(), edge.sending()
        send(source, 1, 2)
        finish(source, 2)
        assert taken(sink, 1) == [1]
        edge.made.remove(sink)
        crash(sink)  # the second value and the end were in its queue
        again = edge.receiving()
        with pytest.raises(Stopped):
            again.take(None)
        assert counts(again) == (0, 1, 0) and again.is_ended


def test_a_large_value_whose_time_was_over_before_it_was_taken_is_counted(tmp_path: Path) -> None:
    with ends("drop_new", 10, tmp_path) as edge, Journal.open(tmp_path, ["v"]) as journal:
        sink, source = edge.receiving(), edge.sending()
        for number in range(1, 4):
            journal.append({"v": values.encode(number)}, 1)
            source.send(number, message.encode(message.IN_JOURNAL, number, 1), 0)
        journal.drop({"v": 2})
        assert taken(sink, 1) == [3]
        assert counts(sink) == (1, 2, 0)


@pytest.mark.parametrize("dropped", [2, 4])
def test_values_of_a_gap_whose_time_was_over_are_counted_and_no_damage(tmp_path: Path, dropped: int) -> None:
    with ends("block", 100, tmp_path) as edge, Journal.open(tmp_path, ["v"]) as journal:
        sink, source = edge.receiving(), edge.sending()
        for number in range(1, 6):
            journal.append({"v": values.encode(number)}, 1)
        send(source, 1)
        assert taken(sink, 1) == [1]
        journal.drop({"v": dropped})
        send(source, 5)
        assert taken(sink, 5 - dropped) == list(range(dropped + 1, 6))
        assert counts(sink) == (6 - dropped, dropped - 1, 0)
