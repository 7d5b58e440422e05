"""Summaries on the demo's three nodes: what a person waits for."""

from __future__ import annotations

import time
from collections.abc import Iterator

from actors.adapters.clock import SystemClock
from actors.adapters.entropy import SystemEntropy
from flotta_p2p.demo.meeting import Member
from flotta_p2p.order_options import OrderOptions
from flotta_p2p.submission import JobClient, prepare_order
from protocol.plan.artifact import Artifact, Query, summary_artifact
from protocol.plan.operations import SummaryParameters
from protocol.signing import SigningKey
from protocol.wire.jobs import JobStatus
from tools.bench.nodes import at_rest, running
from tools.bench.rows import PAUSE_S, Row, Scale, spread


def summaries(scale: Scale) -> Iterator[Row]:
    """One after the other on three nodes that have met; the first one after a rest."""
    with running() as network:
        at_rest()
        artifact, leader = _artifact(network.project), network.members[0]
        first = _job(leader, artifact)
        later = [_job(leader, artifact, after_s=PAUSE_S) for _ in range(scale.repeats)]
    totals = [job["result"] for job in later]
    rounds = [job["measured"] - job["prepared"] for job in later]
    yield Row(
        "summary, submit to result, first job", f"{first['result'] * 1000:.0f} ms", "≤ 500 ms", first["result"] <= 0.5
    )
    yield Row("summary, submit to result, later jobs", spread(totals, "ms"), "≤ 500 ms", max(totals) <= 0.5)
    yield Row("  of it: order signed, planned, prepared", spread([job["prepared"] for job in later], "ms"))
    yield Row("  of it: three holders measure, a child of its own each", spread(rounds, "ms"))
    yield Row("  of it: merge and fetch", spread([job["result"] - job["measured"] for job in later], "ms"))


def _artifact(project: bytes) -> Artifact:
    parameters = SummaryParameters(statistics=("count", "mean", "variance"))
    return summary_artifact(project, Query(columns=("body_mass_g",)), parameters)


def _job(member: Member, artifact: Artifact, *, after_s: float = 0.0) -> dict[str, float]:
    """Seconds after the order was begun at which its tasks were prepared and measured, and the result in hand.

    Before it a pause of `after_s`, in which the nodes start their next spare children.
    """
    client = JobClient(member.channel, SystemClock(), time.sleep)
    key = SigningKey(SystemEntropy().bytes(32))
    time.sleep(after_s)
    began = time.perf_counter()
    at: dict[int, float] = {}

    def note(status: JobStatus) -> None:
        at.setdefault(status.tasks_done, time.perf_counter() - began)

    prepared = prepare_order(artifact, OrderOptions(holders_min=3), key, SystemClock(), SystemEntropy())
    status = client.submit(client.prove(prepared))
    status = client.wait(prepared.job_id, limit_s=60, progress=note)
    assert status.state == "succeeded", status.cause
    client.result(prepared.job_id, status.scheduler)
    total = time.perf_counter() - began
    reached = {done: min(when for seen, when in at.items() if seen >= done) for done in (1, 4)}
    return {"prepared": reached[1], "measured": reached[4], "result": total}
