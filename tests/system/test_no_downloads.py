"""`node.allow_resource_download: false`: such a node hands out no result, and says so before it accepts a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.tables.shares import penguin_shares
from protocol.errors import DeniedError
from tests.system.jobs import client, fresh_token, mean_of, new_order
from tests.system.nodes import running_node

pytestmark = pytest.mark.system


def test_a_node_that_hands_out_nothing_says_so_before_it_accepts_a_job(tmp_path: Path) -> None:
    token, [port] = fresh_token(), free_ports(1)
    share = next(iter(penguin_shares().values()))
    closed = "  allow_resource_download: false\n"
    prepared = new_order(mean_of(token, "body_mass_g"))
    with (
        running_node(tmp_path, name="Keeper", port=port, token=token, csv_text=share, node_yaml_lines=closed) as node,
        client(node) as jobs,
        pytest.raises(DeniedError, match="allow_resource_download"),
    ):
        jobs.submit(jobs.prove(prepared))
