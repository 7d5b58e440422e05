"""What the rest of a node does with the news of its machines: transport, discovery, store, control socket, log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from protocol.machines import events
from protocol.machines.relaying import asked_to_pass_on
from protocol.wire.relay import sealing_info
from simulations.violation import Violation

if TYPE_CHECKING:
    from simulations.node import Node
    from simulations.world import World


_OUTSIDE: Final = (
    events.PeersAllowed,
    events.ProjectsHeld,
    events.PeerSeen,
    events.PeerAway,
    events.EnrolmentFailed,
)


def publish_outside(world: World, node: Node, taker: str, event: Any) -> None:
    """Raises Violation for news that nobody takes."""
    match event:
        case events.Transmit():
            _transmit(world, node, event)
        case events.Unseal():
            node.deliver("gate", _unsealed(node, event))
        case events.DialDoor():
            world.network.dial(node, event)
        case events.HangUp(session=session):
            world.network.hang_up(node, session)
        case events.PeerAdmitted():
            world.checkers.admitted(node, event)
        case events.StatementWanted(address=address):
            world.network.ask_statement(node, address)
        case events.ResourceWanted(ticket=ticket, digest=digest, taker=taker_of_it):
            node.deliver(taker_of_it, events.ResourceFound(ticket=ticket, data=node.store.resource(digest)))
        case events.ControlAnswer():
            world.answer(node, event)
        case events.Counted(code=code, sentence=sentence):
            world.note(node, "gate", "counted", f"{code}: {sentence}")
        case events.JobChanged(status=status):
            world.job_changed(node, status)
        case _ if isinstance(event, _OUTSIDE):
            pass  # for transport, discovery and the log
        case _:
            raise Violation(f"nobody at {node.name} takes {type(event).__name__} for {taker}")


def _transmit(world: World, node: Node, event: events.Transmit) -> None:
    if event.via:
        asked = asked_to_pass_on(event.node, _sealed(world, node, event))
        world.network.send(node, asked, event.via, b"")
    else:
        world.network.send(node, event.raw, event.node, event.session)


def _sealed(world: World, sender: Node, event: events.Transmit) -> bytes:
    """In place of the seal, which needs chance: who sealed it, for whom. Raises Violation for another's key."""
    receiver = world.by_id[event.node]
    if event.seal_key != receiver.identity.seal_key:
        raise Violation(f"{sender.name} seals for {receiver.name} with a key that is not that node's")
    return sealing_info(sender.own_id, receiver.own_id) + event.raw


def _unsealed(node: Node, event: events.Unseal) -> events.Arrived:
    head = sealing_info(event.sender, node.own_id)
    raw = event.sealed.removeprefix(head) if event.sealed.startswith(head) else b""
    return events.Arrived(raw=raw, node=event.sender, via=event.via)
