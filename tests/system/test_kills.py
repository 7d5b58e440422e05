"""A holder that is killed and stays dead. Kills that are survived are in tests/faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from flotta_p2p.order_options import OrderOptions
from tests.faults.network import expect_gone, kill, network
from tests.system.jobs import client, mean_of, new_order

pytestmark = pytest.mark.system


def test_a_holder_that_stays_dead_ends_the_job_within_the_stated_time_and_is_named(tmp_path: Path) -> None:
    with network(tmp_path) as net:
        worker = net.names[2]
        prepared = new_order(mean_of(net.token, "body_mass_g"), OrderOptions(lease_ms=2_000))
        seen = net.processes(worker)
        kill(net.launcher_pid(worker))
        expect_gone(lambda: seen, "after the launcher")
        with client(net.nodes[net.scheduler]) as jobs:
            jobs.submit(jobs.prove(prepared))
            status = jobs.wait(prepared.job_id, limit_s=10)
        assert status.state == "failed"
        assert status.cause is not None
        assert status.cause.code == "holder-lost"
        assert worker in status.cause.sentence
