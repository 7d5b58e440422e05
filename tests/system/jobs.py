"""A submitter for system tests: orders over real channels, with a key of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from actors.adapters.clock import SystemClock
from actors.adapters.entropy import SystemEntropy
from flotta_p2p.channels import Channel
from flotta_p2p.order_options import OrderOptions
from flotta_p2p.submission import JobClient, Prepared, prepare_order
from protocol.plan.artifact import Artifact, Query, summary_artifact
from protocol.plan.operations import SummaryParameters
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey, new_token
from protocol.wire.jobs import JobStatus
from tests.system.nodes import RunningNode

KEY: Final = SigningKey(SystemEntropy().bytes(32))


def fresh_token() -> str:
    return new_token(SystemEntropy().bytes(20))


def mean_of(token: str, *columns: str) -> Artifact:
    """Row count and mean of these columns over the whole project."""
    parameters = SummaryParameters(statistics=("count", "mean"))
    return summary_artifact(ProjectKey.derive(token).project_id, Query(columns=columns), parameters)


def new_order(artifact: Artifact, options: OrderOptions | None = None) -> Prepared:
    return prepare_order(artifact, options or OrderOptions(), KEY, SystemClock(), SystemEntropy())


def client_of(channel: Channel) -> JobClient:
    return JobClient(channel, SystemClock(), time.sleep)


@contextmanager
def client(node: RunningNode) -> Iterator[JobClient]:
    """The job client of a node's own operator."""
    channel = node.control()
    try:
        yield client_of(channel)
    finally:
        channel.close()


def sees(node: RunningNode, present: int) -> bool:
    """Whether so many peers are within the node's reach."""
    seen: list[str] = [peer["presence"] for peer in node.peers()["peers"]]
    return seen.count("present") >= present


def submit_and_wait(node: RunningNode, artifact: Artifact, *, limit_s: float = 60.0) -> JobStatus:
    prepared = new_order(artifact)
    with client(node) as jobs:
        jobs.submit(jobs.prove(prepared))
        return jobs.wait(prepared.job_id, limit_s=limit_s)
