"""`dry`: a node file run alone, on its own data or on those of a saved run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from flotta_p2p.commands.flame.options import FILE, RUNS
from flotta_p2p.commands.flame.which_run import run_word, space
from protocol.errors import Code, WorkflowError


@click.command(short_help="Run a node file alone, on its own data or a saved run's.")
@click.argument("file", type=FILE)
@click.option("--from", "saved", metavar="RUN", help="Feed what arrived in this run: '#/j41', j41, last.")
@click.option("--node", help="The flame node in that run; else the only one of this file.")
@RUNS
def dry(file: Path, saved: str | None, node: str | None, runs: Path | None) -> int:
    """Run the node file FILE alone, on the data of its dry run, and check what it expects of them. With --from: on what
    arrived in a saved run, where the file's expectations do not hold. The exit code is that of the program.

    \b
    Examples:
      flame dry drift_lock.py
      flame dry drift_lock.py --from '#/j41'
      flame dry drift_lock.py --from last --node lock
    """
    from flame.control import DRY_FROM_VARIABLE

    if not file.is_file():
        raise WorkflowError(Code.NODE_FILE_WRONG, f"there is no file {file}", next_step="name a node file")
    if saved is None and (node is not None or runs is not None):
        raise click.UsageError("--node and --runs belong to --from RUN")
    variables = {} if saved is None else {DRY_FROM_VARIABLE: _address(file, saved, node, runs)}
    folder = None if saved is None else space(runs).runs.parent
    ended = subprocess.run(
        [sys.executable, str(file.absolute())], check=False, env={**os.environ, **variables}, cwd=folder
    )
    return ended.returncode if ended.returncode >= 0 else 128 - ended.returncode


def _address(file: Path, saved: str, node: str | None, runs: Path | None) -> str:
    """Of the flame node in the saved run. Raises WorkflowError(NOTHING_THERE)."""
    from flame.names.address import to_text
    from flame.run.runs import find_run, nothing_there

    run = find_run(space(runs).runs, run_word(saved))
    if node is not None:
        found = run.node(node)
        if Path(found.file).name != file.name:
            sentence = f"{node} of run {run.alias} is of {Path(found.file).name}, and not of {file.name}"
            raise nothing_there(sentence, to_text(run.alias))
        return to_text(run.alias, found.name)
    names = [one.name for one in run.graph.nodes if Path(one.file).name == file.name]
    if len(names) == 1:
        return to_text(run.alias, names[0])
    seen = f"{len(names)} flame nodes of {file.name}: {', '.join(names)}" if names else f"no flame node of {file.name}"
    raise nothing_there(f"run {run.alias} has {seen}; say which with --node", to_text(run.alias))
