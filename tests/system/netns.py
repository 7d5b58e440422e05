"""Network namespaces joined by a bridge: several machines on one cable, inside one machine.

    with namespaces(3) as machines:
        run_in(machines[0], ["ping", "-c", "1", machines[1].address])

The bridge lives in a namespace of its own, so that nothing of the real machine's network is touched, and
everything that was made goes away with the namespaces. Needs root and the `ip` command of iproute2.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec
import pytest

IP_LIMIT_S: Final = 10.0  # one `ip` command; they take milliseconds
NAMESPACES_MAX: Final = 200  # the last octet of 10.77.0.x
FIRST_OCTETS: Final = "10.77.0"
CABLE: Final = "eth0"  # the interface that every machine sees


class Namespace(msgspec.Struct, frozen=True):
    """One machine: the name of its namespace and its address on the common bridge."""

    name: str
    address: str


def require_namespaces() -> None:
    """Skip the test where namespaces cannot be made, but fail it on CI (`CI=true`) and for root: there they
    must work."""
    reason = ""
    if shutil.which("ip") is None:
        reason = "the ip command (package iproute2) is missing"
    elif os.geteuid() != 0:
        reason = "only root can make network namespaces"
    if not reason:
        return
    if os.environ.get("CI") == "true" or os.geteuid() == 0:
        pytest.fail(f"{reason}; on CI and for root this test must run")
    pytest.skip(reason)


@contextmanager
def namespaces(count: int) -> Iterator[tuple[Namespace, ...]]:
    """Make `count` machines 10.77.0.1, 10.77.0.2, … on one bridge, each with `lo` up and a route for
    multicast.

    At the end, however it comes, every process that still runs in them is killed and all of it is removed.
    """
    require_namespaces()
    if not 1 <= count <= NAMESPACES_MAX:
        raise ValueError(f"count must be 1 to {NAMESPACES_MAX}, not {count}")
    stem = f"flotta-{uuid.uuid4().hex[:8]}"
    switch = f"{stem}-switch"
    machines = tuple(Namespace(f"{stem}-{n}", f"{FIRST_OCTETS}.{n}") for n in range(1, count + 1))
    names = [switch, *(machine.name for machine in machines)]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge", "mcast_snooping", "0")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for number, machine in enumerate(machines, start=1):
            _plug_in(switch, f"port{number}", machine)
        yield machines
    finally:
        _remove(names)


@contextmanager
def machine_behind(router: Namespace) -> Iterator[Namespace]:
    """One more machine, reached by nobody: it goes out through `router`, which puts its own address in front."""
    inside = Namespace(f"{router.name}-inside", "192.168.77.2")
    gateway = "192.168.77.1"
    try:
        _ip("netns", "add", inside.name)
        _ip("-n", router.name, "link", "add", "inside", "type", "veth", "peer", "name", CABLE, "netns", inside.name)
        _ip("-n", router.name, "addr", "add", f"{gateway}/24", "dev", "inside")
        _ip("-n", router.name, "link", "set", "inside", "up")
        _ip("-n", inside.name, "link", "set", "lo", "up")
        _ip("-n", inside.name, "addr", "add", f"{inside.address}/24", "dev", CABLE)
        _ip("-n", inside.name, "link", "set", CABLE, "up")
        _ip("-n", inside.name, "route", "add", "default", "via", gateway)
        run_in(router, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
        run_in(router, [sys.executable, "-m", "tests.system.masquerade"])
        yield inside
    finally:
        _remove([inside.name])


def new_address(machine: Namespace, address: str) -> None:
    """The machine leaves its address for another one of its network, as one that was moved."""
    _ip("-n", machine.name, "addr", "flush", "dev", CABLE)
    _ip("-n", machine.name, "addr", "add", f"{address}/24", "dev", CABLE)


def listening_in(machine: Namespace) -> set[str]:
    """`protocol host:port` of each socket of the machine that waits for others: TCP that listens, UDP that is bound."""
    found = set()
    for protocol, waiting in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in run_in(machine, ["cat", f"/proc/net/{protocol}"]).stdout.splitlines()[1:]:
            fields = line.split()
            if fields[3] == waiting:
                host, _, port = fields[1].partition(":")
                found.add(f"{protocol} {host}:{int(port, 16)}")
    return found


def command_in(namespace: Namespace, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` inside the namespace, for `subprocess.Popen`. `ip` becomes the
    program: same pid, same file descriptors."""
    return ["ip", "netns", "exec", namespace.name, *argv]


def run_in(namespace: Namespace, argv: Sequence[str], *, limit_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run `argv` inside the namespace to its end, at most `limit_s` seconds; a failure raises
    CalledProcessError."""
    return subprocess.run(command_in(namespace, argv), capture_output=True, text=True, check=True, timeout=limit_s)


def _plug_in(switch: str, port: str, machine: Namespace) -> None:
    _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", CABLE, "netns", machine.name)
    _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
    _ip("-n", machine.name, "link", "set", "lo", "up")
    _ip("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", CABLE)
    _ip("-n", machine.name, "link", "set", CABLE, "up")
    _ip("-n", machine.name, "route", "add", "224.0.0.0/4", "dev", CABLE)


def _remove(names: Sequence[str]) -> None:
    """Remove the namespaces that exist; a failure of one does not spare the others."""
    existing = {line.split()[0] for line in _ip("netns", "list").splitlines() if line}
    failures = []
    for name in existing.intersection(names):
        try:
            for pid in _ip("netns", "pids", name).split():
                _kill(int(pid))
            _ip("netns", "delete", name)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failures.append(str(error))
    assert not failures, "namespaces left behind: " + "; ".join(failures)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended by itself in the meantime


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=IP_LIMIT_S, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout
