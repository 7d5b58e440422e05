"""A client beside nodes, all in this process: what it takes part in, what it refuses, what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.offers import offers
from protocol.errors import Code, DeniedError
from protocol.plan.artifact import Query, summary_artifact
from protocol.plan.operations import SummaryParameters
from protocol.tokens import ProjectKey
from protocol.wire.peers import Schema
from tests.flotta_p2p.nodes import ROWS, TOKEN, RunningNode, running
from tests.system.processes import wait_until

PROJECT = ProjectKey.derive(TOKEN).project_id
QUESTION = summary_artifact(PROJECT, Query(columns=("value",)), SummaryParameters(statistics=("count", "mean")))

pytestmark = pytest.mark.usefixtures("own_runtime")


@contextmanager
def company(folder: Path) -> Iterator[tuple[RunningNode, RunningNode, RunningNode]]:
    """Anna, Bert who joined her, and Clara, a client of hers."""
    with ExitStack() as stack:
        first, second = free_ports(2)
        join = f"127.0.0.1:{first}"
        anna = stack.enter_context(running(folder / "anna", name="Anna", port=first))
        bert = stack.enter_context(running(folder / "bert", name="Bert", port=second, join=join))
        clara = stack.enter_context(running(folder / "clara", name="Clara", port=1, join=join, mode="client"))
        wait_until(lambda: all(len(one.present()) == 2 for one in (anna, bert, clara)), 30)
        yield anna, bert, clara


def test_a_client_takes_part_in_jobs_of_its_scheduler_and_of_a_node_that_it_never_dialled(tmp_path: Path) -> None:
    with company(tmp_path) as (anna, bert, clara):
        for leader in (anna, bert):
            status, result = leader.run_job(QUESTION, holders_min=3)
            assert result is not None and result.rows == 3 * ROWS, status.cause
        (scheduler,) = clara.status()["schedulers"]
        assert scheduler["name"] == "Anna" and scheduler["state"] == "answered"
        assert anna.status()["door"]["passed_on"] > 0
        assert "type-not-allowed" not in clara.status()["door"]["refused"]
        with pytest.raises(DeniedError) as refused:
            clara.run_job(QUESTION)
        assert refused.value.code == Code.POLICY_DENIED and "--to" in (refused.value.next_step or "")


def test_columns_of_a_client_are_told_through_its_scheduler_and_those_of_nodes_to_the_client(tmp_path: Path) -> None:
    with company(tmp_path) as (anna, bert, clara):
        nodes = (anna, bert, clara)
        wait_until(lambda: all(one["state"] == "ready" for node in nodes for one in node.status()["sources"]), 20)
        for asking in (bert, clara):
            with asking.control() as channel:
                told = {source.name: schema for source, schema in offers([channel], PROJECT).sources}
            assert told.keys() == {"Anna", "Bert", "Clara"}
            for schema in told.values():
                assert isinstance(schema, Schema) and not schema.problem, schema
                assert [(one.name, one.type) for one in schema.columns] == [("value", "number"), ("group", "text")]


def test_polls_of_a_client_whose_scheduler_is_gone_are_shown_as_unanswered_and_it_comes_back(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    join = f"127.0.0.1:{port}"
    clara_node = {"name": "Clara", "port": 1, "join": join, "mode": "client", "node_lines": "  heartbeat: 0.2\n"}
    with ExitStack() as stack:
        with running(tmp_path / "anna", name="Anna", port=port):
            clara = stack.enter_context(running(tmp_path / "clara", **clara_node))
            wait_until(lambda: [one["state"] for one in clara.status()["schedulers"]] == ["answered"], 20)
        wait_until(lambda: clara.status()["schedulers"][0]["unanswered"] >= 2, 20)
        assert clara.status()["schedulers"][0]["state"] == "silent"
        with running(tmp_path / "anna", name="Anna", port=port) as anna:
            wait_until(lambda: clara.status()["schedulers"][0]["state"] == "answered", 30)
            wait_until(lambda: anna.present() == ["Clara"], 20)
            status, result = anna.run_job(QUESTION, holders_min=2)
            assert result is not None and result.rows == 2 * ROWS, status.cause
