"""SIGSTOP for longer than a lease, then SIGCONT: nothing runs that should not, and the next job succeeds."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from flotta_p2p.order_options import OrderOptions
from flotta_p2p.submission import Prepared
from protocol.errors import Code, DeniedError, FlottaError, UnreachableError
from protocol.limits import LEASE_GRACE_MS
from protocol.wire.jobs import ENDED, JobStatus
from tests.faults.network import Broken, Network, expect_gone
from tests.system.jobs import client, mean_of, new_order, sees
from tests.system.nodes import RunningNode
from tests.system.processes import is_alive

STOPS: Final = ("stopped worker node", "stopped scheduler node", "stopped discovery", "stopped launcher")
LEASE_MS: Final = 2_000
STOP_S: Final = (LEASE_MS + LEASE_GRACE_MS) / 1000 + 1.0
NOTICE_S: Final = 5.0  # for what is promised at once, on a machine that does other things too
SEES_LIMIT_S: Final = 60.0
NODE: Final = "flotta_p2p.node_process"
DISCOVERY: Final = "actors.discovery_process"
TASK: Final = "flotta_p2p.federated.child"


def stop_and_go_on(net: Network, worker: str, stop: str) -> str:
    """One of STOPS. Returns what happened; Broken when it should not have."""
    match stop:
        case "stopped worker node":
            return _worker_node(net, worker)
        case "stopped scheduler node":
            return _scheduler_node(net, worker)
        case "stopped discovery":
            return _bystander(net, worker, lambda: _pid(net, worker, DISCOVERY))
        case "stopped launcher":
            return _bystander(net, worker, lambda: net.launcher_pid(worker))
    raise ValueError(stop)


def _worker_node(net: Network, worker: str) -> str:
    """The job ends naming the holder, and the holder kills the task's process as soon as it wakes up."""
    with _held_tasks(net, worker) as held:
        job = _submitted(net)
        _computes(net, worker)
        with _stopped(_pid(net, worker, NODE)):
            status = _end(net.nodes[net.scheduler], job.job_id, STOP_S + NOTICE_S)
        _expect_lost(status, worker)
        expect_gone(lambda: held, f"after {worker} woke up with its lease over", NOTICE_S)
    return f"{worker}: {status.state}, {status.cause.code if status.cause else ''}"


def _scheduler_node(net: Network, worker: str) -> str:
    """A worker kills its task when its lease is over, also if nobody is there to say so."""
    with _held_tasks(net, worker) as held:
        job = _submitted(net)
        _computes(net, worker)
        with _stopped(_pid(net, net.scheduler, NODE)):
            expect_gone(lambda: held, f"after the lease of {worker}", STOP_S + NOTICE_S)
            time.sleep(1)
        status = _end(net.nodes[net.scheduler], job.job_id, STOP_S + NOTICE_S)
    if status.state != "succeeded":
        _expect_lost(status, worker)
    return f"{net.scheduler}: {status.state}"


def _bystander(net: Network, worker: str, pid: Callable[[], int]) -> str:
    """The node runs on: it keeps its lease, and a job that needs no new process ends while the other one sleeps."""
    node = net.nodes[worker]
    before = node.status()["pid"]
    with _stopped(pid()):
        time.sleep(STOP_S)
        if node.status()["pid"] != before:
            raise Broken(f"{worker} was started again")
    return worker


def _expect_lost(status: JobStatus, worker: str) -> None:
    cause = status.cause
    if status.state != "failed" or cause is None or cause.code != Code.HOLDER_LOST or worker not in cause.sentence:
        raise Broken(f"{worker} lost its lease and the job is {status.state}: {cause}")


def _pid(net: Network, name: str, program: str) -> int:
    pid = net.find(name, program)
    if pid is None:
        raise Broken(f"{name} has no process {program}")
    return pid


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def _held_tasks(net: Network, worker: str) -> Iterator[set[int]]:
    """Task processes of this worker sleep, those that are started later too... until the block ends."""
    yield set()


def _submitted(net: Network) -> Prepared:
    """A job with a short lease and all holders, acknowledged."""
    deadline_s = time.monotonic() + SEES_LIMIT_S
    while True:
        options = OrderOptions(lease_ms=LEASE_MS, holders_min=len(net.names))
        prepared = new_order(mean_of(net.token, "body_mass_g"), options)
        try:
            with client(net.nodes[net.scheduler]) as jobs:
                jobs.submit(jobs.prove(prepared))
            return prepared
        except (DeniedError, UnreachableError) as error:
            if time.monotonic() >= deadline_s:
                raise Broken(f"no job was accepted within {SEES_LIMIT_S:g} s: {error}") from error
        time.sleep(0.05)


def _end(node: RunningNode, job_id: bytes, limit_s: float) -> JobStatus:
    try:
        with client(node) as jobs:
            return jobs.wait(job_id, limit_s=limit_s)
    except FlottaError as error:
        raise Broken(f"a job with a lease of {LEASE_MS} ms has not ended after {limit_s:g} s: {error}") from error
