"""`run`, `resume`: a run of a workflow, in this process or handed over to a node."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from flame.run.run_folder import RUNS_FOLDER
from flotta_p2p import exit_codes
from flotta_p2p.commands.flame.handing import BACKGROUND, check_background, hand_over, node_of
from flotta_p2p.commands.flame.options import PARAMETERS, RUNS, WORKFLOW, json_option
from flotta_p2p.commands.flame.run_display import displayed
from flotta_p2p.commands.flame.run_result import show_result
from flotta_p2p.commands.flame.which_run import found_run
from flotta_p2p.commands.options import Place, place_options
from flotta_p2p.commands.output import clean
from protocol.errors import FlottaError

if TYPE_CHECKING:
    from actors.adapters.flame_files import HeldRun
    from flame.run.run_record import RunResult

_LIMIT_S_MAX: Final = 1e9  # thirty years; infinite and not a number are none of it
_LIMIT: Final = click.FloatRange(min=0.0, min_open=True, max=_LIMIT_S_MAX)


@click.command(short_help="Run a workflow to its end.")
@WORKFLOW
@PARAMETERS
@click.option("--limit", "limit_s", type=_LIMIT, help="Seconds; then it is stopped in order.")
@BACKGROUND
@place_options()
@json_option
def run(
    workflow: Path, parameters: Path | None, limit_s: float | None, background: bool, place: Place, as_json: bool
) -> int:
    """Run a workflow to its end. Ctrl-C stops it in order: the code below each loop runs, and the archive is written;
    Ctrl-C again kills.

    The exit code is 0 when it succeeded or was stopped by a flame node or `flame stop`, and 1 otherwise; with
    --background 0 once the node has it.

    \b
    Examples:
      flame run
      flame run rabi/workflow.py -p rabi/tuesday.json --limit 3600
      flame run --background
    """
    if limit_s is not None and math.isnan(limit_s):
        raise click.BadParameter("nan is no number of seconds", param_hint="--limit")
    from actors.adapters.flame_files import new_run
    from flame.authoring.workflow import load_graph

    check_background(background=background)

    def made(workdir: str) -> HeldRun:
        graph = load_graph(workflow, parameters, warn=None if as_json else _warn)
        runs = Path(graph.workflow_file).parent / RUNS_FOLDER
        return new_run(runs, graph, limit_s=limit_s or 0.0, workdir=workdir)

    return _run_or_hand_over(made, place if background else None, parameters, is_new=True, as_json=as_json)


@click.command(short_help="Take up a run that was broken off or has failed.")
@click.argument("run")
@PARAMETERS
@click.option(
    "--anyway",
    is_flag=True,
    help="Also one that was stopped in order, and with files and parameters that are others by now.",
)
@BACKGROUND
@place_options()
@RUNS
@json_option
def resume(
    run: str,
    parameters: Path | None,
    anyway: bool,
    background: bool,
    place: Place,
    runs: Path | None,
    as_json: bool,
) -> int:
    """Take up RUN again that was broken off, by a crash or a power cut, or has failed: each flame node goes on from its
    journal, with its memory, and no value is lost or doubled.

    \b
    Examples:
      flame resume j41
      flame resume j41 --background
    """
    from actors.adapters.flame_files import take_up
    from flame.authoring.workflow import load_graph
    from flame.run.runs import workflow_of

    check_background(background=background)
    found = found_run(run, runs)

    def taken(workdir: str) -> HeldRun:
        graph = load_graph(workflow_of(found), parameters, warn=None if as_json else _warn)
        return take_up(found.folder, graph, anyway=anyway, workdir=workdir)

    return _run_or_hand_over(taken, place if background else None, parameters, is_new=False, as_json=as_json)


def _run_or_hand_over(
    make: Callable[[str], HeldRun], place: Place | None, parameters: Path | None, *, is_new: bool, as_json: bool
) -> int:
    """`make`: the run of the node with this work directory, "" for none. `place`: of that node; None: it runs here."""
    from actors.adapters.flame_files import discard_unbegun

    if place is not None:
        with node_of(place) as node:
            return hand_over(node, make(str(node.workdir)), parameters, is_new=is_new, as_json=as_json)
    held = make("")
    try:
        return _execute(held, as_json=as_json)
    except (KeyboardInterrupt, FlottaError):
        if is_new:
            discard_unbegun(held.folder)
        raise


def _execute(held: HeldRun, *, as_json: bool) -> int:
    from actors.flame_chore import drop_apart
    from actors.flame_embedded import execute
    from actors.flame_plans import limits_of
    from flame.archive import write_archive
    from flame.run.dropping import has_finite_values

    alias = held.folder.alias
    with held.lock, displayed(alias, as_json=as_json) as on_progress:
        limits = limits_of(held.document)
        over = execute(held, limits=limits, write_archive=write_archive, on_progress=on_progress)
    result: RunResult = over.result
    show_result(result, held.folder, over.fault, as_json=as_json)
    with suppress(KeyboardInterrupt, FlottaError):  # the next run does it
        if has_finite_values(held.folder, held.document.graph):
            drop_apart(held.folder)
    return exit_codes.JOB_FAILED if over.fault else result.exit_code


def _warn(sentence: str) -> None:
    click.echo(clean(f"Note: {sentence}"), err=True)
