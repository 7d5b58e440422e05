"""The bench runs, with the smallest counts: every part measures something, and what broke is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.bench import command, rounds, tasks
from tools.bench.memory import sizes_mb
from tools.bench.nodes import running
from tools.bench.rows import Row, Scale, percentile, spread

SMALL = Scale(tasks=8, repeats=1, singles=2, workers=(1,), frames=10)


@pytest.mark.system
def test_tasks_latency_rounds_and_memory_are_measured_on_real_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tasks, rounds):
        monkeypatch.setattr(module, "PAUSE_S", 0.0)
    with running(2) as network:
        (rate,) = tasks.tasks_of(network, SMALL)
        latencies = list(tasks.latency_of(network, SMALL))
        large = rounds.round_of(network, 1, 300_000, repeats=1)
        sizes = sizes_mb(network.members[1])
    assert rate.what == "no-op tasks, 1 workers, jobs of 8" and rate.reached is not None
    assert len(latencies) == 6
    assert large.what == "round of 1 holders, 300000 B each"
    assert {"actors.launcher", "flotta_p2p.node_process"} <= {program for program, _, _ in sizes}
    assert all(resident >= own_share > 0 for _, resident, own_share in sizes)


def test_a_part_that_breaks_is_a_failure_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Scale) -> Iterator[Row]:
        raise RuntimeError("no nodes here")

    monkeypatch.setitem(command.PARTS, "demo", broken)
    file = tmp_path / "report.json"
    assert command.main(["--frames", "10", "--only", "demo", "--only", "frames", "--report", str(file)]) == 1
    told = json.loads(file.read_text())
    assert "no nodes here" in told["failures"][0]
    assert "frames of 200 B" in told["counts"]


def test_a_missed_aim_is_said_and_is_no_failure() -> None:
    told = command.report([Row("tasks", "5 per s", "≥ 1000 per s", reached=False), Row("other", "1", "1", True)], [])
    assert told.held
    assert told.notes[:2] == ("missed: tasks: 5 per s, aim ≥ 1000 per s", command.PROFILE)


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (51.0, 100.0, 7.0)
    assert spread([0.1, 0.3, 0.2], "ms") == "200 ms (100 to 300)"
