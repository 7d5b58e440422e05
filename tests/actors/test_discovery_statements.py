"""How key statements travel: text, TXT records, the client, and the statement server against hostile
clients."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.adapters.clock import SystemClock
from actors.adapters.statement_server import StatementServer
from actors.adapters.statements import (
    LINE_BYTES_MAX,
    QUESTION,
    StatementAnswer,
    fetch_statement,
    from_line,
    from_text,
    from_txt,
    to_line,
    to_text,
    to_txt,
)
from actors.discovery import Announce, DiscoveryCounts
from flotta_p2p.demo.fleet import free_ports
from protocol.errors import AddressError, Code, RemoteProtocolError, UnreachableError
from protocol.limits import (
    STATEMENT_ASKS_BURST_MAX,
    STATEMENT_CLIENTS_MAX,
    STATEMENT_CLIENTS_PER_ADDRESS_MAX,
    STATEMENT_LIMIT_MS,
    STATEMENT_QUESTION_BYTES_MAX,
    TXT_STATEMENT_BYTES_MAX,
    WALL_MS_MAX,
)
from protocol.rate import TokenBucket
from tests.actors.discovery_harness import DiscoveryChild, discovery_child

STATEMENT = bytes(range(256)) + b"signed"
statements = st.binary(min_size=1, max_size=TXT_STATEMENT_BYTES_MAX)


# --- text and TXT records -----------------------------------------------------------------------


@given(statements)
def test_a_statement_survives_the_txt_record_in_strings_under_255_bytes(statement: bytes) -> None:
    record = to_txt(statement)
    assert all(len(f"{key}={value}") < 255 for key, value in record.items())
    assert from_txt({key.encode(): value.encode() for key, value in record.items()}) == statement


@given(st.dictionaries(st.sampled_from([b"k0", b"k1", b"k2", b"K0", b"x"]), st.none() | st.binary(max_size=300)))
def test_any_txt_record_is_a_statement_or_the_one_error(record: dict[bytes, bytes | None]) -> None:
    try:
        statement = from_txt(record)
    except RemoteProtocolError as error:
        assert error.code == Code.STATEMENT_MALFORMED
    else:
        assert to_text(statement).encode() == b"".join(record[b"k%d" % n] or b"" for n in range(len(record)))


@given(st.binary(max_size=1500))
def test_one_statement_has_one_text(text: bytes) -> None:
    try:
        statement = from_text(text)
    except RemoteProtocolError:
        return
    assert to_text(statement).encode() == text


@pytest.mark.parametrize("text", [b"", b"A", b"AB", b"QQ==", b"Q Q", b"QQ\n", b"+/+/", b"A" * 1337])
def test_text_that_is_not_strict_base64url_is_refused(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        from_text(text)


@given(statements, st.integers(0, WALL_MS_MAX))
def test_an_answer_survives_its_line(statement: bytes, wall_ms: int) -> None:
    line = to_line(to_text(statement).encode(), wall_ms)
    assert len(line) <= LINE_BYTES_MAX
    assert from_line(line) == StatementAnswer(statement=statement, wall_ms=wall_ms)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"QUFB\n",
        b"QUFB 1",
        b"QUFB 01\n",
        b"QUFB -1\n",
        b"QUFB 1 \n",
        b"QUFB  1\n",
        b"QU=B 1\n",
        b"QUFB 999999999999999\n",
    ],
)
def test_a_line_in_any_other_form_is_refused(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        from_line(line)
    assert refused.value.code == Code.STATEMENT_MALFORMED


# --- the client ---------------------------------------------------------------------------------


@contextmanager
def server(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """A statement server that behaves as told to one client; the port is its node's."""
    port = free_ports(1)[0]
    with socket.create_server(("127.0.0.1", port + 1)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.settimeout(10)
                try:
                    behave(client)
                except OSError:
                    return  # the client has hung up

        thread = threading.Thread(target=serve)
        thread.start()
        yield port
        thread.join(10)


def _endless(client: socket.socket) -> None:
    while True:
        client.sendall(b"A" * 1000)


def _drop_by_drop(client: socket.socket) -> None:
    while True:
        client.sendall(b"A")
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("behave", "cause"),
    [
        (lambda client: client.recv(64), "not a flotta-p2p node"),
        (lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "a web server answers there"),
        (lambda client: client.sendall(b"QUFB"), "not a flotta-p2p node"),
        (_endless, "not a flotta-p2p node"),
        (_drop_by_drop, "no answer within 0.4 s"),
        (lambda client: client.recv(64) and client.recv(1), "no answer within 0.4 s"),
    ],
    ids=["silent end", "other service", "no newline", "endless", "drop by drop", "silence"],
)
def test_the_client_ends_in_time_whatever_the_server_does(behave: Callable[[socket.socket], None], cause: str) -> None:
    with server(behave) as port:
        began = time.monotonic()
        with pytest.raises(UnreachableError) as failed:
            fetch_statement("127.0.0.1", port, limit_s=0.4)
        assert time.monotonic() - began < 2
    assert failed.value.code == Code.NODE_UNREACHABLE
    assert cause in str(failed.value)
    assert f"127.0.0.1:{port}" in str(failed.value)
    assert failed.value.next_step


def test_a_closed_port_is_told_with_host_port_and_next_step() -> None:
    port = free_ports(1)[0]
    with pytest.raises(UnreachableError, match=f"127.0.0.1:{port} .* port {port + 1}: Connection refused.* Next: "):
        fetch_statement("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70, "..", "two words"])
def test_a_name_that_does_not_resolve_is_unreachable(host: str) -> None:
    with pytest.raises(UnreachableError):
        fetch_statement(host, 1456)


@pytest.mark.parametrize(("host", "port"), [("x", 0), ("x", 65_535), ("", 1), ("a\x00b", 1), ("\x1b[2J", 1)])
def test_an_impossible_address_is_refused_before_anything_is_sent(host: str, port: int) -> None:
    with pytest.raises(AddressError) as refused:
        fetch_statement(host, port)
    assert str(refused.value).isprintable()


# --- the server and hostile clients -------------------------------------------------------------


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[DiscoveryChild, int]]:
    """A discovery process that only serves `STATEMENT`, and its node's port."""
    announce = Announce(
        instance_prefix="test",
        statement=STATEMENT,
        interfaces=("127.0.0.1",),
        port=free_ports(1)[0],
        zeroconf=False,
    )
    with discovery_child() as child:
        child.announce(announce)
        yield child, announce.port


def dial(node_port: int, source: str) -> socket.socket:
    """A connection from another loopback address: each test has its own, since the limits are counted by
    address."""
    link = socket.create_connection(("127.0.0.1", node_port + 1), timeout=10, source_address=(source, 0))
    link.settimeout(10)
    return link


def answer(link: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    received = b""
    try:
        while part := link.recv(4096):
            received += part
    except ConnectionError:
        return received
    return received


def ask(node_port: int, source: str) -> bytes:
    """What the server answers, its clock apart, which must be right."""
    with dial(node_port, source) as link:
        try:
            link.sendall(QUESTION)
        except ConnectionError:
            return b""
        line = answer(link)
    if line:
        assert abs(from_line(line).wall_ms - SystemClock().now().wall_ms) < 10_000
    return line.partition(b" ")[0]


TEXT = to_text(STATEMENT).encode()


def test_the_server_answers_one_line(served: tuple[DiscoveryChild, int]) -> None:
    assert ask(served[1], "127.0.1.1") == TEXT
    assert fetch_statement("127.0.0.1", served[1]).statement == STATEMENT


@pytest.mark.parametrize(
    "question",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        QUESTION[:-1] + b"\r\n",
        b"x" * STATEMENT_QUESTION_BYTES_MAX + b"\n",
        b"x" * 1_000_000,
    ],
    ids=["empty", "http", "crlf", "too long", "much too long"],
)
def test_a_wrong_question_gets_nothing_and_is_counted(served: tuple[DiscoveryChild, int], question: bytes) -> None:
    child, port = served
    with dial(port, "127.0.1.2") as link:
        with suppress(ConnectionError):
            link.sendall(question)
        assert answer(link) == b""
    assert child.wait_for(DiscoveryCounts).refused_clients > 0
    assert ask(port, "127.0.1.3") == TEXT


@pytest.mark.parametrize("beginning", [b"", QUESTION[:5]])
def test_a_slow_client_is_hung_up_on_in_time(served: tuple[DiscoveryChild, int], beginning: bytes) -> None:
    began = time.monotonic()
    with dial(served[1], "127.0.1.4") as link:
        link.sendall(beginning)
        assert answer(link) == b""
    assert STATEMENT_LIMIT_MS / 1000 - 0.5 < time.monotonic() - began < STATEMENT_LIMIT_MS / 1000 + 3


def test_the_silent_connections_of_one_machine_do_not_shut_out_another(
    served: tuple[DiscoveryChild, int],
) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(dial(served[1], "127.0.1.5")) for _ in range(STATEMENT_CLIENTS_MAX)]
        assert ask(served[1], "127.0.1.6") == TEXT
        surplus = silent[STATEMENT_CLIENTS_PER_ADDRESS_MAX]
        began = time.monotonic()
        assert answer(surplus) == b""
        assert time.monotonic() - began < 1


def test_more_connections_than_the_limit_are_refused_and_the_server_recovers(
    served: tuple[DiscoveryChild, int],
) -> None:
    with ExitStack() as stack:
        for number in range(STATEMENT_CLIENTS_MAX):
            stack.enter_context(dial(served[1], f"127.0.2.{number + 1}"))
        assert ask(served[1], "127.0.1.7") == b""
    deadline = time.monotonic() + 10
    while ask(served[1], "127.0.1.8") != TEXT:
        assert time.monotonic() < deadline


def test_an_address_that_asks_too_often_waits_and_others_do_not(served: tuple[DiscoveryChild, int]) -> None:
    answers = [ask(served[1], "127.0.1.9") for _ in range(3 * STATEMENT_ASKS_BURST_MAX)]
    assert answers[:STATEMENT_ASKS_BURST_MAX] == [TEXT] * STATEMENT_ASKS_BURST_MAX
    assert b"" in answers
    assert ask(served[1], "127.0.1.10") == TEXT


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 10), st.floats(0.5, 20))
def test_a_token_bucket_never_allows_more_than_its_rate(pauses: list[float], burst: int, per_s: float) -> None:
    bucket, now_s, taken = TokenBucket(per_s=per_s, burst=burst, now_s=0.0), 0.0, 0
    for pause in pauses:
        now_s += pause
        taken += bucket.take(now_s)
        assert taken <= burst + per_s * now_s + 1e-6
    assert bucket.take(now_s + bucket.wait_s(now_s) + 1e-6)


def test_a_server_that_ends_while_a_client_is_silent_complains_of_nothing() -> None:
    complaints: list[object] = []

    async def live() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        server = StatementServer()
        (port,) = free_ports(1)
        assert await server.show(STATEMENT, ("127.0.0.1",), port) == []
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        while not server._clients:
            await asyncio.sleep(0)
        server.close()
        writer.close()

    asyncio.run(live())  # it cancels what is left, as the end of the process does
    assert complaints == []
