"""`python -m flotta_p2p` is `flotta-p2p`; with a configuration alone, as in `… -c FILE`, it runs the node."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from flotta_p2p.interrupting import end_interrupted, end_quietly
from flotta_p2p.standard_streams import open_closed, write_nowhere

if TYPE_CHECKING:
    from flotta_p2p.commands.group import Commands


def main(words: list[str] | None = None) -> None:
    """The entry point `flotta-p2p`, which ends the process. `words`: the command line, else that of the process."""
    end_quietly()  # while the commands are loaded there is nothing to tell
    open_closed()
    from flotta_p2p.commands.main import cli

    _run(cli, words, "flotta-p2p")


def flame(words: list[str] | None = None) -> None:
    """The entry point `flame`, which ends the process. `words`: as of `main`."""
    end_quietly()
    open_closed()
    from flotta_p2p.commands.flame import flame as commands

    _run(commands, words, "flame")


def _run(commands: Commands, words: list[str] | None, program: str) -> None:
    try:
        commands.main(words, program)
    except SystemExit as end:
        write_nowhere()
        end_interrupted(end.code)
        raise


if __name__ == "__main__":
    typed = sys.argv[1:]
    names_config = bool(typed) and (typed[0].startswith("-c") or typed[0].split("=")[0] == "--config")
    main(["up", *typed] if names_config else typed)
