"""`doctor --to`: what stands at the other end, and what is wrong on the way."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.adapters.clock import SystemClock
from actors.adapters.statements import to_line, to_text
from actors.adapters.zap import Allowed
from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.doctor.finding import Finding
from flotta_p2p.doctor.way_out import WayOut, examine_way_out
from protocol.errors import Code
from protocol.ids import format_id, node_id
from protocol.key_statement import LIFE_MS, KeyStatement, sign_key_statement
from protocol.limits import CLOCK_TOLERANCE_MS
from protocol.proxies.proxy import Proxy, parse_proxy
from protocol.signing import SigningKey
from tests.actors.adapters.test_zmq_wire import SERVER, STRANGER, station
from tests.flotta_p2p.commands.lines import run
from tests.proxies import LOOPBACK, proxy
from tests.servers import server, strange_server

KEY = SigningKey(b"k" * 32)
KINDS = ("socks5", "http")

pytestmark = pytest.mark.usefixtures("own_runtime")


def found(out: WayOut) -> dict[str, Finding]:
    named = {one.check: one for one in out.findings}
    assert len(named) == len(out.findings)
    for one in out.findings:
        assert one.verdict != "failed" or (one.next_step and one.code), one
    return named


def wrong(out: WayOut) -> dict[str, Finding]:
    return {name: one for name, one in found(out).items() if one.verdict == "failed"}


@contextmanager
def stating(port: int, *, curve_key: bytes = SERVER.public, ahead_ms: int = 0, age_ms: int = 0) -> Iterator[None]:
    """A statement server of a node whose clock is off."""
    now_ms = SystemClock().now().wall_ms
    statement = KeyStatement(
        version=1,
        curve_key=curve_key,
        seal_key=b"s" * 32,
        addresses=(f"{LOOPBACK}:{port}",),
        sequence=1,
        not_after_ms=now_ms + LIFE_MS - age_ms,
        name="North",
    )
    text = to_text(sign_key_statement(statement, KEY)).encode()

    def answer(client: socket.socket) -> None:
        client.recv(64)
        client.sendall(to_line(text, SystemClock().now().wall_ms + ahead_ms))

    with server(answer, port=port + 1):
        yield


@contextmanager
def node(*, curve_key: bytes = SERVER.public, ahead_ms: int = 0, age_ms: int = 0) -> Iterator[int]:
    """As much of a node as a stranger meets: its wire and its statement server."""
    port = free_ports(1)[0]
    with (
        station(SERVER, Allowed(nodes={}, doors={}), port=port),
        stating(port, curve_key=curve_key, ahead_ms=ahead_ms, age_ms=age_ms),
    ):
        yield port


# --- a node --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["direct", *KINDS])
def test_every_step_to_a_node_is_well_and_a_stranger_is_refused(kind: str) -> None:
    with node() as port, proxy("socks5" if kind == "direct" else kind) as real:
        by = None if kind == "direct" else parse_proxy(real.url)
        out = examine_way_out(f"{LOOPBACK}:{port}", by)
    named = found(out)
    assert [one.verdict for one in out.findings] == ["ok"] * len(out.findings), out.findings
    assert ("proxy" in named) == (kind != "direct")
    assert f"id {format_id(node_id(KEY.public_key))}" in named[f"port {port + 1}"].seen
    assert "North" in named[f"port {port + 1}"].seen
    assert "refuses a stranger" in named["door"].seen
    assert set(real.targets) == (set() if kind == "direct" else {f"{LOOPBACK}:{port}", f"{LOOPBACK}:{port + 1}"})


def test_a_node_that_lets_a_stranger_in_is_told() -> None:
    import zmq

    from actors.adapters.curve_sockets import set_keys

    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.CURVE_SERVER, 1)
    router.setsockopt(zmq.LINGER, 0)
    set_keys(router, SERVER)
    port = free_ports(1)[0]
    router.bind(f"tcp://{LOOPBACK}:{port}")  # without a ZAP handler everybody is let in
    try:
        with stating(port):
            door = wrong(examine_way_out(f"{LOOPBACK}:{port}", None))["door"]
    finally:
        router.close(0)
        context.term()
    assert door.code == Code.DOOR_OPEN_TO_STRANGERS


def test_a_port_that_does_not_hold_the_key_that_is_shown_is_told() -> None:
    with node(curve_key=STRANGER.public) as port:
        door = wrong(examine_way_out(f"{LOOPBACK}:{port}", None))["door"]
    assert "does not hold the key" in door.seen


@pytest.mark.parametrize(
    ("ahead_ms", "verdict", "words"),
    [
        (CLOCK_TOLERANCE_MS + 60_000, "failed", "ahead of"),
        (-CLOCK_TOLERANCE_MS - 60_000, "failed", "behind"),
        (60_000, "warning", "ahead of"),
        (-1_000, "ok", "behind"),
    ],
)
def test_clocks_are_compared(ahead_ms: int, verdict: str, words: str) -> None:
    with node(ahead_ms=ahead_ms) as port:
        clock = found(examine_way_out(f"{LOOPBACK}:{port}", None))["clock"]
    assert clock.verdict == verdict
    assert words in clock.seen
    assert f"{abs(ahead_ms) / 1000:.0f}" in clock.seen or f"{abs(ahead_ms) / 1000 - 0.1:.1f}" in clock.seen


def test_an_expired_statement_is_told_beside_the_clock() -> None:
    with node(age_ms=LIFE_MS + CLOCK_TOLERANCE_MS + 1_000) as port:
        named = found(examine_way_out(f"{LOOPBACK}:{port}", None))
    assert named[f"port {port + 1}"].code == Code.TIME_OUTSIDE
    assert named["clock"].verdict == "ok"


def test_a_node_whose_second_port_is_shut_is_told_what_that_means() -> None:
    port = free_ports(1)[0]
    with station(SERVER, Allowed(nodes={}, doors={}), port=port):
        out = examine_way_out(f"{LOOPBACK}:{port}", None)
    assert set(wrong(out)) == {f"port {port + 1}"}
    assert "typed" in wrong(out)[f"port {port + 1}"].next_step


# --- something else ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("http", "web server"),
        ("tls", "TLS"),
        ("silent", "says nothing"),
        ("hangs up", "hung up"),
        ("garbage", "not a flotta-p2p node"),
        ("endless", "not a flotta-p2p node"),
    ],
)
@pytest.mark.parametrize("direct", [True, False], ids=["direct", "by a proxy"])
def test_what_is_no_node_is_named_in_time(name: str, words: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.adapters.probing.HEAR_LIMIT_S", 0.5)
    monkeypatch.setattr("actors.adapters.probing.PROXY_OPEN_LIMIT_MS", 500)
    began = time.monotonic()
    with strange_server(name) as port, proxy("http") as real:
        out = examine_way_out(f"{LOOPBACK}:{port}", None if direct else parse_proxy(real.url))
    assert time.monotonic() - began < 10
    assert words in wrong(out)[f"port {port}"].seen
    assert wrong(out)[f"port {port + 1}"].code == Code.NODE_UNREACHABLE


def test_a_port_where_nobody_listens_refuses() -> None:
    port = free_ports(1)[0]
    seen = wrong(examine_way_out(f"{LOOPBACK}:{port}", None))[f"port {port}"]
    assert "refuses connections" in seen.seen
    assert "firewall" in seen.next_step


@pytest.mark.parametrize("address", ["", "a b", "node:0", "node:65535", "node:x", "[::1]:1456", "x" * 300])
def test_an_address_that_does_not_read_is_told_without_a_request(address: str) -> None:
    out = examine_way_out(address, None)
    assert [one.check for one in out.findings] == ["address"]
    assert out.request is None


def test_a_name_that_is_not_known_is_told_and_the_request_names_it() -> None:
    out = examine_way_out("no-such-node.invalid:443", None)
    assert set(wrong(out)) == {"name"}
    assert out.request is not None
    assert out.request.host == "no-such-node.invalid"


# --- the proxy -----------------------------------------------------------------------------------


def by(text: str) -> Proxy:
    return parse_proxy(text)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_with_the_proxy_is_told_as_the_proxys(kind: str) -> None:
    gone = examine_way_out("192.0.2.1:443", by(f"{kind}://{LOOPBACK}:{free_ports(1)[0]}"))
    assert wrong(gone)["proxy"].code == Code.PROXY_UNREACHABLE
    with proxy(kind, login=("ada", "right")) as real:
        login = examine_way_out("192.0.2.1:443", by(f"{kind}://ada:secret@{LOOPBACK}:{real.port}"))
    assert wrong(login)["proxy"].code == Code.PROXY_PASSWORD_WRONG
    assert "secret" not in str(login.findings)
    with strange_server("garbage") as port:
        other = examine_way_out("192.0.2.1:443", by(f"{kind}://{LOOPBACK}:{port}"))
    assert wrong(other)["proxy"].code == Code.PROXY_MALFORMED
    assert set(wrong(gone)) == set(wrong(login)) == set(wrong(other)) == {"proxy"}


@pytest.mark.parametrize(("kind", "reply"), [("socks5", 2), ("http", 403)])
def test_a_proxy_that_permits_one_port_alone_is_told_port_by_port(kind: str, reply: int) -> None:
    with node() as port, proxy(kind, deny=lambda host, asked: reply if asked == port + 1 else None) as real:
        named = found(examine_way_out(f"{LOOPBACK}:{port}", by(real.url)))
    assert named["proxy"].verdict == named[f"port {port}"].verdict == "ok"
    assert named[f"port {port + 1}"].code == Code.PROXY_REFUSED


# --- the request and the command -----------------------------------------------------------------


def test_the_request_says_all_that_a_firewalls_owner_asks() -> None:
    port = free_ports(1)[0]
    request = examine_way_out(f"{LOOPBACK}:{port}", None).request
    assert request is not None
    text = "\n".join(request.lines())
    for words in (LOOPBACK, f"{port}, TCP", f"{port + 1}, TCP", "outbound only", "nothing inbound", "CURVE", "source"):
        assert words in text
    values = request.values()
    assert values["ports"] == [port, port + 1]
    assert values["source"] == LOOPBACK
    through = examine_way_out(f"{LOOPBACK}:{port}", by(f"http://ada:secret@{LOOPBACK}:{free_ports(1)[0]}")).request
    assert through is not None
    assert "secret" not in str(through.values())
    assert "names resolved by the proxy" in " ".join(" ".join(through.lines()).split())


def test_the_command_has_text_json_and_the_exit_code_of_doctor(tmp_path: Path) -> None:
    with node() as port:
        ran = run(tmp_path, "doctor", "--to", f"{LOOPBACK}:{port}")
        assert ran.code == 0, ran.out
        assert "Nothing is wrong" in ran.out
        assert "Please permit this connection" in ran.out
    ran = run(tmp_path, "doctor", "--to", f"{LOOPBACK}:{port}", "--json")
    assert ran.code == 9
    assert ran.values["verdict"] == "failed"
    assert ran.values["request"]["ports"] == [port, port + 1]
    ran = run(tmp_path, "doctor", "--to", "no address", "--json")
    assert (ran.code, ran.values["request"]) == (9, None)


def test_the_proxy_of_the_configuration_is_used_and_that_of_the_option_comes_first(tmp_path: Path) -> None:
    with node() as port, proxy("http", login=("ada", "p%ss")) as real, proxy("socks5") as other:
        config = tmp_path / "node.yaml"
        config.write_text(f"settings:\n  proxy: http://ada:${{PROXY_PASSWORD}}@{LOOPBACK}:{real.port}\n")
        secret = {"PROXY_PASSWORD": "p%25ss"}
        words = ("doctor", "-c", str(config), "--to", f"{LOOPBACK}:{port}")
        assert run(tmp_path, *words, environment=secret).code == 0
        assert real.targets
        assert not other.targets
        assert run(tmp_path, *words, "--proxy", other.url, environment=secret).code == 0
        assert other.targets


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://ada:secret@proxy:3128", "never typed"),
        ("http://ada:${NO_SUCH}@proxy:3128", "NO_SUCH is not set"),
        ("ftp://proxy:21", "socks5://"),
    ],
)
def test_a_proxy_that_does_not_read_or_shows_its_password_is_refused(tmp_path: Path, url: str, words: str) -> None:
    ran = run(tmp_path, "doctor", "--to", "node:1456", "--proxy", url)
    assert ran.code == 2
    assert words in ran.err
    assert "secret" not in ran.err + ran.out


def test_a_proxy_without_an_address_is_refused(tmp_path: Path) -> None:
    assert run(tmp_path, "doctor", "--proxy", "http://proxy:3128").code == 2
