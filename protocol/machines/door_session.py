"""What the machine `Enrolment` keeps of one handshake at the door, and the refusals there."""

from __future__ import annotations

from collections.abc import Mapping

from protocol import standalone
from protocol.errors import Code, RemoteProtocolError
from protocol.ids import format_id
from protocol.key_statement import Certified, verify_key_statement
from protocol.limits import DOOR_SESSIONS_PER_INVITATION_MAX
from protocol.machines.contract import Now, Received, Refuse
from protocol.machines.events import Encountered, InvitationAnswered
from protocol.machines.joiner import VERSION, Joiner
from protocol.tokens import ProjectKey
from protocol.wire.door import Hello


class Session:
    """One handshake in progress; `joiner` on the dialling side, `hello` on the answering side."""

    def __init__(self, state: str, project: ProjectKey) -> None:
        self.state = state
        self.project = project
        self.joiner: Joiner | None = None
        self.heard_at = ""
        self.hello: Hello | None = None
        self.certified: Certified | None = None  # of the joiner, when it is a node
        self.joiner_id = b""
        self.nonce = b""
        self.proof_id = b""  # the message that the welcome answers

    def bound(self, own_id: bytes, own_curve: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes]:
        """On the answering side: what both proofs are bound to."""
        assert self.hello is not None
        return (self.joiner_id, own_id, self.hello.curve_key, own_curve, self.hello.nonce, self.nonce)

    @property
    def other(self) -> bytes:
        return self.joiner.target.node if self.joiner is not None else self.joiner_id


class Knock:
    """A node that we want to join, and when to try again."""

    def __init__(self, event: Encountered) -> None:
        self.event = event
        self.attempts = 0


def joining_node(hello: Hello, sender: bytes, now: Now, *, alone: bool = False) -> Certified | None:
    """The node that knocks; None for a submitter and for the invited, who are known by the key that signs alone.

    `alone`: no node is let in. Raises RemoteProtocolError.
    """
    if VERSION not in hello.versions or len(hello.nonce) != 16 or len(hello.curve_key) != 32:
        raise RemoteProtocolError(Code.BODY_MALFORMED, "a hello of an unknown version")
    if hello.role != "node":
        return None
    if alone:
        raise RemoteProtocolError(Code.NODE_ALONE, standalone.refusal("be joined").sentence)
    certified = verify_key_statement(hello.statement, now.wall_ms)
    if certified.node != sender or certified.statement.curve_key != hello.curve_key:
        raise RemoteProtocolError(Code.SENDER_WRONG, "the statement is another node's")
    return certified


def crowded(sessions: Mapping[bytes, Session], door: ProjectKey, hello: Hello) -> bool:
    """Whether so many use one invitation already that whoever else comes with it has to come again."""
    at_it = sum(session.project.project_id == door.project_id for session in sessions.values())
    return hello.role == "invited" and at_it >= DOOR_SESSIONS_PER_INVITATION_MAX


def waiting(event: Received) -> Refuse:
    return Refuse(
        code=Code.NODE_WAITING,
        sentence="the operator of this node has not accepted the node that knocks",
        session=event.session,
        next_step=f"there: flotta-p2p peers accept {format_id(event.sender)}",
    )


def not_granted(answer: InvitationAnswered, proof_id: bytes) -> Refuse:
    return Refuse(
        code=answer.code,
        sentence=answer.sentence,
        session=answer.session,
        reply_to=proof_id,
        next_step=answer.next_step,
    )


def too_late(limit_ms: int) -> str:
    return f"did not open its door within {limit_ms} ms: it holds no common project token, or cannot be reached"
