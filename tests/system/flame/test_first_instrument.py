"""The manual of the first instrument does what it says: its files are written, its commands and its code are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.system

PAGE = Path(__file__).parents[3] / "docs" / "flame" / "first-instrument.md"
LIMIT_S = 100.0

_BLOCK = re.compile(
    r"(?:`(?P<file>[\w.]+)`:\n\n)?^```(?P<kind>python|json|console)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A file to write, commands to type, or, where `file` is empty, a program to run."""

    kind: str
    file: str
    text: str


def blocks() -> list[Block]:
    found = _BLOCK.finditer(PAGE.read_text("utf-8"))
    return [Block(one["kind"], one["file"] or "", one["text"]) for one in found]


def run(folder: Path, words: list[str]) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLAME_")}
    ended = subprocess.run(
        words, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert ended.returncode == 0, f"{shlex.join(words)}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def typed(line: str) -> list[str]:
    program, *words = shlex.split(line.removeprefix("$ "))
    assert program == "flame"
    return [sys.executable, "-m", "flotta_p2p", "flame", *words]


def test_the_manual_of_the_first_instrument_does_what_it_says(tmp_path: Path) -> None:
    shown: dict[str, str] = {}
    for block in blocks():
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        elif block.kind == "console":
            for line in block.text.splitlines():
                shown[line] = run(tmp_path, typed(line))
        else:
            assert block.kind == "python"
            shown["h5py"] = run(tmp_path, [sys.executable, "-c", block.text])
    assert "nothing is wrong" in shown["$ flame check"]
    assert "#/j1" in shown["$ flame ls"]
    assert "MHz" not in shown["$ flame find --unit mW"] and "#/j1/meter/power" in shown["$ flame find --unit mW"]
    assert shown["$ flame cat '#meter/power[:5]' --csv"].count("\n") == 6
    assert shown["$ flame cat '#/j1/stability/params'"] == "wanted  40\n"
    assert shown["h5py"].split()[1] == "W"
    assert "took 40 of reading" in shown["$ flame dry stability.py --from j1"]


def test_every_block_of_the_manual_is_a_file_commands_or_a_program() -> None:
    files = [block.file for block in blocks() if block.file]
    assert files == ["power_meter.py", "stability.py", "workflow.py", "parameters.json"]
    assert sum(block.kind == "console" for block in blocks()) >= 6
    assert len(PAGE.read_text("utf-8").split("```console")) - 1 == sum(block.kind == "console" for block in blocks())
