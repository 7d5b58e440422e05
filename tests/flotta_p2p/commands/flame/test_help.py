"""What `flame --help` tells of its commands."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from flotta_p2p.commands.flame import flame
from flotta_p2p.commands.flame.authoring import new


@pytest.mark.parametrize(("group", "words"), [(flame, ()), (new, ("new",))])
def test_every_command_is_listed_with_one_whole_line(group: click.Group, words: tuple[str, ...]) -> None:
    text = CliRunner().invoke(flame, [*words, "--help"], terminal_width=80).stdout
    lines = [line.split(maxsplit=1) for line in text.partition("Commands:\n")[2].splitlines()]
    assert [line[0] for line in lines] == group.list_commands(click.Context(group))
    assert all(len(line) == 2 and line[1].endswith(".") and not line[1].endswith("...") for line in lines), text
