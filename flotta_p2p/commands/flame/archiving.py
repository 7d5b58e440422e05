"""`archive`: the permanent values of a run in one file."""

from __future__ import annotations

import os
from pathlib import Path

import click

from flotta_p2p.commands.flame.options import RUNS, json_option
from flotta_p2p.commands.flame.which_run import run_word, space
from flotta_p2p.commands.output import show


@click.command(short_help="Write the archive of a run anew, from its journals.")
@click.argument("run", default="last")
@RUNS
@json_option
def archive(run: str, runs: Path | None, as_json: bool) -> None:
    """Write the archive of RUN anew, from its journals: an HDF5 file with all permanent values. A run writes it at its
    end by itself; this is for one that was broken off, or is still running.

    \b
    Examples:
      flame archive '#/j41'
      flame archive last
    """
    from flame.archive import write_archive
    from flame.run.owners import belongs_to_another, may
    from flame.run.runs import find_run

    found = find_run(space(runs).runs, run_word(run))
    if not may(found.folder.path, os.W_OK):
        raise belongs_to_another(found.folder, "its archive is written by that user alone", "ask that user")
    path = write_archive(found.folder, found.document, found.result)
    bytes_all = path.stat().st_size
    state = found.state
    line = f"{path}: {bytes_all:,} bytes" + (", what is there so far: the run is running" if state == "running" else "")
    show({"archive": str(path), "bytes": bytes_all, "state": state}, (line,), as_json=as_json)
