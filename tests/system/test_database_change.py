"""What a node says when its database is moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from flotta_p2p.demo.fleet import free_ports
from tests.system.jobs import fresh_token
from tests.system.nodes import running_node

pytestmark = pytest.mark.system


def test_a_node_that_changes_from_memory_to_a_file_says_what_it_does_not_carry_over(tmp_path: Path) -> None:
    token, [port] = fresh_token(), free_ports(1)
    with running_node(tmp_path, name="North", port=port, token=token, csv_text=None) as node:
        node.wait_until(lambda one: "database in memory" in one.log_text())
    with running_node(tmp_path, name="North", port=port, token=token, csv_text=None, database=True) as node:
        assert "its peers, executed orders and audit are not used now" in node.log_text()
