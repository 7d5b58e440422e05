"""Enrolment: how two nodes that hold the same project token prove it to each other at the door, and how a submitter
is let in.

    joiner                                   responder
      |  Hello(statement, nonce)    ------->    |   only the door key of the project brings a frame this far
      |  <-------    Challenge(statement, nonce, proof)
      |  Proof(proof)               ------->    |
      |  <-------    Welcome                    |   both sides: the other is a peer of this project

A client and a node that it cannot dial show each other credentials instead: `credentials`.

The token itself is not sent: each proof is an HMAC under the key derived from it, over role, project, both ids,
both CURVE keys and both nonces.

An invitation has a door like a project, and the same handshake. Behind it the answer is Granted with the token of a
project in place of Welcome, once the machine `Admission` has noted the use, and nobody becomes a peer by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, assert_never

from protocol.errors import Code, RemoteProtocolError
from protocol.ids import format_id
from protocol.key_statement import Certified, hints_match
from protocol.limits import (
    ADDRESSES_INTRODUCED_MAX,
    DOOR_SESSIONS_MAX,
    ENROL_PATIENCE_MS,
    ENROL_RETRY_MS_MAX,
    ENROL_RETRY_MS_MIN,
    HANDSHAKE_LIMIT_MS,
    KNOCKING_INTRODUCED_MAX,
    KNOCKS_INTRODUCED_MAX,
    PEERS_MAX,
    PROJECTS_MAX,
    STRANGERS_MAX,
    SUBMITTER_IDLE_MS,
)
from protocol.machines.contract import (
    ClearTimer,
    Effect,
    Effects,
    Now,
    Publish,
    Received,
    Refuse,
    Send,
    SetTimer,
    TimerFired,
    unexpected,
)
from protocol.machines.credentials import Credentials
from protocol.machines.door_session import Knock, Session, crowded, joining_node, not_granted, too_late, waiting
from protocol.machines.events import (
    DialDoor,
    DoorsOpened,
    Encountered,
    EnrolmentFailed,
    HangUp,
    InvitationAnswered,
    InvitationProved,
    PeerAdmitted,
    PeerProved,
    PeersAllowed,
    PeerWaiting,
    ProjectsHeld,
    SubmitterProved,
)
from protocol.machines.joiner import VERSION, Joiner
from protocol.record import Record
from protocol.tokens import ProjectKey
from protocol.wire.door import Challenge, Credential, Granted, Hello, Proof, Welcome

# Sessions of both roles. A pair that is not listed is a refused event.
TRANSITIONS: Final[dict[str, dict[str, str]]] = {
    "idle": {"Hello": "challenged", "Encountered": "knocking"},
    "knocking": {"Challenge": "proving", "TimerFired": "idle"},
    "proving": {"Welcome": "idle", "TimerFired": "idle"},
    "challenged": {"Proof": "proved", "TimerFired": "idle"},
    "proved": {"PeerAdmitted": "idle", "SubmitterProved": "idle", "InvitationAnswered": "idle", "TimerFired": "idle"},
}


class EnrolmentSnapshot(Record, frozen=True):
    sessions: int
    knocking: tuple[bytes, ...]


# All that this machine takes.
EnrolmentEvent = (
    ProjectsHeld | PeersAllowed | DoorsOpened | Encountered | PeerAdmitted | InvitationAnswered | TimerFired | Received
)


class Enrolment:
    """Machine of both roles at the door. Nonces are hashes of the node's secret, boot id and a counter."""

    def __init__(
        self,
        own_id: bytes,
        boot_id: int,
        nonce_secret: bytes,
        curve_key: bytes,
        seal_key: bytes,
        *,
        client: bool = False,
        opening_ms: int = 0,
    ) -> None:
        """`opening_ms`: so much longer than on the direct way it may take until a door is reached."""
        self._own_id = own_id
        self._nonce_seed = nonce_secret + boot_id.to_bytes(8)
        self._statement = b""
        self._curve_key = curve_key
        self._client = client
        self._knock_limit_ms = HANDSHAKE_LIMIT_MS + opening_ms
        self._credentials = Credentials(own_id, curve_key, seal_key, client=client)
        self._projects: dict[bytes, ProjectKey] = {}  # limits.PROJECTS_MAX
        self._invitations: dict[bytes, ProjectKey] = {}  # limits.INVITATIONS_MAX
        self._allowed = PeersAllowed()
        self._proved: dict[bytes, frozenset[bytes]] = {}  # limits.PEERS_MAX: node → projects in common
        self._sessions: dict[bytes, Session] = {}  # limits.DOOR_SESSIONS_MAX
        self._knocks: dict[bytes, Knock] = {}  # limits.STRANGERS_MAX: node → what we try
        self._counter = 0

    def step(self, event: EnrolmentEvent, now: Now) -> Effects:
        match event:
            case ProjectsHeld(projects=projects, statement=statement):
                assert len(projects) <= PROJECTS_MAX
                self._projects = {project.project_id: project for project in projects}
                self._statement = self._credentials.statement = statement
                self._proved = {}  # membership tells it anew: it may have started again without what it was told last
                return self._end_where(lambda session: session.project.project_id not in self._doors)
            case PeersAllowed():
                return self._allow(event)
            case DoorsOpened(doors=doors):
                self._invitations = {door.project_id: door for door in doors}
                return self._end_where(lambda session: session.project.project_id not in self._doors)
            case InvitationAnswered():
                return self._invitation_answered(event, now)
            case Encountered():
                return self._encounter(event, now)
            case PeerAdmitted(node=node, projects=projects):
                if not self._allowed.admits(node):
                    return ()  # membership has not heard of it yet
                self._proved[node] = frozenset(projects)
                return self._admitted(node, projects, now)
            case TimerFired(name=name):
                return self._timer(name, now)
            case Received():
                return self._received(event, now)
            case _:
                assert_never(event)

    def _received(self, event: Received, now: Now) -> Effects:
        match event.message:
            case Hello() as hello:
                return self._hello(event, hello, now)
            case Challenge() as challenge:
                return self._challenge(event, challenge, now)
            case Proof() as proof:
                return self._proof(event, proof, now)
            case Welcome():
                return self._welcome(event)
            case Credential() as credential:
                return self._credential(event, credential, now)
        raise unexpected(event.message)

    def check(self) -> None:
        assert len(self._sessions) <= DOOR_SESSIONS_MAX
        assert len(self._knocks) <= STRANGERS_MAX
        self._credentials.check()
        assert all(session.state in TRANSITIONS for session in self._sessions.values())

    def snapshot(self) -> EnrolmentSnapshot:
        return EnrolmentSnapshot(sessions=len(self._sessions), knocking=tuple(self._knocks))

    @property
    def _doors(self) -> dict[bytes, ProjectKey]:
        """Of projects, and of invitations into them."""
        return self._projects | self._invitations

    def _allow(self, allowed: PeersAllowed) -> Effects:
        """Handshakes with those who are not let in any more end here; whoever is let in now is met again."""
        self._allowed = allowed
        for node in [node for node in (*self._knocks, *self._proved) if not allowed.admits(node)]:
            self._knocks.pop(node, None)
            self._proved.pop(node, None)
        return self._end_where(lambda session: session.other in allowed.banned)

    def _end_where(self, ends: Callable[[Session], bool]) -> Effects:
        ending = [session_id for session_id, session in self._sessions.items() if ends(session)]
        return tuple(effect for session_id in ending for effect in self._end(session_id))

    # --- the joiner -------------------------------------------------------------------------------

    def _encounter(self, event: Encountered, now: Now) -> Effects:
        node = event.certified.node
        if node == self._own_id or self._allowed.alone or node in self._allowed.banned or event.certified.is_client:
            return ()  # a client knocks itself: nobody can dial it
        if event.again:
            self._proved.pop(node, None)
        if not self._wanted(event):
            return self._nothing_in_common(event)
        if not self._allowed.admits(node):
            return (Publish(event=PeerWaiting(certified=event.certified)),)
        known = self._knocks.get(node)
        if known is not None:
            newest = event.certified.statement.sequence >= known.event.certified.statement.sequence
            if not event.introduced and newest:  # an introduction tells nothing new, and would be given up
                known.event = event
            return ()
        introduced = sum(knock.event.introduced for knock in self._knocks.values())
        if len(self._knocks) >= STRANGERS_MAX or (event.introduced and introduced >= KNOCKING_INTRODUCED_MAX):
            sentence = f"this node already knocks at {len(self._knocks)} others"
            return (Publish(event=EnrolmentFailed(node=node, address=event.heard_at, sentence=sentence)),)
        self._knocks[node] = Knock(event)
        patience = 0 if event.typed or self._own_id < node else ENROL_PATIENCE_MS
        return (SetTimer(name=f"knock:{node.hex()}", at_ns=now.after_ms(patience)),)

    def _wanted(self, event: Encountered) -> list[ProjectKey]:
        """Projects that this node and we may share and have not proved yet."""
        node = event.certified.node
        return [
            project
            for project_id, project in self._projects.items()
            if project_id not in self._proved.get(node, frozenset())
            and hints_match(event.certified, [project.hint(node)])
        ]

    def _nothing_in_common(self, event: Encountered) -> Effects:
        node = event.certified.node
        if not event.typed or self._proved.get(node, frozenset()) & self._projects.keys():
            return ()
        sentence = f"the node {format_id(node)} answers there, but holds no project token in common with this node"
        return (Publish(event=EnrolmentFailed(node=node, address=event.heard_at, sentence=sentence)),)

    def _knock(self, node: bytes, now: Now) -> Effects:
        knock = self._knocks.get(node)
        if knock is None:
            return ()
        wanted = self._wanted(knock.event)
        if not wanted or (knock.event.introduced and knock.attempts >= KNOCKS_INTRODUCED_MAX):
            del self._knocks[node]
            return ()
        knock.attempts += 1
        effects: list[Effect] = []
        for project in wanted:
            if self._client and not knock.event.heard_at:
                effects += self._credentials.show(knock.event.certified, project)
            elif len(self._sessions) < DOOR_SESSIONS_MAX and not self._joining(node, project):
                effects += self._dial(knock.event, project, now)
        pause = min(ENROL_RETRY_MS_MAX, ENROL_RETRY_MS_MIN * 2 ** min(knock.attempts, 10)) + self._knock_limit_ms
        return (*effects, SetTimer(name=f"knock:{node.hex()}", at_ns=now.after_ms(pause)))

    def _joining(self, node: bytes, project: ProjectKey) -> bool:
        return any(
            session.joiner is not None and session.joiner.target.node == node and session.project is project
            for session in self._sessions.values()
        )

    def _dial(self, event: Encountered, project: ProjectKey, now: Now) -> list[Effect]:
        certified = event.certified
        session_id = b"dial:" + self._nonce()
        session = self._sessions[session_id] = Session("knocking", project)
        session.heard_at = event.heard_at
        session.joiner = Joiner(
            role="node",
            own_id=self._own_id,
            statement=self._statement,
            curve_key=self._curve_key,
            nonce=self._nonce(),
            target=certified,
            project=project,
        )
        heard = (event.heard_at,) if event.heard_at else ()
        addresses = tuple(dict.fromkeys((*heard, *certified.statement.addresses)))
        return [
            Publish(
                event=DialDoor(
                    session=session_id,
                    node=certified.node,
                    node_key=certified.node_key,
                    server_curve=certified.statement.curve_key,
                    addresses=addresses[:ADDRESSES_INTRODUCED_MAX] if event.introduced else addresses,
                    project=project.project_id,
                )
            ),
            Send(message=session.joiner.hello, session=session_id, to=b"", project=project.project_id),
            self._deadline(session_id, self._knock_limit_ms, now),
        ]

    def _challenge(self, event: Received, challenge: Challenge, now: Now) -> Effects:
        session = self._sessions.get(event.session)
        if session is None or session.state != "knocking" or session.joiner is None:
            return self._unexpected("Challenge")
        try:
            proof = session.joiner.answer(challenge, now)
        except RemoteProtocolError as error:
            failed = self._failed(session, f"was not believed: {error.sentence}")
            return (*self._end(event.session), Refuse(code=error.code, sentence=error.sentence), *failed)
        session.state = "proving"
        return (Send(message=proof, session=event.session, project=session.project.project_id),)

    def _welcome(self, event: Received) -> Effects:
        session = self._sessions.get(event.session)
        if session is None or session.state != "proving" or session.joiner is None:
            return self._unexpected("Welcome")
        proved = self._prove(session.joiner.target, session.project, session.heard_at)
        return (*self._end(event.session), *proved)

    # --- the responder ----------------------------------------------------------------------------

    def _hello(self, event: Received, hello: Hello, now: Now) -> Effects:
        project = self._doors.get(event.project)
        if project is None or event.session in self._sessions or len(self._sessions) >= DOOR_SESSIONS_MAX:
            return self._unexpected("Hello")
        if (hello.role == "invited") != (event.project in self._invitations) or crowded(self._sessions, project, hello):
            return self._unexpected("Hello")
        try:
            certified = joining_node(hello, event.sender, now, alone=self._allowed.alone)
        except RemoteProtocolError as error:
            return (Refuse(code=error.code, sentence=error.sentence, session=event.session),)
        session = Session("challenged", project)
        session.hello, session.joiner_id, session.nonce = hello, event.sender, self._nonce()
        session.certified = certified
        self._sessions[event.session] = session
        challenge = Challenge(
            statement=self._statement,
            nonce=session.nonce,
            proof=project.proof("responder", *session.bound(self._own_id, self._curve_key)),
            version=VERSION,
        )
        return (
            Send(message=challenge, session=event.session, reply_to=event.message_id),
            self._deadline(event.session, HANDSHAKE_LIMIT_MS, now),
        )

    def _proof(self, event: Received, proof: Proof, now: Now) -> Effects:
        session = self._sessions.get(event.session)
        if session is None or session.state != "challenged" or session.joiner_id != event.sender:
            return self._unexpected("Proof")
        if not session.project.check_proof("joiner", *session.bound(self._own_id, self._curve_key), proof.proof):
            refusal = Refuse(code=Code.PROOF_WRONG, sentence="the proof of the token is wrong", session=event.session)
            return (refusal, *self._end(event.session))
        session.state, session.proof_id = "proved", event.message_id
        if session.project.project_id in self._invitations:
            invited = InvitationProved(session=event.session, invitation=event.project, joiner=event.sender)
            return (Publish(event=invited),)
        if session.certified is not None and not self._allowed.admits(event.sender):
            return self._keep_waiting(event, session.certified)
        if session.certified is not None:
            return self._prove(session.certified, session.project, "")
        proved = SubmitterProved(session=event.session, project=session.project.project_id)
        return (Publish(event=proved), *self._let_in(event.session, SUBMITTER_IDLE_MS, now))

    def _keep_waiting(self, event: Received, certified: Certified) -> Effects:
        """Its knowledge of the token is proved; the operator decides. It knocks again by itself."""
        return (Publish(event=PeerWaiting(certified=certified)), waiting(event), *self._end(event.session))

    def _invitation_answered(self, answer: InvitationAnswered, now: Now) -> Effects:
        session = self._sessions.get(answer.session)
        if session is None or session.state != "proved":
            return ()  # it took too long; the same node may ask again
        if answer.token is not None:
            granted = Granted(token=answer.token.reveal(), name=answer.name)
            return self._let_in(answer.session, HANDSHAKE_LIMIT_MS, now, granted)
        return (not_granted(answer, session.proof_id), *self._end(answer.session))

    def _admitted(self, node: bytes, projects: tuple[bytes, ...], now: Now) -> Effects:
        """Only now, since membership has stored the joiner: a crash before would leave it a peer unknown to us."""
        waiting = [
            session_id
            for session_id, session in self._sessions.items()
            if session.state == "proved"
            and session.certified is not None
            and session.certified.node == node
            and session.project.project_id in projects
        ]
        welcomed = (effect for session_id in waiting for effect in self._let_in(session_id, HANDSHAKE_LIMIT_MS, now))
        return (*welcomed, *self._credentials.answer(node))

    def _let_in(self, session_id: bytes, idle_ms: int, now: Now, message: Welcome | Granted | None = None) -> Effects:
        """The other side hangs up after the welcome, or when it has asked all; hanging up here could overtake it."""
        session = self._sessions.pop(session_id)
        return (
            Send(message=message or Welcome(), session=session_id, reply_to=session.proof_id),
            ClearTimer(name=f"session:{session_id.hex()}"),
            SetTimer(name=f"idle:{session_id.hex()}", at_ns=now.after_ms(idle_ms)),
        )

    # --- clients ----------------------------------------------------------------------------------

    def _credential(self, event: Received, credential: Credential, now: Now) -> Effects:
        project = self._projects.get(event.project)
        if project is None:
            return self._unexpected("Credential")
        try:
            certified = self._credentials.believe(event, credential, project, now)
        except RemoteProtocolError as error:
            return (Refuse(code=error.code, sentence=error.sentence),)
        if not self._allowed.admits(certified.node):
            return (Publish(event=PeerWaiting(certified=certified)),)
        self._credentials.owe_answer(certified.node, project)
        return self._prove(certified, project, "")

    # --- both -------------------------------------------------------------------------------------

    def _prove(self, certified: Certified, project: ProjectKey, heard_at: str) -> Effects:
        """Remembers that the project is proved, so that no second handshake begins, and tells membership."""
        if len(self._proved) < PEERS_MAX:
            before = self._proved.get(certified.node, frozenset())
            self._proved[certified.node] = before | {project.project_id}
        return (Publish(event=PeerProved(certified=certified, project=project.project_id, heard_at=heard_at)),)

    def _timer(self, name: str, now: Now) -> Effects:
        kind, _, hexed = name.partition(":")
        key = bytes.fromhex(hexed)
        if kind == "knock":
            return self._knock(key, now)
        if kind == "idle":
            return (Publish(event=HangUp(session=key)),)
        session = self._sessions.get(key)
        if session is None:
            return ()
        return (*self._end(key), *self._failed(session, too_late(self._knock_limit_ms)))

    def _failed(self, session: Session, sentence: str) -> Effects:
        """Of a handshake that this node began; membership may look for somebody else meanwhile."""
        if session.joiner is None:
            return ()
        node = session.joiner.target.node
        told = f"the node {format_id(node)} {sentence}"
        return (Publish(event=EnrolmentFailed(node=node, address=session.heard_at, sentence=told)),)

    def _end(self, session_id: bytes) -> Effects:
        self._sessions.pop(session_id, None)
        return (Publish(event=HangUp(session=session_id)), ClearTimer(name=f"session:{session_id.hex()}"))

    def _deadline(self, session_id: bytes, limit_ms: int, now: Now) -> SetTimer:
        return SetTimer(name=f"session:{session_id.hex()}", at_ns=now.after_ms(limit_ms))

    def _unexpected(self, message: str) -> Effects:
        return (Refuse(code=Code.EVENT_UNEXPECTED, sentence=f"{message} came out of turn at the door"),)

    def _nonce(self) -> bytes:
        self._counter += 1
        return hashlib.sha256(b"flotta-p2p/nonce/v1\0" + self._nonce_seed + self._counter.to_bytes(8)).digest()[:16]
