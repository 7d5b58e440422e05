"""The tunnel, with real proxies and with such as do not keep the rules."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import zmq

from actors.adapters import passage as passage_module
from actors.adapters.clock import SystemClock
from actors.adapters.curve_sockets import harden, set_keys
from actors.adapters.route import DirectRoute, DirectWay, Route, fetch_by
from actors.adapters.statements import to_line, to_text
from actors.adapters.tunnel import Tunnel
from actors.adapters.zmq_wire import Carry, Dial, ZmqWire
from flotta_p2p.demo.fleet import free_ports
from protocol.errors import Code, FlottaError, UnreachableError
from protocol.limits import KIB, MIB, TUNNEL_BUFFER_BYTES, TUNNEL_PASSAGES_MAX, TUNNEL_PROBLEMS_MAX
from protocol.proxies.proxy import parse_proxy
from tests.actors.adapters.test_zmq_wire import KNOWN as KNOWN_KEYS
from tests.actors.adapters.test_zmq_wire import PEER, SERVER, Station, descriptors, station
from tests.proxies import LOOPBACK, TestProxy, proxy
from tests.servers import server
from tests.system.processes import wait_until

LIMIT_S: Final = 10.0
KINDS: Final = ("socks5", "http")

pytestmark = pytest.mark.usefixtures("own_runtime")


@contextmanager
def tunnel(url: str) -> Iterator[Tunnel]:
    failures: list[FlottaError] = []
    one = Tunnel(parse_proxy(url), failures.append)
    try:
        yield one
    finally:
        one.close()
    assert failures == []
    assert not one._thread.is_alive()


@contextmanager
def echo() -> Iterator[str]:
    """A server that says what it hears, to any number of clients; its address."""
    with server(_echo) as address:
        yield address


def _echo(client: socket.socket) -> None:
    while data := client.recv(65_536):
        client.sendall(data)


@contextmanager
def connected(one: Tunnel, address: str) -> Iterator[tuple[Any, socket.socket]]:
    """A way, and a program that has connected to it."""
    way = one.way(address)
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.settimeout(LIMIT_S)
        sock.connect(way.socket_path)
        yield way, sock
    way.close()


def problem_of(one: Tunnel, address: str) -> FlottaError:
    """Why a way to there could not be opened; the program sees that it is hung up on."""
    with connected(one, address) as (way, sock):
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b""
        error: FlottaError | None = way.problem()
        assert error is not None
        return error


def everything(sock: socket.socket) -> bytes:
    data = b""
    while part := sock.recv(65_536):
        data += part
    return data


# --- it carries ----------------------------------------------------------------------------------


@pytest.mark.parametrize("login", [None, ("ada", "p@ss:w/rd")], ids=["open", "login"])
@pytest.mark.parametrize("kind", KINDS)
def test_bytes_go_both_ways_and_a_name_is_resolved_by_the_proxy(kind: str, login: tuple[str, str] | None) -> None:
    with echo() as address, proxy(kind, login=login, names={"only.the.proxy.knows": LOOPBACK}) as real:
        port = address.rpartition(":")[2]
        with tunnel(real.url) as one, connected(one, f"only.the.proxy.knows:{port}") as (way, sock):
            sock.sendall(b"hello")
            assert sock.recv(100) == b"hello"
            assert way.problem() is None
            assert one.values()["opened"] == 1
        assert real.targets == [f"only.the.proxy.knows:{port}"]


def test_the_last_bytes_arrive_before_the_end() -> None:
    def say_and_leave(client: socket.socket) -> None:
        client.sendall(bytes(3 * MIB))

    with (
        server(say_and_leave) as address,
        proxy("http") as real,
        tunnel(real.url) as one,
        connected(one, address) as (_, sock),
    ):
        assert len(everything(sock)) == 3 * MIB


def test_a_side_that_does_not_read_stops_the_other_one_and_memory_stays_bounded() -> None:
    said = 0
    stopped = threading.Event()

    def say(client: socket.socket) -> None:
        nonlocal said
        client.settimeout(1.0)
        with contextlib.suppress(TimeoutError):
            while said < 256 * MIB:
                said += client.send(bytes(64 * KIB))
        stopped.set()

    with (
        server(say) as address,
        proxy("socks5") as real,
        tunnel(real.url) as one,
        connected(one, address) as (way, sock),
    ):
        assert stopped.wait(LIMIT_S)
        assert said < 64 * MIB  # what the buffers of the kernel hold
        (passage,) = way.passages
        assert len(passage._inner.waiting) <= TUNNEL_BUFFER_BYTES
        assert len(everything(sock)) == said


@pytest.mark.parametrize("kind", KINDS)
def test_zeromq_with_curve_goes_through_and_comes_back_after_a_reset_in_the_middle(kind: str) -> None:
    with station(SERVER, KNOWN_KEYS) as there, proxy(kind) as real, tunnel(real.url) as one:
        way = one.way(there.address)
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        try:
            harden(dealer)
            dealer.setsockopt(zmq.CURVE_SERVERKEY, SERVER.public)
            dealer.setsockopt(zmq.IMMEDIATE, 1)
            dealer.setsockopt(zmq.SNDTIMEO, int(LIMIT_S * 1000))
            set_keys(dealer, PEER)
            dealer.connect(way.endpoint)
            for frame in (b"one", b"two", b"three"):
                wait_until(partial(_arrives, dealer, frame, there.frames), LIMIT_S)
                real.cut()
        finally:
            dealer.close(0)
            context.term()
        assert way.opened >= 3
        way.close()


def _arrives(dealer: zmq.Socket[bytes], frame: bytes, frames: Callable[[], list[bytes]]) -> bool:
    """What was on its way when the connection broke is lost, as on any connection: it is sent again."""
    with contextlib.suppress(zmq.Again):
        dealer.send(frame, zmq.DONTWAIT)
    return frame in frames()


@contextmanager
def dialling(there: Station, route: Route) -> Iterator[None]:
    """A node's wire that dials another one by this route, with one frame for it."""
    here = Station(PEER, free_ports(1)[0])
    here.wire = ZmqWire(PEER, SystemClock(), here.arrived.add, here.failed.add, here.ready.set, route=route)
    here.wire.open((LOOPBACK,), int(here.address.rpartition(":")[2]))
    try:
        here.post(
            Dial(name=b"S" * 32, server_curve=SERVER.public, own=PEER, addresses=(there.address,), door=False),
            Carry(name=b"S" * 32, raw=b"through"),
        )
        yield
    finally:
        here.wire.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_wire_of_a_node_dials_through(kind: str) -> None:
    with station(SERVER, KNOWN_KEYS) as there, proxy(kind) as real, tunnel(real.url) as one:
        with dialling(there, one):
            wait_until(lambda: there.frames() == [b"through"], LIMIT_S)
            assert real.targets == [there.address]
        assert one.values()["ways"] == 0


class Flaky(DirectRoute):
    """No way the first time."""

    def __init__(self) -> None:
        self.asked = 0

    def way(self, address: str) -> DirectWay:
        self.asked += 1
        if self.asked == 1:
            raise UnreachableError(Code.BUSY, "too many ways")
        return super().way(address)


def test_the_wire_asks_again_for_a_way_that_it_did_not_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.adapters.zmq_wire.PEER_ROTATE_MS", 100)
    with station(SERVER, KNOWN_KEYS) as there, dialling(there, Flaky()):
        wait_until(lambda: there.frames() == [b"through"], LIMIT_S)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_statement_is_fetched_through(kind: str) -> None:
    def state(client: socket.socket) -> None:
        client.recv(64)
        client.sendall(to_line(to_text(b"signed").encode(), 1_234))

    with server(state) as address, proxy(kind) as real, tunnel(real.url) as one:
        answer = fetch_by(one, LOOPBACK, int(address.rpartition(":")[2]) - 1)
        assert (answer.statement, answer.wall_ms) == (b"signed", 1_234)


# --- what can be wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_proxy_that_is_not_there_is_unreachable(kind: str) -> None:
    with tunnel(f"{kind}://{LOOPBACK}:{free_ports(1)[0]}") as one:
        error = problem_of(one, "192.0.2.1:1456")
        assert error.code == Code.PROXY_UNREACHABLE
        assert "Connection refused" in str(error)
        values = one.values()
        assert (values["ways"], values["failed"]) == (0, 1)
        assert values["problems"][0]["address"] == "192.0.2.1:1456"  # shown also when the way is closed


def test_a_proxy_whose_name_is_not_known_is_unreachable() -> None:
    with tunnel("http://no-such-proxy.invalid:3128") as one:
        error = problem_of(one, "192.0.2.1:1456")
        assert error.code == Code.PROXY_UNREACHABLE
        assert "name is not known" in str(error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("typed", ["", "ada:wrong@"])
def test_a_proxy_that_wants_another_login_says_so(kind: str, typed: str) -> None:
    with proxy(kind, login=("ada", "right")) as real, tunnel(f"{kind}://{typed}{LOOPBACK}:{real.port}") as one:
        error = problem_of(one, "192.0.2.1:1456")
        assert error.code == Code.PROXY_PASSWORD_WRONG
        assert "wrong" not in str(error)
        assert real.targets == []


@pytest.mark.parametrize(("kind", "reply", "words"), [("socks5", 2, "rules"), ("http", 403, "status 403 No Way")])
def test_a_proxy_that_does_not_permit_the_target_is_told_from_one_that_cannot_reach_it(
    kind: str, reply: int, words: str
) -> None:
    shut = f"{LOOPBACK}:{free_ports(1)[0]}"
    with proxy(kind, deny=lambda host, port: reply if host == "192.0.2.1" else None) as real, tunnel(real.url) as one:
        denied = problem_of(one, "192.0.2.1:1456")
        assert denied.code == Code.PROXY_REFUSED
        assert words in str(denied)
        unreachable = problem_of(one, shut)
        assert unreachable.code == Code.NODE_UNREACHABLE
        assert shut in str(unreachable)


def _says(data: bytes) -> Callable[[socket.socket], None]:
    def behave(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(data)
        while client.recv(4096):
            pass

    return behave


def _endless(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        client.sendall(b"X-More: of it\r\n" * 1000)


def _drops(client: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"x" * 1000:
        client.sendall(bytes((byte,)))
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("kind", "behave", "code"),
    [
        ("socks5", lambda client: None, Code.PROXY_MALFORMED),
        ("http", lambda client: None, Code.PROXY_MALFORMED),
        ("socks5", _says(b"\x04\x5a" + bytes(6)), Code.PROXY_MALFORMED),
        ("socks5", _says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Code.PROXY_MALFORMED),
        ("http", _says(b"\x05\xff"), Code.PROXY_MALFORMED),
        ("http", _says(b"\x15\x03\x03\x00\x02\x02\x28"), Code.PROXY_MALFORMED),
        ("http", _endless, Code.PROXY_MALFORMED),
        ("http", _drops, Code.NODE_UNREACHABLE),
        ("socks5", lambda client: client.recv(4096) and client.recv(4096), Code.PROXY_UNREACHABLE),
        ("http", lambda client: client.recv(4096) and client.recv(4096), Code.PROXY_UNREACHABLE),
        ("socks5", _says(b"\x05\x00"), Code.NODE_UNREACHABLE),
    ],
    ids=[
        "socks hangs up",
        "http hangs up",
        "version 4",
        "http at a socks port",
        "socks at an http port",
        "TLS",
        "endless head",
        "drop by drop",
        "silent socks",
        "silent http",
        "silent about the target",
    ],
)
def test_a_proxy_that_does_not_keep_the_rules_is_named_in_time(
    kind: str, behave: Callable[[socket.socket], None], code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage_module, "_LIMIT_S", 0.5)
    with server(behave) as address, tunnel(f"{kind}://{address}") as one:
        began = time.monotonic()
        error = problem_of(one, "192.0.2.1:1456")
        assert time.monotonic() - began < 3
        assert error.code == code
        assert error.next_step


def test_a_proxy_that_fails_is_asked_ever_more_seldom_and_again_when_it_is_back() -> None:
    port = free_ports(1)[0]
    with echo() as address, tunnel(f"http://{LOOPBACK}:{port}") as one:
        way = one.way(address)
        for number in (1, 2, 3):
            with closing(socket.socket(socket.AF_UNIX)) as sock:
                sock.settimeout(LIMIT_S)
                sock.connect(way.socket_path)
                assert sock.recv(1) == b""
            assert way.failures == number
        assert way.not_before_s - time.monotonic() > 0.5
        assert one.values()["problems"][0]["code"] == "proxy-unreachable"
        real = TestProxy("http", port=port)
        real.start()
        try:
            with closing(socket.socket(socket.AF_UNIX)) as sock:
                sock.settimeout(LIMIT_S)
                sock.connect(way.socket_path)
                sock.sendall(b"back")
                assert sock.recv(10) == b"back"
        finally:
            real.stop()
        assert way.failures == 0
        assert one.values()["problems"] == []
        way.close()


# --- limits and ends -----------------------------------------------------------------------------


def test_a_way_has_room_for_few_connections_and_the_oldest_gives_way() -> None:
    with echo() as address, proxy("socks5") as real, tunnel(real.url) as one:
        way = one.way(address)
        socks = []
        for _ in range(TUNNEL_PASSAGES_MAX + 1):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(LIMIT_S)
            sock.connect(way.socket_path)
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
            socks.append(sock)
        assert socks[0].recv(1) == b""
        assert len(way.passages) == TUNNEL_PASSAGES_MAX
        for sock in socks:
            sock.close()
        way.close()


def test_only_the_newest_problems_are_kept() -> None:
    with tunnel(f"http://{LOOPBACK}:{free_ports(1)[0]}") as one:
        for number in range(TUNNEL_PROBLEMS_MAX + 2):
            problem_of(one, f"192.0.2.1:{number + 1}")
        assert [each["address"] for each in one.values()["problems"]] == [
            f"192.0.2.1:{number + 3}" for number in range(TUNNEL_PROBLEMS_MAX)
        ]


def test_closing_a_way_hangs_up_and_closing_twice_is_as_once() -> None:
    with echo() as address, proxy("socks5") as real, tunnel(real.url) as one:
        with connected(one, address) as (way, sock):
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
            way.close()
            assert sock.recv(1) == b""
            wait_until(lambda: not Path(way.socket_path).exists(), LIMIT_S)
        assert one.values()["ways"] == 0


def test_more_ways_than_are_possible_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.adapters.tunnel.TUNNEL_WAYS_MAX", 2)
    with tunnel(f"http://{LOOPBACK}:1") as one:
        one.way("192.0.2.1:1")
        one.way("192.0.2.1:1")
        with pytest.raises(UnreachableError) as refused:
            one.way("192.0.2.1:1")
        assert refused.value.code == Code.BUSY


def test_nothing_stays_when_it_is_closed_in_the_middle(own_runtime: Path) -> None:
    before = descriptors()
    with (
        server(lambda client: client.recv(4096) and client.recv(4096)) as address,
        tunnel(f"http://{address}") as one,
        closing(socket.socket(socket.AF_UNIX)) as sock,
    ):
        way = one.way("192.0.2.1:1456")
        sock.connect(way.socket_path)
        wait_until(lambda: way.passages and way.passages[0].stage == "greeting", LIMIT_S)
    assert list(own_runtime.rglob("sockets-*")) == []
    assert descriptors() == before
