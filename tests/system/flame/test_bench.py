"""`flame bench` as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.flame.laboratory import Laboratory

pytestmark = pytest.mark.system

ROWS = {
    "round trip of 64 B": "<= 1.3 x raw",
    "round trip of 1 KB": "<= 1.3 x raw",
    "round trip of 64 B, journalled": "<= 2 x raw",
    "round trip of 1 KB, journalled": "<= 2 x raw",
    "small messages, none lost": ">= 100,000",
    "small messages, journalled": "",
    "numbers stored by a flame node": ">= 50,000",
    "arrays of 1 MB": ">= 1 x raw",
    "arrays of 40 MB": ">= 1 x raw",
    "16 empty flame nodes, start to stop": "<= 3",
}


@pytest.mark.timeout(300)
def test_a_bench_measures_every_row_and_leaves_nothing_behind(tmp_path: Path) -> None:
    typed = Laboratory(tmp_path / "lab", "").json("bench", "--quick", limit_s=240.0)
    rows = {row["what"]: row for row in typed["rows"]}
    assert {what: row["aim"] for what, row in rows.items()} == ROWS
    assert [row["fault"] for row in rows.values()] == [""] * len(ROWS)
    for what, row in rows.items():
        assert row["flame"] > 0 and (row["met"] is None) == (ROWS[what] == "")
        assert (row["raw"] is None) == (row["unit"] == "s" or "stored" in what)
    assert [path.name for path in (tmp_path / "lab").iterdir()] == ["workflow.py"]
