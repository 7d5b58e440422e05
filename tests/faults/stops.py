"""SIGSTOP for longer than a lease, then SIGCONT: nothing runs that should not, and the next job succeeds."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from flotta_p2p.order_options import OrderOptions
from protocol.errors import Code, DeniedError, FlottaError, UnreachableError
from protocol.limits import LEASE_GRACE_MS
from protocol.wire.jobs import JobStatus
from tests.faults.kill_outcome import Outcome, violations
from tests.faults.network import DISCOVERY, LOOK_S, NODE, TASK, Broken, Network, expect_gone, network
from tests.faults.stream import COLUMN, LEASE_MS
from tests.system.jobs import client, mean_of, new_order

STOPS: Final = ("stopped worker node", "stopped scheduler node", "stopped discovery", "stopped launcher")
LEASE_SHORT_MS: Final = 2_000
STOP_S: Final = (LEASE_SHORT_MS + LEASE_GRACE_MS) / 1000 + 1.0
NOTICE_S: Final = 5.0  # for what is promised at once, on a machine that does other things too
ACCEPT_LIMIT_S: Final = 60.0
END_LIMIT_S: Final = 60.0


def live_through_stops(folder: Path, stops: Sequence[str], seed: int) -> Outcome:
    """One network, all these stops, after each a job, and then what must hold."""
    outcome = Outcome()
    chance = random.Random(seed)
    with outcome.noting("a network under stops"), network(folder) as net:
        for stop in stops:
            with outcome.noting(stop):
                began_s = time.monotonic()
                job_ids, what = _stop_and_go_on(net, chance.choice(net.names[1:]), stop)
                outcome.jobs.extend(job_ids)
                outcome.jobs.append(_good_job(net))
                outcome.hits[stop] += 1
                print(f"{stop} {what}: {time.monotonic() - began_s:.1f} s", flush=True)
    outcome.failures += violations(net, outcome.jobs)
    return outcome


def _stop_and_go_on(net: Network, worker: str, stop: str) -> tuple[list[bytes], str]:
    """One of STOPS. Returns the jobs that were acknowledged and what happened; Broken when it should not have."""
    match stop:
        case "stopped worker node":
            return _stopped_worker(net, worker)
        case "stopped scheduler node":
            return _stopped_scheduler(net, worker)
        case "stopped discovery":
            return _stopped_bystander(net, worker, _pid(net, worker, DISCOVERY))
        case "stopped launcher":
            return _stopped_bystander(net, worker, net.launcher_pid(worker))
    raise ValueError(stop)


def _stopped_worker(net: Network, worker: str) -> tuple[list[bytes], str]:
    """The job ends naming the holder, and the holder kills the task's process as soon as it wakes up."""
    with _sleeping_tasks(net, worker) as held:
        job_id = _submitted(net, LEASE_SHORT_MS)
        _wait(lambda: _tasks_running(net, worker), f"{worker} to take the task")
        with _stopped(_pid(net, worker, NODE)):
            status = _end(net, job_id, STOP_S + NOTICE_S)
            time.sleep(STOP_S)
        _expect_lost(status, worker)
        expect_gone(lambda: held, f"after {worker} woke up with its lease over", NOTICE_S)
    return [job_id], f"{worker}: {status.state}"


def _stopped_scheduler(net: Network, worker: str) -> tuple[list[bytes], str]:
    """A worker kills its task when its lease is over, also if nobody is there to say so."""
    with _sleeping_tasks(net, worker) as held:
        job_id = _submitted(net, LEASE_SHORT_MS)
        _wait(lambda: _tasks_running(net, worker), f"{worker} to take the task")
        with _stopped(_pid(net, net.scheduler, NODE)):
            expect_gone(lambda: held, f"after the lease of {worker}", LEASE_SHORT_MS / 1000 + NOTICE_S)
            time.sleep(STOP_S)
        status = _end(net, job_id, STOP_S + NOTICE_S)
        if status.state != "succeeded":
            _expect_lost(status, worker, net.scheduler)  # it slept as a holder too
    return [job_id], f"{net.scheduler}: {status.state}"


def _stopped_bystander(net: Network, worker: str, pid: int) -> tuple[list[bytes], str]:
    """The node needs neither for a job that is under way, nor for one that its spare process can take."""
    before = net.nodes[worker].status()["pid"]
    with _stopped(pid):
        job_id = _submitted(net, LEASE_SHORT_MS)
        status = _end(net, job_id, STOP_S + NOTICE_S)
        if status.state != "succeeded":
            raise Broken(f"a job ended {status.state} while a bystander slept: {status.cause}")
        time.sleep(STOP_S)
    if net.nodes[worker].status()["pid"] != before:
        raise Broken(f"{worker} was started again")
    return [job_id], f"of {worker}"


def _expect_lost(status: JobStatus, *holders: str) -> None:
    """The job failed and names one of those whose lease was over."""
    cause = status.cause
    named = cause is not None and cause.code == Code.HOLDER_LOST and any(name in cause.sentence for name in holders)
    if status.state != "failed" or not named:
        raise Broken(f"{' and '.join(holders)} lost their lease and the job is {status.state}: {cause}")


# --- processes -----------------------------------------------------------------------------------


def _pid(net: Network, name: str, program: str) -> int:
    found = net.find(name, program)
    if not found:
        raise Broken(f"{name} has no process {program}")
    return min(found)


@contextmanager
def _stopped(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def _sleeping_tasks(net: Network, worker: str) -> Iterator[set[int]]:
    """The one process of this worker that waits for a task sleeps, so that the next task never ends by itself."""
    _wait(lambda: len(net.find(worker, TASK)) == 1, f"{worker} to have one spare process for tasks")
    held = net.find(worker, TASK)
    with _stopped(*held):
        yield held


def _tasks_running(net: Network, name: str) -> int:
    running: int = net.nodes[name].status()["work"]["tasks_running"]
    return running


def _wait(condition: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + END_LIMIT_S
    while not condition():
        if time.monotonic() >= deadline_s:
            raise Broken(f"waited {END_LIMIT_S:g} s for {what}")
        time.sleep(LOOK_S)


# --- jobs ----------------------------------------------------------------------------------------


def _submitted(net: Network, lease_ms: int) -> bytes:
    """The id of an acknowledged job of all holders."""
    deadline_s = time.monotonic() + ACCEPT_LIMIT_S
    while True:
        prepared = new_order(mean_of(net.token, COLUMN), OrderOptions(lease_ms=lease_ms, holders_min=len(net.names)))
        try:
            with client(net.nodes[net.scheduler]) as jobs:
                jobs.submit(jobs.prove(prepared))
            return prepared.job_id
        except (DeniedError, UnreachableError) as error:
            if time.monotonic() >= deadline_s:
                raise Broken(f"no job was accepted within {ACCEPT_LIMIT_S:g} s: {error}") from error
        time.sleep(0.05)


def _end(net: Network, job_id: bytes, limit_s: float) -> JobStatus:
    try:
        with client(net.nodes[net.scheduler]) as jobs:
            return jobs.wait(job_id, limit_s=limit_s)
    except FlottaError as error:
        raise Broken(f"a job has not ended after {limit_s:g} s: {error}") from error


def _good_job(net: Network) -> bytes:
    job_id = _submitted(net, LEASE_MS)
    status = _end(net, job_id, END_LIMIT_S)
    if status.state != "succeeded":
        raise Broken(f"the next job ended {status.state}: {status.cause}")
    return job_id
