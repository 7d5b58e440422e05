"""Machines on one network, as network namespaces joined by a bridge: real interfaces, real multicast, real routes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from flotta_p2p.tables.shares import penguin_shares
from protocol.plan.tasks import Summary
from tests.system.jobs import client, fresh_token, mean_of, new_order, sees
from tests.system.netns import Namespace, command_in, namespaces
from tests.system.nodes import RunningNode, running_node

pytestmark = [pytest.mark.system, pytest.mark.netns]
PORT = 1456


def _node(
    stack: ExitStack,
    folder: Path,
    place: Namespace,
    name: str,
    token: str,
    *,
    csv_text: str | None = None,
    join: str | None = None,
) -> RunningNode:
    node = running_node(
        folder / name,
        name=name,
        port=PORT,
        token=token,
        csv_text=csv_text,
        interface=place.address,
        discovery=join is None,
        join=join,
        wrap=lambda argv: command_in(place, argv),
    )
    return stack.enter_context(node)


@pytest.mark.timeout(180)
def test_members_of_a_project_find_each_other_on_a_network_and_a_stranger_gets_nothing(tmp_path: Path) -> None:
    token, other_token = fresh_token(), fresh_token()
    shares = penguin_shares()
    with ExitStack() as stack:
        places = stack.enter_context(namespaces(5))
        members = [
            _node(stack, tmp_path, place, name, token, csv_text=text)
            for place, (name, text) in zip(places, shares.items(), strict=False)
        ]
        stranger = _node(stack, tmp_path, places[3], "Stranger", other_token, csv_text="a\n1\n")
        for member in members:
            member.wait_until(lambda node: sees(node, 2), 30)
        first = members[0]
        prepared = new_order(mean_of(token, "body_mass_g"))
        with client(first) as jobs:
            jobs.submit(jobs.prove(prepared))
            status = jobs.wait(prepared.job_id, limit_s=60)
            assert status.state == "succeeded", status.cause
            summary, _ = jobs.result(prepared.job_id, status.scheduler)
        assert isinstance(summary, Summary)
        assert summary.rows == 344
        assert summary.coverage.sources == summary.coverage.sources_counted == 3
        assert summary.columns["body_mass_g"].present == 342

        # The stranger is seen, and that is all: nobody is its peer, on either side, and it is offered nothing.
        first.wait_until(lambda node: [one["name"] for one in node.peers()["strangers"]] == ["Stranger"], 30)
        assert stranger.peers()["peers"] == []
        assert {peer["name"] for peer in first.peers()["peers"]} == set(shares) - {first.config.parent.name}

        # One more joins by a typed address alone, without zeroconf, and has a job done.
        newcomer = _node(stack, tmp_path, places[4], "Newcomer", token, join=f"{places[0].address}:{PORT}")
        newcomer.wait_until(lambda node: sees(node, 3), 30)  # the node that it joined introduces the others
        assert {peer["name"] for peer in newcomer.peers()["peers"]} == set(shares)
        prepared = new_order(mean_of(token, "body_mass_g"))
        with client(newcomer) as jobs:
            jobs.submit(jobs.prove(prepared))
            status = jobs.wait(prepared.job_id, limit_s=60)
            assert status.state == "succeeded", status.cause
            summary, _ = jobs.result(prepared.job_id, status.scheduler)
        assert summary.coverage.sources == 3 and summary.rows == 344
