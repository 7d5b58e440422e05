"""The transport actor: who may connect follows from the news of the machines, and none of them can crash it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import pytest
import zmq
from zmq.utils import z85

from actors.adapters.clock import SystemClock
from actors.adapters.curve_sockets import CurveKeys
from actors.adapters.sealing import SealKeys, derive_seal_keys
from actors.adapters.zmq_wire import ZmqWire
from actors.base import ActorHandle
from actors.child_spec import ChildSpec
from actors.transport import TransportActor, WireFailed
from flotta_p2p.demo.fleet import free_ports
from protocol.errors import Code, ConfigError, DeniedError
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
)
from protocol.tokens import ProjectKey
from tests.actors.tree import Journal, Tree, timers_running, tree
from tests.system.processes import wait_until

PROJECT = ProjectKey.derive("9d41c7f0a2b85e3617dd094c5b8e12fa6073bd2e")
A, B = b"A" * 32, b"B" * 32


def new_keys() -> CurveKeys:
    public, secret = zmq.curve_keypair()
    return CurveKeys(secret=z85.decode(secret), public=z85.decode(public))


@dataclass
class Node:
    keys: CurveKeys
    seal_keys: SealKeys
    address: str
    handle: ActorHandle
    published: Journal
    wires: list[ZmqWire]
    tree: Tree

    def admitted(self, node: bytes) -> PeerAdmitted:
        return PeerAdmitted(
            node=node,
            node_key=node,
            curve_key=self.keys.public,
            seal_key=self.seal_keys.public,
            addresses=(self.address,),
            projects=(PROJECT.project_id,),
            name="x",
        )


@contextmanager
def node() -> Iterator[Node]:
    keys, published, wires = new_keys(), Journal(), []
    seal_keys = derive_seal_keys(keys.secret)
    (port,) = free_ports(1)

    class Watched(TransportActor):
        def begin(self) -> None:
            wires.append(self._wire)
            super().begin()

    with timers_running() as timers:
        spec = ChildSpec(
            "transport",
            lambda context: Watched.start(
                context, keys.public, keys, seal_keys, ("127.0.0.1",), port, SystemClock(), published.add
            ),
        )
        with tree([spec], timers=timers) as running:
            yield Node(keys, seal_keys, f"127.0.0.1:{port}", spec.handle, published, wires, running)


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.child_spec.RESTART_BACKOFF_MS_MIN", 5)


def test_two_admitted_peers_talk_both_ways() -> None:
    with node() as a, node() as b:
        a.handle.tell(b.admitted(B))
        b.handle.tell(a.admitted(A))
        a.handle.tell(Transmit(raw=b"to b", node=B))
        b.handle.tell(Transmit(raw=b"to a", node=A))
        b.published.wait_for(Arrived(raw=b"to b", node=A))
        a.published.wait_for(Arrived(raw=b"to a", node=B))


def test_a_door_session_is_dialled_and_answered_and_hung_up() -> None:
    held = ProjectsHeld(projects=(PROJECT,), statement=b"")
    with node() as a, node() as b:
        a.handle.tell(held)
        b.handle.tell(held)
        dial = DialDoor(
            session=b"dial:1",
            node=B,
            node_key=B,
            server_curve=b.keys.public,
            addresses=(b.address,),
            project=PROJECT.project_id,
        )
        a.handle.tell(msgspec.structs.replace(dial, session=b"dial:0", project=b"none of ours"))  # no fault
        a.handle.tell(dial)
        a.handle.tell(Transmit(raw=b"hello", session=b"dial:1"))
        (knocked,) = b.published.wait(bool)
        assert (knocked.raw, knocked.node, knocked.project) == (b"hello", b"", PROJECT.project_id)
        b.handle.tell(Transmit(raw=b"challenge", session=knocked.session))
        a.published.wait_for(Arrived(raw=b"challenge", session=b"dial:1", dialled=True))
        a.handle.tell(HangUp(session=b"dial:1"))
        wait_until(lambda: a.wires[0]._links == {})
        assert len(a.wires) == len(b.wires) == 1


def test_a_peer_that_certifies_another_one_s_transport_key_does_not_cut_it_off() -> None:
    with node() as a, node() as b:
        a.handle.tell(b.admitted(B))
        a.handle.tell(b.admitted(b"thief" + bytes(27)))
        b.handle.tell(a.admitted(A))
        b.handle.tell(Transmit(raw=b"still b", node=A))
        a.published.wait_for(Arrived(raw=b"still b", node=B))
        assert [one.code for one in a.published.entries() if isinstance(one, Counted)] == [Code.STATEMENT_MALFORMED]


def test_what_cannot_be_sealed_is_counted_and_not_logged_each_time(caplog: pytest.LogCaptureFixture) -> None:
    with node() as a:
        for _ in range(3):
            a.handle.tell(Transmit(raw=b"sealed", node=B, via=A, seal_key=bytes(32)))
        wait_until(lambda: len(a.published.entries()) == 3)
        assert {one.code for one in a.published.entries()} == {Code.STATEMENT_MALFORMED} and caplog.records == []


def test_a_peer_s_former_transport_key_is_worth_nothing() -> None:
    with node() as a, node() as b:
        a.handle.tell(b.admitted(B))
        b.handle.tell(a.admitted(A))
        newer = msgspec.structs.replace(b.admitted(B), curve_key=new_keys().public)
        a.handle.tell(newer)
        wait_until(lambda: a.wires[0]._allowed.nodes == {newer.curve_key: B})
        b.handle.tell(Transmit(raw=b"too late", node=A))
        a.handle.tell(b.admitted(B))
        a.published.wait_for(Arrived(raw=b"too late", node=B))  # and what waited is not lost


def test_a_wire_that_fails_is_opened_again_on_the_same_port() -> None:
    with node() as a, node() as b:
        a.handle.tell(WireFailed(error=DeniedError(Code.ACTOR_FAILED, "the wire stopped")))
        wait_until(lambda: len(a.wires) == 2 and a.tree.fatal.entries() == [])
        a.handle.tell(b.admitted(B))
        b.handle.tell(a.admitted(A))
        b.handle.tell(Transmit(raw=b"again", node=A))
        a.published.wait_for(Arrived(raw=b"again", node=B))


def test_a_door_that_is_open_to_strangers_ends_the_node_at_once() -> None:
    with node() as a:
        a.handle.tell(WireFailed(error=ConfigError(Code.DOOR_OPEN_TO_STRANGERS, "let in")))
        (reason,) = a.tree.fatal.wait(bool)
        assert reason.code is Code.DOOR_OPEN_TO_STRANGERS and len(a.wires) == 1


def test_a_banned_peer_is_dialled_no_more_and_its_key_is_refused() -> None:
    with node() as a, node() as b:
        a.handle.tell(b.admitted(B))
        b.handle.tell(a.admitted(A))
        b.handle.tell(Transmit(raw=b"before", node=A))
        a.published.wait_for(Arrived(raw=b"before", node=B))
        a.handle.tell(PeersAllowed(banned=frozenset([B])))
        wait_until(lambda: a.wires[0]._links == {} and a.wires[0]._allowed.nodes == {})
        a.handle.tell(b.admitted(B))  # membership had not heard of the ban
        a.handle.tell(PeersAllowed())
        wait_until(lambda: not a.tree.fatal.entries())
        assert a.wires[0]._links == {}
        a.handle.tell(b.admitted(B))
        wait_until(lambda: a.wires[0]._allowed.nodes == {b.keys.public: B})


def test_the_doors_of_invitations_stand_open_beside_those_of_projects_and_close_when_the_node_leaves() -> None:
    invitation = ProjectKey(b"i" * 32)
    with node() as a, node() as b:
        a.handle.tell(ProjectsHeld(projects=(PROJECT,), statement=b""))
        a.handle.tell(DoorsOpened(doors=(invitation,)))
        a.handle.tell(b.admitted(B))
        doors = {one.door_public: one.project_id for one in (PROJECT, invitation)}
        wait_until(lambda: a.wires[0]._allowed.doors == doors)
        a.handle.tell(ProjectsHeld(projects=(), statement=b"", left=True))
        wait_until(lambda: a.wires[0]._allowed.doors == {})
        assert a.wires[0]._allowed.nodes  # peers hear the farewell
        a.handle.tell(Departed())
        wait_until(lambda: a.wires[0]._allowed.nodes == {} and a.wires[0]._links == {})
        a.handle.tell(ProjectsHeld(projects=(PROJECT,), statement=b""))
        a.handle.tell(Departed())  # that of before: the node is back
        a.handle.tell(b.admitted(B))
        wait_until(lambda: a.wires[0]._allowed.doors == doors and bool(a.wires[0]._links))
