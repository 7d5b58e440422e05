"""The runner of the proof: what a part says is shown as it is, and silence is never success."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.proof import Part, main, page

_REPORT = """
import json, sys
held = {held}
report = {{"part": "p", "promise": "Nothing is lost.", "counts": {{"images": 12345, "seeds": "1 to 9"}},
          "failures": [] if held else ["image 7 lost a row"], "notes": ["LMDB is not covered"]}}
open(sys.argv[sys.argv.index("--report") + 1], "w").write(json.dumps(report))
sys.exit({code})
"""


def part(name: str, *, held: bool = True, code: int = 0) -> Part:
    return Part(name, ("-c", _REPORT.format(held=held, code=code)), 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    return tmp_path


def written(root: Path) -> str:
    return (root / "docs" / "proof.md").read_text()


def test_a_part_that_held_is_shown_with_its_counts_and_its_limits(root: Path) -> None:
    assert main([], [part("power-cut")], root) == 0
    text = written(root)
    assert "| [power-cut](#power-cut) | yes |" in text
    assert "| images | 12,345 |" in text
    assert "| seeds | 1 to 9 |" in text
    assert "- LMDB is not covered" in text


def test_a_part_that_broke_is_shown_and_ends_the_run_with_one(root: Path) -> None:
    assert main([], [part("kills", held=False, code=1), part("fuzz")], root) == 1
    text = written(root)
    assert "| [kills](#kills) | **no** |" in text
    assert "- image 7 lost a row" in text
    assert "| [fuzz](#fuzz) | yes |" in text


@pytest.mark.parametrize("program", ["import sys; sys.exit(0)", "import os; os.abort()"])
def test_a_part_without_a_report_did_not_hold_whatever_its_exit_code(root: Path, program: str) -> None:
    assert main([], [Part("silent", ("-c", program), 1)], root) == 1
    assert "left no report that reads" in written(root)


def test_a_part_that_calls_itself_whole_and_ends_with_a_fault_did_not_hold(root: Path) -> None:
    assert main([], [part("boastful", held=True, code=3)], root) == 1
    assert "- it ended with exit code 3" in written(root)


def test_one_part_runs_anew_and_the_others_keep_their_reports(root: Path) -> None:
    parts = [part("a"), part("b")]
    main([], parts, root)
    kept = root / "build" / "proof"
    before = (kept / "a.json").read_bytes()
    assert main(["--only", "b"], parts, root) == 0
    assert (kept / "a.json").read_bytes() == before
    assert "[a](#a) | yes" in written(root)


def test_a_report_that_does_not_read_counts_as_not_run(root: Path) -> None:
    main([], [part("a")], root)
    (root / "build" / "proof" / "a.json").write_text('{"report": {}}')
    assert "| a | not run | | | |" in page([part("a")], root / "build" / "proof")


def test_a_part_that_never_ran_is_listed_as_such(root: Path) -> None:
    assert "| b | not run | | | |" in page([part("a"), part("b")], root / "nowhere")
