"""The two ways from a person to a scheduling node: the control socket of this machine, and the door of a node
elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, Protocol

import zmq

from actors.adapters.clock import SystemClock
from actors.adapters.control_client import ControlClient
from actors.adapters.curve_sockets import CurveKeys, harden, set_keys
from actors.adapters.entropy import SystemEntropy
from actors.adapters.route import DIRECT, Route, Way, fetch_by
from protocol.errors import Code, DeniedError, FlottaError, RemoteProtocolError, UnreachableError
from protocol.ids import format_project_id, node_id, parse_id
from protocol.key_statement import Certified, hints_match, parse_address, verify_key_statement
from protocol.limits import HANDSHAKE_LIMIT_MS, NODE_PORT
from protocol.machines.contract import Publish, Received, Send
from protocol.machines.events import Arrived, DialDoor, Outgoing, Transmit
from protocol.machines.gate import Gate
from protocol.machines.joiner import Joiner
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey
from protocol.wire.control import AskProof, AskStatus, ProofGiven
from protocol.wire.door import Challenge, Granted, Welcome
from protocol.wire.peers import Refused

REQUEST_LIMIT_S: Final = 10.0
_LOOK_MS: Final = 250  # while it waits for an answer: whether the way can be opened at all
_SESSION: Final = b"dial:submitter"


class Channel(Protocol):
    """Asks a node one thing at a time. A refusal is raised as DeniedError with the node's code and sentence."""

    def request(self, message: Any, *, limit_s: float = REQUEST_LIMIT_S) -> Any: ...
    def proof(self, project: bytes, job_id: bytes, submitter_key: bytes) -> bytes: ...
    def node(self) -> bytes: ...
    def close(self) -> None: ...


def refused(answer: Any, node: str = "") -> Any:
    """The answer, unless it is a refusal, which is raised."""
    if isinstance(answer, Refused):
        code = Code(answer.code) if answer.code in set(Code) else Code.INTERNAL
        kind = UnreachableError if code == Code.TIMED_OUT else DeniedError
        raise kind(code, answer.sentence, node=node, next_step=answer.next_step)
    return answer


class ControlChannel:
    """To the node of this machine and user; the node itself knows the project's token."""

    def __init__(self, workdir: Path) -> None:
        """Raises UnreachableError(NODE_NOT_RUNNING)."""
        self._client = ControlClient(workdir)

    def request(self, message: Any, *, limit_s: float = REQUEST_LIMIT_S) -> Any:
        return refused(self._client.request(message, limit_s=limit_s))

    def proof(self, project: bytes, job_id: bytes, submitter_key: bytes) -> bytes:
        given = self.request(AskProof(project=project, job_id=job_id, submitter_key=submitter_key))
        assert isinstance(given, ProofGiven)
        return given.proof

    def node(self) -> bytes:
        """The id of the node at the other end."""
        return parse_id(self.request(AskStatus()).values["node"])

    def close(self) -> None:
        self._client.close()


def running_status(workdir: Path) -> dict[str, Any] | None:
    """What the node of this work directory says of itself; None when none runs. Raises UnreachableError for one that
    does not answer.
    """
    try:
        channel = ControlChannel(workdir)
    except UnreachableError as error:
        if error.code == Code.NODE_NOT_RUNNING:
            return None
        raise
    try:
        values: dict[str, Any] = channel.request(AskStatus()).values
        return values
    finally:
        channel.close()


class Door:
    """A connection to the door of a node elsewhere: a handshake, questions and answers. Every wait is bounded."""

    def __init__(self, address: str, project: ProjectKey, key: SigningKey, route: Route = DIRECT) -> None:
        """The caller closes the route."""
        self.address = address
        self._route = route
        self._way: Way | None = None
        self._project = project
        self._key = key
        self._clock = SystemClock()
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None

    def close(self) -> None:
        self._hang_up()
        self._context.term()

    def knock(self, target: Certified, role: Literal["submitter", "invited"]) -> tuple[Certified, Any]:
        """Both sides prove to know the token, or the invitation. Returns what the node says of itself, and its answer
        to the proof: Welcome or Granted. Raises UnreachableError, or DeniedError with the node's own words.
        """
        self._dial(target)
        joiner = Joiner(
            role=role,
            own_id=node_id(self._key.public_key),
            statement=b"",
            curve_key=self._project.door_public,
            nonce=SystemEntropy().bytes(16),
            target=target,
            project=self._project,
        )
        limit_s = (HANDSHAKE_LIMIT_MS + self._route.opening_ms) / 1000
        challenge = self.ask(joiner.hello, limit_s, Challenge)
        try:
            proof = joiner.answer(challenge, self._clock.now())
        except RemoteProtocolError as error:
            raise DeniedError(error.code, error.sentence, node=self.address) from error
        return joiner.target, self.ask(proof, limit_s, Welcome | Granted)

    def ask(self, message: Any, limit_s: float, wanted: Any = object) -> Any:
        """Sends one message and returns the first wanted answer to it; a refusal is raised as DeniedError."""
        assert self._socket is not None
        assert self._way is not None
        send = Send(message=message, session=_SESSION, project=self._project.project_id)
        for effect in self._gate.step(Outgoing(send=send), self._clock.now()):
            if isinstance(effect, Publish) and isinstance(effect.event, Transmit):
                self._socket.send(effect.event.raw)
        deadline_ns = self._clock.now().after_ms(int(limit_s * 1000))
        while (left_ms := (deadline_ns - self._clock.now().boot_ns) // 1_000_000) > 0:
            if not self._socket.poll(min(left_ms, _LOOK_MS)):
                if (problem := self._way.problem()) is not None:
                    raise problem
                continue
            answer = self._open(self._socket.recv())
            if isinstance(answer, Refused) or (answer is not None and isinstance(answer, wanted)):
                return refused(answer, self.address)
        raise UnreachableError(
            Code.NODE_UNREACHABLE,
            f"the node at {self.address} did not answer within {limit_s:g} s",
            next_step="see whether it still runs (`flotta-p2p status` there)",
        )

    def _dial(self, target: Certified) -> None:
        self._hang_up()
        host, port = parse_address(self.address, default_port=NODE_PORT)
        self._way = self._route.way(f"{host}:{port}")
        self._socket = self._context.socket(zmq.DEALER)
        harden(self._socket)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_LIMIT_MS + self._route.opening_ms)
        self._socket.setsockopt(zmq.CURVE_SERVERKEY, target.statement.curve_key)
        set_keys(self._socket, CurveKeys(secret=self._project.door_secret, public=self._project.door_public))
        self._socket.connect(self._way.endpoint)
        now = self._clock.now()
        self._gate = Gate(self._key, now.wall_ms, {})
        self._gate.step(
            DialDoor(
                session=_SESSION,
                node=target.node,
                node_key=target.node_key,
                server_curve=target.statement.curve_key,
                addresses=(),
                project=self._project.project_id,
                submitting=True,
            ),
            now,
        )

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close(0)
            self._socket = None
        if self._way is not None:
            self._way.close()
            self._way = None

    def _open(self, raw: bytes) -> Any:
        arrived = Arrived(raw=raw, session=_SESSION, dialled=True)
        for effect in self._gate.step(arrived, self._clock.now()):
            if isinstance(effect, Publish) and isinstance(effect.event, Received):
                return effect.event.message
        return None


class DoorChannel:
    """Through the door of a node elsewhere, as a submitter who knows the project's token."""

    def __init__(self, address: str, project: ProjectKey, key: SigningKey, route: Route = DIRECT) -> None:
        """The caller closes the route. Raises UnreachableError, AddressError, or DeniedError when the token is not the
        node's, or the proxy's owner does not permit it.
        """
        self._project = project
        self._route = route
        self._door = Door(address, project, key, route)
        try:
            self._knock()
        except BaseException:
            self.close()
            raise

    def request(self, message: Any, *, limit_s: float = REQUEST_LIMIT_S) -> Any:
        """Asks; after a silence knocks once more, since a node forgets idle sessions. Every request may be repeated."""
        try:
            return self._door.ask(message, limit_s / 2)
        except UnreachableError:
            self._knock()
            return self._door.ask(message, limit_s / 2)

    def proof(self, project: bytes, job_id: bytes, submitter_key: bytes) -> bytes:
        return self._project.submit_proof(job_id, submitter_key)

    def node(self) -> bytes:
        """The id of the node at the other end, which has proved to know the token."""
        return self._node

    def close(self) -> None:
        self._door.close()

    def _knock(self) -> None:
        target = statement_at(self._door.address, self._route)
        try:
            self._door.knock(target, "submitter")
        except UnreachableError as error:
            if error.code != Code.NODE_UNREACHABLE:
                raise
            raise not_let_in(self._door.address, target, self._project) from error
        self._node = target.node


def not_let_in(address: str, target: Certified, project: ProjectKey) -> FlottaError:
    """Why a door stays shut that says nothing to those who do not know its tokens. The node's public key statement
    tells the holder of a token, and nobody else, whether the node holds it too.
    """
    if hints_match(target, [project.hint(target.node)]):
        return UnreachableError(
            Code.NODE_UNREACHABLE,
            f"the node at {address} knows the token's project, but its door did not open: the way to that port is not "
            "open, or too many knock there",
            next_step=f"flotta-p2p doctor --to {address}",
        )
    return DeniedError(
        Code.PROJECT_UNKNOWN,
        f"the node at {address} did not open its door: it does not know the token's project, "
        f"{format_project_id(project.project_id)}, or it has left its projects",
        next_step="compare this id with `flotta-p2p project list` there; the token may be another project's, or old",
    )


def statement_at(address: str, route: Route = DIRECT) -> Certified:
    """What the node there says of itself. Raises UnreachableError, AddressError, DeniedError of a proxy."""
    host, port = parse_address(address, default_port=NODE_PORT)
    try:
        return verify_key_statement(fetch_by(route, host, port).statement, SystemClock().now().wall_ms)
    except RemoteProtocolError as error:
        raise UnreachableError(
            Code.NODE_UNREACHABLE,
            f"what answers at {address} is no node of this version ({error.sentence})",
            next_step="check the address and the port",
        ) from error
