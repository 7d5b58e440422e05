"""Options that the commands of flame share."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from flotta_p2p.commands.options import json_option

FILE: Final = click.Path(path_type=Path, dir_okay=False)
WORKFLOW: Final = click.argument("workflow", type=FILE, default=Path("workflow.py"), required=False)
PARAMETERS: Final = click.option(
    "-p", "--params", "parameters", type=FILE, help="The parameters file; else parameters.json beside the workflow."
)

__all__ = ["FILE", "PARAMETERS", "WORKFLOW", "json_option"]
