"""The table of commands in the manual, and each command's own help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from flotta_p2p.commands.flame import flame

PAGE = Path(__file__).parents[4] / "docs" / "flame" / "commands.md"
ROW = re.compile(r"^\| `([a-z]+(?: (?:node|workflow))?)[^`]*` \| .+ \| (.+) \|$", re.MULTILINE)


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command


ALL = dict(commands(flame))
ROWS = {name: set(re.findall(r"`(--?[a-z-]+)`", options)) for name, options in ROW.findall(PAGE.read_text("utf-8"))}


def test_the_manual_has_one_row_for_each_command() -> None:
    assert sorted(ROWS) == sorted(ALL)


@pytest.mark.parametrize("name", ALL)
def test_a_row_names_every_option_and_no_other(name: str) -> None:
    parameters = (one for one in ALL[name].params if isinstance(one, click.Option))
    assert ROWS[name] == {option for one in parameters for option in one.opts}


@pytest.mark.parametrize("name", ALL)
def test_the_help_of_every_command_has_an_example(name: str) -> None:
    helped = ALL[name].help or ""
    assert f"flame {name}" in helped.partition("Example")[2]
