"""What the rest of a node does with the news of its machines: transport, discovery, store, control socket, log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocol.machines import events
from simulations.violation import Violation

if TYPE_CHECKING:
    from simulations.node import Node
    from simulations.world import World


def publish_outside(world: World, node: Node, taker: str, event: Any) -> None:
    """Raises Violation for news that nobody takes."""
    match event:
        case events.Transmit(raw=raw, node=to, session=session):
            world.network.send(node, raw, to, session)
        case events.DialDoor():
            world.network.dial(node, event)
        case events.HangUp(session=session):
            world.network.hang_up(node, session)
        case events.PeerAdmitted():
            world.checkers.admitted(node, event)
        case events.StatementWanted(address=address):
            world.network.ask_statement(node, address)
        case events.ResourceWanted(ticket=ticket, digest=digest):
            node.deliver("scheduler", events.ResourceFound(ticket=ticket, data=node.store.resource(digest)))
        case events.ControlAnswer():
            world.answer(node, event)
        case events.Counted(code=code, sentence=sentence):
            world.note(node, "gate", "counted", f"{code}: {sentence}")
        case events.JobChanged(status=status):
            world.job_changed(node, status)
        case events.PeersAllowed():
            pass  # the network is told by the gate alone
        case events.ProjectsHeld() | events.PeerSeen() | events.PeerAway() | events.EnrolmentFailed():
            pass  # for discovery and the log
        case _:
            raise Violation(f"nobody at {node.name} takes {type(event).__name__} for {taker}")
