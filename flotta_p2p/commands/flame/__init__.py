"""`flame`: laboratory workflows. A family of commands is a module of this package, loaded when one of it is typed.

A new command is one line in the table: its name, and the module that holds a click command of that name.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

import click

from flotta_p2p import __version__
from flotta_p2p.commands.group import Commands
from protocol.errors import Code, StorageError

_MODULES: Final = {
    "new": "authoring",
    "generate": "authoring",
    "check": "checking",
    "graph": "checking",
    "params": "checking",
    "run": "running",
    "resume": "running",
    "ps": "runs",
    "stop": "stopping",
    "logs": "runs",
    "write": "writing",
    "ls": "data",
    "cat": "data",
    "watch": "data",
    "find": "data",
    "plot": "plotting",
    "archive": "archiving",
    "diff": "comparing",
    "dry": "drying",
    "doctor": "doctor",
    "bench": "bench",
}


class LazyCommands(Commands):
    """Knows the names of its commands and loads each when it is asked for; the help shows them in this order."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _MODULES:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return command


@click.group(
    cls=LazyCommands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="flame")
def flame() -> None:
    """Laboratory workflows: small programs, flame nodes, with named inputs and outputs, joined in a workflow.

    \b
    Examples:
      flame new workflow         a workflow of two flame nodes that runs
      flame check                what is wrong with it, each fault with its line
      flame params               its parameters, and where their values come from
      flame run                  run it; every permanent value is in its archive afterwards
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise StorageError(
            Code.FOLDER_UNUSABLE, "the current folder was removed", next_step="change to a folder that is there"
        ) from None
