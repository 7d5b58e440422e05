"""What membership shows of itself: to the operator, to the page, to the simulator's checkers."""

from __future__ import annotations

from collections.abc import Mapping

from protocol.machines.joins import JoinView
from protocol.machines.neighbours import Peer, Presence
from protocol.machines.strangers import StrangerView
from protocol.record import Record
from protocol.wire.peers import SourceOffer


class PeerView(Record, frozen=True):
    node: bytes
    name: str
    addresses: tuple[str, ...]  # empty: a client
    projects: tuple[bytes, ...]
    presence: Presence
    neighbour: bool
    heard_ns: int  # by the boot clock; 0: not since this node started
    sources: tuple[SourceOffer, ...]


class MembershipSnapshot(Record, frozen=True):
    peers: tuple[PeerView, ...]
    strangers: tuple[StrangerView, ...]
    joins: tuple[JoinView, ...]


def peer_views(peers: Mapping[bytes, Peer], held: frozenset[bytes]) -> tuple[PeerView, ...]:
    return tuple(
        PeerView(
            node=node,
            name=peer.certified.statement.name,
            addresses=peer.addresses,
            projects=tuple(sorted(peer.proved & held)),
            presence=peer.presence,
            neighbour=peer.neighbour,
            heard_ns=peer.heard_ns,
            sources=peer.sources,
        )
        for node, peer in sorted(peers.items())
    )
