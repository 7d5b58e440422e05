"""A small share of what `python -m tools proof` does: flame under `kill -9`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.flame_kills import kept_round, node_round, run_round

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


def test_killed_flame_nodes_leave_no_gap_and_no_duplicate(tmp_path: Path) -> None:
    assert node_round(tmp_path, random.Random(5)) > 0


def test_killed_executors_leave_no_gap_and_no_duplicate(tmp_path: Path) -> None:
    assert run_round(tmp_path, random.Random(5)) > 0


@pytest.mark.usefixtures("own_runtime")
def test_killed_nodes_leave_no_gap_and_no_duplicate_in_their_runs(tmp_path: Path) -> None:
    assert kept_round(tmp_path, random.Random(5)) > 0
