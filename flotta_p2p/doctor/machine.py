"""The machine: clock, open files, memory, and the versions of what the node is built on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator
from typing import Final

from actors.adapters.machine import memory_available_bytes, open_files_here, open_files_of
from flotta_p2p.doctor.finding import Finding, failed, of_health, ok, warning
from flotta_p2p.doctor.patient import Patient
from protocol import findings
from protocol.errors import Code
from protocol.limits import CONTROL_CLIENTS_MAX, MIB, TASK_SLOTS

WALL_MS_PLAUSIBLE: Final = 1_735_689_600_000  # 2025-01-01: this program is younger
# Sockets of the command line (two descriptors each), pipes of the task slots (three each), databases, listeners.
FILES_OF_A_NODE: Final = 100 + 2 * CONTROL_CLIENTS_MAX + 3 * TASK_SLOTS
FILES_PER_PEER: Final = 3  # a socket each way and what libzmq keeps for both
FILES_PER_WAY: Final = 3  # by a proxy: where ZeroMQ connects, and both sides of the passage
FILES_USED_PERCENT_GOOD: Final = 80
MEMORY_BYTES_GOOD: Final = 512 * MIB  # node and discovery hold about 150 MiB, a task as much as its table needs
# Inside the wheels of pyzmq and APSW. SQLite before 3.51.3 can damage a database whose log starts anew; of libzmq
# 4.3.5 is the first with the mends of what a stranger could do before the handshake.
LIBRARIES_MIN: Final = {"SQLite": "3.51.3", "libzmq": "4.3.5"}
PYTHON_MIN: Final = "3.11"


def clock(patient: Patient) -> Iterator[Finding]:
    """Against the clocks of the peers."""
    from actors.adapters.clock import SystemClock

    name = "clock"
    if SystemClock().now().wall_ms < WALL_MS_PLAUSIBLE:
        yield failed(name, "it stands before 2025", "set the clock (NTP)", Code.TIME_OUTSIDE)
        return
    if patient.status is None or patient.peers is None:
        yield ok(name, "plausible; it is compared with the peers' clocks while the node runs")
        return
    names = {one["node"]: one["name"] for one in patient.peers["peers"] if one["presence"] == "present"}
    offsets = {n: ms for n, ms in patient.status["door"].get("clock_offsets_ms", {}).items() if n in names}
    yield of_health(findings.clock({names[node]: ms for node, ms in offsets.items()}))


def open_files(patient: Patient) -> Iterator[Finding]:
    """Against what the node has open, or will need."""
    name = "open files"
    per_peer = FILES_PER_PEER + (FILES_PER_WAY if patient.status and patient.status["way_out"] else 0)
    needed = FILES_OF_A_NODE + per_peer * len(patient.peers["peers"] if patient.peers else ())
    running = open_files_of(patient.status["pid"]) if patient.status is not None else None
    facts = running or open_files_here()
    if facts.used is not None and facts.used * 100 > facts.limit * FILES_USED_PERCENT_GOOD:
        seen = f"the node has {facts.used} files and connections open, of {facts.limit} that it may have"
        yield failed(name, seen, "raise the limit (LimitNOFILE= of the service, or ulimit -n) and start the node again")
    elif facts.limit < needed:
        seen = f"{facts.limit} may be open, a node like this one can need {needed}"
        yield warning(name, seen, "raise the limit: LimitNOFILE= of the service, or ulimit -n")
    else:
        used = "" if facts.used is None else f"{facts.used} open, "
        yield ok(name, f"{used}{facts.limit} possible")


def memory(patient: Patient) -> Iterator[Finding]:
    """What is left for tasks."""
    name, cores = "memory", os.cpu_count() or 1
    free = memory_available_bytes()
    if free is None:
        yield ok(name, f"{cores} cores; the system does not tell how much memory is free")
    elif free < MEMORY_BYTES_GOOD:
        yield warning(
            name, f"{free // MIB} MiB available, {cores} cores", "end other programs: a task needs its table twice"
        )
    else:
        yield ok(name, f"{free // MIB:,} MiB available, {cores} cores")


def versions() -> Iterator[Finding]:
    """What is installed is not older than what the node was proved with."""
    have, least = _installed(), _required()
    old = [f"{name} {have[name]} (at least {least[name]})" for name in least if _older(have[name], least[name])]
    if old:
        step = "pip install --upgrade flotta-p2p, in the environment that runs the node"
        yield failed("versions", f"too old: {', '.join(old)}", step)
        return
    shown = ("Python", "libzmq", "SQLite", "lmdb", "apsw", "zeroconf", "cryptography")
    yield ok("versions", ", ".join(f"{name} {have[name]}" for name in shown))


def _required() -> dict[str, str]:
    """The least version of each package, as flotta-p2p was packed, and of what lies in their wheels."""
    found = {"Python": PYTHON_MIN, **LIBRARIES_MIN}
    try:
        required = importlib.metadata.requires("flotta-p2p") or ()
    except importlib.metadata.PackageNotFoundError:  # it runs from a folder of sources that was not installed
        required = ()
    for line in required:
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", line)  # one with a marker is of an extra
        if match is not None:
            found[match[1]] = match[2]
    return found


def _installed() -> dict[str, str]:
    import apsw
    import zmq

    have = {"Python": platform.python_version(), "libzmq": zmq.zmq_version(), "SQLite": apsw.sqlite_lib_version()}
    return have | {name: importlib.metadata.version(name) for name in _required() if name not in have}


def _older(have: str, least: str) -> bool:
    return _numbers(have) < _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    """`3.12.0rc1` as (3, 12, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])
