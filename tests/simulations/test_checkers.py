"""The checkers can fail: a fault planted in the machines is noticed, under the name of the rule that it breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from protocol.machines.contract import Effects, Now, Received
from protocol.machines.delivery import Courier
from simulations.machines import Parts
from simulations.options import draw_options
from simulations.trace import Trace
from simulations.violation import Violation
from simulations.world import World

NODES, SEED = 3, 103  # with losses, duplicates and crashes; it holds with the true machines


class ForgetfulCourier(Courier):
    """Does not remember which messages it has applied."""

    def turn(self, events: Sequence[Any], now: Now) -> Effects:
        if any(isinstance(event, Received) for event in events):
            self._inbox.clear()
        return super().turn(events, now)


def run(parts: Parts) -> None:
    World(draw_options(SEED, NODES), Trace(), parts).run()


def test_the_true_machines_break_no_rule_under_this_seed() -> None:
    run(Parts())


def test_a_message_applied_twice_is_noticed() -> None:
    with pytest.raises(Violation, match=r"applied the message .* twice"):
        run(Parts(courier=ForgetfulCourier))
