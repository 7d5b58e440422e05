"""The person of the demo: signs orders and hands them to a node."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from actors.adapters.clock import SystemClock
from actors.adapters.entropy import SystemEntropy
from flotta_p2p.demo.meeting import Member
from flotta_p2p.order_options import OrderOptions
from flotta_p2p.submission import JobClient, Prepared, prepare_order
from protocol.errors import Code, DeniedError
from protocol.limits import LEASE_MS
from protocol.plan.artifact import Artifact
from protocol.plan.order import SignedOrder
from protocol.plan.tasks import Summary
from protocol.signing import SigningKey
from protocol.wire.jobs import JobStatus

HOLDERS: Final = 3
JOB_LIMIT_S: Final = 30.0  # more than LEASE_MS, after which a job with a silent holder has ended


class Submitter:
    """Through the control socket of one member. One thread."""

    def __init__(self, member: Member, key: SigningKey) -> None:
        self._key = key
        self.client = JobClient(member.channel, SystemClock(), time.sleep)

    def prepare(self, artifact: Artifact, lease_ms: int = LEASE_MS) -> Prepared:
        options = OrderOptions(holders_min=HOLDERS, lease_ms=lease_ms)
        return prepare_order(artifact, options, self._key, SystemClock(), SystemEntropy())

    def sign(self, artifact: Artifact, lease_ms: int = LEASE_MS) -> SignedOrder:
        return self.client.prove(self.prepare(artifact, lease_ms))

    def answer(self, order: SignedOrder, progress: Callable[[JobStatus], None]) -> tuple[JobStatus, Summary]:
        """The verified result. Raises DeniedError when the job does not succeed."""
        status = self.client.submit(order)
        status = self.client.wait(status.job_id, limit_s=JOB_LIMIT_S, progress=progress)
        if status.state != "succeeded":
            why = status.cause.sentence if status.cause is not None else "nobody says why"
            raise DeniedError(Code.REFUSED_BY_PEER, f"the job of the demo {status.state}: {why}")
        result, _ = self.client.result(status.job_id, status.scheduler)
        assert isinstance(result, Summary)  # the demo asks for no groups
        return status, result
