"""A run while it goes on: a live table of its flame nodes on a terminal, else a line for each change."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import click

from flame.control import Beat
from flame.run.run_progress import NodeProgress, Progress, progress_at_end
from flame.run.waits import Wait, wait_of
from flotta_p2p.commands.output import clean

if TYPE_CHECKING:
    from rich.table import Table

    from actors.flame_executor import RunProgress
    from flame.run.run_record import RunResult
    from protocol.machines.flame_events import NodeView

HEADERS: Final = ("flame node", "state", "received", "sent", "dropped", "waiting", "restarts", "waits for")
NUMBERS: Final = frozenset((2, 3, 4, 5, 6))
_COLOURS: Final = {"running": "green", "succeeded": "green", "failed": "red", "killed": "red", "hung": "red"}
_FIRST_TOLD_S: Final = 5.0  # a program that waits so long for the start of another is worth a line
_HINTS: Final = {"stopping": "Ctrl-C again kills what does not end", "ended": "its archive is being written"}
OnProgress = Callable[["RunProgress"], None]


@contextmanager
def displayed(alias: str, *, as_json: bool) -> Iterator[OnProgress]:
    """On standard error; nothing with --json. A terminal that goes away stops the display, not the run."""
    if as_json:
        yield lambda progress: None
    elif sys.stderr.isatty():
        with _live_table(alias) as update:
            yield update
    else:
        yield _as_long_as_it_shows(_Lines(alias))


def _as_long_as_it_shows(show: OnProgress) -> OnProgress:
    gone = False

    def shown(progress: RunProgress) -> None:
        nonlocal gone
        if not gone:
            try:
                show(progress)
            except OSError:
                gone = True

    return shown


def counters(node: NodeProgress) -> tuple[str, str, str, str]:
    """Received, sent, dropped, waiting."""
    inputs = node.inputs.values()
    received, dropped = sum(one.received for one in inputs), sum(one.dropped for one in inputs)
    waiting = sum(one.waiting for one in inputs)
    return f"{received:,}", f"{sum(node.sent.values()):,}", f"{dropped:,}", f"{waiting:,}"


def result_rows(result: RunResult) -> list[tuple[str, ...]]:
    """As the table while it ran, at its end."""
    return [row[:-1] for row in _rows(progress_at_end(result))]  # nobody waits any more


def _rows(progress: Progress) -> Iterator[tuple[str, ...]]:
    for name, node in progress.nodes.items():
        yield name, node.state, *counters(node), str(node.restarts), node.waits_for


class _Lines:
    """Where standard error is a file or a pipe."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._phase = ""
        self._states: dict[str, str] = {}  # bounded by the flame nodes of the run
        self._waits: dict[str, tuple[Wait | None, float]] = {}  # the same: for what, and since when; 0.0: it is told

    def __call__(self, progress: RunProgress) -> None:
        view = progress.view
        if view.phase != self._phase and view.phase != "ended":
            self._phase = view.phase
            reason = f": {view.reason}" if view.phase == "stopping" and view.reason else ""
            self._say(f"{self._alias} {view.phase}{reason}")
        for node in view.nodes:
            told = _worth_a_line(node)
            if told and told != self._states.get(node.name):
                self._states[node.name] = told
                self._say(f"{self._alias} {node.name}: {told}")
            is_running = node.state == "running"  # the last beat of one that is gone tells what it waited for then
            self._tell_first(node.name, wait_of(progress.beats.get(node.name, Beat())) if is_running else None)

    def _tell_first(self, name: str, wait: Wait | None) -> None:
        """A first value that does not come may never come; that a flow pauses is usual."""
        now = time.monotonic()
        seen, since = self._waits.get(name, (None, now))
        if wait != seen:
            self._waits[name] = wait, now
        elif wait is not None and wait.kind == "first" and since and now - since >= _FIRST_TOLD_S:
            self._waits[name] = wait, 0.0
            self._say(f"{self._alias} {name}: waits for {wait}")

    def _say(self, line: str) -> None:
        click.echo(clean(line), err=True)


def _worth_a_line(node: NodeView) -> str:
    if node.state == "ended":
        return f"{node.end}{f': {node.problem}' if node.problem else ''}"
    if node.state in ("pausing", "safing"):
        next_step = "it is started anew" if node.state == "pausing" else "its safe program runs"
        return f"{node.problem or 'ended'}; {next_step}"
    return "running again" if node.state == "running" and node.restarts else ""


@contextmanager
def _live_table(alias: str) -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.live import Live

    live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)  # written by this thread alone
    with suppress(OSError):
        live.start()
    try:
        yield _as_long_as_it_shows(lambda progress: live.update(_table(alias, progress), refresh=True))
    finally:
        with suppress(OSError):
            live.stop()


def _table(alias: str, progress: RunProgress) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from actors.flame_progress import progress_of

    view = progress.view
    title = f"{alias} {view.phase}" + (f": {view.reason}" if view.reason else "")
    hint = _HINTS.get(view.phase, "Ctrl-C stops it in order")
    table = Table(title=escape(clean(title)), caption=hint, title_justify="left", caption_justify="left")
    for at, header in enumerate(HEADERS):
        table.add_column(header, justify="right" if at in NUMBERS else "left")
    for row in _rows(progress_of(view, progress.beats)):
        table.add_row(*(escape(clean(cell)) for cell in row), style=_COLOURS.get(row[1], ""))
    return table
