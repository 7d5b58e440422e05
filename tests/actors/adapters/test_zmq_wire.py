"""The wire: who is let in, that nobody can pose as another, and that hostile bytes cost nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from actors.adapters.clock import SystemClock
from actors.adapters.curve_sockets import CurveKeys, endpoint, harden, set_keys
from actors.adapters.zap import DOMAIN, Allowed, answer_zap
from actors.adapters.zmq_wire import Carry, Close, Command, Dial, ZmqWire
from flotta_p2p.demo.fleet import free_ports
from protocol.errors import AddressError, Code, ConfigError, FlottaError
from protocol.limits import DOOR_SESSIONS_MAX, FRAME_BYTES_MAX, LINK_FRAMES_WAITING_MAX, MIB, WIRE_COMMANDS_MAX
from protocol.machines.events import Arrived
from tests.actors.tree import LIMIT_S, Journal
from tests.system.processes import wait_until

CURVE_OVERHEAD: Final = 64  # bytes that the encryption adds to a frame, at most; they count against the limit
HOST: Final = "127.0.0.1"
Prepare = Callable[[zmq.Socket[bytes]], None]
QUIET_S: Final = 0.5  # within which a local peer would long have been let in


def new_keys() -> CurveKeys:
    public, secret = zmq.curve_keypair()
    return CurveKeys(secret=z85.decode(secret), public=z85.decode(public))


SERVER, PEER, DOOR, STRANGER = (new_keys() for _ in range(4))
PEER_ID, SERVER_ID, PROJECT = b"P" * 32, b"S" * 32, b"J" * 16
KNOWN = Allowed(nodes={PEER.public: PEER_ID}, doors={DOOR.public: PROJECT})


class Station:
    """A wire, and what it told."""

    def __init__(self, keys: CurveKeys, port: int) -> None:
        self.address = f"{HOST}:{port}"
        self.arrived = Journal()
        self.failed = Journal()
        self.ready = threading.Event()
        self.wire = ZmqWire(keys, SystemClock(), self.arrived.add, self.failed.add, self.ready.set)

    def post(self, *commands: Command) -> None:
        for command in commands:
            assert self.wire.post(command)

    def frames(self) -> list[bytes]:
        return [one.raw for one in self.arrived.entries()]


@contextmanager
def station(keys: CurveKeys = SERVER, *commands: Command, port: int | None = None) -> Iterator[Station]:
    """An open wire whose self-test has passed."""
    port = free_ports(1)[0] if port is None else port
    one = Station(keys, port)
    one.post(*commands)
    try:
        assert one.wire.open((HOST,), port) == (one.address,)
        assert one.ready.wait(LIMIT_S)
        yield one
    finally:
        one.wire.close()
        assert not one.wire._thread.is_alive()


@contextmanager
def dealer(
    address: str, keys: CurveKeys | None, prepare: Callable[[zmq.Socket[bytes]], None] = harden
) -> Iterator[Any]:
    """A client without any of our code around it."""
    context = zmq.Context()
    one = context.socket(zmq.DEALER)
    try:
        prepare(one)
        one.setsockopt(zmq.LINGER, 0)
        if keys is not None:
            one.setsockopt(zmq.CURVE_SERVERKEY, SERVER.public)
            set_keys(one, keys)
        one.connect(f"tcp://{address}")
        yield one
    finally:
        one.close(0)
        context.term()


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- who is let in -------------------------------------------------------------------------------


def plain(one: zmq.Socket[bytes]) -> None:
    harden(one)
    one.setsockopt(zmq.PLAIN_USERNAME, b"admin")
    one.setsockopt(zmq.PLAIN_PASSWORD, b"admin")


@pytest.mark.parametrize(
    ("keys", "prepare"), [(STRANGER, harden), (None, harden), (None, plain)], ids=["stranger", "null", "plain"]
)
def test_without_a_known_curve_key_nobody_is_let_in(keys: CurveKeys | None, prepare: Prepare) -> None:
    with station(SERVER, KNOWN) as it, dealer(it.address, keys, prepare) as client, dealer(it.address, PEER) as peer:
        client.send(b"let me in")
        peer.send(b"real")
        it.arrived.wait_for(Arrived(raw=b"real", node=PEER_ID))
        assert not client.poll(QUIET_S * 1_000)
        assert it.frames() == [b"real"]


def test_with_nothing_allowed_even_former_keys_are_refused() -> None:
    with station(SERVER) as it, dealer(it.address, PEER) as client:
        client.send(b"too early")
        assert not client.poll(QUIET_S * 1_000)
        assert it.frames() == []
        it.post(KNOWN)  # after status 300 it tries again by itself, and is let in
        it.arrived.wait_for(Arrived(raw=b"too early", node=PEER_ID))


def test_a_peer_is_its_node_and_a_door_key_only_a_session_of_its_project() -> None:
    with station(SERVER, KNOWN) as it, dealer(it.address, PEER) as peer, dealer(it.address, DOOR) as knocker:
        peer.send(b"1")
        it.arrived.wait_for(Arrived(raw=b"1", node=PEER_ID))
        knocker.send(b"2")
        (knocked,) = [one for one in it.arrived.wait(lambda told: len(told) == 2) if one.raw == b"2"]
        assert (knocked.node, knocked.project, knocked.dialled) == (b"", PROJECT, False)
        it.post(Carry(name=knocked.session, raw=b"answer"))
        assert knocker.poll(LIMIT_S * 1_000) and knocker.recv() == b"answer"
        assert not peer.poll(0)


ZAP_HEAD = [b"\0abcd", b"", b"1.0", b"7"]


def request(domain: bytes = DOMAIN.encode(), mechanism: bytes = b"CURVE", key: bytes = PEER.public) -> list[bytes]:
    return [*ZAP_HEAD, domain, b"127.0.0.1", b"", mechanism, key]


@pytest.mark.parametrize(
    ("asked", "status", "user"),
    [
        (request(), b"200", b"node:" + PEER_ID.hex().encode()),
        (request(key=DOOR.public), b"200", b"door:" + PROJECT.hex().encode()),
        (request(key=STRANGER.public), b"300", b""),
        (request(domain=b""), b"300", b""),
        (request(domain=b"other"), b"300", b""),
        (request(mechanism=b"PLAIN"), b"300", b""),
        (request(mechanism=b"NULL")[:-1], b"300", b""),
        ([*ZAP_HEAD[:2], b"2.0", *request()[3:]], b"300", b""),
        ([*request(), b"more"], b"300", b""),
        (ZAP_HEAD, b"300", b""),
    ],
)
def test_the_zap_matrix(asked: list[bytes], status: bytes, user: bytes) -> None:
    reply = answer_zap(asked, KNOWN)
    assert reply is not None
    assert reply[:4] == ZAP_HEAD
    assert (reply[4], reply[6]) == (status, user)


def test_a_peer_that_certified_the_door_key_as_its_own_does_not_shut_the_door() -> None:
    allowed = Allowed(nodes={DOOR.public: PEER_ID}, doors={DOOR.public: PROJECT})
    reply = answer_zap(request(key=DOOR.public), allowed)
    assert reply is not None and reply[6] == b"door:" + PROJECT.hex().encode()


@given(st.lists(st.binary(max_size=40) | st.sampled_from(request()), max_size=12))
def test_no_zap_request_raises_and_only_whole_ones_with_a_known_key_are_let_in(parts: list[bytes]) -> None:
    reply = answer_zap(parts, KNOWN)
    if reply is not None and b"200" in reply[4:5]:
        assert parts[-1] in (PEER.public, DOOR.public) and DOMAIN.encode() in parts


# --- nobody poses as another ---------------------------------------------------------------------


def test_a_routing_id_that_the_client_chose_is_refused() -> None:
    def chosen(one: zmq.Socket[bytes]) -> None:
        harden(one)
        one.setsockopt(zmq.ROUTING_ID, b"somebody else")

    with (
        station(SERVER, KNOWN) as it,
        dealer(it.address, DOOR, chosen) as client,
        dealer(it.address, PEER, chosen) as second,
    ):
        client.send(b"as another")
        second.send(b"likewise")
        wait_until(lambda: it.wire.dropped >= 1)
        assert not client.poll(QUIET_S * 1_000)
        assert it.frames() == []


def test_of_two_knockers_each_gets_its_own_answers_and_a_gone_one_s_go_nowhere() -> None:
    with station(SERVER, KNOWN) as it, dealer(it.address, DOOR) as second:
        with dealer(it.address, DOOR) as first:
            first.send(b"first")
            second.send(b"second")
            sessions = {one.raw: one.session for one in it.arrived.wait(lambda told: len(told) == 2)}
            it.post(
                Carry(name=sessions[b"first"], raw=b"for first"), Carry(name=sessions[b"second"], raw=b"for second")
            )
            assert first.poll(LIMIT_S * 1_000) and first.recv() == b"for first"
            assert second.poll(LIMIT_S * 1_000) and second.recv() == b"for second"

        def told_to_the_gone_one() -> bool:
            before = it.wire.dropped
            it.post(Carry(name=sessions[b"first"], raw=b"too late"))
            wait_until(lambda: not it.wire._commands)
            return it.wire.dropped > before

        wait_until(told_to_the_gone_one)
        assert not second.poll(0)


# --- the self-test -------------------------------------------------------------------------------


class Everybody(dict[bytes, bytes]):
    """A handler that lets everybody in."""

    def get(self, key: bytes, default: Any = None) -> Any:
        return PEER_ID


def test_a_door_that_is_open_to_strangers_ends_the_wire() -> None:
    one = Station(SERVER, free_ports(1)[0])
    one.wire._allowed = Allowed(nodes=Everybody(), doors={})
    one.wire.open((HOST,), int(one.address.partition(":")[2]))
    (error,) = one.failed.wait(bool)
    assert isinstance(error, ConfigError) and error.code is Code.DOOR_OPEN_TO_STRANGERS
    assert not one.ready.is_set()
    one.wire._thread.join(LIMIT_S)
    assert not one.wire.post(KNOWN)
    one.wire.close()


def test_a_handler_that_is_not_asked_ends_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.adapters.zmq_wire.SELF_TEST_LIMIT_MS", 300)
    monkeypatch.setattr("actors.adapters.zmq_wire.answer_zap", lambda parts, allowed: None)
    one = Station(SERVER, free_ports(1)[0])
    one.wire.open((HOST,), int(one.address.partition(":")[2]))
    (error,) = one.failed.wait(bool)
    assert isinstance(error, FlottaError) and error.code is Code.DOOR_OPEN_TO_STRANGERS
    one.wire.close()


def test_a_node_on_every_address_tests_itself_too() -> None:
    (port,) = free_ports(1)
    one = Station(SERVER, port)
    try:
        one.wire.open(("0.0.0.0",), port)
        assert one.ready.wait(LIMIT_S)
    finally:
        one.wire.close()


def test_a_taken_port_is_one_sentence_and_leaves_nothing() -> None:
    with station() as it:
        before = descriptors()
        other = Station(PEER, 0)
        with pytest.raises(ConfigError) as caught:
            other.wire.open((HOST,), int(it.address.partition(":")[2]))
        assert caught.value.code is Code.PORT_TAKEN and str(caught.value).count("\n") == 0
        other.wire.close()
        wait_until(lambda: descriptors() <= before)


def test_an_address_that_is_not_here_is_one_sentence() -> None:
    other = Station(PEER, 0)
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        other.wire.open(("192.0.2.1",), free_ports(1)[0])
    other.wire.close()


# --- hostile bytes -------------------------------------------------------------------------------


def test_frames_beyond_the_limit_end_their_connection_and_memory_stays_flat() -> None:
    with station(SERVER, KNOWN) as it, dealer(it.address, PEER) as peer:
        peer.send(b"x" * (FRAME_BYTES_MAX - CURVE_OVERHEAD))
        it.arrived.wait(bool)
        before = resident()
        with dealer(it.address, DOOR, lambda one: one.setsockopt(zmq.SNDHWM, 4)) as knocker:
            too_large = bytes(FRAME_BYTES_MAX + 1)
            for _ in range(50):
                with contextlib.suppress(zmq.Again):
                    knocker.send(too_large, zmq.DONTWAIT)
                knocker.poll(10)
        peer.send(b"still here")
        it.arrived.wait(lambda told: told[-1].raw == b"still here")
        assert len(it.frames()) == 2
        assert resident() - before < 32 * MIB


def test_a_message_of_several_parts_is_refused() -> None:
    with station(SERVER, KNOWN) as it, dealer(it.address, PEER) as peer:
        peer.send_multipart([b"one", b"two"])
        peer.send(b"whole")
        it.arrived.wait_for(Arrived(raw=b"whole", node=PEER_ID))
        assert it.frames() == [b"whole"] and it.wire.dropped == 1


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(15) + b"\0" + bytes(31)  # ZMTP 3.0
HOSTILE = {
    "silent": b"",
    "random": bytes(range(256)) * 64,
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "half": GREETING[:20],
    "huge-command": GREETING + b"\x06" + b"\x7f" * 8 + bytes(4_096),
    "null": GREETING.replace(b"CURVE", b"NULL\0") + b"\x04\x19\x05READY" + bytes(18),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hundreds_of_hostile_connections_leave_descriptors_and_memory_as_before(data: bytes) -> None:
    with station(SERVER, KNOWN) as it, dealer(it.address, PEER) as peer:
        peer.send(b"first")
        it.arrived.wait(bool)
        before, memory = descriptors(), resident()
        host, _, port = it.address.partition(":")
        clients = []
        for _ in range(150):
            client = socket.create_connection((host, int(port)), timeout=LIMIT_S)
            with contextlib.suppress(OSError):
                client.send(data)
            clients.append(client)
        peer.send(b"undisturbed")
        it.arrived.wait_for(Arrived(raw=b"undisturbed", node=PEER_ID))
        wait_until(lambda: descriptors() <= before + len(clients), 5)  # ours are still open: it hung up by itself
        for client in clients:
            client.close()
        wait_until(lambda: descriptors() <= before, 5)
        assert it.frames() == [b"first", b"undisturbed"]
        assert resident() - memory < 32 * MIB


# --- outward -------------------------------------------------------------------------------------


def peer_dial(*addresses: str) -> Dial:
    return Dial(name=SERVER_ID, server_curve=SERVER.public, own=PEER, addresses=addresses, door=False)


def test_the_next_address_is_tried_when_the_first_is_dead_or_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.adapters.zmq_wire.PEER_ROTATE_MS", 200)
    dead = f"{HOST}:{free_ports(1)[0]}"
    with station(SERVER, KNOWN) as it, station(PEER) as dialler:
        dialler.post(peer_dial("no address", "-_.:1", dead, it.address), Carry(name=SERVER_ID, raw=b"found"))
        it.arrived.wait_for(Arrived(raw=b"found", node=PEER_ID))
        assert dialler.failed.entries() == []


def test_frames_that_wait_go_along_when_a_peer_moves() -> None:
    dead = f"{HOST}:{free_ports(1)[0]}"
    with station(SERVER, KNOWN) as it, station(PEER) as dialler:
        dialler.post(peer_dial(dead), Carry(name=SERVER_ID, raw=b"1"), Carry(name=SERVER_ID, raw=b"2"))
        dialler.post(peer_dial(dead), peer_dial(it.address), Carry(name=SERVER_ID, raw=b"3"))
        it.arrived.wait(lambda told: [one.raw for one in told] == [b"1", b"2", b"3"])


def test_a_peer_that_comes_back_at_the_same_address_is_reached_again() -> None:
    (port,) = free_ports(1)
    with station(PEER) as dialler:
        for raw in (b"before", b"after"):
            with station(SERVER, KNOWN, port=port) as it:
                dialler.post(peer_dial(it.address))

                def sent(it: Station = it, raw: bytes = raw) -> bool:
                    dialler.post(Carry(name=SERVER_ID, raw=raw))
                    return raw in it.frames()

                wait_until(sent)


def test_a_door_session_waits_for_its_answer_until_it_is_hung_up() -> None:
    dial = Dial(name=b"dial:1", server_curve=SERVER.public, own=DOOR, addresses=(), door=True)
    with station(SERVER, KNOWN) as it, station(PEER) as dialler:
        dialler.post(dial)  # nowhere to go
        dialler.post(Dial(name=dial.name, server_curve=SERVER.public, own=DOOR, addresses=(it.address,), door=True))
        dialler.post(Carry(name=dial.name, raw=b"hello"))
        (knocked,) = it.arrived.wait(bool)
        it.post(Carry(name=knocked.session, raw=b"challenge"))
        dialler.arrived.wait_for(Arrived(raw=b"challenge", session=dial.name, dialled=True))
        dialler.post(Close(name=dial.name), Close(name=dial.name), Carry(name=dial.name, raw=b"after"))
        wait_until(lambda: dialler.wire.dropped == 1)
        assert dialler.wire._links == {}


def test_what_waits_for_one_peer_and_for_the_wire_is_bounded_and_counted() -> None:
    dead = f"{HOST}:{free_ports(1)[0]}"
    with station(PEER) as dialler:
        dialler.post(peer_dial(dead))
        for _ in range(LINK_FRAMES_WAITING_MAX + 5):
            dialler.post(Carry(name=SERVER_ID, raw=b"x"))
        wait_until(lambda: dialler.wire.dropped == 5)
    idle = Station(PEER, 0)
    for _ in range(WIRE_COMMANDS_MAX):
        assert idle.wire.post(Carry(name=SERVER_ID, raw=b"x"))
    assert not idle.wire.post(Carry(name=SERVER_ID, raw=b"x"))
    assert idle.wire.dropped == 1
    idle.wire.close()


def test_door_sessions_that_nobody_hangs_up_give_way_to_new_ones() -> None:
    dead = f"{HOST}:{free_ports(1)[0]}"
    with station(PEER) as dialler:
        for number in range(DOOR_SESSIONS_MAX + 3):
            name = b"dial:%d" % number
            dialler.post(Dial(name=name, server_curve=SERVER.public, own=DOOR, addresses=(dead,), door=True))
        wait_until(lambda: not dialler.wire._commands)
        wait_until(lambda: len(dialler.wire._links) == DOOR_SESSIONS_MAX)
        assert b"dial:2" not in dialler.wire._links and b"dial:3" in dialler.wire._links


def test_no_command_shows_a_secret_key() -> None:
    shown = repr(peer_dial("10.0.0.1:1"))
    assert PEER.public.hex() in shown
    assert repr(PEER.secret)[2:-1] not in shown and PEER.secret.hex() not in shown


def test_an_endpoint_is_one_form_of_every_address_that_reads() -> None:
    assert endpoint("http://10.0.0.1:80") == endpoint("10.0.0.1:80") == "tcp://10.0.0.1:80"
    with pytest.raises(AddressError):
        endpoint("ipc:///tmp/x")


def test_a_wire_that_was_never_opened_closes_and_many_that_were_leave_nothing() -> None:
    never = Station(PEER, 0)
    before = descriptors()
    never.wire.close()
    for _ in range(8):
        with station(SERVER, KNOWN) as it, dealer(it.address, PEER) as peer:
            peer.send(b"x")
            it.arrived.wait(bool)
    wait_until(lambda: descriptors() <= before)
