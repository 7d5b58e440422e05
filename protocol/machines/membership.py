"""Membership: who is a peer, who is within reach, who is only a stranger, and what each peer offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, assert_never

from protocol import kinds
from protocol.errors import Code, RemoteProtocolError
from protocol.key_statement import Certified, verify_key_statement
from protocol.limits import (
    ENROL_RETRY_MS_MAX,
    ENROL_RETRY_MS_MIN,
    HEARTBEAT_INTERVAL_MS,
    PEER_AWAY_MS,
    PEERS_MAX,
    SOURCES_MAX,
    STRANGERS_MAX,
    TXT_STATEMENT_BYTES_MAX,
)
from protocol.machines.contract import (
    Effects,
    Now,
    Persist,
    Publish,
    Put,
    Received,
    Refuse,
    Send,
    SetTimer,
    TimerFired,
    unexpected,
)
from protocol.machines.events import (
    Discovered,
    DiscoveryLost,
    Encountered,
    EnrolmentFailed,
    PeerAdmitted,
    PeerAway,
    PeerProved,
    PeerSeen,
    ProjectsHeld,
    StatementMissing,
    StatementWanted,
)
from protocol.names import is_name
from protocol.record import Record
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.peers import Greeting, Heartbeat, SourceOffer

Presence = Literal["admitted", "present", "away"]

# What another node is to us. A stranger is listed and gets nothing.
TRANSITIONS: Final[dict[str, dict[str, str]]] = {
    "unknown": {"Discovered": "stranger", "PeerProved": "admitted"},
    "stranger": {"Discovered": "stranger", "DiscoveryLost": "unknown", "PeerProved": "admitted"},
    "admitted": {
        "Greeting": "present",
        "Heartbeat": "admitted",  # it is greeted first: nobody knows yet what it offers
        "PeerProved": "admitted",
        "Discovered": "admitted",
    },
    "present": {
        "Greeting": "present",
        "Heartbeat": "present",
        "TimerFired": "away",
        "PeerProved": "present",
        "Discovered": "present",
    },
    "away": {"Greeting": "present", "Heartbeat": "away", "PeerProved": "away", "Discovered": "away"},
}


class PeerRow(Record, frozen=True):
    """The stored part of a peer."""

    statement: bytes
    projects: tuple[bytes, ...]
    heard_at: str = ""


class _Peer:
    def __init__(self, certified: Certified, projects: frozenset[bytes], heard_at: str) -> None:
        self.certified = certified
        self.proved = projects
        self.heard_at = heard_at
        self.presence: Presence = "admitted"
        self.heard_ns = 0
        self.settled = False  # whether it has greeted us with all projects that we know to be in common
        self.sources: tuple[SourceOffer, ...] = ()

    def row(self) -> PeerRow:
        return PeerRow(statement=self.certified.data, projects=tuple(sorted(self.proved)), heard_at=self.heard_at)


class _Join:
    """A typed address that we want to join through."""

    def __init__(self) -> None:
        self.state: Literal["asking", "knocking", "joined"] = "asking"
        self.attempts = 0
        self.problem = ""


class PeerView(Record, frozen=True):
    node: bytes
    name: str
    addresses: tuple[str, ...]
    projects: tuple[bytes, ...]
    presence: Presence
    heard_ns: int  # by the boot clock; 0: not since this node started
    sources: tuple[SourceOffer, ...]


class StrangerView(Record, frozen=True):
    node: bytes
    name: str
    addresses: tuple[str, ...]


class JoinView(Record, frozen=True):
    address: str
    state: str
    attempts: int
    problem: str


class MembershipSnapshot(Record, frozen=True):
    peers: tuple[PeerView, ...]
    strangers: tuple[StrangerView, ...]
    joins: tuple[JoinView, ...]


# All that this machine takes.
MembershipEvent = (
    Received | TimerFired | Discovered | DiscoveryLost | PeerProved | ProjectsHeld | StatementMissing | EnrolmentFailed
)


class Membership:
    """Machine of the membership actor."""

    def __init__(
        self,
        own_id: bytes,
        name: str,
        sources: Mapping[str, frozenset[bytes]],
        joins: tuple[str, ...],
        rows: Mapping[str, list[tuple[bytes, bytes]]],
    ) -> None:
        """`sources`: this node's own, each with the projects that may reach it. `joins`: typed addresses."""
        assert len(sources) <= SOURCES_MAX
        self._own_id = own_id
        self._name = name
        self._sources = dict(sources)  # limits.SOURCES_MAX
        self._statement = b""
        self._held: frozenset[bytes] = frozenset()
        self._peers: dict[bytes, _Peer] = {}  # limits.PEERS_MAX
        self._strangers: dict[bytes, Certified] = {}  # limits.STRANGERS_MAX
        self._joins = {address: _Join() for address in joins}  # bounded by the operator, who typed them
        self._rows = list(rows.get(kinds.PEER, []))  # limits.PEERS_MAX, until the tokens are known

    def begin(self, now: Now) -> Effects:
        return (SetTimer(name="beat", at_ns=now.after_ms(HEARTBEAT_INTERVAL_MS)),)

    def step(self, event: MembershipEvent, now: Now) -> Effects:
        match event:
            case Received(message=Greeting() as greeting):
                return self._greeted(event, greeting, now)
            case Received(message=Heartbeat()):
                return self._heard(event.sender, now)
            case TimerFired(name="beat"):
                return self._beat(now)
            case TimerFired(name=name):
                return (Publish(event=StatementWanted(address=name.removeprefix("join:"))),)
            case Discovered():
                return self._discovered(event, now)
            case DiscoveryLost(node=node):
                self._strangers.pop(node, None)
                return ()
            case PeerProved():
                return self._proved(event, now)
            case ProjectsHeld():
                return self._hold(event, now)
            case StatementMissing(address=address, sentence=sentence):
                return self._retry(address, sentence, now)
            case EnrolmentFailed(address=address, sentence=sentence):
                return self._retry(address, sentence, now)
            case Received(message=message):
                raise unexpected(message)
            case _:
                assert_never(event)

    def check(self) -> None:
        assert len(self._peers) <= PEERS_MAX
        assert len(self._strangers) <= STRANGERS_MAX
        assert self._own_id not in self._peers

    def snapshot(self) -> MembershipSnapshot:
        return MembershipSnapshot(
            peers=tuple(
                PeerView(
                    node=node,
                    name=peer.certified.statement.name,
                    addresses=self._addresses(peer),
                    projects=tuple(sorted(peer.proved & self._held)),
                    presence=peer.presence,
                    heard_ns=peer.heard_ns,
                    sources=peer.sources,
                )
                for node, peer in sorted(self._peers.items())
            ),
            strangers=tuple(
                StrangerView(node=node, name=one.statement.name, addresses=one.statement.addresses)
                for node, one in sorted(self._strangers.items())
            ),
            joins=tuple(
                JoinView(address=address, state=join.state, attempts=join.attempts, problem=join.problem)
                for address, join in self._joins.items()
            ),
        )

    # --- projects and peers -----------------------------------------------------------------------

    def _hold(self, event: ProjectsHeld, now: Now) -> Effects:
        """The tokens are known (again): peers from the store are taken up, and everybody hears what is offered now."""
        self._held = frozenset(project.project_id for project in event.projects)
        self._statement = event.statement
        for node, value in self._rows:
            row = decode_record(value, PeerRow, bytes_max=2 * TXT_STATEMENT_BYTES_MAX + 64 * 16)
            try:
                certified = verify_key_statement(row.statement, 0)  # expiry does not unmake a peer
            except RemoteProtocolError:
                continue  # written by a version whose statements no longer read: it is proved again when met
            self._peers[node] = _Peer(certified, frozenset(row.projects), row.heard_at)
        self._rows = []
        effects: list[Publish | Send] = [
            Publish(event=StatementWanted(address=address))
            for address, join in self._joins.items()
            if join.state == "asking"
        ]
        for node in self._peers:
            effects += self._admit(node)
        return tuple(effects)

    def _admit(self, node: bytes) -> list[Publish | Send]:
        """Tells the others about a peer, and greets it, as long as a project is in common."""
        peer = self._peers[node]
        common = peer.proved & self._held
        if not common:
            return []
        admitted = PeerAdmitted(
            node=node,
            node_key=peer.certified.node_key,
            curve_key=peer.certified.statement.curve_key,
            addresses=self._addresses(peer),
            projects=tuple(sorted(common)),
            name=peer.certified.statement.name,
        )
        peer.settled = False
        return [Publish(event=admitted), self._greeting(node, answer_wanted=True)]

    def _addresses(self, peer: _Peer) -> tuple[str, ...]:
        heard = (peer.heard_at,) if peer.heard_at else ()
        return tuple(dict.fromkeys((*heard, *peer.certified.statement.addresses)))

    def _greeting(self, node: bytes, *, answer_wanted: bool) -> Send:
        common = self._peers[node].proved & self._held
        offers = tuple(
            SourceOffer(name=name, project=project)
            for name, projects in sorted(self._sources.items())
            for project in sorted(projects & common)
        )
        greeting = Greeting(
            statement=self._statement,
            name=self._name,
            projects=tuple(sorted(common)),
            sources=offers,
            answer_wanted=answer_wanted,
        )
        return Send(message=greeting, to=node)

    def _proved(self, event: PeerProved, now: Now) -> Effects:
        certified = event.certified
        node = certified.node
        peer = self._peers.get(node)
        if peer is None:
            if len(self._peers) >= PEERS_MAX:
                return (Refuse(code=Code.BUSY, sentence=f"this node has {PEERS_MAX} peers and takes no more"),)
            peer = self._peers[node] = _Peer(certified, frozenset(), event.heard_at)
        self._strangers.pop(node, None)
        peer.proved |= {event.project}
        peer.heard_at = event.heard_at or peer.heard_at
        if certified.statement.sequence >= peer.certified.statement.sequence:
            peer.certified = certified
        for address, join in self._joins.items():
            if address == event.heard_at or address in certified.statement.addresses:
                join.state, join.problem = "joined", ""
        return (self._stored(node), *self._admit(node))

    def _stored(self, node: bytes) -> Persist:
        put = Put(kind=kinds.PEER, key=node, value=encode_record(self._peers[node].row()))
        return Persist(writes=(put,))

    # --- presence ---------------------------------------------------------------------------------

    def _greeted(self, event: Received, greeting: Greeting, now: Now) -> Effects:
        peer = self._peers.get(event.sender)
        if peer is None:
            return (Refuse(code=Code.STRANGER, sentence="a greeting of a node that is no peer"),)
        try:
            certified = verify_key_statement(greeting.statement, now.wall_ms)
        except RemoteProtocolError as error:
            return (Refuse(code=error.code, sentence=error.sentence, to=event.sender, reply_to=event.message_id),)
        if certified.node != event.sender:
            sentence = "a greeting with another node's statement"
            return (Refuse(code=Code.SENDER_WRONG, sentence=sentence, to=event.sender, reply_to=event.message_id),)
        common = peer.proved & self._held & set(greeting.projects)
        sources = dict.fromkeys(one for one in greeting.sources if one.project in common and is_name(one.name))
        if len(sources) > SOURCES_MAX * len(common):
            sentence = f"a greeting with more than {SOURCES_MAX} sources for a project"
            return (Refuse(code=Code.BODY_MALFORMED, sentence=sentence, to=event.sender, reply_to=event.message_id),)
        effects: list[Persist | Publish | Send] = []
        if certified.statement.sequence > peer.certified.statement.sequence:
            peer.certified = certified
            effects.append(self._stored(event.sender))
            effects += self._admit(event.sender)[:1]
        peer.sources = tuple(sources)
        peer.presence, peer.heard_ns = "present", now.boot_ns
        peer.settled = common == peer.proved & self._held
        effects.append(self._seen(event.sender))
        if greeting.answer_wanted:
            effects.append(self._greeting(event.sender, answer_wanted=False))
        return tuple(effects)

    def _seen(self, node: bytes) -> Publish:
        peer = self._peers[node]
        return Publish(event=PeerSeen(node=node, name=peer.certified.statement.name, sources=peer.sources))

    def _heard(self, node: bytes, now: Now) -> Effects:
        peer = self._peers.get(node)
        if peer is None:
            return (Refuse(code=Code.STRANGER, sentence="a heartbeat of a node that is no peer"),)
        peer.heard_ns = now.boot_ns
        if peer.presence == "present":
            return ()
        return (self._greeting(node, answer_wanted=True),)  # it may have changed while it was away

    def _beat(self, now: Now) -> Effects:
        effects: list[Publish | Send] = []
        for node, peer in self._peers.items():
            if not peer.proved & self._held:
                continue
            if peer.presence == "present" and now.boot_ns - peer.heard_ns > PEER_AWAY_MS * 1_000_000:
                peer.presence = "away"
                effects.append(Publish(event=PeerAway(node=node, name=peer.certified.statement.name)))
            if peer.presence == "present" and peer.settled:
                effects.append(Send(message=Heartbeat(), to=node))
            else:
                effects.append(self._greeting(node, answer_wanted=True))
        return (*effects, SetTimer(name="beat", at_ns=now.after_ms(HEARTBEAT_INTERVAL_MS)))

    # --- discovery and joining --------------------------------------------------------------------

    def _discovered(self, event: Discovered, now: Now) -> Effects:
        certified = event.certified
        node = certified.node
        if node == self._own_id:
            return self._retry(event.heard_at, "this is the address of this node itself", now)
        join = self._joins.get(event.heard_at)
        if event.typed and join is not None and join.state == "asking":
            join.state = "knocking"
        peer = self._peers.get(node)
        effects: list[Persist | Publish | Send] = []
        if peer is not None:
            if certified.statement.sequence > peer.certified.statement.sequence:
                peer.certified = certified
                effects.append(self._stored(node))
                effects += self._admit(node)
            if join is not None:
                join.state, join.problem = "joined", ""
        elif node in self._strangers or len(self._strangers) < STRANGERS_MAX:
            self._strangers[node] = certified
        encountered = Encountered(certified=certified, heard_at=event.heard_at, typed=event.typed)
        return (*effects, Publish(event=encountered))

    def _retry(self, address: str, sentence: str, now: Now) -> Effects:
        join = self._joins.get(address)
        if join is None or join.state == "joined":
            return ()
        join.state, join.problem = "asking", sentence
        join.attempts += 1
        pause = min(ENROL_RETRY_MS_MAX, ENROL_RETRY_MS_MIN * 2 ** min(join.attempts, 10))
        return (SetTimer(name=f"join:{address}", at_ns=now.after_ms(pause)),)
