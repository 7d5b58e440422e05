"""What is published reaches machines that take it, and every message has a taker."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from protocol.machines.admission import AdmissionEvent
from protocol.machines.catalogue import CatalogueEvent
from protocol.machines.enrolment import EnrolmentEvent
from protocol.machines.gate import GateEvent
from protocol.machines.health import HealthEvent
from protocol.machines.membership import MembershipEvent
from protocol.machines.poller import PollerEvent
from protocol.machines.scheduler import SchedulerEvent
from protocol.machines.worker import WorkerEvent
from protocol.wire.registry import MESSAGES
from protocol.wiring import NEWS

TAKEN: dict[str, tuple[type[Any], ...]] = {
    "gate": get_args(GateEvent),
    "enrolment": get_args(EnrolmentEvent),
    "membership": get_args(MembershipEvent),
    "poller": get_args(PollerEvent),
    "scheduler": get_args(SchedulerEvent),
    "worker": get_args(WorkerEvent),
    "admission": get_args(AdmissionEvent),
    "catalogue": get_args(CatalogueEvent),
    "health": get_args(HealthEvent),
}
SHELLS = {"transport", "discovery", "gateway", "journal", "observer", "store"}


@pytest.mark.parametrize("event", NEWS, ids=lambda event: event.__name__)
def test_each_machine_that_is_told_of_an_event_takes_it(event: type[Any]) -> None:
    for name in NEWS[event]:
        assert name in SHELLS or event in TAKEN[name]


def test_every_event_that_a_machine_takes_from_another_is_wired_to_it() -> None:
    tasks = {"TaskProduced", "TaskFaulted", "TaskDied", "TaskPiece"}
    own = {"Received", "TimerFired", "Outgoing", "Refuse", "ResourceFound", *tasks}
    for name, events in TAKEN.items():
        for event in events:
            assert event.__name__ in own or name in NEWS[event], f"{name} never hears of {event.__name__}"


def test_every_message_has_a_machine_that_takes_it() -> None:
    receivers = {entry.receiver for entry in MESSAGES}
    assert receivers <= {*TAKEN, "delivery", "submitter"}
