"""What membership shows of itself: to the operator, to the page, to the simulator's checkers."""

from __future__ import annotations

from protocol.machines.joins import JoinView
from protocol.machines.neighbours import Presence
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


class StrangerView(Record, frozen=True):
    node: bytes
    name: str
    addresses: tuple[str, ...]


class MembershipSnapshot(Record, frozen=True):
    peers: tuple[PeerView, ...]
    strangers: tuple[StrangerView, ...]
    joins: tuple[JoinView, ...]
