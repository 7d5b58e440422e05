"""The disk of a running node fills up: nothing accepted is lost, and it works again unattended when there is room."""

from __future__ import annotations

from pathlib import Path

import pytest

from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.tables.shares import penguin_shares
from protocol.errors import FlottaError
from tests.system.jobs import client, fresh_token, mean_of, new_order, submit_and_wait
from tests.system.nodes import RunningNode, running_node
from tests.system.small_disk import fill, small_disk_of

pytestmark = pytest.mark.system


@pytest.mark.timeout(180)
def test_a_node_survives_a_full_disk_and_works_again_when_there_is_room(tmp_path: Path) -> None:
    token, [port] = fresh_token(), free_ports(1)
    share = next(iter(penguin_shares().values()))
    artifact = mean_of(token, "body_mass_g")
    with (
        small_disk_of(tmp_path / "disk", megabytes=120) as disk,
        running_node(disk / "north", name="North", port=port, token=token, csv_text=share, database=True) as node,
    ):
        before = submit_and_wait(node, artifact)
        assert before.state == "succeeded", before.cause
        filler = fill(disk)
        refused = new_order(artifact)
        with pytest.raises(FlottaError), client(node) as jobs:
            jobs.submit(jobs.prove(refused))
        filler.unlink()

        def answers(one: RunningNode) -> bool:
            try:
                return submit_and_wait(one, artifact).state == "succeeded"
            except FlottaError:
                return False

        node.wait_until(answers, 90)
        with client(node) as jobs:
            assert jobs.status(before.job_id).state == "succeeded"
