"""Which peers a node keeps in touch with.

Heartbeats between all pairs would grow with the square of the network. So each node chooses at most NEIGHBOURS_MAX of
its peers; it beats for those, and for those that chose it. The others are quiet: known, but not watched. In a network
of NEIGHBOURS_MAX + 1 nodes or fewer everybody is everybody's neighbour.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Final, Literal

from protocol.errors import RemoteProtocolError
from protocol.key_statement import Certified, verify_key_statement
from protocol.limits import (
    AWAY_GREETING_MS_MAX,
    CROWDED_MS,
    GREETINGS_UNANSWERED,
    HEARTBEAT_INTERVAL_MS,
    INTRODUCTIONS_MAX,
    NEIGHBOURS_MAX,
    PEER_AWAY_MS,
    TXT_STATEMENT_BYTES_MAX,
)
from protocol.machines.contract import Now
from protocol.machines.events import Encountered
from protocol.record import Record
from protocol.wire.codec import decode_record
from protocol.wire.peers import SourceOffer

Presence = Literal["admitted", "present", "away", "quiet", "left"]
_LATER: Final[dict[Presence, int]] = {"present": 0, "admitted": 0, "quiet": 1, "away": 2, "left": 3}


class PeerRow(Record, frozen=True):
    """The stored part of a peer."""

    statement: bytes
    projects: tuple[bytes, ...]
    heard_at: str = ""


class Peer:
    """A node that has proved to hold a token of ours. Times are of the boot clock; None: never in this life."""

    def __init__(self, own_id: bytes, certified: Certified, projects: frozenset[bytes], heard_at: str) -> None:
        self.certified = certified
        self.proved = projects
        self.heard_at = heard_at
        self.presence: Presence = "admitted"
        self.heard_ns = 0
        self.settled = False  # whether it has greeted us with all projects that we know to be in common
        self.sources: tuple[SourceOffer, ...] = ()
        # Another order at every node, so that no peer is everybody's choice.
        self.rank = hashlib.sha256(own_id + certified.node).digest()
        self.neighbour = False  # whether one of us chose the other, as of the last beat
        self.typed = False  # whether the operator named it: it may be all that joins two networks
        self._introductions_wanted = 0  # so many may its next answer bring
        self._has_introduced = False
        self.chose_us_ns: int | None = None
        self.crowded_ns: int | None = None
        self._greetings = 0  # unanswered
        self._greet_at_ns = 0

    @property
    def node(self) -> bytes:
        return self.certified.node

    @property
    def addresses(self) -> tuple[str, ...]:
        heard = (self.heard_at,) if self.heard_at else ()
        return tuple(dict.fromkeys((*heard, *self.certified.statement.addresses)))

    def row(self) -> PeerRow:
        return PeerRow(statement=self.certified.data, projects=tuple(sorted(self.proved)), heard_at=self.heard_at)

    def chose_us(self, now: Now) -> bool:
        """Whether it said within PEER_AWAY_MS that it keeps in touch with us."""
        return _within(self.chose_us_ns, PEER_AWAY_MS, now)

    @property
    def is_known(self) -> bool:
        """Whether it was heard in this life and is not away: others need not be sought in its place."""
        return self.presence in ("present", "quiet")

    def silent(self, now: Now) -> bool:
        return not _within(self.heard_ns, PEER_AWAY_MS, now)

    def greeted(self, now: Now, sources: tuple[SourceOffer, ...], *, settled: bool) -> None:
        """It answered, or greeted us by itself."""
        self.presence, self.heard_ns, self._greetings, self._greet_at_ns = "present", now.boot_ns, 0, 0
        self.sources, self.settled = sources, settled

    def seek(self, room: int) -> int:
        """How many introductions to ask it for: as many as there is `room` for. Of one that was typed some are wanted
        the first time in any case: where two networks meet that are full each, they would hang by one thread.
        """
        wanted = INTRODUCTIONS_MAX if self._may_join_networks else min(room, INTRODUCTIONS_MAX)
        self._introductions_wanted = max(wanted, self._introductions_wanted)
        return wanted

    def take(self, room: int) -> int:
        """It has answered: so many introductions are taken."""
        taken = self._introductions_wanted if self._may_join_networks else min(self._introductions_wanted, room)
        self._introductions_wanted, self._has_introduced = 0, True
        return taken

    @property
    def _may_join_networks(self) -> bool:
        return self.typed and not self._has_introduced

    @property
    def unanswered(self) -> bool:
        """Whether it left several greetings in a row without an answer."""
        return self._greetings >= GREETINGS_UNANSWERED

    def due(self, now: Now) -> bool:
        """Whether to greet a peer that does not answer: at every beat, then ever more seldom."""
        if now.boot_ns < self._greet_at_ns or self.presence == "left":  # it greets when it is back
            return False
        self._greetings += 1
        pause_ms = min(AWAY_GREETING_MS_MAX, HEARTBEAT_INTERVAL_MS * 2 ** min(self._greetings // 4, 10))
        self._greet_at_ns = now.after_ms(pause_ms - HEARTBEAT_INTERVAL_MS // 2)  # a beat may come a little early
        return True


def restore_peer(own_id: bytes, value: bytes) -> Peer | None:
    """The peer of a stored row; expiry of its statement does not unmake it. None for one of a version whose statements
    no longer read: it is proved again when met.
    """
    row = decode_record(value, PeerRow, bytes_max=2 * TXT_STATEMENT_BYTES_MAX + 64 * 16)
    try:
        certified = verify_key_statement(row.statement, 0)
    except RemoteProtocolError:
        return None
    return Peer(own_id, certified, frozenset(row.projects), row.heard_at)


def choose(peers: Mapping[bytes, Peer], now: Now) -> frozenset[bytes]:
    """The peers that this node keeps in touch with: within reach before others, the crowded last, first those that the
    operator named, then by rank.
    """

    def preference(peer: Peer) -> tuple[int, bool, bool, bytes]:
        return _LATER[peer.presence], _within(peer.crowded_ns, CROWDED_MS, now), not peer.typed, peer.rank

    return frozenset(peer.node for peer in sorted(peers.values(), key=preference)[:NEIGHBOURS_MAX])


def close(peers: Mapping[bytes, Peer], chosen: frozenset[bytes], now: Now) -> frozenset[bytes]:
    """The neighbours: those that this node chose, and those that chose it."""
    return frozenset(node for node, peer in peers.items() if node in chosen or peer.chose_us(now))


def met_again(peer: Peer) -> Encountered:
    """It may have forgotten us, or one project of ours: its operator had banned us for a while, or its database is
    new. Nobody knocks at a client, which therefore proves itself anew.
    """
    return Encountered(certified=peer.certified, heard_at=peer.heard_at, again=True)


def reached_in(
    peers: Mapping[bytes, Peer], project: bytes, held: frozenset[bytes], now: Now, besides: Collection[bytes]
) -> list[bytes]:
    """The neighbours in a project, but for those `besides`."""
    mine = {node: peer for node, peer in peers.items() if project in peer.proved & held}
    near = close(mine, choose(mine, now), now)
    return [node for node in mine if node in near and node not in besides]


def introductions(
    peers: Mapping[bytes, Peer], asker: Peer, common: frozenset[bytes], number: int, salt: int
) -> tuple[bytes, ...]:
    """Key statements of peers within reach that are in one of the projects `common` to the asker and this node; with
    each salt others. Clients, whom nobody can dial, are left out.
    """
    if number <= 0:
        return ()  # as in most greetings: nobody is looked through for nothing
    seed = asker.node + salt.to_bytes(8)
    known = [
        peer
        for peer in peers.values()
        if peer is not asker and peer.presence == "present" and peer.proved & common and not peer.certified.is_client
    ]
    known.sort(key=lambda peer: hashlib.sha256(seed + peer.node).digest())
    return tuple(peer.certified.data for peer in known[: min(number, INTRODUCTIONS_MAX)])


def _within(at_ns: int | None, ms: int, now: Now) -> bool:
    return at_ns is not None and now.boot_ns - at_ns <= ms * 1_000_000
