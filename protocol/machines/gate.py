"""The gate: every frame in is opened here, every frame out is sealed here.

It knows who may say what over which connection, keeps replay windows, clock offsets and sequence numbers, and
believes nothing that was not signed by the one who may say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never, get_args

from protocol import kinds
from protocol.errors import Code, RemoteProtocolError
from protocol.ids import format_id, message_id, node_id
from protocol.limits import BODY_BYTES_DOOR_MAX, REPLAY_PEERS_MAX
from protocol.machines.contract import (
    Effects,
    Now,
    Persist,
    Publish,
    Put,
    Received,
    Refuse,
    Send,
    unexpected,
)
from protocol.machines.events import (
    CONTROL_SESSION,
    RELAY_SESSION,
    Arrived,
    ControlAnswer,
    Counted,
    DialDoor,
    HangUp,
    Introduce,
    Outgoing,
    PeerAdmitted,
    PeersAllowed,
    ProjectsHeld,
    SubmitterProved,
    Transmit,
)
from protocol.machines.relaying import Link, Relay
from protocol.record import Record
from protocol.signing import SigningKey
from protocol.wire.door import Credential
from protocol.wire.frame import FrameRules, Header, OpenedFrame, open_frame, seal
from protocol.wire.peers import Refused
from protocol.wire.registry import (
    TIME_FREE,
    Connection,
    allowed_over,
    decode_message,
    encode_message,
    type_of,
)
from protocol.wire.relay import is_relayed

_NO_PROJECT = bytes(16)
_ALLOWED: dict[Connection, dict[int, int]] = {
    connection: allowed_over(connection) for connection in get_args(Connection)
}


class GateSnapshot(Record, frozen=True):
    peers: int
    sessions: int
    refused: dict[str, int]
    frames_in: int
    frames_out: int
    passed_on: int
    clock_offsets_ms: dict[str, int]


# All that this machine takes.
GateEvent = (
    Arrived
    | Outgoing
    | Refuse
    | Received
    | PeerAdmitted
    | PeersAllowed
    | ProjectsHeld
    | DialDoor
    | Introduce
    | SubmitterProved
    | HangUp
)


class Gate:
    """Machine of the gate actor."""

    def __init__(
        self,
        key: SigningKey,
        boot_id: int,
        rows: Mapping[str, list[tuple[bytes, bytes]]],
        first_sequence: int = 0,
        *,
        client: bool = False,
    ) -> None:
        """`first_sequence` is above all that an earlier life of the gate used within one boot: peers refuse copies."""
        self._key = key
        self._own_id = node_id(key.public_key)
        self._boot_id = boot_id
        self._peers: dict[bytes, Link] = {}  # limits.PEERS_MAX, kept by membership
        self._former: dict[bytes, Link] = {}  # bounded by the operator, who bans them: their windows outlive a ban
        self._sessions: dict[bytes, Link] = {}  # limits.REPLAY_PEERS_MAX
        self._relay = Relay(self._peers, client=client)
        self._floors = {
            node: int.from_bytes(value) for node, value in rows.get(kinds.SEEN_BOOT, [])
        }  # limits.PEERS_MAX
        self._allowed = PeersAllowed()
        self._held: frozenset[bytes] = frozenset()
        self._dropped: frozenset[bytes] = frozenset()  # projects that were held in this life and are no longer
        self._left = False
        self._sequence = first_sequence
        self._refused: dict[str, int] = {}  # bounded by Code: one for each
        self._frames_in = self._frames_out = 0

    def step(self, event: GateEvent, now: Now) -> Effects:
        match event:
            case Arrived():
                return self._arrived(event, now)
            case Outgoing(send=send):
                return self._seal(send, now)
            case Refuse():
                return self._refuse(event, now)
            case Received(message=Refused(sentence=sentence), sender=sender):
                return self._count(Code.REFUSED_BY_PEER, sentence, sender)
            case PeerAdmitted():
                return self._admit(event)
            case PeersAllowed():
                return self._allow(event)
            case ProjectsHeld():
                return self._hold(event)
            case DialDoor() | Introduce() | SubmitterProved() | HangUp():
                return self._session(event)
            case Received(message=message):
                raise unexpected(message)
            case _:
                assert_never(event)

    def check(self) -> None:
        assert len(self._sessions) <= REPLAY_PEERS_MAX

    def snapshot(self) -> GateSnapshot:
        return GateSnapshot(
            peers=len(self._peers),
            sessions=len(self._sessions),
            refused=dict(self._refused),
            frames_in=self._frames_in,
            frames_out=self._frames_out,
            passed_on=self._relay.passed_on,
            clock_offsets_ms={node.hex(): link.clock_offset_ms for node, link in self._peers.items()},
        )

    # --- inward ----------------------------------------------------------------------------------

    def _arrived(self, event: Arrived, now: Now) -> Effects:
        try:
            self._check_welcome(event)
            if is_relayed(event.raw):
                return (self._relay.take(event, now),)
            link = self._link_of(event)
            self._relay.check_way(link, event)
            opened = open_frame(event.raw, self._rules(link, now))
            message = decode_message(opened.header.type, opened.body)
            self._check_project(self._projects_of(link, event, message), opened.header)
            self._check_sender(event, opened.header)
        except RemoteProtocolError as error:
            return self._count(error.code, error.sentence, event.node)
        if not link.dialled:
            link.via = event.via  # frames go back the way that the last one came
        if not event.via:
            link.heard_ns = now.boot_ns
        if link.key is None:
            link.key = opened.header.sender_key
            self._open_session(event.session or RELAY_SESSION + event.node, link)
        if not event.node and node_id(link.key) in self._allowed.banned:
            return self._refuse(_banned_at_the_door(event.session, opened.header), now)
        self._frames_in += 1
        if opened.header.type in TIME_FREE:
            link.clock_offset_ms = opened.header.issued_ms - now.wall_ms
        received = Received(
            message=message,
            sender=event.node or node_id(opened.header.sender_key),
            message_id=opened.header.message_id,
            session=event.session,
            project=opened.header.project,
            reply_to=opened.header.reply_to,
            fence=opened.header.fence,
            boot_id=opened.header.boot_id,
            via=event.via,
        )
        return (*self._note_boot(event.node, link, opened), Publish(event=received))

    def _link_of(self, event: Arrived) -> Link:
        if event.via:
            return self._relayed_link(event)
        if event.node:
            link = self._peers.get(event.node)
            if link is None:
                raise RemoteProtocolError(Code.STRANGER, "a connection of a node that is no peer")
            return link
        link = self._sessions.get(event.session)
        if link is None:
            if event.dialled:
                raise RemoteProtocolError(Code.STRANGER, "an answer on a closed session")
            return Link("knocking", None, (event.project,))  # kept once its first frame is verified
        return link

    def _relayed_link(self, event: Arrived) -> Link:
        """A peer; a node that we asked for its credential; or one that shows us its own for the first time."""
        link = self._peers.get(event.node) or self._sessions.get(RELAY_SESSION + event.node)
        if link is not None:
            return link
        hop = self._peers.get(event.via)
        if hop is None:
            raise RemoteProtocolError(Code.STRANGER, "a relayed frame that does not come from a peer")
        return self._relayed_newcomer(event.node, None, hop.projects)

    def _relayed_newcomer(self, node: bytes, key: bytes | None, projects: frozenset[bytes]) -> Link:
        """Who was a peer before a ban, or has shown its credential already, has its replay window still."""
        before = self._former.get(node) or self._sessions.get(RELAY_SESSION + node)
        link = Link("relayed", key, projects)
        link.dialled = False
        link.window = before.window if before is not None else link.window
        return link

    def _rules(self, link: Link, now: Now) -> FrameRules:
        return FrameRules(
            own_id=self._own_id,
            allowed=_ALLOWED[link.connection],
            sender_key=link.key,
            now_wall_ms=now.wall_ms,
            clock_offset_ms=link.clock_offset_ms,
            clock_free=TIME_FREE,
            window=link.window,
            boot_floor=link.boot_floor,
        )

    def _check_welcome(self, event: Arrived) -> None:
        """Nobody is heard who is banned, nor any peer while this node has left."""
        if event.node and self._left:
            raise RemoteProtocolError(Code.NODE_LEFT, "this node has left its projects and hears no peer")
        for node in (event.node, event.via):
            if node in self._allowed.banned:
                raise RemoteProtocolError(Code.NODE_BANNED, f"a frame of {format_id(node)}, which is banned here")

    def _check_sender(self, event: Arrived, header: Header) -> None:
        """CURVE proves who sends straight; of a relayed frame only its signature does."""
        if event.via and node_id(header.sender_key) != event.node:
            raise RemoteProtocolError(Code.SENDER_WRONG, "a relayed frame that another node has signed")

    def _projects_of(self, link: Link, event: Arrived, message: Any) -> frozenset[bytes]:
        """What the sender may speak of: what it has proved, and what it is about to prove with a peer's help."""
        hop = self._peers.get(event.via) if isinstance(message, Credential) else None
        return link.projects | hop.projects if hop is not None else link.projects

    def _check_project(self, projects: frozenset[bytes], header: Header) -> None:
        if header.project in self._dropped:
            raise RemoteProtocolError(Code.PROJECT_ROTATED, "this node no longer holds the token of that project")
        if header.project != _NO_PROJECT and header.project not in projects:
            raise RemoteProtocolError(Code.PROJECT_UNKNOWN, "the sender has not proved to be in this project")

    def _note_boot(self, node: bytes, link: Link, opened: OpenedFrame) -> Effects:
        """A higher boot id of a peer is committed before its first frame is acted on: an older boot can never be
        replayed.
        """
        boot_id = opened.header.boot_id
        if node not in self._peers or boot_id <= link.boot_floor:
            return ()
        link.boot_floor = boot_id
        self._floors[node] = boot_id
        return (Persist(writes=(Put(kind=kinds.SEEN_BOOT, key=node, value=boot_id.to_bytes(8)),)),)

    # --- outward ---------------------------------------------------------------------------------

    def _seal(self, send: Send, now: Now) -> Effects:
        if send.to == self._own_id:
            return (Publish(event=self._to_self(send)),)
        if send.session.startswith(CONTROL_SESSION):
            return (Publish(event=ControlAnswer(session=send.session, message=send.message)),)
        if send.to in self._allowed.banned:
            return ()  # a durable message waits for as long as one for a peer that is away
        if not send.session and send.to not in self._peers:
            return self._count(Code.STRANGER, "a message for a node that is no peer was dropped", send.to)
        link = self._sessions.get(send.session) if send.session else self._peers[send.to]
        if link is None or link.key is None:
            return ()  # the session has ended; whoever asked has gone
        way = self._relay.way_to(link, now)
        if way is None:
            return self._count(
                Code.STRANGER, "a message that no scheduler of this client can pass on was dropped", send.to
            )
        try:
            number, body = encode_message(send.message)
        except RemoteProtocolError as error:
            return self._too_large(send, error, now)
        self._sequence += 1
        self._frames_out += 1
        audience = send.to or node_id(link.key)
        header = Header(
            type=number,
            sender_key=self._key.public_key,
            audience=audience,
            project=send.project or _NO_PROJECT,
            message_id=send.message_id or message_id(self._own_id, audience, self._boot_id, "gate", self._sequence),
            reply_to=send.reply_to or _NO_PROJECT,
            boot_id=self._boot_id,
            sequence=self._sequence,
            issued_ms=now.wall_ms,
            ttl_ms=type_of(send.message).ttl_ms,
            fence=send.fence,
        )
        raw = seal(header, body, self._key)
        if way:
            return (Publish(event=Transmit(raw=raw, node=audience, via=way, seal_key=link.seal_key)),)
        return (Publish(event=Transmit(raw=raw, node=send.to, session=send.session)),)

    def _too_large(self, send: Send, error: RemoteProtocolError, now: Now) -> Effects:
        """Others choose what our messages quote: one that outgrows its type is not sent, and whoever asked is told."""
        if send.session:
            refusal = Refuse(code=error.code, sentence=error.sentence, session=send.session, reply_to=send.reply_to)
            return self._refuse(refusal, now)
        return self._count(error.code, error.sentence, send.to)

    def _to_self(self, send: Send) -> Received:
        self._sequence += 1
        return Received(
            message=send.message,
            sender=self._own_id,
            message_id=send.message_id or message_id(self._own_id, self._own_id, self._boot_id, "gate", self._sequence),
            project=send.project,
            reply_to=send.reply_to,
            fence=send.fence,
            boot_id=self._boot_id,
        )

    # --- refusals, peers and sessions -------------------------------------------------------------

    def _count(self, code: Code, sentence: str, node: bytes = b"") -> Effects:
        self._refused[code] = self._refused.get(code, 0) + 1
        return (Publish(event=Counted(code=code, sentence=sentence, node=node)),)

    def _refuse(self, refuse: Refuse, now: Now) -> Effects:
        counted = self._count(refuse.code, refuse.sentence, refuse.to)
        if not refuse.to and not refuse.session:
            return counted
        message = Refused(
            code=refuse.code,
            sentence=_fitting(refuse.sentence, BODY_BYTES_DOOR_MAX // 2),
            next_step=_fitting(refuse.next_step, BODY_BYTES_DOOR_MAX // 4),
        )
        send = Send(message=message, to=refuse.to, session=refuse.session, reply_to=refuse.reply_to)
        return (*counted, *self._seal(send, now))

    def _allow(self, allowed: PeersAllowed) -> Effects:
        """Whoever is not let in any more is cut off with the next frame, whatever connections it has."""
        self._allowed = allowed
        for node in [node for node in self._peers if not allowed.admits(node)]:
            self._former[node] = self._peers.pop(node)
        return ()

    def _hold(self, event: ProjectsHeld) -> Effects:
        held = frozenset(project.project_id for project in event.projects)
        self._dropped = self._relay.dropped = (self._dropped | self._held) - held
        self._held, self._left = held, event.left
        return ()

    def _admit(self, peer: PeerAdmitted) -> Effects:
        if not self._allowed.admits(peer.node):
            return ()  # membership has not heard of the ban yet
        link = self._peers.get(peer.node)
        if link is None:
            session = self._sessions.pop(RELAY_SESSION + peer.node, None)
            link = self._former.pop(peer.node, None) or session or Link("peer", peer.node_key, ())
            link.connection = "peer"
            link.via = session.via if session is not None else link.via
            link.boot_floor = self._floors.get(peer.node, 0)
            self._peers[peer.node] = link
        link.projects = frozenset(peer.projects)
        link.seal_key = peer.seal_key
        link.dialled = bool(peer.addresses)
        return ()

    def _introduce(self, event: Introduce) -> Effects:
        link = self._relayed_newcomer(node_id(event.node_key), event.node_key, frozenset([event.project]))
        link.seal_key = event.seal_key
        return self._open_session(event.session, link)

    def _session(self, event: DialDoor | Introduce | SubmitterProved | HangUp) -> Effects:
        match event:
            case DialDoor():
                kind: Connection = "scheduler" if event.submitting else "dialled"
                return self._open_session(event.session, Link(kind, event.node_key, (event.project,)))
            case Introduce():
                return self._introduce(event)
            case SubmitterProved():
                return self._promote(event)
            case HangUp(session=session):
                self._sessions.pop(session, None)
                return ()

    def _open_session(self, session: bytes, link: Link) -> Effects:
        if session not in self._sessions and len(self._sessions) >= REPLAY_PEERS_MAX:
            knocking = (name for name, one in self._sessions.items() if one.connection in ("knocking", "relayed"))
            oldest = next(knocking, None) or next(iter(self._sessions))
            del self._sessions[oldest]  # of those that proved nothing first; a live handshake takes two seconds
        self._sessions[session] = link
        return ()

    def _promote(self, event: SubmitterProved) -> Effects:
        link = self._sessions.get(event.session)
        if link is not None and link.connection == "knocking":
            link.connection = "submitter"
        return ()


def _banned_at_the_door(session: bytes, header: Header) -> Refuse:
    """Who knocks is told, since its operator may not know."""
    sentence = "the operator of this node has banned the node that knocks"
    return Refuse(
        code=Code.NODE_BANNED,
        sentence=sentence,
        session=session,
        reply_to=header.message_id,
        next_step="ask that operator to lift the ban",
    )


def _fitting(text: str, bytes_max: int) -> str:
    """A sentence may quote what came in: the refusal of it must still fit into its frame."""
    data = text.encode(errors="replace")
    return text if len(data) <= bytes_max else data[: bytes_max - 4].decode(errors="ignore") + " …"
