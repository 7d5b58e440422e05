"""What the machines of one node tell each other; `protocol/wiring.py` says who takes what."""

from __future__ import annotations

from collections.abc import KeysView, Mapping
from typing import Any, Literal

from protocol.errors import Code
from protocol.findings import Finding
from protocol.key_statement import Certified
from protocol.machines.contract import Send
from protocol.plan.tasks import Fault, Inspection
from protocol.record import Record
from protocol.secret_text import SecretText
from protocol.tokens import ProjectKey
from protocol.wire.jobs import JobStatus
from protocol.wire.peers import SourceOffer

CONTROL_SESSION = b"control:"  # sessions of the control socket: the operator at this machine, never over the network
RELAY_SESSION = b"relay:"  # sessions with a node, by its id, to which a scheduler of this client passes frames on
OPERATOR = b"operator"  # the sender of what comes over the control socket


class Arrived(Record, frozen=True):
    """A frame came in. Over a peer's connection `node` is proved by CURVE; at the door and on our own dials it is a
    session.
    """

    raw: bytes
    node: bytes = b""
    session: bytes = b""
    project: bytes = b""  # of the door key, for a session that knocks
    dialled: bool = False  # an answer on a door session that this node opened
    via: bytes = b""  # the peer that passed it on; then `node` is only who is said to have sent it


class Outgoing(Record, frozen=True):
    """A machine wants a message sent; the gate seals it."""

    send: Send


class Transmit(Record, frozen=True):
    """A signed frame for the transport. With `via` it is sealed for `node` by its `seal_key` and goes to that peer, who
    passes it on.
    """

    raw: bytes
    node: bytes = b""
    session: bytes = b""
    via: bytes = b""
    seal_key: bytes = b""


class Unseal(Record, frozen=True):
    """A frame that `via` passed on from `sender`, sealed for this node; the answer is Arrived, empty when it does not
    open.
    """

    sealed: bytes
    sender: bytes
    via: bytes


class ControlAnswer(Record, frozen=True):
    """The answer to a request of the control socket."""

    session: bytes
    message: Any


class Counted(Record, frozen=True):
    """Something was refused; kept as a counter for people."""

    code: str
    sentence: str
    node: bytes = b""


class Discovered(Record, frozen=True):
    """A key statement, from zeroconf or from a typed address, with the address where it was heard."""

    certified: Certified
    heard_at: str = ""
    typed: bool = False


class DiscoveryLost(Record, frozen=True):
    node: bytes


class StatementWanted(Record, frozen=True):
    """Fetch the key statement of a bare host:port."""

    address: str


class StatementMissing(Record, frozen=True):
    """Nobody answered at a typed address, with the reason."""

    address: str
    sentence: str


class Encountered(Record, frozen=True):
    """A node that is not yet a peer for every project of ours was seen; enrolment may knock."""

    certified: Certified
    heard_at: str = ""
    typed: bool = False
    introduced: bool = False  # by a peer, or by its roll call: it is not known to be there for long
    again: bool = False  # what was proved before may be forgotten at the other end


class DialDoor(Record, frozen=True):
    """Open a door session to a node with the project's door key; `submitting`: as a person, to have a job scheduled."""

    session: bytes
    node: bytes
    node_key: bytes
    server_curve: bytes
    addresses: tuple[str, ...]
    project: bytes
    submitting: bool = False


class Introduce(Record, frozen=True):
    """Open a session to a node that cannot be dialled from here: frames of it go through a scheduler of this client."""

    session: bytes
    node_key: bytes
    seal_key: bytes
    project: bytes


class HangUp(Record, frozen=True):
    """Close a session, ours or one that knocked."""

    session: bytes


class PeerProved(Record, frozen=True):
    """Both sides have proved to know the token of this project."""

    certified: Certified
    project: bytes
    heard_at: str = ""


class PeersAllowed(Record, frozen=True):
    """Whom the operator lets be a peer. Told at every start, before the tokens are, and on every change.

    `named` None: every node that proves a common token. `alone`: nobody, as this node is standalone.
    """

    banned: frozenset[bytes] = frozenset()
    named: frozenset[bytes] | None = None
    alone: bool = False

    def admits(self, node: bytes) -> bool:
        return not self.alone and node not in self.banned and (self.named is None or node in self.named)

    def admits_all(self, nodes: KeysView[bytes]) -> bool:
        """Whether it admits each of them."""
        if self.alone:
            return not nodes
        return nodes.isdisjoint(self.banned) and (self.named is None or nodes <= self.named)


class PeerWaiting(Record, frozen=True):
    """A node knows a common token, and the operator has not accepted it."""

    certified: Certified


class DoorsOpened(Record, frozen=True):
    """The doors of all invitations that this node remembers."""

    doors: tuple[ProjectKey, ...]


class InvitationProved(Record, frozen=True):
    """Somebody at the door proved to have an invitation."""

    session: bytes
    invitation: bytes
    joiner: bytes


class InvitationAnswered(Record, frozen=True):
    """With the project's token once the use is committed, or else with the reason."""

    session: bytes
    token: SecretText | None = None
    name: str = ""
    code: Code = Code.INTERNAL
    sentence: str = ""
    next_step: str = ""


class KeptJoin(Record, frozen=True):
    """An address of the work directory to join at, and what the node there said of itself, if that is known."""

    address: str
    statement: bytes = b""


class JoinsKept(Record, frozen=True):
    """The join addresses of the work directory. Told at start, behind the tokens, and on change."""

    joins: tuple[KeptJoin, ...]


class EnrolmentFailed(Record, frozen=True):
    node: bytes
    address: str
    sentence: str


class SubmitterProved(Record, frozen=True):
    session: bytes
    project: bytes


class PeerAdmitted(Record, frozen=True):
    """A peer may talk: its keys, where to dial it, and the projects in common. Told again when any of it changes.
    Without addresses it is not dialled: it dials us, or is reached through others.
    """

    node: bytes
    node_key: bytes
    curve_key: bytes
    seal_key: bytes
    addresses: tuple[str, ...]
    projects: tuple[bytes, ...]
    name: str


class PeerSeen(Record, frozen=True):
    """A peer came within reach, or its offer changed. `via`: the peer through which it speaks; empty: by itself."""

    node: bytes
    name: str
    sources: tuple[SourceOffer, ...]
    via: bytes = b""


class MembersPartlyKnown(Record, frozen=True):
    """There are more members than this node keeps as peers: whoever needs them all calls the roll."""


class RollCallWanted(Record, frozen=True):
    """The scheduler calls for holders of a project; membership passes the signed call on."""

    project: bytes
    envelope: bytes


class PeerReached(Record, frozen=True):
    """A scheduler answers a poll after one or more that it did not answer."""

    node: bytes


class PeerAway(Record, frozen=True):
    """Nothing was heard of a peer for PEER_AWAY_MS."""

    node: bytes
    name: str


class PeerLeft(Record, frozen=True):
    """A peer said farewell."""

    node: bytes
    name: str


class Departed(Record, frozen=True):
    """This node has left and its farewell has had its time: connections are closed."""


class ProjectsHeld(Record, frozen=True):
    """The project tokens that this node holds now, and its own key statement with their hints. Told at start and on
    change. What was begun for a project that is not among them ends.

    `sources`: this node's own, each with the projects that may reach it now; None: as when the machine was made.
    `left`: the operator took the node out of all its projects, for a while.
    """

    projects: tuple[ProjectKey, ...]
    statement: bytes
    sources: Mapping[str, frozenset[bytes]] | None = None
    left: bool = False


class SourceInspected(Record, frozen=True):
    """A source of this node was read (again): what is known of it, or what is wrong with it."""

    source: str
    seen: Inspection | None = None
    fault: Fault | None = None


class TaskProduced(Record, frozen=True):
    """The child process made the product of a task: a small one, or `pieces` that were told before."""

    key: bytes
    product: bytes
    pieces: int = 0
    run: int = 0  # as in StartTask


class TaskPiece(Record, frozen=True):
    """The next piece of a large product, counted from 0. The child waits until the effect NextPiece."""

    key: bytes
    number: int
    data: bytes
    run: int = 0


class TaskFaulted(Record, frozen=True):
    """The child process says why there is no product."""

    key: bytes
    code: str
    sentence: str
    next_step: str = ""


class TaskDied(Record, frozen=True):
    """The child process ended under its task."""

    key: bytes
    reason: Literal["crashed", "out-of-memory", "out-of-time"]
    detail: str = ""


class ResourceWanted(Record, frozen=True):
    """A machine needs a stored resource; the answer to it is ResourceFound with the same ticket."""

    ticket: int
    digest: bytes
    taker: Literal["scheduler", "worker"] = "scheduler"


class ResourceFound(Record, frozen=True):
    ticket: int
    data: bytes | None


class HealthWanted(Record, frozen=True):
    """The node shall be looked at; what was seen is told as `health.Observed`."""


class HealthChanged(Record, frozen=True):
    """All that is not well now; of that what has begun, or got better or worse; and what has ended, as it is now."""

    unwell: tuple[Finding, ...]
    begun: tuple[Finding, ...]
    ended: tuple[Finding, ...]


class JobChanged(Record, frozen=True):
    status: JobStatus
