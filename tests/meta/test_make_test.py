"""`make test` runs both parts of the tests, whatever the first one finds, and tells of a failure in either."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ["-m pytest -n 2 -m not system", "-m pytest -n 2 --dist loadfile -m system"]


@pytest.mark.parametrize("failing", [[], PARTS[:1], PARTS[1:], PARTS])
def test_both_parts_run_and_a_failure_in_either_is_told(tmp_path: Path, failing: list[str]) -> None:
    python, seen = tmp_path / "bin" / "python", tmp_path / "seen"
    python.parent.mkdir()
    outcomes = "".join(f"{part!r}) exit 1;; " for part in failing)
    python.write_text(f'#!/bin/sh\necho "$*" >>{seen}\ncase "$*" in {outcomes}*) exit 0;; esac\n')
    python.chmod(0o700)
    make = ["make", "--old-file=check", "test", f"VENV={tmp_path}"]
    ended = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert [line for line in seen.read_text().splitlines() if "pytest" in line] == PARTS
    assert (ended.returncode != 0) == bool(failing)
