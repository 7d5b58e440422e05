"""`doctor`: whether this folder and this machine are fit to run workflows."""

from __future__ import annotations

from pathlib import Path

import click

from flotta_p2p.commands.doctor import report
from flotta_p2p.commands.flame.options import json_option


@click.command(short_help="Check whether workflows can run here.")
@json_option
def doctor(as_json: bool) -> int:
    """Check whether workflows can run here: folder, disk, sockets, libraries, runs that were broken off. Exit code 9
    when something is wrong.

    \b
    Examples:
      flame doctor
      flame doctor --json
    """
    from flotta_p2p.doctor.laboratory import examine

    return report(examine(Path.cwd()), {}, (), as_json)
