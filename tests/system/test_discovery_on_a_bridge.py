"""Discovery between machines on one cable: network namespaces on a bridge."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial

import pytest

from actors.discovery import Announce, DiscoveryProblem, Fetch, Fetched, Found
from tests.actors.discovery_harness import DiscoveryChild, discovery_child
from tests.system.netns import Namespace, command_in, namespaces, require_namespaces, run_in

pytestmark = [pytest.mark.system, pytest.mark.netns]
PORT = 1456
TAKE_5353 = (
    "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 5353)); "
    "print('taken', flush=True); input()"
)


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[Namespace, ...]]:
    with namespaces(3) as made:
        yield made


def child_on(machine: Namespace) -> AbstractContextManager[DiscoveryChild]:
    return discovery_child(partial(command_in, machine))


def announcement(machine: Namespace, *interfaces: str) -> Announce:
    return Announce(
        instance_prefix="node",
        statement=f"statement of {machine.name}".encode(),
        interfaces=interfaces or ("127.0.0.1", machine.address),
        port=PORT,
    )


def found(child: DiscoveryChild, announce: Announce) -> Found:
    return child.wait_for(Found, lambda event: event.statement == announce.statement)


def test_machines_on_one_cable_find_each_other_at_their_outward_addresses(
    machines: tuple[Namespace, ...],
) -> None:
    with ExitStack() as stack:
        children = [stack.enter_context(child_on(machine)) for machine in machines]
        announcements = [announcement(machine) for machine in machines]
        for child, announce in zip(children, announcements, strict=True):
            child.announce(announce)
        for child, own in zip(children, announcements, strict=True):
            for machine, announce in zip(machines, announcements, strict=True):
                if announce is not own:
                    assert found(child, announce).addresses == (machine.address,)
        children[0].send(Fetch(ticket=1, host=machines[1].address, port=PORT))
        assert children[0].wait_for(Fetched).statement == announcements[1].statement


def test_who_uses_loopback_only_neither_hears_the_cable_nor_is_heard(machines: tuple[Namespace, ...]) -> None:
    """Another process of the same machine takes part on the cable: that must not let the packets in."""
    with child_on(machines[0]) as far, child_on(machines[1]) as open_one, child_on(machines[1]) as shy:
        hidden = announcement(machines[2], "127.0.0.1")
        shy.announce(hidden)
        open_one.announce(announcement(machines[1], machines[1].address))
        far.announce(announcement(machines[0], machines[0].address))
        found(open_one, announcement(machines[0]))
        found(far, announcement(machines[1]))
        witness = announcement(machines[1], "127.0.0.1")
        with child_on(machines[1]) as late:
            late.announce(witness)
            found(shy, witness)  # so it does hear, and would have heard the far one
        assert shy.seen(Found) == []
        assert [event for event in far.seen(Found) if event.statement == hidden.statement] == []


def test_a_new_interface_is_used_once_the_node_announces_anew(machines: tuple[Namespace, ...]) -> None:
    with child_on(machines[0]) as watcher, child_on(machines[1]) as mover:
        watcher.announce(announcement(machines[0]))
        mover.announce(announcement(machines[1], "127.0.0.1"))
        mover.announce(announcement(machines[1]))
        assert found(watcher, announcement(machines[1])).addresses == (machines[1].address,)
        found(mover, announcement(machines[0]))


def test_without_multicast_the_statement_is_still_served(machines: tuple[Namespace, ...]) -> None:
    """Some responders keep port 5353 for themselves."""
    command = command_in(machines[0], [sys.executable, "-c", TAKE_5353])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"taken\n"
            with child_on(machines[0]) as child:
                assert child.announce(announcement(machines[0])).statement_port == PORT + 1
                problem = child.wait_for(DiscoveryProblem)
                assert "by hand" in problem.sentence
                assert not problem.fatal
                ask = f"print(fetch_statement('{machines[0].address}', {PORT}).statement)"
                program = f"from actors.adapters.statements import fetch_statement; {ask}"
                seen = run_in(machines[1], [sys.executable, "-c", program]).stdout
                assert seen.strip() == repr(announcement(machines[0]).statement)
        finally:
            other.kill()


def test_namespaces_leave_nothing_behind_even_after_a_failure() -> None:
    require_namespaces()
    sleeper: subprocess.Popen[bytes] | None = None
    before = _interfaces_here()
    with pytest.raises(ZeroDivisionError), namespaces(2) as made:
        run_in(made[0], [sys.executable, "-c", "print('runs')"])
        sleeper = subprocess.Popen(command_in(made[1], ["sleep", "600"]))
        raise ZeroDivisionError
    assert sleeper is not None
    assert sleeper.wait(5) == -9
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not [machine.name for machine in made if machine.name in left]
    assert _interfaces_here() == before


def _interfaces_here() -> str:
    return subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
