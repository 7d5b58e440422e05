"""Help texts and the manual: every command and option stands in both, with an example."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from flotta_p2p.commands.main import cli
from tests.flotta_p2p.commands.lines import run

MANUAL = Path(__file__).parents[3] / "docs" / "commands.md"


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command


ALL = dict(commands(cli))


def manual_section(name: str) -> str:
    """The text below the heading of one command."""
    sections = MANUAL.read_text(encoding="utf-8").split("\n### ")
    found = [section for section in sections if section.partition("\n")[0] == f"`{name}`"]
    assert len(found) == 1, f"docs/commands.md needs one heading ### `{name}`"
    return found[0].partition("\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", ALL)
def test_help_has_an_example_and_the_manual_has_every_option(name: str, tmp_path: Path) -> None:
    helped = run(tmp_path, *name.split(), "--help")
    assert helped.code == 0
    assert f"    flotta-p2p {name}" in helped.out.partition("Example")[2]
    section = manual_section(name)
    assert f"flotta-p2p {name}" in section.partition("```")[2]
    for parameter in ALL[name].params:
        if isinstance(parameter, click.Option):
            for option in parameter.opts + parameter.secondary_opts:
                assert f"`{option}" in section, f"docs/commands.md says nothing about {option} of {name}"


@pytest.mark.parametrize("name", ["", "config", "project", "data", "key", "job"])
def test_a_group_alone_shows_its_help_with_an_example(name: str, tmp_path: Path) -> None:
    shown = run(tmp_path, *name.split())
    assert shown.code == 2
    assert "Example" in shown.out + shown.err


def test_the_manual_names_no_command_that_does_not_exist() -> None:
    headings = [
        section.partition("\n")[0].strip("`") for section in MANUAL.read_text(encoding="utf-8").split("\n### ")[1:]
    ]
    assert sorted(headings) == sorted(ALL)


def test_help_loads_nothing_heavy() -> None:
    heavy = ("zmq", "polars", "yaml", "rich.progress", "pykka", "apsw", "lmdb", "zeroconf")
    program = f"import sys, flotta_p2p.commands.main; print([name for name in {heavy!r} if name in sys.modules])"
    began = time.monotonic()
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert found.stdout.strip() == "[]"
    assert time.monotonic() - began < 10
