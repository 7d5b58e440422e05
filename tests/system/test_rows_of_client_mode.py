"""Rows M2 and M5: clients, which nobody can reach, and nodes in one job; machines as network namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flotta_p2p.order_options import OrderOptions
from protocol.errors import DeniedError
from protocol.plan.tasks import Summary
from tests.system.jobs import client, fresh_token, mean_of, new_order
from tests.system.netns import Namespace, command_in, listening_in, machine_behind, namespaces, new_address
from tests.system.nodes import RunningNode, running_node

pytestmark = [pytest.mark.system, pytest.mark.netns]
PORT = 1456
ROWS = 40  # of each holder
NAMES = ("First", "Second", "Ward", "Laptop")


def rows_of(number: int) -> str:
    return "value\n" + "".join(f"{number * 1000 + row}.25\n" for row in range(ROWS))


class Network:
    """A first node; a second one that joined it; a client with an address of its own; one behind a router that hides
    it. Both clients know the first node alone.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.token = fresh_token()
        first, second, ward, router = stack.enter_context(namespaces(4))
        laptop = stack.enter_context(machine_behind(router))
        self.places: dict[str, Namespace] = dict(zip(NAMES, (first, second, ward, laptop), strict=True))
        self.nodes: dict[str, RunningNode] = {}
        for name in NAMES:
            self.start(name)

    def start(self, name: str) -> RunningNode:
        place, number = self.places[name], NAMES.index(name)
        node = running_node(
            self._folder / name,
            name=name,
            port=PORT,
            token=self.token,
            csv_text=rows_of(number),
            interface=place.address,
            join=None if name == "First" else f"{self.places['First'].address}:{PORT}",
            mode="client" if number > 1 else "node",
            database=True,
            wrap=lambda argv: command_in(place, argv),
        )
        self.nodes[name] = self._stack.enter_context(node)
        return self.nodes[name]

    def wait_together(self) -> None:
        """Until each of the two nodes has the three others within reach, and their sources."""
        for name in ("First", "Second"):
            self.nodes[name].wait_until(lambda node: len(reached(node)) == 3, 40)

    def mean(self, node: RunningNode) -> Summary:
        """Of a new job over all four that this node leads."""
        prepared = new_order(mean_of(self.token, "value"))
        with client(node) as jobs:
            jobs.submit(jobs.prove(prepared))
            status = jobs.wait(prepared.job_id, limit_s=90)
            assert status.state == "succeeded", status.cause
            summary, _ = jobs.result(prepared.job_id, status.scheduler)
        assert isinstance(summary, Summary)
        return summary


def reached(node: RunningNode) -> list[dict[str, Any]]:
    return [peer for peer in node.peers()["peers"] if peer["presence"] == "present" and peer["sources"]]


def expected_mean() -> float:
    values = [number * 1000 + row + 0.25 for number in range(len(NAMES)) for row in range(ROWS)]
    return sum(values) / len(values)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with ExitStack() as stack:
        yield Network(tmp_path, stack)


@pytest.mark.timeout(240)
def test_row_m2_and_m5_a_job_over_nodes_and_clients_gives_the_exact_result_whichever_node_leads_it(
    network: Network,
) -> None:
    network.wait_together()
    for leader in ("First", "Second"):
        summary = network.mean(network.nodes[leader])
        assert summary.coverage.sources_counted == 4 and summary.rows == 4 * ROWS
        assert summary.columns["value"].mean == expected_mean()
    first, second = network.nodes["First"].status(), network.nodes["Second"].status()
    assert first["door"]["passed_on"] > 0 and second["door"]["passed_on"] == 0

    # Nobody can reach a client: it waits for nothing, neither at a port nor for multicast.
    for name in ("Ward", "Laptop"):
        assert listening_in(network.places[name]) == set()
        status = network.nodes[name].status()
        assert status["mode"] == "client" and status["listening"] == [] and status["addresses"] == []
        assert [(one["name"], one["state"]) for one in status["schedulers"]] == [("First", "answered")]

    # A client leads no job, and says where to submit instead.
    with client(network.nodes["Ward"]) as jobs, pytest.raises(DeniedError) as refused:
        jobs.submit(jobs.prove(new_order(mean_of(network.token, "value"))))
    assert "--to" in (refused.value.next_step or "")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NAMES)
def test_row_m2_killing_and_restarting_any_of_them_during_a_job_loses_nothing(network: Network, name: str) -> None:
    network.wait_together()
    leader = network.nodes["Second" if name != "Second" else "First"]
    prepared = new_order(mean_of(network.token, "value"))
    with client(leader) as jobs:
        jobs.submit(jobs.prove(prepared))
        network.nodes[name].kill()
        network.start(name)
        status = jobs.wait(prepared.job_id, limit_s=90)
    assert status.state == "succeeded", status.cause
    network.wait_together()
    assert network.mean(network.nodes["First"]).columns["value"].mean == expected_mean()


@pytest.mark.timeout(240)
def test_row_m2_a_client_that_gets_another_address_is_back_by_itself(network: Network) -> None:
    network.wait_together()
    new_address(network.places["Ward"], "10.77.0.77")
    prepared = new_order(mean_of(network.token, "value"), OrderOptions(lease_ms=40_000))
    with client(network.nodes["Second"]) as jobs:
        jobs.submit(jobs.prove(prepared))
        status = jobs.wait(prepared.job_id, limit_s=90)
    assert status.state == "succeeded", status.cause
    assert "10.77.0.77" not in str(network.nodes["Second"].peers())
