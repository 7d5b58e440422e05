"""`run`, `resume`, `ps`, `stop`, `logs`: runs of workflows on this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from flame.limits import LOG_LINE_BYTES_MAX
from flame.run.run_folder import RUNS_FOLDER
from flotta_p2p import exit_codes
from flotta_p2p.commands.flame.data import run_word, space
from flotta_p2p.commands.flame.handing import (
    BACKGROUND,
    ask_node_to_stop,
    check_background,
    hand_over,
    node_of,
    run_of_another,
)
from flotta_p2p.commands.flame.options import PARAMETERS, RUNS, WORKFLOW, json_option
from flotta_p2p.commands.flame.run_display import HEADERS, NUMBERS, displayed, result_rows
from flotta_p2p.commands.options import Place, place_options
from flotta_p2p.commands.output import clean, show, show_error, table
from protocol.errors import Code, UnreachableError, WorkflowError

if TYPE_CHECKING:
    from actors.adapters.flame_files import HeldRun
    from flame.run.run_record import RunResult
    from flame.run.runs import Run

_LOOK_S: Final = 0.2  # at a log that grows, and at a run that ends
_STOP_WAIT_S: Final = 180.0  # the waits of a stop in order, one after another, and an archive
_LOG_READ_BYTES: Final = 1 << 20

_LIMIT: Final = click.FloatRange(min=0.0, min_open=True)


@click.command()
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
    from actors.adapters.flame_files import new_run
    from flame.authoring.workflow import load_graph

    check_background(background=background)

    def made(workdir: str = "") -> HeldRun:
        graph = load_graph(workflow, parameters, warn=None if as_json else _warn)
        runs = Path(graph.workflow_file).parent / RUNS_FOLDER
        return new_run(runs, graph, limit_s=limit_s or 0.0, workdir=workdir)

    if not background:
        return _execute(made(), as_json)
    with node_of(place) as node:
        return hand_over(node, made(str(node.workdir)), parameters, is_new=True, as_json=as_json)


@click.command()
@click.argument("run")
@PARAMETERS
@click.option("--anyway", is_flag=True, help="Go on with files and parameters that are others by now.")
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
    found = _find(run, runs)

    def taken(workdir: str = "") -> HeldRun:
        graph = load_graph(workflow_of(found), parameters, warn=None if as_json else _warn)
        return take_up(found.folder, graph, anyway=anyway, workdir=workdir)

    if not background:
        return _execute(taken(), as_json)
    with node_of(place) as node:
        return hand_over(node, taken(str(node.workdir)), parameters, is_new=False, as_json=as_json)


@click.command()
@RUNS
@json_option
def ps(runs: Path | None, as_json: bool) -> None:
    """The runs of this folder, the newest first: which go on, and how the others ended.

    \b
    Examples:
      flame ps
    """
    from flame.run.runs import newest_first

    listed = [_facts(one) for one in newest_first(space(runs).runs)]
    headers = ("run", "state", "name", "began", "lasted", "reason")
    lines = table(headers, [tuple(facts[header] for header in headers) for facts in listed])
    show({"runs": listed}, lines if listed else ("no runs",), as_json=as_json)


@click.command()
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


@click.command()
@click.argument("run", default="")
@click.argument("nodes", nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@RUNS
def logs(run: str, nodes: tuple[str, ...], follow: bool, runs: Path | None) -> None:
    """What the flame nodes of RUN, or of the newest, have printed; of several, each line behind its flame node.

    \b
    Examples:
      flame logs j41
      flame logs -f j41 lock
    """
    found = _find(run, runs)
    names = nodes or tuple(node.name for node in found.graph.nodes)
    tails = [_Tail(found.folder.log(found.node(name).name), f"{name}  " if len(names) > 1 else "") for name in names]
    while True:
        goes_on = follow and found.is_running  # asked first: what was printed before the end is still shown
        for tail in tails:
            for line in tail.lines(whole=not goes_on):
                click.echo(line)
        if not goes_on:
            return
        time.sleep(_LOOK_S)


# --- executing ---------------------------------------------------------------------------------------------------


def _execute(held: HeldRun, as_json: bool) -> int:
    from actors.flame_embedded import execute
    from actors.flame_plans import limits_of
    from flame.archive import write_archive

    alias = held.folder.alias
    with held.lock, displayed(alias, as_json=as_json) as on_progress:
        limits = limits_of(held.document)
        over = execute(held, limits=limits, write_archive=write_archive, on_progress=on_progress)
    result: RunResult = over.result
    took_s = (result.ended_ns - result.started_ns) / 1e9
    lines = [f"{alias} {result.end} after {took_s:.1f} s: {result.reason}", ""]
    lines += table(HEADERS[:-1], result_rows(result), right=NUMBERS)
    lines += [f"{name}: {note}" for name, node in result.nodes.items() for note in node.notes]
    if result.archive:
        lines += ["", f"archive: {held.folder.path / result.archive}"]
    show(msgspec.to_builtins(result), lines, as_json=as_json)
    if not as_json:
        _tell_faults(result, over.fault)
    return exit_codes.JOB_FAILED if over.fault else result.exit_code


def _tell_faults(result: RunResult, fault: str) -> None:
    program = click.get_current_context().find_root().info_name or "flame"
    if fault:
        click.echo(clean(f"{program}: the archive could not be written: {fault}"), err=True)
    if result.exit_code:
        bad = next((name for name, node in result.nodes.items() if node.problem), "")
        step = f"`flame logs {result.alias} {bad}`".replace(" `", "`")
        sentence = f"run {result.alias} {result.end}: {result.reason}"
        show_error(Code.RUN_FAILED.value, sentence, next_step=step, program=program)


def _warn(sentence: str) -> None:
    click.echo(clean(f"Note: {sentence}"), err=True)


# --- looking -----------------------------------------------------------------------------------------------------


def _find(word: str, runs: Path | None) -> Run:
    from flame.run.runs import find_run

    return find_run(space(runs).runs, run_word(word) if word else "")


def _running(word: str, runs: Path | None) -> Run:
    """Raises WorkflowError(RUN_UNKNOWN) when it does not run."""
    from flame.run.runs import newest_first

    if word:
        found = _find(word, runs)
        if found.is_running or (found.document.workdir and found.result is None):  # its node may try it again
            return found
        sentence = f"run {found.alias} does not run: it is {found.state}"
    else:
        running = next((one for one in newest_first(space(runs).runs) if one.is_running), None)
        if running is not None:
            return running
        sentence = "no run goes on here"
    raise WorkflowError(Code.RUN_UNKNOWN, sentence, next_step="`flame ps` shows the runs")


def _ask_to_stop(found: Run) -> None:
    """The node that executes it; else SIGTERM to the executor: it holds the lock, so the process that is named there
    lives.
    """
    from actors.adapters.folder_lock import lock_holder

    if found.document.workdir:
        ask_node_to_stop(found)
        return
    holder = lock_holder(found.folder.path)
    if holder is None and not found.is_running:
        return  # it has ended meanwhile
    try:
        if holder is None or not holder.pid:
            raise PermissionError  # who holds it does not let us know
        _check_holder(found, holder.pid)
        os.kill(holder.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise run_of_another(found) from error


def _check_holder(found: Run, pid: int) -> None:
    """Who wrote the lock file may have named any process. Raises PermissionError unless it is one of his own, and
    ProcessLookupError.
    """
    owner = found.folder.lock.stat().st_uid
    try:
        runs_as = Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        if Path("/proc/self").exists():
            raise ProcessLookupError from None
        runs_as = os.getuid()  # a system that does not tell
    if runs_as != owner:
        raise PermissionError


def _facts(one: Run) -> dict[str, Any]:
    result = one.result
    began_ns = one.document.started_ns
    ended_ns = result.ended_ns if result is not None else time.time_ns() if one.is_running else 0
    return {
        "run": one.alias,
        "state": one.state,
        "name": one.graph.name,
        "began": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(began_ns / 1e9)),
        "lasted": f"{(ended_ns - began_ns) / 1e9:.1f} s" if ended_ns else "",
        "reason": result.reason if result is not None else _home(one),
    }


def _home(one: Run) -> str:
    """Where to look for a run that goes on, or may go on, without a command."""
    return f"in the node of {one.document.workdir}" if one.document.workdir else ""


class _Tail:
    """A log that may grow. `prefix` stands before each of its lines."""

    def __init__(self, path: Path, prefix: str) -> None:
        self._path = path
        self._prefix = prefix
        self._at = 0
        self._rest = b""  # limits.LOG_LINE_BYTES_MAX and what is read at once

    def lines(self, *, whole: bool) -> Iterator[str]:
        """What has come since; a line that is not complete only if `whole`."""
        try:
            with self._path.open("rb") as log:
                log.seek(self._at)
                while data := log.read(_LOG_READ_BYTES):
                    self._at += len(data)
                    *lines, self._rest = (self._rest + data).split(b"\n")
                    yield from (self._prefix + clean(line.decode("utf-8", "replace")) for line in lines)
                    if len(self._rest) > LOG_LINE_BYTES_MAX:  # a program that prints without line ends
                        rest, self._rest = self._rest, b""
                        yield self._prefix + clean(rest.decode("utf-8", "replace"))
        except FileNotFoundError:
            return  # it has not been started
        if whole and self._rest:
            yield self._prefix + clean(self._rest.decode("utf-8", "replace"))
