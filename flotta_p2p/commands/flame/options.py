"""Options that the commands of flame share."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from flotta_p2p.commands.options import FOLDER, json_option

FILE: Final = click.Path(path_type=Path, dir_okay=False)
WORKFLOW: Final = click.argument("workflow", type=FILE, default=Path("workflow.py"), required=False)
PARAMETERS: Final = click.option(
    "-p", "--params", "parameters", type=FILE, help="The parameters file; else parameters.json beside the workflow."
)
RUNS: Final = click.option(
    "--runs", type=FOLDER, help="The folder flame_runs; else the nearest one, here or in a folder above."
)

__all__ = ["FILE", "FOLDER", "PARAMETERS", "RUNS", "WORKFLOW", "json_option"]
