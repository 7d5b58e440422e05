"""kill -9 at random moments: nothing acknowledged is lost, nothing is accepted twice, no process is left."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import apsw
import pytest

from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.order_options import OrderOptions
from flotta_p2p.tables.shares import penguin_shares
from protocol.wire.jobs import ENDED, JobStatus
from tests.system.jobs import client, fresh_token, mean_of, new_order, sees
from tests.system.nodes import RunningNode, running_node
from tests.system.processes import is_alive

pytestmark = pytest.mark.system
MOMENTS = 10
GONE_LIMIT_S = 2.0
JOB_LIMIT_S = 60.0


class Cluster:
    """Three nodes with database files that know each other's addresses; any of them can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.token = fresh_token()
        self._folder = folder
        self._shares = penguin_shares()
        self._ports = dict(zip(self._shares, free_ports(3), strict=True))
        self._stacks: dict[str, ExitStack] = {}
        self.nodes: dict[str, RunningNode] = {}

    @property
    def names(self) -> list[str]:
        return list(self._shares)

    def start(self, name: str) -> RunningNode:
        first = self.names[0]
        stack = ExitStack()
        self.nodes[name] = stack.enter_context(
            running_node(
                self._folder / name,
                name=name,
                port=self._ports[name],
                token=self.token,
                csv_text=self._shares[name],
                database=True,
                discovery=False,
                join=None if name == first else f"127.0.0.1:{self._ports[first]}",
            )
        )
        self._stacks[name] = stack
        return self.nodes[name]

    def kill(self, name: str) -> None:
        """SIGKILL to the launcher; everything below it must be gone within GONE_LIMIT_S."""
        pids = self.nodes[name].all_pids()
        self.nodes[name].kill()
        deadline = time.monotonic() + GONE_LIMIT_S
        while left := [pid for pid in pids if is_alive(pid)]:
            assert time.monotonic() < deadline, f"still alive after {GONE_LIMIT_S} s: {left}"
            time.sleep(0.01)
        self._stacks.pop(name).close()

    def close(self) -> None:
        for stack in self._stacks.values():
            stack.close()


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    made = Cluster(folder)
    try:
        for name in made.names:
            made.start(name)
        made.nodes[made.names[0]].wait_until(lambda node: sees(node, 2))
        yield made
    finally:
        made.close()


def end_of(node: RunningNode, job_id: bytes) -> JobStatus:
    """The end of a job, whatever happens to the channel meanwhile."""
    with client(node) as jobs:
        return jobs.wait(job_id, limit_s=JOB_LIMIT_S)


def accepted_tasks(database: Path) -> dict[bytes, Counter[tuple[str, bytes]]]:
    """For each job of the scheduler's event log: how often each event of each task was written."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found: dict[bytes, Counter[tuple[str, bytes]]] = {}
        for job_id, event, detail in connection.execute("SELECT job_id, event, detail FROM job_events"):
            found.setdefault(job_id, Counter())[(event, detail)] += 1
        return found
    finally:
        connection.close()


def assert_accepted_once(database: Path, job_ids: list[bytes]) -> None:
    logs = accepted_tasks(database)
    for job_id in job_ids:
        log = logs[job_id]
        twice = {key for key, count in log.items() if key[0] == "result accepted" and count > 1}
        assert not twice, twice
        assert sum(count for (event, _), count in log.items() if event in ENDED) == 1


@pytest.mark.timeout(400)
def test_a_worker_killed_at_any_moment_and_started_again_within_its_lease_delays_the_job_and_no_more(
    tmp_path: Path,
) -> None:
    moments = random.Random(20)
    with cluster(tmp_path) as made:
        scheduler, worker = made.names[0], made.names[1]
        job_ids = []
        for _ in range(MOMENTS):
            made.nodes[scheduler].wait_until(lambda node: sees(node, 2))
            prepared = new_order(mean_of(made.token, "body_mass_g"), OrderOptions(lease_ms=20_000))
            with client(made.nodes[scheduler]) as jobs:
                jobs.submit(jobs.prove(prepared))
            job_ids.append(prepared.job_id)
            time.sleep(moments.uniform(0, 0.5))
            made.kill(worker)
            made.start(worker)
            status = end_of(made.nodes[scheduler], prepared.job_id)
            assert status.state == "succeeded", status.cause
        made.close()
        assert_accepted_once(tmp_path / scheduler / "work" / "jobs.sqlite", job_ids)


@pytest.mark.timeout(400)
def test_a_scheduler_killed_at_any_moment_after_its_acknowledgement_finishes_the_job_when_it_is_back(
    tmp_path: Path,
) -> None:
    moments = random.Random(21)
    with cluster(tmp_path) as made:
        scheduler = made.names[0]
        job_ids = []
        for _ in range(MOMENTS):
            made.nodes[scheduler].wait_until(lambda node: sees(node, 2))
            prepared = new_order(mean_of(made.token, "body_mass_g"), OrderOptions(lease_ms=20_000))
            with client(made.nodes[scheduler]) as jobs:
                jobs.submit(jobs.prove(prepared))
            job_ids.append(prepared.job_id)
            time.sleep(moments.uniform(0, 0.5))
            made.kill(scheduler)
            made.start(scheduler)
            status = end_of(made.nodes[scheduler], prepared.job_id)
            assert status.state == "succeeded", status.cause
        made.close()
        assert_accepted_once(tmp_path / scheduler / "work" / "jobs.sqlite", job_ids)


def test_a_holder_that_stays_dead_ends_the_job_within_the_stated_time_and_is_named(tmp_path: Path) -> None:
    with cluster(tmp_path) as made:
        scheduler, worker = made.names[0], made.names[2]
        prepared = new_order(mean_of(made.token, "body_mass_g"), OrderOptions(lease_ms=2_000))
        made.kill(worker)
        with client(made.nodes[scheduler]) as jobs:
            jobs.submit(jobs.prove(prepared))
            status = jobs.wait(prepared.job_id, limit_s=10)
        assert status.state == "failed"
        assert status.cause is not None
        assert status.cause.code == "holder-lost"
        assert worker in status.cause.sentence
