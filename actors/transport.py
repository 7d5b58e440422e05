"""The transport actor: carries sealed frames between the gate and the thread that owns the sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.adapters.curve_sockets import CurveKeys
from actors.adapters.route import DIRECT, Route
from actors.adapters.sealing import SealKeys, seal_for, unseal
from actors.adapters.zap import Allowed
from actors.adapters.zmq_wire import Carry, Close, Dial, ZmqWire
from actors.base import Context, SupervisedActor
from actors.messages import Snapshot, SnapshotWanted
from actors.ports import Clock
from protocol.errors import Code, FlottaError
from protocol.ids import format_id
from protocol.machines.events import (
    Arrived,
    Counted,
    Departed,
    DialDoor,
    DoorsOpened,
    HangUp,
    PeerAdmitted,
    PeersAllowed,
    ProjectsHeld,
    Transmit,
    Unseal,
)
from protocol.machines.relaying import asked_to_pass_on
from protocol.record import Record
from protocol.tokens import ProjectKey


class WireReady(Record, frozen=True):
    """The sockets are bound and the self-test has shown that strangers are refused."""


class WireFailed(Record, frozen=True):
    error: FlottaError


class TransportActor(SupervisedActor):
    """Owns the wire. It decides nothing: who may connect follows from what the machines publish."""

    def __init__(
        self,
        context: Context,
        own_id: bytes,
        keys: CurveKeys,
        seal_keys: SealKeys,
        hosts: tuple[str, ...],
        port: int,
        clock: Clock,
        publish: Callable[[Any], None],
        route: Route = DIRECT,
    ) -> None:
        """Without `hosts` nothing is listened on: a client."""
        super().__init__(context)
        self._own_id = own_id
        self._keys = keys
        self._seal_keys = seal_keys
        self._publish = publish
        self._hosts = hosts
        self._port = port
        self._wire = ZmqWire(
            keys,
            clock,
            deliver=publish,
            fail=lambda error: self._tell_self(WireFailed(error=error)),
            ready=lambda: self._tell_self(WireReady()),
            route=route,
        )
        self._nodes: dict[bytes, bytes] = {}  # limits.PEERS_MAX: CURVE key → node id
        self._curves: dict[bytes, bytes] = {}  # limits.PEERS_MAX: node id → CURVE key
        self._projects: dict[bytes, ProjectKey] = {}  # limits.PROJECTS_MAX
        self._invitations: tuple[ProjectKey, ...] = ()  # limits.INVITATIONS_MAX
        self._peers_allowed = PeersAllowed()
        self._left = False

    def begin(self) -> None:
        self._wire.open(self._hosts, self._port)

    def handle(self, message: Any) -> None:
        match message:
            case WireReady():
                self.ready()
            case WireFailed(error=error):
                raise error
            case Transmit() | Unseal() | DialDoor() | HangUp():
                self._connect(message)
            case PeerAdmitted():
                self._admit(message)
            case PeersAllowed():
                self._peers_allowed = message
                self._cut_off([node for node in self._curves if not message.admits(node)])
            case ProjectsHeld(projects=projects, left=left):
                self._projects = {project.project_id: project for project in projects}
                self._left = left
                self._tell_allowed()
            case DoorsOpened(doors=doors):
                self._invitations = doors
                self._tell_allowed()
            case Departed() if self._left:
                self._cut_off(list(self._curves))
            case SnapshotWanted(ticket=ticket, reply_to=reply_to):
                reply_to.tell(Snapshot(ticket=ticket, name=self.name, values=self._wire.counts()))

    def end(self) -> None:
        self._wire.close()

    def _tell_self(self, message: Any) -> None:
        self.address.tell(message)

    def _connect(self, message: Transmit | Unseal | DialDoor | HangUp) -> None:
        match message:
            case Transmit(raw=raw, node=node, session=session, via=b""):
                self._wire.post(Carry(name=node or session, raw=raw))
            case Transmit():
                self._send_sealed(message)
            case Unseal():
                self._unseal(message)
            case DialDoor():
                self._dial_door(message)
            case HangUp(session=session):
                self._wire.post(Close(name=session))

    def _send_sealed(self, event: Transmit) -> None:
        sealed = seal_for(event.seal_key, event.raw, sender=self._own_id, receiver=event.node)
        if sealed is None:
            self._complain(event.node, "has a seal key that is no good: nothing can be sent to it")
            return
        self._wire.post(Carry(name=event.via, raw=asked_to_pass_on(event.node, sealed)))

    def _unseal(self, event: Unseal) -> None:
        frame = unseal(self._seal_keys, event.sealed, sender=event.sender, receiver=self._own_id)
        self._publish(Arrived(raw=frame or b"", node=event.sender, via=event.via))  # the gate counts an empty one

    def _dial_door(self, event: DialDoor) -> None:
        project = self._projects.get(event.project)
        if project is None:
            return  # its token was taken away meanwhile; the session runs into its limit
        self._wire.post(
            Dial(
                name=event.session,
                server_curve=event.server_curve,
                own=CurveKeys(secret=project.door_secret, public=project.door_public),
                addresses=event.addresses,
                door=True,
            )
        )

    def _admit(self, peer: PeerAdmitted) -> None:
        """A CURVE key stays with the first node that it was certified for: a peer must not cut off another one by
        certifying that one's key as its own.
        """
        if not self._peers_allowed.admits(peer.node):
            return  # membership has not heard of the ban yet
        if self._nodes.get(peer.curve_key, peer.node) != peer.node:
            self._complain(peer.node, "claims the transport key of another peer and is not connected")
            return
        former = self._curves.get(peer.node)
        if former is not None and former != peer.curve_key:
            self._nodes.pop(former, None)
        self._curves[peer.node] = peer.curve_key
        self._nodes[peer.curve_key] = peer.node
        self._tell_allowed()
        self._wire.post(
            Dial(
                name=peer.node,
                server_curve=peer.curve_key,
                own=self._keys,
                addresses=peer.addresses,
                door=False,
            )
        )

    def _complain(self, node: bytes, what: str) -> None:
        """A peer can cause it with every frame: the journal says it once in a while."""
        sentence = f"node {format_id(node)} {what}"
        self._publish(Counted(code=Code.STATEMENT_MALFORMED, sentence=sentence, node=node))

    def _cut_off(self, nodes: list[bytes]) -> None:
        """They are dialled no more and their keys are refused; the gate refuses what open connections bring."""
        for node in nodes:
            self._nodes.pop(self._curves.pop(node), None)
            self._wire.post(Close(name=node))
        self._tell_allowed()

    def _tell_allowed(self) -> None:
        """A node that has left opens to nobody; those whom it still has as peers hear its farewell first."""
        doors = {project.door_public: project_id for project_id, project in self._projects.items()}
        if not self._left:
            doors |= {one.door_public: one.project_id for one in self._invitations}
        self._wire.post(Allowed(nodes=dict(self._nodes), doors=doors))
