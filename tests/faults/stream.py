"""A steady stream of jobs into a network under fault, each checked against the known answer."""

from __future__ import annotations

import csv
import itertools
import threading
import time
from collections import Counter
from typing import Final

from flotta_p2p.order_options import OrderOptions
from flotta_p2p.result import Result
from flotta_p2p.submission import Prepared
from protocol.errors import Code, DeniedError, FlottaError, UnreachableError
from protocol.ids import parse_id
from protocol.plan.artifact import Artifact, Query, summary_artifact
from protocol.plan.operations import Bins, SummaryParameters
from protocol.plan.tasks import Summary
from protocol.tokens import ProjectKey
from protocol.wire.jobs import JobStatus
from tests.faults.network import Broken, Network
from tests.system.jobs import client, new_order

COLUMN: Final = "body_mass_g"
LEASE_MS: Final = 30_000  # longer than any node is away, also on a busy machine: a kill delays a job and no more
END_LIMIT_S: Final = 60.0
PAUSE_S: Final = 0.02
# Not acknowledged, so not promised: a scheduler that has not met all holders again refuses at once.
_NOT_YET: Final = (Code.HOLDERS_MISSING, Code.BUSY)


class JobStream:
    """Threads that submit one job after the other and wait for each end. Use it as a context."""

    def __init__(self, net: Network, *, threads: int = 1) -> None:
        self._net = net
        node = net.nodes[net.scheduler]
        self._node = node
        self._id = parse_id(node.status()["node"])
        self._truth = truth(net.shares)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, name=f"jobs {n}") for n in range(threads)]
        self.acknowledged: list[bytes] = []
        self.succeeded: list[bytes] = []
        self.refused: Counter[str] = Counter()  # before the acknowledgement
        self.failures: list[str] = []

    def __enter__(self) -> JobStream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_a_success(self, limit_s: float = END_LIMIT_S) -> None:
        """Returns once one more job has succeeded. Broken when none did within the limit."""
        before, deadline_s = len(self.succeeded), time.monotonic() + limit_s
        while len(self.succeeded) == before:
            if time.monotonic() >= deadline_s:
                raise Broken(f"no job has succeeded for {limit_s:g} s")
            time.sleep(PAUSE_S)

    def _run(self) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            options = OrderOptions(lease_ms=LEASE_MS, holders_min=len(self._net.names))
            prepared = new_order(self._question(number), options)
            try:
                if self._submitted(prepared):
                    self._follow(prepared.job_id)
            except (AssertionError, FlottaError) as error:
                with self._lock:
                    self.failures.append(f"job {prepared.job_id.hex()}: {error}")

    def _question(self, number: int) -> Artifact:
        """Each with bins of its own: a result that another job has too would not be stored again."""
        bins = {COLUMN: Bins(low=0, high=100_000 + number, count=1)}
        return summary_artifact(
            ProjectKey.derive(self._net.token).project_id,
            Query(columns=(COLUMN,)),
            SummaryParameters(statistics=("count", "mean", "histogram"), bins=bins),
        )

    def _submitted(self, prepared: Prepared) -> bool:
        """Whether the job was acknowledged. Without an answer the same order is submitted again, as a person would."""
        deadline_s = time.monotonic() + END_LIMIT_S
        while True:
            try:
                with client(self._node) as jobs:
                    jobs.submit(jobs.prove(prepared))
                break
            except UnreachableError:
                assert time.monotonic() < deadline_s, f"the scheduler did not answer within {END_LIMIT_S:g} s"
                time.sleep(PAUSE_S)
                if self._stop.is_set():
                    return False
            except DeniedError as refusal:
                if refusal.code not in _NOT_YET:
                    raise
                with self._lock:
                    self.refused[refusal.code] += 1
                time.sleep(PAUSE_S)
                return False
        with self._lock:
            self.acknowledged.append(prepared.job_id)
        return True

    def _follow(self, job_id: bytes) -> None:
        status, result = self._end(job_id)
        assert status.state == "succeeded", f"acknowledged and {status.state}: {status.cause}"
        assert isinstance(result, Summary)
        assert facts(result) == self._truth, f"{facts(result)} instead of {self._truth}"
        with self._lock:
            self.succeeded.append(job_id)

    def _end(self, job_id: bytes) -> tuple[JobStatus, Result | None]:
        """The end of an acknowledged job, whatever happens to the connection meanwhile."""
        deadline_s = time.monotonic() + END_LIMIT_S
        while True:
            try:
                with client(self._node) as jobs:
                    status = jobs.wait(job_id, limit_s=max(0.1, deadline_s - time.monotonic()))
                    return status, jobs.result(job_id, self._id)[0] if status.state == "succeeded" else None
            except UnreachableError as error:
                assert time.monotonic() < deadline_s, f"acknowledged and not ended within {END_LIMIT_S:g} s: {error}"
                time.sleep(PAUSE_S)


Facts = tuple[int, int, int, float]


def facts(result: Summary) -> Facts:
    """Rows, present and missing values, mean."""
    column = result.columns[COLUMN]
    assert column.mean is not None
    return result.rows, column.present, column.missing, round(column.mean, 6)


def truth(shares: dict[str, str]) -> Facts:
    """The same, by pooling the tables."""
    cells = [row[COLUMN] for share in shares.values() for row in csv.DictReader(share.splitlines())]
    values = [float(cell) for cell in cells if cell not in ("", "NA")]
    return len(cells), len(values), len(cells) - len(values), round(sum(values) / len(values), 6)
