"""Products of megabytes between real nodes: exact, whoever is killed on the way, and never whole in a node's memory."""

from __future__ import annotations

import hashlib
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.order_options import OrderOptions
from protocol.limits import HISTOGRAM_BINS_MAX, MIB, PROBE_BYTES_MAX
from protocol.plan.artifact import Artifact, Query, artifact_bytes, probe_artifact, summary_artifact
from protocol.plan.operations import Bins, ProbeParameters, SummaryParameters
from protocol.plan.products import Manifest
from protocol.plan.tasks import Summary
from protocol.tokens import ProjectKey
from protocol.wire.jobs import JobStatus
from tests.system.jobs import client, fresh_token, new_order, sees
from tests.system.netns import Namespace, command_in, machine_behind, namespaces
from tests.system.nodes import RunningNode, running_node
from tests.system.processes import wait_until

pytestmark = pytest.mark.system
CSV = "x\n" + "1\n" * 20
LEASES = OrderOptions(lease_ms=30_000)


def gathering(token: str, size: int) -> Artifact:
    """Every holder makes so many bytes, and all of them are the result."""
    return probe_artifact(ProjectKey.derive(token).project_id, ProbeParameters(tasks=1, bytes=size), gather=True)


def expected(artifact: Artifact, size: int) -> bytes:
    return hashlib.shake_128(artifact_bytes(artifact)).digest(size)


def submit(node: RunningNode, artifact: Artifact) -> bytes:
    prepared = new_order(artifact, LEASES)
    with client(node) as jobs:
        jobs.submit(jobs.prove(prepared))
    return prepared.job_id


def status_of(node: RunningNode, job_id: bytes) -> JobStatus:
    with client(node) as jobs:
        return jobs.status(job_id)


def result_of(node: RunningNode, job_id: bytes) -> bytes:
    with client(node) as jobs:
        status = jobs.wait(job_id, limit_s=60)
        assert status.state == "succeeded", status.cause
        answer = jobs.product(job_id, status.scheduler)
        assert isinstance(answer.product, Manifest)
        return jobs.whole(answer)


class Memory:
    """The most anonymous memory that a node's process has while the block runs; pages of its files do not count."""

    def __init__(self, node: RunningNode) -> None:
        self._path = Path(f"/proc/{node.node_pid}/status")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._before = self._peak = self._now()

    @property
    def grown(self) -> int:
        return self._peak - self._before

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self._peak = max(self._peak, self._now())

    def _now(self) -> int:
        lines = self._path.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.timeout(180)
def test_a_large_product_arrives_exact_though_its_maker_and_its_taker_are_killed_on_the_way(tmp_path: Path) -> None:
    token, ports = fresh_token(), free_ports(2)

    def start(stack: ExitStack, number: int) -> RunningNode:
        return stack.enter_context(
            running_node(
                tmp_path / f"node{number}",
                name=f"Node{number}",
                port=ports[number],
                token=token,
                csv_text=CSV if number else None,
                join=f"127.0.0.1:{ports[0]}" if number else None,
                database=True,
            )
        )

    artifact = gathering(token, PROBE_BYTES_MAX)
    with ExitStack() as stack:
        nodes = [start(stack, 0), start(stack, 1)]
        nodes[0].wait_until(lambda node: sees(node, 1), 20)
        result_of(nodes[0], submit(nodes[0], gathering(token, MIB)))
        with Memory(nodes[0]) as taker, Memory(nodes[1]) as maker:
            assert result_of(nodes[0], submit(nodes[0], artifact)) == expected(artifact, PROBE_BYTES_MAX)
        assert max(taker.grown, maker.grown) < PROBE_BYTES_MAX // 2

        for number in (1, 0):
            job_id = submit(nodes[0], artifact)
            wait_until(lambda job_id=job_id: status_of(nodes[0], job_id).tasks_done >= 1, 20)  # type: ignore[misc]
            nodes[number].kill()
            nodes[number] = start(stack, number)
            nodes[0].wait_until(lambda node: sees(node, 1), 20)
            assert result_of(nodes[0], job_id) == expected(artifact, PROBE_BYTES_MAX)


@pytest.mark.netns
@pytest.mark.timeout(120)
def test_a_large_product_of_a_client_behind_a_router_comes_through_its_scheduler(tmp_path: Path) -> None:
    token, size = fresh_token(), 3 * MIB
    artifact = gathering(token, size)
    with ExitStack() as stack:
        first, second, router = stack.enter_context(namespaces(3))
        places = {"First": first, "Second": second, "Laptop": stack.enter_context(machine_behind(router))}

        def start(name: str, place: Namespace) -> RunningNode:
            return stack.enter_context(
                running_node(
                    tmp_path / name,
                    name=name,
                    port=1456,
                    token=token,
                    csv_text=CSV if name == "Laptop" else None,
                    interface=place.address,
                    join=None if name == "First" else f"{first.address}:1456",
                    mode="client" if name == "Laptop" else "node",
                    database=True,
                    wrap=lambda argv: command_in(place, argv),
                )
            )

        nodes = {name: start(name, place) for name, place in places.items()}
        for leader in ("First", "Second"):
            nodes[leader].wait_until(lambda node: sees(node, 2), 40)
            assert result_of(nodes[leader], submit(nodes[leader], artifact)) == expected(artifact, size)


@pytest.mark.timeout(120)
def test_histograms_of_many_columns_are_asked_and_answered_by_chunks(tmp_path: Path) -> None:
    columns = [f"c{number:02}" for number in range(40)]
    table = ",".join(columns) + "\n" + "".join(",".join(str(row) for _ in columns) + "\n" for row in range(100))
    token, [port] = fresh_token(), free_ports(1)
    bins = dict.fromkeys(columns, Bins(low=0, high=1_000, count=HISTOGRAM_BINS_MAX))
    question = summary_artifact(
        ProjectKey.derive(token).project_id,
        Query(columns=tuple(columns)),
        SummaryParameters(statistics=("count", "histogram"), bins=bins),
    )
    open_to_all = "    policy: {minimum_cohort: 1, minimum_cell: 1}\n"
    with (
        running_node(tmp_path, name="Lab", port=port, token=token, csv_text=table, extra_yaml=open_to_all) as node,
        client(node) as jobs,
    ):
        prepared = new_order(question, LEASES)
        jobs.submit(jobs.prove(prepared))
        status = jobs.wait(prepared.job_id, limit_s=60)
        assert status.state == "succeeded", status.cause
        summary, answer = jobs.result(prepared.job_id, status.scheduler)
        assert isinstance(answer.product, Manifest) and isinstance(summary, Summary)
        for column in columns:
            histogram = summary.columns[column].histogram
            assert histogram is not None and histogram.counts[:101] == (1,) * 100 + (0,)
