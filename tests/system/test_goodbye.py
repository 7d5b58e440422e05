"""A node that stops says so on the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from flotta_p2p.demo.fleet import free_ports
from tests.system.jobs import fresh_token
from tests.system.nodes import RunningNode, running_node

pytestmark = pytest.mark.system


def strangers(node: RunningNode) -> set[str]:
    return {one["name"] for one in node.peers()["strangers"]}


def test_a_stranger_that_stops_leaves_the_list_of_the_others(tmp_path: Path) -> None:
    first, second = free_ports(2)
    with running_node(
        tmp_path / "a", name="Stays", port=first, token=fresh_token(), csv_text=None, discovery=True
    ) as stays:
        with running_node(
            tmp_path / "b", name="Leaves", port=second, token=fresh_token(), csv_text=None, discovery=True
        ):
            stays.wait_until(lambda node: "Leaves" in strangers(node))
        stays.wait_until(lambda node: "Leaves" not in strangers(node), 10)
