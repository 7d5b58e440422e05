"""`ps`, `logs`: which runs there are, and what their flame nodes print."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from flame.limits import LOG_LINE_BYTES_MAX
from flame.ordinary_files import open_ordinary
from flotta_p2p.commands.flame.options import RUNS, json_option
from flotta_p2p.commands.flame.which_run import found_run, space
from flotta_p2p.commands.output import clean, show, table
from flotta_p2p.standard_streams import end_with_reader
from protocol.errors import StorageError

if TYPE_CHECKING:
    from flame.run.runs import Run, Unreadable

_LOOK_S: Final = 0.2  # at a log that grows
_LOG_READ_BYTES: Final = 1 << 20


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
    found = found_run(run, runs)
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
