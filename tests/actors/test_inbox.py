from __future__ import annotations

import pykka
import pytest
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from actors.base import Ping
from actors.inbox import Inbox, InboxFullError
from actors.messages import Committed
from protocol.limits import INBOX_FRAME_BYTES_MAX
from protocol.machines.contract import TimerFired
from protocol.machines.events import Arrived, DoorsOpened, PeersAllowed, ProjectsHeld, Transmit, Unseal
from protocol.wire.relay import MAGIC


def full() -> Inbox:
    inbox = Inbox(limit=2)
    assert inbox.offer("first") and inbox.offer("second")
    return inbox


def test_a_full_inbox_refuses_the_newest_and_counts_it() -> None:
    inbox = full()
    assert not inbox.offer("third")
    assert inbox.refused == 1
    assert [inbox.take(0), inbox.take(0), inbox.take(0)] == ["first", "second", None]


def test_frames_are_refused_by_their_bytes_and_room_returns_as_they_are_taken() -> None:
    inbox = Inbox()
    frame = Arrived(raw=bytes(INBOX_FRAME_BYTES_MAX // 4 + 1), node=b"n" * 32)
    assert [inbox.offer(frame) for _ in range(5)] == [True, True, True, False, False]
    assert inbox.offer("of our own")
    assert inbox.take(0) == frame
    assert inbox.offer(frame) and not inbox.offer(frame)
    while inbox.take(0) is not None:
        pass
    assert [inbox.offer(frame) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    "frame",
    [
        Unseal(sealed=bytes(INBOX_FRAME_BYTES_MAX), sender=b"n" * 32, via=b"v" * 32),
        Transmit(raw=MAGIC + bytes(INBOX_FRAME_BYTES_MAX - len(MAGIC)), node=b"n" * 32),
    ],
)
def test_frames_that_are_passed_on_or_unsealed_count_by_their_bytes_too(frame: object) -> None:
    inbox = Inbox()
    assert inbox.offer(frame) and not inbox.offer(frame)
    assert inbox.offer(Transmit(raw=b"a frame of our own", node=b"n" * 32))


@pytest.mark.parametrize(
    "news",
    [PeersAllowed(banned=frozenset([b"n" * 32])), ProjectsHeld(projects=(), statement=b""), DoorsOpened(doors=())],
)
def test_what_the_operator_decides_is_admitted_when_full(news: object) -> None:
    inbox = full()
    assert inbox.offer(news)
    assert [inbox.take(0), inbox.take(0), inbox.take(0)] == ["first", "second", news]


def test_a_refused_tell_of_pykka_neither_raises_nor_waits() -> None:
    inbox = full()
    inbox.put(Envelope("third"))
    assert inbox.refused == 1


def test_a_refused_ask_fails_at_once_with_the_reason() -> None:
    answer: pykka.ThreadingFuture[None] = pykka.ThreadingFuture()
    full().put(Envelope("question", reply_to=answer))
    with pytest.raises(InboxFullError):
        answer.get(timeout=0)


@pytest.mark.parametrize("message", [_ActorStop(), Ping()])
def test_stop_and_supervision_are_admitted_when_full_and_overtake(message: object) -> None:
    inbox = full()
    assert inbox.offer(message)
    assert inbox.take(0) is message


@pytest.mark.parametrize("message", [Committed(ticket=1), TimerFired(name="t")])
def test_what_the_actor_asked_for_is_admitted_when_full_but_does_not_overtake(message: object) -> None:
    inbox = full()
    assert inbox.offer(message)
    assert [inbox.take(0), inbox.take(0), inbox.take(0)] == ["first", "second", message]


def test_a_closed_inbox_takes_nothing_and_answers_askers_at_once() -> None:
    inbox, answer = Inbox(), pykka.ThreadingFuture[None]()
    inbox.close()
    inbox.put(Envelope("question", reply_to=answer))
    assert not inbox.offer("data") and not inbox.offer(Ping()) and inbox.empty()
    with pytest.raises(pykka.ActorDeadError):
        answer.get(timeout=0)
