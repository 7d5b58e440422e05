"""The script of many real nodes."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.system


def test_many_real_nodes_meet_and_answer_jobs_led_by_each_of_them() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulations.real_nodes", "--nodes", "5", "--jobs", "5"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 of 5 jobs succeeded" in done.stdout
