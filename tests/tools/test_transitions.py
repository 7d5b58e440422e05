"""The documents' tables of states, messages and keys come from the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.transitions import PARTS, main, rendered


def documents(folder: Path) -> None:
    for name in {name for name, _, _ in PARTS}:
        parts = [f"<!-- {part}:begin -->\nold\n<!-- {part}:end -->\n" for other, part, _ in PARTS if other == name]
        (folder / name).write_text(f"before\n{''.join(parts)}after\n")


def test_stale_tables_are_told_written_and_then_fresh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents(tmp_path)
    assert main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err.count("is stale. Next: python -m tools transitions") == len(PARTS)
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    text = (tmp_path / "architecture.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| idle | Hello | challenged |" in text
    assert "| `settings.discovery` |" in (tmp_path / "configuration.md").read_text()
    assert "| 20 | Submit |" in (tmp_path / "protocol.md").read_text()


def test_a_document_without_its_marks_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents(tmp_path)
    (tmp_path / "protocol.md").write_text("no marks\n")
    assert main([], tmp_path) == 1
    assert "<!-- messages:begin -->" in capsys.readouterr().err


def test_marks_that_stand_twice_are_refused() -> None:
    pair = "<!-- x:begin -->\n<!-- x:end -->\n"
    assert rendered(pair, "x", "new") == "<!-- x:begin -->\nnew\n<!-- x:end -->\n"
    assert rendered(pair * 2, "x", "new") is None


def test_unknown_words_are_refused() -> None:
    assert main(["--chek"]) == 2
