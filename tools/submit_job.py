"""The signed job submission tool: `python -m tools.submit_job --to ADDRESS …` is `flotta-p2p submit --to ADDRESS …`."""

from __future__ import annotations

import sys
from typing import NoReturn

from flotta_p2p.commands.main import cli


def main(arguments: list[str]) -> NoReturn:
    """Signs and submits one job through the door of a node, and ends the process with the command's exit code."""
    cli.main(["submit", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
