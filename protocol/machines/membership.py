"""Membership: who is a peer, who is within reach, who is only a stranger, and what each peer offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from protocol import kinds
from protocol.errors import Code, RemoteProtocolError
from protocol.key_statement import Certified, verify_key_statement
from protocol.limits import (
    CROWDED_NEIGHBOURS,
    HEARTBEAT_INTERVAL_MS,
    PEERS_MAX,
    PEERS_SOUGHT,
    SOURCES_MAX,
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
    JoinsKept,
    MembersPartlyKnown,
    PeerAdmitted,
    PeerAway,
    PeerLeft,
    PeerProved,
    PeersAllowed,
    PeerSeen,
    PeerWaiting,
    ProjectsHeld,
    RollCallWanted,
    StatementMissing,
)
from protocol.machines.greetings import read_greeting
from protocol.machines.joins import Joins
from protocol.machines.membership_view import MembershipSnapshot, peer_views
from protocol.machines.neighbours import Peer, choose, close, introductions, met_again, reached_in, restore_peer
from protocol.machines.roll_calls import CallsHeard
from protocol.machines.search import Search
from protocol.machines.strangers import Strangers
from protocol.roll_call import verify_roll_call
from protocol.wire.codec import encode_record
from protocol.wire.peers import Farewell, Greeting, Heartbeat, RollCall, SourceOffer

_PARTING: Final = {"Farewell": "left", "PeersAllowed": "stranger"}  # banned, or no longer named: seen, not trusted

# What another node is to us. A stranger is listed and gets nothing.
TRANSITIONS: Final[dict[str, dict[str, str]]] = {
    "unknown": {"Discovered": "stranger", "PeerProved": "admitted"},
    "stranger": {"Discovered": "stranger", "DiscoveryLost": "unknown", "PeerProved": "admitted"},
    "admitted": {
        "Greeting": "present",
        "Heartbeat": "admitted",  # it is greeted first: nobody knows yet what it offers
        "PeerProved": "admitted",
        "Discovered": "admitted",
        **_PARTING,
    },
    "present": {
        "Greeting": "present",
        "Heartbeat": "present",
        "TimerFired": "away",
        "LetGo": "quiet",  # as silent as one that is away, but nobody promised to speak
        "PeerProved": "present",
        "Discovered": "present",
        **_PARTING,
    },
    "away": {"Greeting": "present", "Heartbeat": "away", "PeerProved": "away", "Discovered": "away", **_PARTING},
    "quiet": {"Greeting": "present", "Heartbeat": "quiet", "PeerProved": "quiet", "Discovered": "quiet", **_PARTING},
    "left": {"Greeting": "present", "Heartbeat": "left", "PeerProved": "left", "Discovered": "left", **_PARTING},
}


# News of others, and all that this machine takes.
Meeting = Discovered | DiscoveryLost | PeerProved | PeerWaiting | StatementMissing | EnrolmentFailed
MembershipEvent = Received | TimerFired | PeersAllowed | ProjectsHeld | JoinsKept | RollCallWanted | Meeting


class Membership:
    """Machine of the membership actor."""

    def __init__(
        self,
        own_id: bytes,
        name: str,
        sources: Mapping[str, frozenset[bytes]],
        joins: tuple[str, ...],
        rows: Mapping[str, list[tuple[bytes, bytes]]],
        *,
        client: bool = False,
    ) -> None:
        """`sources`: this node's own, each with the projects that may reach it. `joins`: typed addresses; a client
        dials the nodes that it joined there, its schedulers, and nobody else.
        """
        assert len(sources) <= SOURCES_MAX
        self._own_id = own_id
        self._name = name
        self._client = client
        self._sources = dict(sources)  # limits.SOURCES_MAX
        self._statement = b""
        self._held: frozenset[bytes] = frozenset()
        self._peers: dict[bytes, Peer] = {}  # limits.PEERS_MAX
        self._strangers = Strangers()
        self._search = Search()
        self._calls = CallsHeard()
        self._answers = 0
        self._told_partly = False
        self._joins = Joins(joins)
        self._rows = list(rows.get(kinds.PEER, []))  # limits.PEERS_MAX, until the tokens are known

    def begin(self, now: Now) -> Effects:
        return (SetTimer(name="beat", at_ns=now.after_ms(HEARTBEAT_INTERVAL_MS)),)

    def step(self, event: MembershipEvent, now: Now) -> Effects:
        match event:
            case Received():
                return self._received(event, now)
            case TimerFired(name=name):
                return self._beat(now) if name == "beat" else (self._joins.ask(name.removeprefix("join:")),)
            case PeersAllowed():
                return self._allow(event)
            case ProjectsHeld():
                return self._hold(event)
            case JoinsKept(joins=joins):
                return self._joins.keep(joins, now)
            case RollCallWanted(project=project, envelope=envelope):
                return tuple(self._pass_on(project, envelope, now))
            case _:
                return self._met(event, now)

    def _met(self, event: Meeting, now: Now) -> Effects:
        match event:
            case Discovered():
                return self._discovered(event, now)
            case DiscoveryLost(node=node):
                self._strangers.forget(node)
                self._search.lost(node)
                return ()
            case PeerProved():
                return self._proved(event)
            case PeerWaiting(certified=certified):
                if certified.node not in self._peers:
                    self._strangers.add(certified, waiting=True)
                self._search.failed(certified.node)
                return ()
            case StatementMissing(address=address, sentence=sentence):
                return self._joins.retry(address, sentence, now)
            case EnrolmentFailed(node=node, address=address, sentence=sentence):
                self._search.failed(node)
                return self._joins.retry(address, sentence, now)
            case _:
                assert_never(event)

    def _received(self, event: Received, now: Now) -> Effects:
        match event.message:
            case Greeting() as greeting:
                return self._greeted(event, greeting, now)
            case Heartbeat() as heartbeat:
                return self._heard(event.sender, heartbeat, now)
            case RollCall() as call:
                return self._called(event, call, now)
            case Farewell():
                return self._parted(event.sender)
        raise unexpected(event.message)

    def check(self) -> None:
        assert len(self._peers) <= PEERS_MAX
        self._strangers.check()
        self._search.check()
        assert self._own_id not in self._peers and self._strangers.allowed.admits_all(self._peers.keys())

    def snapshot(self) -> MembershipSnapshot:
        return MembershipSnapshot(
            peers=peer_views(self._peers, self._held),
            strangers=self._strangers.views(),
            joins=self._joins.views(),
        )

    # --- projects and peers -----------------------------------------------------------------------

    def _hold(self, event: ProjectsHeld) -> Effects:
        """The tokens are known (again): peers from the store are taken up, and everybody hears what is offered now."""
        shared = [node for node in self._peers if self._common(node)]
        self._search.projects = event.projects
        self._held = frozenset(project.project_id for project in event.projects)
        self._statement = event.statement
        self._sources = dict(event.sources) if event.sources is not None else self._sources
        for node, value in self._rows:
            peer = restore_peer(self._own_id, value)
            if peer is not None and self._strangers.allowed.admits(node):
                self._peers[node] = peer
                self._search.found(node)
            elif peer is not None:
                self._strangers.add(peer.certified)
        self._rows = []
        self._told_partly = False
        if event.left:
            return tuple(Send(message=Farewell(), to=node) for node in shared)
        effects: list[Publish | Send] = [*self._partly(), *self._joins.ask_all()]
        for node, peer in self._peers.items():
            effects += self._admit(node)
            if node in shared and not self._common(node):  # it shall know our new hints: it may get the new token too
                effects.append(self._greeting(node, answer_wanted=False))
            effects += self._search.tell_again(peer.certified, peer.heard_at)
        return tuple(effects)

    def _common(self, node: bytes) -> frozenset[bytes]:
        return self._peers[node].proved & self._held

    def _partly(self) -> list[Publish]:
        """Once for each telling of the tokens: from so many peers on there may be members that we do not know."""
        if self._told_partly or len(self._peers) < PEERS_SOUGHT:
            return []
        self._told_partly = True
        return [Publish(event=MembersPartlyKnown())]

    def _admit(self, node: bytes) -> list[Publish | Send]:
        """Tells the others about a peer, and greets it, as long as a project is in common."""
        peer = self._peers[node]
        common = self._common(node)
        if not common:
            return []
        admitted = PeerAdmitted(
            node=node,
            node_key=peer.certified.node_key,
            curve_key=peer.certified.statement.curve_key,
            seal_key=peer.certified.statement.seal_key,
            addresses=() if self._client and not peer.heard_at else peer.addresses,
            projects=tuple(sorted(common)),
            name=peer.certified.statement.name,
        )
        peer.settled = False
        return [Publish(event=admitted), self._greeting(node, answer_wanted=True)]

    def _greeting(self, node: bytes, *, answer_wanted: bool, sought: int = 0) -> Send:
        """`sought`: so many peers the receiver asked to be introduced to."""
        self._answers += 1
        common = self._common(node)
        offers = tuple(
            SourceOffer(name=name, project=project)
            for name, projects in sorted(self._sources.items())
            for project in sorted(projects & common)
        )
        seeks = self._peers[node].seek(self._search.room) if answer_wanted else 0
        greeting = Greeting(
            statement=self._statement,
            name=self._name,
            projects=tuple(sorted(common)),
            sources=offers,
            answer_wanted=answer_wanted,
            seeks=seeks,
            introductions=introductions(self._peers, self._peers[node], common, sought, self._answers),
        )
        return Send(message=greeting, to=node)

    def _proved(self, event: PeerProved) -> Effects:
        certified = event.certified
        node = certified.node
        if not self._strangers.allowed.admits(node):
            return ()  # it proved itself just before the operator spoke
        peer = self._peers.get(node)
        if peer is None:
            if len(self._peers) >= PEERS_MAX:
                return (Refuse(code=Code.BUSY, sentence=f"this node has {PEERS_MAX} peers and takes no more"),)
            peer = self._peers[node] = Peer(self._own_id, certified, frozenset(), event.heard_at)
        self._strangers.forget(node)
        self._search.found(node)
        peer.proved |= {event.project}
        peer.heard_at = event.heard_at or peer.heard_at
        if certified.statement.sequence >= peer.certified.statement.sequence:
            peer.certified = certified
        peer.typed = peer.typed or self._joins.has_named(peer.addresses)
        joined = self._joins.joined(peer.addresses, through_another=self._client and not peer.heard_at)
        greets_first = certified.is_client and not self._client  # ours would overtake what lets it hear us
        return (self._stored(node), *self._admit(node)[: 1 if greets_first else 2], *self._partly(), *joined)

    def _stored(self, node: bytes) -> Persist:
        put = Put(kind=kinds.PEER, key=node, value=encode_record(self._peers[node].row()))
        return Persist(writes=(put,))

    # --- whom the operator lets in ----------------------------------------------------------------

    def _allow(self, allowed: PeersAllowed) -> Effects:
        """Whoever may not be a peer any more is a stranger from now on; who may be one again is met again. The row of a
        former peer stays: it says where that node was.
        """
        freed = self._strangers.allow(allowed)
        for node in [node for node in self._peers if not allowed.admits(node)]:
            peer = self._peers.pop(node)
            self._strangers.add(peer.certified)
            self._search.lost(node)
            self._joins.parted(peer.addresses)
        told = [news for one in freed for news in self._search.tell_again(one, "")]
        return (*told, *(self._joins.ask_again() if freed else ()))

    # --- presence ---------------------------------------------------------------------------------

    def _parted(self, node: bytes) -> Effects:
        peer = self._peers.get(node)
        if peer is None:
            return (Refuse(code=Code.STRANGER, sentence="a farewell of a node that is no peer"),)
        peer.presence, peer.sources = "left", ()
        return (Publish(event=PeerLeft(node=node, name=peer.certified.statement.name)),)

    def _greeted(self, event: Received, greeting: Greeting, now: Now) -> Effects:
        peer = self._peers.get(event.sender)
        if peer is None:
            return (Refuse(code=Code.STRANGER, sentence="a greeting of a node that is no peer"),)
        common = peer.proved & self._held & set(greeting.projects)
        try:
            certified, sources = read_greeting(greeting, event.sender, common, now)
        except RemoteProtocolError as error:
            return (Refuse(code=error.code, sentence=error.sentence, to=event.sender, reply_to=event.message_id),)
        effects: list[Persist | Publish | Send] = []
        if certified.statement.sequence > peer.certified.statement.sequence:
            peer.certified = certified
            effects += [self._stored(event.sender), *self._admit(event.sender)[:1]]
            effects += self._search.tell_again(certified, peer.heard_at)
        missing = self._common(event.sender) - common
        peer.greeted(now, sources, settled=not missing)
        effects += [self._seen(event.sender, event.via), *self._search.forgotten(peer, missing if self._client else ())]
        if greeting.answer_wanted:
            effects.append(self._greeting(event.sender, answer_wanted=False, sought=max(0, greeting.seeks)))
        taken = 0 if greeting.answer_wanted else peer.take(self._search.room)  # one that crosses ours answers nothing
        for data in greeting.introductions[:taken]:
            try:
                effects += self._introduced(verify_key_statement(data, now.wall_ms), typed=peer.typed)
            except RemoteProtocolError:
                break  # of one who introduces by a statement that does not hold, nothing more is read
        return tuple(effects)

    def _introduced(self, certified: Certified, *, typed: bool) -> list[Publish]:
        if certified.node == self._own_id or not self._strangers.may_be_met(certified):
            return []
        peer = self._peers.get(certified.node)
        return self._search.introduced(certified, peer.proved if peer is not None else frozenset(), beyond_room=typed)

    def _seen(self, node: bytes, via: bytes) -> Publish:
        peer = self._peers[node]
        return Publish(event=PeerSeen(node=node, name=peer.certified.statement.name, sources=peer.sources, via=via))

    def _heard(self, node: bytes, heartbeat: Heartbeat, now: Now) -> Effects:
        peer = self._peers.get(node)
        if peer is None:
            return (Refuse(code=Code.STRANGER, sentence="a heartbeat of a node that is no peer"),)
        peer.heard_ns = now.boot_ns
        peer.chose_us_ns = now.boot_ns if heartbeat.chosen else None
        if heartbeat.crowded:
            peer.crowded_ns = now.boot_ns
        if peer.presence in ("present", "left"):
            return ()
        return (self._greeting(node, answer_wanted=True),)  # it may have changed while it was away

    def _beat(self, now: Now) -> Effects:
        mine = {node: peer for node, peer in self._peers.items() if peer.proved & self._held}
        chosen = choose(mine, now)
        near = close(mine, chosen, now)
        crowded = sum(peer.chose_us(now) for peer in mine.values()) > CROWDED_NEIGHBOURS
        effects: list[Publish | Send] = []
        for node, peer in mine.items():
            peer.neighbour = node in near
            if peer.presence == "present" and peer.silent(now):
                peer.presence = "away" if peer.neighbour else "quiet"
                effects += [Publish(event=PeerAway(node=node, name=peer.certified.statement.name))] * peer.neighbour
            if peer.presence == "present" and peer.settled:
                effects += [Send(message=Heartbeat(chosen=node in chosen, crowded=crowded), to=node)] * peer.neighbour
            elif (peer.neighbour or peer.presence == "away") and peer.due(now):
                effects.append(self._greeting(node, answer_wanted=True))
                if self._client and peer.unanswered:  # nobody knocks at a client: it proves itself anew
                    effects.append(Publish(event=met_again(peer)))
        self._search.peers = sum(peer.is_known for peer in mine.values())
        reached = [node for node, peer in mine.items() if peer.neighbour and peer.presence == "present"]
        asked = self._search.whom_to_ask(reached, now)
        if asked is not None:
            effects.append(self._greeting(asked, answer_wanted=True))
        effects += self._search.more()
        return (*effects, SetTimer(name="beat", at_ns=now.after_ms(HEARTBEAT_INTERVAL_MS)))

    # --- roll calls -------------------------------------------------------------------------------

    def _called(self, event: Received, message: RollCall, now: Now) -> Effects:
        """Passed on once; whoever holds data of the project makes itself known to the caller."""
        peer = self._peers.get(event.sender)
        if peer is None or event.project not in peer.proved & self._held:
            sentence = "a roll call of a project that its sender has not proved"
            return (Refuse(code=Code.PROJECT_UNKNOWN, sentence=sentence),)
        try:
            call = verify_roll_call(message.envelope, now.wall_ms)
        except RemoteProtocolError as error:
            return (Refuse(code=error.code, sentence=error.sentence),)
        if call.project != event.project or not self._search.is_member(call.caller, call.project):
            sentence = "a roll call of a project that its caller is not in"
            return (Refuse(code=Code.PROJECT_UNKNOWN, sentence=sentence),)
        caller = call.caller.node
        if caller == self._own_id or not self._calls.take(call, event.sender, now):
            return ()
        effects: list[Publish | Send] = [*self._pass_on(call.project, message.envelope, now, (event.sender, caller))]
        holds = any(call.project in projects for projects in self._sources.values())
        if holds and call.concerns(self._own_id):
            known = self._peers.get(caller)
            if known is not None and call.project in known.proved:
                effects.append(self._greeting(caller, answer_wanted=True))
            else:
                effects.append(Publish(event=Encountered(certified=call.caller, introduced=True)))
        return tuple(effects)

    def _pass_on(self, project: bytes, envelope: bytes, now: Now, besides: tuple[bytes, ...] = ()) -> list[Send]:
        """To every neighbour that is in the project. A client passes nothing on: its neighbours know each other."""
        reached = [] if self._client else reached_in(self._peers, project, self._held, now, besides)
        return [Send(message=RollCall(envelope=envelope), to=node, project=project) for node in reached]

    # --- discovery and joining --------------------------------------------------------------------

    def _discovered(self, event: Discovered, now: Now) -> Effects:
        certified = event.certified
        node = certified.node
        if node == self._own_id:
            return self._joins.retry(event.heard_at, "this is the address of this node itself", now)
        if event.typed:
            self._joins.found(event.heard_at)
        peer = self._peers.get(node)
        effects: list[Persist | Publish | Send] = []
        if peer is not None:
            newest = max(peer.certified, certified, key=lambda one: one.statement.sequence)
            to_dial = self._client and event.typed and not peer.heard_at  # it was met through another scheduler
            if to_dial or newest is not peer.certified:
                peer.certified, peer.heard_at = newest, event.heard_at if to_dial else peer.heard_at
                effects += [self._stored(node), *self._admit(node)]
            self._joins.joined((event.heard_at,))
            peer.typed = peer.typed or event.typed
        elif not self._strangers.add(certified) or not self._strangers.may_be_met(certified):
            return ()
        return (*effects, *self._search.tell(event, known=peer is not None))
