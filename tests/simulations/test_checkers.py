"""The checkers can fail: a fault planted in the machines is noticed, under the name of the rule that it breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from protocol.machines.contract import Effect, Effects, Now, Persist, Received, Send
from protocol.machines.delivery import Courier
from protocol.machines.events import Arrived
from protocol.machines.gate import Gate
from protocol.wire.frame import FrameRules
from protocol.wire.peers import Acknowledge
from simulations.node import Parts
from simulations.options import draw_options
from simulations.trace import Trace
from simulations.violation import Violation
from simulations.world import World

NODES, SEED = 3, 103  # with losses, duplicates and crashes; it holds with the true machines


class HastyCourier(Courier):
    """Acknowledges at once, and commits what it acknowledged with its next turn."""

    _owed: tuple[Effect, ...] = ()

    def turn(self, events: Sequence[Any], now: Now) -> Effects:
        effects = (*self._owed, *super().turn(events, now))
        hasty = any(isinstance(one, Send) and isinstance(one.message, Acknowledge) for one in effects)
        self._owed = tuple(one for one in effects if isinstance(one, Persist)) if hasty else ()
        return tuple(one for one in effects if not isinstance(one, Persist)) if hasty else effects


class ForgetfulCourier(Courier):
    """Does not remember which messages it has applied."""

    def turn(self, events: Sequence[Any], now: Now) -> Effects:
        if any(isinstance(event, Received) for event in events):
            self._inbox.clear()
        return super().turn(events, now)


class WindowlessGate(Gate):
    """Opens frames without a replay window."""

    def _rules(self, link: Any, event: Arrived, now: Now) -> FrameRules:
        return msgspec.structs.replace(super()._rules(link, event, now), window=None)


def run(parts: Parts) -> None:
    World(draw_options(SEED, NODES), Trace(), parts).run()


def test_the_true_machines_break_no_rule_under_this_seed() -> None:
    run(Parts())


def test_an_acknowledgement_before_the_commit_is_noticed() -> None:
    with pytest.raises(Violation, match="acknowledges a message that it has not committed"):
        run(Parts(courier=HastyCourier))


def test_a_message_applied_twice_is_noticed() -> None:
    with pytest.raises(Violation, match=r"applied the message .* twice"):
        run(Parts(courier=ForgetfulCourier))


def test_a_replayed_frame_that_is_accepted_is_noticed() -> None:
    with pytest.raises(Violation, match="accepted the replayed frame"):
        run(Parts(gate=WindowlessGate))
