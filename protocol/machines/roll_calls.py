"""Both ends of roll calls: the scheduler decides when to call, membership which calls it answers and passes on."""

from __future__ import annotations

from typing import Final

from protocol.errors import Code
from protocol.limits import (
    CLOCK_TOLERANCE_MS,
    ROLL_CALL_FRESH_MS,
    ROLL_CALL_LIFE_MS,
    ROLL_CALL_PAUSE_MS,
    ROLL_CALL_WAIT_MS,
    ROLL_CALLERS_MAX,
    ROLL_CALLS_OF_SENDER_MAX,
)
from protocol.machines.contract import Effects, Now, Publish, Received, Refuse
from protocol.machines.events import RollCallWanted
from protocol.machines.planning import Holders
from protocol.plan.order import VerifiedOrder
from protocol.roll_call import Call, RollCallStatement, sign_roll_call
from protocol.signing import SigningKey

_LIVES_MS: Final = ROLL_CALL_LIFE_MS + 2 * CLOCK_TOLERANCE_MS  # of a call, by clocks that are off both ways


class Gathering:
    """The scheduler's end. Where a node knows all members (`partly` is False) nothing is ever called."""

    def __init__(self, key: SigningKey) -> None:
        self.partly = False
        self.statement = b""  # this node's own key statement
        self._key = key
        self._again_ns = 0
        self._called_ns: dict[tuple[bytes, tuple[bytes, ...]], int] = {}  # limits.ROLL_CALLERS_MAX

    def gather(self, event: Received, verified: VerifiedOrder, holders: Holders, now: Now) -> Effects:
        """Nothing when the holders of this order are known. Else the submitter hears that they are being gathered, and
        submits the same order again a moment later: so the job has no state in which it waits for them.
        """
        project, nodes = verified.artifact.project, verified.order.participants.nodes
        missing = holders.missing(project, nodes)
        if not self.partly or (nodes and not missing):
            return ()
        since_ns = now.boot_ns - self._called_ns.get((project, nodes), -(2**62))
        if ROLL_CALL_WAIT_MS * 1_000_000 <= since_ns < ROLL_CALL_FRESH_MS * 1_000_000:
            return ()
        refusal = Refuse(
            code=Code.HOLDERS_GATHERING,
            sentence="this node knows only some members of the project and is asking all of them for their sources",
            session=event.session,
            reply_to=event.message_id,
            next_step=f"submit the same order again in {ROLL_CALL_WAIT_MS // 1000} s",
        )
        too_soon = now.boot_ns < self._again_ns  # others would not answer a second call of ours
        if since_ns < ROLL_CALL_WAIT_MS * 1_000_000 or too_soon:
            return (refusal,)
        self._called_ns.pop((project, nodes), None)
        if len(self._called_ns) >= ROLL_CALLERS_MAX:
            del self._called_ns[next(iter(self._called_ns))]
        self._called_ns[project, nodes] = now.boot_ns
        self._again_ns = now.after_ms(2 * ROLL_CALL_PAUSE_MS)
        return (self._call(project, missing, now), refusal)

    def _call(self, project: bytes, nodes: tuple[bytes, ...], now: Now) -> Publish:
        said = RollCallStatement(
            version=1, project=project, issued_ms=now.wall_ms, nodes=nodes, statement=self.statement
        )
        return Publish(event=RollCallWanted(project=project, envelope=sign_roll_call(said, self._key)))


class CallsHeard:
    """The newest call of each caller: every call is answered and passed on once, and not too often."""

    def __init__(self) -> None:
        self._heard: dict[bytes, tuple[int, int]] = {}  # limits.ROLL_CALLERS_MAX: caller → its issued_ms, when we heard
        self._brought: dict[bytes, tuple[int, int]] = {}  # limits.PEERS_MAX: sender → since when, how many

    def take(self, call: Call, sender: bytes, now: Now) -> bool:
        """Whether the call is new. One that follows its caller's last too soon is not, nor one of a sender that brings
        too many, nor any while the memory is full of calls that still live: forgotten, they would come round again.
        """
        issued_ms, heard_ns = self._heard.get(call.caller.node, (0, 0))
        if issued_ms and (call.issued_ms <= issued_ms or now.boot_ns - heard_ns < ROLL_CALL_PAUSE_MS * 1_000_000):
            return False
        if not self._has_room(now) or self._brings_too_many(sender, now):
            return False
        self._heard.pop(call.caller.node, None)
        self._heard[call.caller.node] = (call.issued_ms, now.boot_ns)
        return True

    def _has_room(self, now: Now) -> bool:
        while self._heard:
            oldest = next(iter(self._heard))
            if now.boot_ns - self._heard[oldest][1] <= _LIVES_MS * 1_000_000:
                break
            del self._heard[oldest]
        return len(self._heard) < ROLL_CALLERS_MAX

    def _brings_too_many(self, sender: bytes, now: Now) -> bool:
        since_ns, number = self._brought.get(sender, (now.boot_ns, 0))
        if now.boot_ns - since_ns > ROLL_CALL_WAIT_MS * 1_000_000:
            since_ns, number = now.boot_ns, 0
        self._brought[sender] = (since_ns, number + 1)
        return number >= ROLL_CALLS_OF_SENDER_MAX
