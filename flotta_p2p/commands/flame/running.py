"""`run`, `resume`, `ps`, `stop`, `logs`: runs of workflows on this machine."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from flame.limits import LOG_LINE_BYTES_MAX
from flame.ordinary_files import open_ordinary
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
from flotta_p2p.streams import end_with_reader
from protocol.errors import NEXT_STEP, Code, FlottaError, StorageError, UnreachableError, WorkflowError

if TYPE_CHECKING:
    from actors.adapters.flame_files import HeldRun
    from flame.run.run_record import RunResult, WriteCount
    from flame.run.runs import Run, Unreadable

_LOOK_S: Final = 0.2  # at a log that grows, and at a run that ends
_STOP_WAIT_S: Final = 180.0  # the waits of a stop in order, one after another, and an archive
_LOG_READ_BYTES: Final = 1 << 20

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
    from actors.adapters.flame_files import discard_unbegun, new_run
    from flame.authoring.workflow import load_graph

    check_background(background=background)

    def made(workdir: str = "") -> HeldRun:
        graph = load_graph(workflow, parameters, warn=None if as_json else _warn)
        runs = Path(graph.workflow_file).parent / RUNS_FOLDER
        return new_run(runs, graph, limit_s=limit_s or 0.0, workdir=workdir)

    if not background:
        held = made()
        try:
            return _execute(held, as_json)
        except (KeyboardInterrupt, FlottaError):
            discard_unbegun(held.folder)
            raise
    with node_of(place) as node:
        return hand_over(node, made(str(node.workdir)), parameters, is_new=True, as_json=as_json)


@click.command(short_help="Take up a run that was broken off or has failed.")
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


@click.command(short_help="List the runs: which go on, and how the others ended.")
@RUNS
@json_option
def ps(runs: Path | None, as_json: bool) -> None:
    """The runs of this folder, the newest first: which go on, and how the others ended. One of which nothing can be
    read is listed with the reason.

    \b
    Examples:
      flame ps
    """
    from flame.run.runs import looked_through

    listed = [_facts(one) for one in looked_through(space(runs).runs)]
    headers = ("run", "state", "name", "began", "lasted", "reason")
    lines = table(headers, [tuple(facts[header] for header in headers) for facts in listed])
    show({"runs": listed}, lines if listed else ("no runs",), as_json=as_json)


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


@click.command(short_help="Show what flame nodes have printed; `-f` goes on.")
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
    if follow:
        end_with_reader()
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
    from actors.flame_chore import drop_apart
    from actors.flame_embedded import execute
    from actors.flame_plans import limits_of
    from flame.archive import write_archive
    from flame.run.keeping import has_finite_values

    alias = held.folder.alias
    with held.lock, displayed(alias, as_json=as_json) as on_progress:
        limits = limits_of(held.document)
        over = execute(held, limits=limits, write_archive=write_archive, on_progress=on_progress)
    result: RunResult = over.result
    took_s = (result.ended_ns - result.started_ns) / 1e9
    cause, _ = _cause_and_step(result)
    lines = [f"{alias} {result.end} after {took_s:.1f} s: {cause}", ""]
    lines += table(HEADERS[:-1], result_rows(result), right=NUMBERS)
    lines += [f"{name}: {note}" for name, node in result.nodes.items() for note in node.notes]
    lines += [f"{name}: written {_how_often(count)}" for name, count in result.written.items()]
    if result.archive:
        lines += ["", f"archive: {held.folder.path / result.archive}"]
    with suppress(BrokenPipeError):  # the exit code tells of the run, not of who wanted to read of it
        show(msgspec.to_builtins(result), lines, as_json=as_json)
    if not as_json:
        _tell_faults(result, over.fault)
    if has_finite_values(held.folder, held.document.graph):
        drop_apart(held.folder)
    return exit_codes.JOB_FAILED if over.fault else result.exit_code


def _how_often(count: WriteCount) -> str:
    """ "3 times: 2 by anna, 1 by tom"."""
    by = ", ".join(f"{times} by {author}" for author, times in count.authors.items())
    return f"{'once' if count.values == 1 else f'{count.values} times'}: {by}"


def _tell_faults(result: RunResult, fault: str) -> None:
    program = click.get_current_context().find_root().info_name or "flame"
    if fault:
        click.echo(clean(f"{program}: the archive could not be written: {fault}"), err=True)
    if result.exit_code:
        bad = next((name for name, node in result.nodes.items() if node.problem), "")
        cause, step = _cause_and_step(result)
        look = f"`flame logs {result.alias} {bad}`".replace(" `", "`")
        sentence, step = f"run {result.alias} {result.end}: {cause}", f"{step}; {look}" if step else look
        show_error(Code.RUN_FAILED.value, sentence, next_step=step, program=program)


def _cause_and_step(result: RunResult) -> tuple[str, str]:
    """Why the run ended, and what is advised where an error of flame ended a flame node: it is told once."""
    cause, _, step = result.reason.partition(NEXT_STEP)
    return cause, step.rstrip(".")


def _warn(sentence: str) -> None:
    click.echo(clean(f"Note: {sentence}"), err=True)


# --- looking -----------------------------------------------------------------------------------------------------


def _find(word: str, runs: Path | None) -> Run:
    from flame.run.runs import find_run

    return find_run(space(runs).runs, run_word(word) if word else "")


def _running(word: str, runs: Path | None) -> Run:
    """Raises WorkflowError(RUN_UNKNOWN) when it does not run."""
    from flame.run.runs import Run, looked_through

    if word:
        found = _find(word, runs)
        if found.is_running or (found.document.workdir and found.result is None):  # its node may try it again
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


def _facts(one: Run | Unreadable) -> dict[str, Any]:
    from flame.run.runs import Unreadable

    nothing = {"run": one.alias, "state": "unreadable", "name": "", "began": "", "lasted": ""}
    if isinstance(one, Unreadable):
        return {**nothing, "reason": one.error.sentence}
    began_ns = one.document.started_ns
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(began_ns / 1e9))
    try:
        result, state = one.result, one.state
    except StorageError as error:
        return {**nothing, "name": one.graph.name, "began": began, "reason": error.sentence}
    ended_ns = result.ended_ns if result is not None else time.time_ns() if state == "running" else 0
    return {
        "run": one.alias,
        "state": state,
        "name": one.graph.name,
        "began": began,
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
            with os.fdopen(open_ordinary(self._path), "rb") as log:
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
        except OSError as error:
            from flame.run.runs import unreadable

            raise unreadable(self._path, error) from error
        if whole and self._rest:
            yield self._prefix + clean(self._rest.decode("utf-8", "replace"))
