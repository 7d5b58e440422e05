"""The discovery process on loopback, with real zeroconf. Other programs of this machine may announce at the
same time: the tests look for their own names only."""

from __future__ import annotations

import base64
import os
import secrets
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from zeroconf import IPVersion, ServiceInfo, Zeroconf

from actors.adapters.neighbourhood import SERVICE_TYPE
from actors.adapters.statements import fetch_statement
from actors.children import PARENT_VARIABLE
from actors.discovery import (
    Announce,
    DiscoveryCounts,
    DiscoveryProblem,
    Fetch,
    Fetched,
    Found,
    Lost,
    Stop,
)
from actors.framing import to_frame
from flotta_p2p.demo.fleet import free_ports
from protocol.limits import DISCOVERY_FETCHES_MAX, STRANGERS_MAX, TXT_STATEMENT_BYTES_MAX
from tests.actors.discovery_harness import DiscoveryChild, discovery_child

pytestmark = pytest.mark.system

RESIDENT_MIB_MAX = 64
MDNS = ("224.0.0.251", 5353)


def announcement(*, statement: bytes = b"", port: int = 0, zeroconf: bool = True) -> Announce:
    return Announce(
        instance_prefix=f"test-{secrets.token_hex(4)}",
        statement=statement or secrets.token_bytes(330),
        interfaces=("127.0.0.1",),
        port=port or free_ports(1)[0],
        zeroconf=zeroconf,
    )


def found(child: DiscoveryChild, announce: Announce) -> Found:
    return child.wait_for(
        Found,
        lambda event: event.instance.startswith(announce.instance_prefix) and event.statement == announce.statement,
    )


def resident_mib(child: DiscoveryChild) -> int:
    pages = int(Path(f"/proc/{child.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024**2


@contextmanager
def multicast() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        link.bind(("127.0.0.1", 0))
        yield link


def pointers(count: int) -> bytes:
    """An mDNS response with `count` PTR records to names of which nothing else is announced."""
    service = b"".join(bytes([len(label)]) + label.encode() for label in SERVICE_TYPE.split("."))
    header = struct.pack(">HHHHHH", 0, 0x8400, 0, count, 0, 0)
    records = []
    for _ in range(count):
        instance = f"flood-{secrets.token_hex(6)}".encode()
        alias = bytes([len(instance)]) + instance + service
        records.append(service + struct.pack(">HHIH", 12, 1, 1, len(alias)) + alias)
    return header + b"".join(records)


@pytest.fixture
def child() -> Iterator[DiscoveryChild]:
    with discovery_child() as one:
        yield one


@pytest.fixture
def other() -> Iterator[DiscoveryChild]:
    with discovery_child() as one:
        yield one


def test_three_processes_find_each_other_and_never_themselves() -> None:
    with ExitStack() as stack:
        children = [stack.enter_context(discovery_child()) for _ in range(3)]
        announcements = [announcement(statement=bytes([n]) * TXT_STATEMENT_BYTES_MAX) for n in range(3)]
        for one, announce in zip(children, announcements, strict=True):
            assert one.announce(announce).statement_port == announce.port + 1
        for one, own in zip(children, announcements, strict=True):
            for announce in announcements:
                if announce is not own:
                    seen = found(one, announce)
                    assert (seen.port, seen.addresses) == (announce.port, ("127.0.0.1",))
            assert not [event for event in one.seen(Found) if event.statement == own.statement]
            assert resident_mib(one) < RESIDENT_MIB_MAX


def test_a_process_that_stops_says_goodbye(child: DiscoveryChild, other: DiscoveryChild) -> None:
    announce = announcement()
    child.announce(announcement())
    other.announce(announce)
    instance = found(child, announce).instance
    other.send(Stop())
    assert other.process.wait(2) == 0
    child.wait_for(Lost, lambda event: event.instance == instance)


def test_a_process_ends_within_two_seconds_of_its_node(child: DiscoveryChild) -> None:
    child.announce(announcement())
    assert child.close() == 0


def test_a_new_statement_replaces_the_old_one_everywhere(child: DiscoveryChild, other: DiscoveryChild) -> None:
    first = announcement()
    second = Announce(
        instance_prefix=first.instance_prefix,
        statement=b"newer",
        interfaces=first.interfaces,
        port=first.port,
    )
    child.announce(announcement())
    other.announce(first)
    before = found(child, first)
    other.announce(second)
    after = found(child, second)
    assert after.instance == before.instance
    assert fetch_statement("127.0.0.1", first.port).statement == b"newer"


def test_without_zeroconf_the_statement_is_served_and_nothing_announced(
    child: DiscoveryChild, other: DiscoveryChild
) -> None:
    quiet, loud = announcement(zeroconf=False), announcement()
    child.announce(quiet)
    other.announce(loud)
    third = announcement()
    with discovery_child() as watcher:
        watcher.announce(third)
        found(watcher, loud)  # long enough for the quiet one to be seen too
        assert not [event for event in watcher.seen(Found) if event.statement == quiet.statement]
    assert not child.seen(Found)
    assert fetch_statement("127.0.0.1", quiet.port).statement == quiet.statement


def test_a_taken_statement_port_is_said_and_announcing_goes_on(child: DiscoveryChild, other: DiscoveryChild) -> None:
    announce = announcement()
    with socket.create_server(("127.0.0.1", announce.port + 1)):
        assert child.announce(announce).statement_port == 0
        problem = child.wait_for(DiscoveryProblem)
        assert f"127.0.0.1 port {announce.port + 1}" in problem.sentence
        assert not problem.fatal
        other.announce(announcement())
        found(other, announce)
    assert child.announce(announce).statement_port == announce.port + 1


def test_an_interface_without_multicast_is_said_and_the_others_go_on(
    child: DiscoveryChild, other: DiscoveryChild
) -> None:
    base = announcement()
    announce = Announce(
        instance_prefix=base.instance_prefix,
        statement=base.statement,
        interfaces=("127.0.0.1", "203.0.113.9"),  # for documentation: no machine has the second
        port=base.port,
    )
    child.announce(announce)
    child.wait_for(DiscoveryProblem, lambda event: "Multicast does not work on 203.0.113.9" in event.sentence)
    other.announce(announcement())
    assert found(other, announce).addresses == ("127.0.0.1",)


def test_fetch_brings_the_statement_of_a_typed_address(child: DiscoveryChild, other: DiscoveryChild) -> None:
    announce = announcement(zeroconf=False)
    other.announce(announce)
    child.send(Fetch(ticket=7, host="127.0.0.1", port=announce.port))
    assert child.wait_for(Fetched) == Fetched(ticket=7, statement=announce.statement)


def test_fetch_tells_why_there_is_no_statement(child: DiscoveryChild) -> None:
    port = free_ports(1)[0]
    child.send(Fetch(ticket=8, host="127.0.0.1", port=port))
    answer = child.wait_for(Fetched)
    assert (answer.ticket, answer.statement) == (8, None)
    assert f"127.0.0.1:{port}" in answer.problem
    child.send(Fetch(ticket=9, host="no such\x1b[2Jmachine", port=port))
    assert child.wait_for(Fetched, lambda event: event.ticket == 9).problem


def test_more_fetches_than_the_limit_are_refused_not_queued(child: DiscoveryChild) -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0] + 1), backlog=64) as silent:
        port = silent.getsockname()[1] - 1
        for ticket in range(DISCOVERY_FETCHES_MAX + 1):
            child.send(Fetch(ticket=ticket, host="127.0.0.1", port=port))
        refused = child.wait_for(Fetched)
        assert refused.ticket == DISCOVERY_FETCHES_MAX
        assert "ask again later" in refused.problem
        for ticket in range(DISCOVERY_FETCHES_MAX):
            child.wait_for(Fetched, lambda event, ticket=ticket: event.ticket == ticket)  # type: ignore[misc]


def test_nonsense_from_the_node_ends_the_process_with_the_reason(child: DiscoveryChild) -> None:
    child.link.sendall(to_frame(b"{}"))
    assert child.wait_for(DiscoveryProblem).fatal
    assert child.process.wait(2) == 1


def test_without_its_socket_the_program_says_who_starts_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "actors.discovery_process"],
        env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert done.returncode == 2
    assert "A node starts this program" in done.stderr
    assert "Traceback" not in done.stderr


def test_malformed_announcements_are_counted_and_dropped(child: DiscoveryChild) -> None:
    announce = announcement()
    child.announce(announcement())
    with ExitStack() as stack:
        strange = Zeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
        stack.callback(strange.close)
        properties = [
            {"k0": "not base64url!"},
            {"k0": "AAAA", "k2": "AAAA"},
            {"key": base64.b64encode(b"x").decode()},
            {},
        ]
        for record in properties:
            name = f"{announce.instance_prefix}-{secrets.token_hex(4)}.{SERVICE_TYPE}"
            strange.register_service(
                ServiceInfo(SERVICE_TYPE, name, port=99, parsed_addresses=["127.0.0.1"], properties=record),
                cooperating_responders=True,
            )
        child.wait_for(DiscoveryCounts, lambda event: event.malformed_announcements >= len(properties))
    assert not [event for event in child.seen(Found) if event.instance.startswith(announce.instance_prefix)]


def test_a_flood_of_announcements_is_dropped_and_honest_nodes_are_found_afterwards(
    child: DiscoveryChild, other: DiscoveryChild
) -> None:
    child.announce(announcement())
    with multicast() as link:
        for _ in range(20):
            link.sendto(pointers(STRANGERS_MAX // 4), MDNS)
    child.wait_for(DiscoveryCounts, lambda event: event.dropped_announcements > 0)
    announce = announcement()
    other.announce(announce)
    found(child, announce)
    assert resident_mib(child) < RESIDENT_MIB_MAX


def test_malformed_packets_do_not_disturb(child: DiscoveryChild, other: DiscoveryChild) -> None:
    packets = [
        b"",
        b"\x00" * 11,
        b"\xff" * 512,
        struct.pack(">HHHHHH", 0, 0x8400, 0, 65_535, 0, 0) + b"\xc0\x0c" * 600,  # names that point at themselves
        struct.pack(">HHHHHH", 0, 0x8400, 0, 1, 0, 0) + b"\x3fab",  # a label longer than the packet
        pointers(1)[:-5],
    ]
    child.announce(announcement())
    with multicast() as link:
        for packet in packets * 20:
            link.sendto(packet, MDNS)
    announce = announcement()
    other.announce(announce)
    found(child, announce)


def test_the_memory_of_the_process_is_limited() -> None:
    program = "from actors.discovery_process import limit_memory; limit_memory(); bytearray(300 * 1024**2)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=False)
    assert "MemoryError" in done.stderr
