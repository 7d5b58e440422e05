"""Real nodes for the bench, and probes on them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from actors.adapters.clock import SystemClock
from actors.adapters.entropy import SystemEntropy
from flotta_p2p.demo.fleet import Fleet
from flotta_p2p.demo.interrupts import Interrupts
from flotta_p2p.demo.meeting import Member, await_meeting, await_members
from flotta_p2p.demo.narration import Narrator
from flotta_p2p.order_options import OrderOptions
from flotta_p2p.submission import JobClient, prepare_order
from protocol.plan.artifact import probe_artifact
from protocol.plan.operations import ProbeParameters
from protocol.plan.tasks import ProbeCount
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey, new_token
from protocol.wire.codec import decode_record
from protocol.wire.jobs import JobStatus
from tools.bench.rows import REST_S

_JOB_LIMIT_S = 120.0
_LEASE_MS = 60_000  # many nodes share few processors here: none of them is lost because it is slow
_TABLE = "x\n" + "\n".join(str(number) for number in range(20)) + "\n"


class Network:
    """Nodes that have met. The first one leads the jobs; the others are the workers."""

    def __init__(self, members: list[Member], token: str, fleet: Fleet, started_s: float, met_s: float) -> None:
        self.members = members
        self.project = ProjectKey.derive(token).project_id
        self.fleet = fleet
        self.started_s = started_s  # from nothing until all answer
        self.met_s = met_s  # and until all are peers of all
        self._key = SigningKey(SystemEntropy().bytes(32))
        self._client = JobClient(members[0].channel, SystemClock(), time.sleep)

    def probe(
        self, workers: Sequence[Member], tasks: int = 1, product_bytes: int = 0, *, gather: bool = False
    ) -> Probe:
        """Runs one probe with so many tasks for each worker, and checks its result: how much they made, or, with
        `gather`, all of it.
        """
        began = time.perf_counter()
        at: dict[int, float] = {}

        def note(status: JobStatus) -> None:
            at.setdefault(status.tasks_done, time.perf_counter() - began)

        artifact = probe_artifact(self.project, ProbeParameters(tasks=tasks, bytes=product_bytes), gather=gather)
        holders = tuple(worker.node for worker in workers)
        clock, entropy = SystemClock(), SystemEntropy()
        prepared = prepare_order(artifact, OrderOptions(lease_ms=_LEASE_MS), self._key, clock, entropy, holders=holders)
        self._client.submit(self._client.prove(prepared))
        status = self._client.wait(prepared.job_id, limit_s=_JOB_LIMIT_S, progress=note)
        assert status.state == "succeeded", status.cause
        answer = self._client.product(prepared.job_id, status.scheduler)
        all_tasks, result = tasks * len(workers), self._client.whole(answer)
        if gather:
            assert len(result) == all_tasks * product_bytes, len(result)
        else:
            count: ProbeCount = decode_record(result, ProbeCount, bytes_max=1_000)
            assert count == ProbeCount(products=all_tasks, bytes=all_tasks * product_bytes), count
        return Probe(
            prepared_s=min(seconds for done, seconds in at.items() if done >= 1),
            worked_s=min(seconds for done, seconds in at.items() if done >= all_tasks + 1),
            gathered_s=max(at.values()),
            result_s=time.perf_counter() - began,
        )


class Probe:
    """Seconds from the moment at which the order was begun."""

    def __init__(self, prepared_s: float, worked_s: float, gathered_s: float, result_s: float) -> None:
        self.prepared_s = prepared_s  # the first task had ended
        self.worked_s = worked_s  # so had those of all workers
        self.gathered_s = gathered_s  # so had the last task, which takes all products
        self.result_s = result_s  # the verified result was in hand

    @property
    def round_s(self) -> float:
        return self.worked_s - self.prepared_s


def at_rest() -> None:
    """Waits until the children that read the sources at the start have gone home."""
    time.sleep(REST_S)


@contextmanager
def running(nodes: int | None = None) -> Iterator[Network]:
    """So many nodes on this machine, each with a small table, or else the demo's three; they are gone afterwards."""
    token = new_token(SystemEntropy().bytes(20))
    interrupts = Interrupts()
    shares = None if nodes is None else {f"node{number:02}": _TABLE for number in range(nodes)}
    began = time.perf_counter()
    with interrupts, Fleet(token, None, interrupts, shares) as fleet, ExitStack() as channels:
        quiet = Narrator(quiet=True)
        members = await_members(fleet, channels, quiet)
        started_s = time.perf_counter() - began
        await_meeting(fleet, members, quiet)
        yield Network(members, token, fleet, started_s, time.perf_counter() - began)
