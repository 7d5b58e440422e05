"""Fail-points hit once and only where they are armed, and a network lives through each of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import actors
import flotta_p2p
from actors.failpoints import FOLDER_VARIABLE, Point
from tests.faults.kills import RANDOM_VICTIMS, faults_of, live_through_kills
from tests.faults.stops import live_through_stops

pytestmark = pytest.mark.system

SEED = 11
REACHES_ALL = "from actors.failpoints import *\nfor point in Point: reached(point)\nprint('alive')"


def reaching_all_points(**environment: str) -> subprocess.CompletedProcess[str]:
    """A process that passes every point once."""
    return subprocess.run(
        [sys.executable, "-c", REACHES_ALL],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_an_armed_point_kills_once_and_not_the_process_that_is_started_again(tmp_path: Path) -> None:
    (tmp_path / Point.COMMIT_AFTER).touch()
    first, second = (reaching_all_points(**{FOLDER_VARIABLE: str(tmp_path)}) for _ in range(2))
    assert first.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []
    assert (second.returncode, second.stdout) == (0, "alive\n")


def test_a_point_that_is_not_known_is_refused_at_the_start_with_the_list(tmp_path: Path) -> None:
    (tmp_path / "commit-sometimes").touch()
    refused = reaching_all_points(**{FOLDER_VARIABLE: str(tmp_path)})
    assert refused.returncode == 1
    assert "'commit-sometimes'" in refused.stderr and "commit-before, " in refused.stderr


def test_a_folder_that_is_not_there_is_refused_at_the_start(tmp_path: Path) -> None:
    refused = reaching_all_points(**{FOLDER_VARIABLE: str(tmp_path / "none")})
    assert refused.returncode == 1
    assert "is no folder to read" in refused.stderr


def test_a_folder_in_which_others_could_arm_a_point_is_refused_at_the_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    refused = reaching_all_points(**{FOLDER_VARIABLE: str(tmp_path)})
    assert refused.returncode == 1
    assert "others could arm" in refused.stderr


def test_every_point_stands_somewhere_in_the_product() -> None:
    sources = [path for package in (actors, flotta_p2p) for path in Path(str(package.__file__)).parent.rglob("*.py")]
    text = "".join(path.read_text("utf-8") for path in sources)
    assert [point.name for point in Point if f"reached(Point.{point.name})" not in text] == []


@pytest.mark.timeout(400)
def test_a_process_killed_at_any_point_or_moment_loses_nothing_doubles_nothing_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    faults = faults_of(1, len(RANDOM_VICTIMS), SEED)
    outcome = live_through_kills(tmp_path, faults, SEED)
    assert outcome.failures == []
    assert outcome.hits.total() == len(faults)


@pytest.mark.timeout(200)
def test_a_node_that_sleeps_longer_than_its_lease_kills_what_it_ran_and_works_at_the_next_job(tmp_path: Path) -> None:
    stops = ["stopped worker node", "stopped scheduler node"]
    outcome = live_through_stops(tmp_path, stops, SEED)
    assert outcome.failures == []
    assert outcome.hits.total() == len(stops)
