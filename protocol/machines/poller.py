"""The poller of a client: asks each of its schedulers at the heartbeat for what waits for it.

A scheduler also sends by itself over the connection that the client opened; polling finds out whether that connection
still carries anything, and has repeated at once what was lost while it did not (sleep, another address, a restart).
"""

from __future__ import annotations

import hashlib
from typing import Final, assert_never

from protocol.errors import Code
from protocol.limits import POLL_BACKOFF_MS_MAX
from protocol.machines.contract import Effects, Now, Publish, Received, Refuse, Send, SetTimer, TimerFired, unexpected
from protocol.machines.events import PeerAdmitted, PeerReached
from protocol.record import Record
from protocol.wire.peers import Poll, Polled

# A scheduler, as its client sees it.
TRANSITIONS: Final[dict[str, dict[str, str]]] = {
    "unknown": {"PeerAdmitted": "asked"},
    "asked": {"Polled": "answered", "TimerFired": "silent", "PeerAdmitted": "asked"},
    "answered": {"TimerFired": "asked", "Polled": "answered", "PeerAdmitted": "asked"},
    "silent": {"Polled": "answered", "TimerFired": "silent", "PeerAdmitted": "asked"},
}


class _Scheduler:
    def __init__(self, name: str) -> None:
        self.name = name
        self.state = "unknown"
        self.number = 0  # of the last poll
        self.unanswered = 0
        self.answered_ns = 0


class SchedulerView(Record, frozen=True):
    node: bytes
    name: str
    state: str
    unanswered: int  # polls in a row
    answered_ns: int  # by the boot clock; 0: never in this life


class PollerSnapshot(Record, frozen=True):
    schedulers: tuple[SchedulerView, ...]


PollerEvent = PeerAdmitted | TimerFired | Received


class Poller:
    """Machine of the poller actor, in client mode alone."""

    def __init__(self, own_id: bytes, heartbeat_ms: int) -> None:
        self._own_id = own_id
        self._heartbeat_ms = heartbeat_ms
        self._schedulers: dict[bytes, _Scheduler] = {}  # limits.PEERS_MAX: those that this client dials

    def step(self, event: PollerEvent, now: Now) -> Effects:
        match event:
            case PeerAdmitted():
                return self._admitted(event, now)
            case TimerFired(name=name):
                return self._poll(bytes.fromhex(name.removeprefix("poll:")), now)
            case Received(message=Polled() as polled):
                return self._polled(event.sender, polled, now)
            case Received(message=message):
                raise unexpected(message)
            case _:
                assert_never(event)

    def check(self) -> None:
        assert all(one.state in TRANSITIONS for one in self._schedulers.values())

    def snapshot(self) -> PollerSnapshot:
        return PollerSnapshot(
            schedulers=tuple(
                SchedulerView(
                    node=node,
                    name=one.name,
                    state=one.state,
                    unanswered=one.unanswered,
                    answered_ns=one.answered_ns,
                )
                for node, one in self._schedulers.items()
            )
        )

    def _admitted(self, event: PeerAdmitted, now: Now) -> Effects:
        """A peer that is dialled is a scheduler of this client; it is asked at once, and after every change of it."""
        if not event.addresses:
            return ()
        one = self._schedulers.setdefault(event.node, _Scheduler(event.name))
        one.name, one.unanswered = event.name, 0
        return self._ask(event.node, one, "PeerAdmitted", now)

    def _poll(self, node: bytes, now: Now) -> Effects:
        one = self._schedulers[node]
        one.unanswered += one.state != "answered"
        return self._ask(node, one, "TimerFired", now)

    def _ask(self, node: bytes, one: _Scheduler, event: str, now: Now) -> Effects:
        one.state = TRANSITIONS[one.state][event]
        one.number += 1
        pause_ms = self._pause_ms(node, one)
        return (
            Send(message=Poll(number=one.number), to=node),
            SetTimer(name=f"poll:{node.hex()}", at_ns=now.after_ms(pause_ms)),
        )

    def _pause_ms(self, node: bytes, one: _Scheduler) -> int:
        """The heartbeat, doubled by each poll that is not answered, ±20 % from a hash, so that clients do not poll in
        step.
        """
        longest_ms = max(self._heartbeat_ms, POLL_BACKOFF_MS_MAX)
        plain_ms = min(longest_ms, self._heartbeat_ms << min(one.unanswered, 16))
        spread = hashlib.sha256(self._own_id + node + one.number.to_bytes(8)).digest()[0]
        return plain_ms * (205 + spread * 2 // 5) // 256

    def _polled(self, sender: bytes, polled: Polled, now: Now) -> Effects:
        """An answer to any poll shows that the way is open; only the newest counts, the others are late."""
        one = self._schedulers.get(sender)
        if one is None or not 0 < polled.number <= one.number:
            return (Refuse(code=Code.EVENT_UNEXPECTED, sentence="an answer to a poll that was never sent"),)
        back = one.unanswered > 0
        one.state = TRANSITIONS[one.state]["Polled"]
        one.unanswered, one.answered_ns = 0, now.boot_ns
        if not back:
            return ()
        reached = Publish(event=PeerReached(node=sender))
        return (reached, SetTimer(name=f"poll:{sender.hex()}", at_ns=now.after_ms(self._pause_ms(sender, one))))
