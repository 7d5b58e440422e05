"""`stop`: by whoever executes the run, a command or a node."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from flotta_p2p.commands.flame.handing import channel_to
from flotta_p2p.commands.flame.options import RUNS, json_option
from flotta_p2p.commands.flame.which_run import found_run, space
from flotta_p2p.commands.output import show
from protocol.errors import Code, DeniedError, UnreachableError, WorkflowError

if TYPE_CHECKING:
    from flame.run.runs import Run

_LOOK_S: Final = 0.2  # at a run that ends
_STOP_WAIT_S: Final = 180.0  # the waits of a stop in order, one after another, and an archive


@click.command(short_help="Stop a run in order, and wait for its end.")
@click.argument("run", default="")
@RUNS
@json_option
def stop(run: str, runs: Path | None, as_json: bool) -> None:
    """Stop RUN in order, or the newest that runs, and wait for its end.

    \b
    Examples:
      flame stop j41
    """
    found = _running(run, runs)
    _ask_to_stop(found)
    deadline_s = time.monotonic() + _STOP_WAIT_S
    while found.is_running:
        if time.monotonic() > deadline_s:
            raise UnreachableError(
                Code.TIMED_OUT,
                f"run {found.alias} has not ended within {_STOP_WAIT_S:g} s",
                next_step=f"`flame ps`, or `flame logs {found.alias}`",
            )
        time.sleep(_LOOK_S)
    state = found.state
    show({"run": found.alias, "state": state}, (f"{found.alias} {state}",), as_json=as_json)


def _running(word: str, runs: Path | None) -> Run:
    """Raises WorkflowError(RUN_UNKNOWN) when it does not run."""
    from flame.run.runs import Run, looked_through

    if word:
        found = found_run(word, runs)
        if found.is_running or found.may_go_on:
            return found
        sentence = f"run {found.alias} does not run: it is {found.state}"
    else:
        readable = (one for one in looked_through(space(runs).runs) if isinstance(one, Run))
        running = next((one for one in readable if one.is_running), None)
        if running is not None:
            return running
        sentence = "no run goes on here"
    raise WorkflowError(Code.RUN_UNKNOWN, sentence, next_step="`flame ps` shows the runs")


def _ask_to_stop(found: Run) -> None:
    """The node that executes it; else SIGTERM to the executor, which holds the lock."""
    from actors.adapters.folder_lock import signal_holder

    if found.document.workdir:
        _ask_node_to_stop(found)
        return
    try:
        signal_holder(found.folder.path, signal.SIGTERM)
    except PermissionError as error:
        raise _run_of_another(found) from error


def _run_of_another(found: Run) -> DeniedError:
    from flame.run.owners import belongs_to_another

    return belongs_to_another(found.folder, "nobody else can stop it", "ask that user to stop it")


def _ask_node_to_stop(found: Run) -> None:
    """Of a run that a node executes. Raises UnreachableError, DeniedError."""
    from protocol.wire.control import StopRun

    workdir = Path(found.document.workdir)
    try:  # a run of somebody else may name any folder
        is_ours = os.geteuid() in (workdir.stat().st_uid, 0)
    except FileNotFoundError:
        is_ours = True  # no node runs there
    except OSError:
        is_ours = False
    if not is_ours:
        raise _run_of_another(found)
    try:
        with channel_to(workdir) as channel:
            channel.request(StopRun(run=found.document.id))
    except DeniedError as error:
        if error.code is not Code.RUN_UNKNOWN:
            raise
