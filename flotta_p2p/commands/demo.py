"""`demo`: three nodes on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from flotta_p2p.commands.options import FOLDER, json_option


@click.command()
@click.option("--break", "breaking", is_flag=True, help="Alter the order, replay it, kill a holder: see each refused.")
@click.option("--keep", type=FOLDER, metavar="DIR", help="Keep the nodes' folders there instead of removing them.")
@json_option
def demo(breaking: bool, keep: Path | None, as_json: bool) -> int:
    """Three nodes on this machine answer a question.

    \b
    Examples:
      flotta-p2p demo
      flotta-p2p demo --break
    """
    from flotta_p2p.demo.run import run_demo

    return run_demo(breaking=breaking, as_json=as_json, keep=keep)
