"""Which machine takes which message and which news. Read by both shells: the actors of a node and the simulator."""

from __future__ import annotations

from typing import Any, Final

from protocol.machines import events
from protocol.machines.contract import Received
from protocol.machines.health import Observed
from protocol.wire.peers import Acknowledge
from protocol.wire.registry import BY_NUMBER, type_of

# Machines: gate, enrolment, membership, scheduler, worker, catalogue, admission, health, and in client mode the poller.
# Ends of the shells: transport, discovery, gateway, journal, observer, store.
NEWS: Final[dict[type[Any], tuple[str, ...]]] = {
    events.Arrived: ("gate",),
    events.Transmit: ("transport",),
    events.ControlAnswer: ("gateway",),
    events.Counted: ("journal",),
    events.Discovered: ("membership",),
    events.DiscoveryLost: ("membership",),
    events.StatementWanted: ("discovery",),
    events.StatementMissing: ("membership",),
    events.Encountered: ("enrolment",),
    events.DialDoor: ("gate", "transport"),
    events.Introduce: ("gate",),
    events.Unseal: ("transport",),
    events.HangUp: ("gate", "transport"),
    events.PeerProved: ("membership",),
    events.EnrolmentFailed: ("membership", "journal"),
    events.SubmitterProved: ("gate",),
    events.PeerAdmitted: ("gate", "transport", "enrolment", "poller"),
    events.PeerReached: ("worker",),
    events.PeerSeen: ("scheduler", "worker", "catalogue", "journal"),
    events.MembersPartlyKnown: ("scheduler",),
    events.RollCallWanted: ("membership",),
    events.PeerAway: ("journal",),
    events.PeerLeft: ("scheduler", "catalogue", "journal"),
    events.PeersAllowed: ("gate", "transport", "enrolment", "membership", "scheduler", "worker", "catalogue"),
    events.PeerWaiting: ("membership", "journal"),
    events.DoorsOpened: ("transport", "enrolment"),
    events.InvitationProved: ("admission",),
    events.InvitationAnswered: ("enrolment",),
    events.JoinsKept: ("membership",),
    events.ProjectsHeld: (
        "gate",
        "transport",
        "discovery",
        "admission",
        "enrolment",
        "scheduler",
        "worker",
        "catalogue",
        "membership",
        "health",
    ),
    events.SourceInspected: ("catalogue",),
    events.Departed: ("transport",),
    events.ResourceWanted: ("store",),
    events.ResourceFound: ("scheduler", "worker"),  # whichever asked
    events.JobChanged: ("gateway", "journal"),
    events.HealthWanted: ("observer",),
    Observed: ("health",),
    events.HealthChanged: ("scheduler", "journal"),
}


def takers(event: Any) -> tuple[str, ...]:
    """Who gets a published event. A verified message goes to the machine that its type names; an acknowledgement to
    the sender of what is acknowledged.
    """
    if not isinstance(event, Received):
        return NEWS[type(event)]
    message = event.message
    if isinstance(message, Acknowledge):
        entry = BY_NUMBER.get(message.type)
        return (entry.sender,) if entry is not None and entry.durable else ()
    return (type_of(message).receiver,)
