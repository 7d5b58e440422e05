"""What people and scripts see: text and tables on standard output, one JSON document with --json, errors in one
sentence, progress on standard error.

Text from other machines is cleaned before it reaches a terminal: no character of it can move the cursor.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol

import click
import msgspec

from flotta_p2p.commands.suggestions import completed_line
from protocol.errors import Code, FlottaError, StorageError
from protocol.wire.jobs import JobStatus

LEFT: Final = "this node is out of its projects; flotta-p2p rejoin brings it back"


class Interrupted(Exception):
    """Ctrl-C while waiting: `job` names what goes on without us, `next_step` how to find it."""

    def __init__(self, job: str, next_step: str) -> None:
        super().__init__("interrupted")
        self.job = job
        self.next_step = next_step


def clean(text: str) -> str:
    """`text` fit for a terminal: line ends stay, other unprintable characters become `�`."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)


def show(values: dict[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """The result of a command: `values` as one JSON document, or `lines` for people. Raises StorageError."""
    for line in (json.dumps(values, indent=2),) if as_json else map(completed_line, lines):
        _write(line if as_json else clean(line))


def show_exactly(text: str) -> None:
    """A line for other programs, every character as it is. Raises StorageError."""
    _write(text)


def show_marked(mark: str, colour: str, text: str) -> None:
    """A line that begins with a coloured word; without colour where standard output is no terminal, or with
    $NO_COLOR. Raises StorageError.
    """
    plain = not colour or "NO_COLOR" in os.environ
    _write((mark if plain else click.style(mark, fg=colour, bold=True)) + clean(text))


def _write(text: str) -> None:
    """To standard output. Raises StorageError(DISK_FULL), save for a reader that went away, whom nobody misses."""
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(
            Code.DISK_FULL,
            f"standard output cannot be written: {error.strerror}",
            next_step="make room where it goes to, or send it elsewhere, and ask again",
        ) from error


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Aligned columns; `right` names the columns of numbers. The same in a terminal and in a pipe."""
    lines = [[clean(" ".join(cell.splitlines())) for cell in line] for line in (headers, *rows)]  # a row is one line
    widths = [max(len(line[at]) for line in lines) for at in range(len(headers))]
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def named(facts: Sequence[tuple[str, str]]) -> list[str]:
    """One line for each fact, its name before it."""
    width = max(len(name) for name, _ in facts)
    return [f"{name:<{width}}  {text}" for name, text in facts]


def show_error(
    code: str,
    sentence: str,
    *,
    node: str = "",
    job: str = "",
    next_step: str = "",
    program: str = "flotta-p2p",
    faults: Sequence[Any] = (),
    as_json: bool = False,
) -> None:
    """One error: on standard error for people, as `{"error": …}` on standard output with --json. `program`: who says
    it. `faults`: what it consists of, as values, where it is several.
    """
    if as_json:
        values: dict[str, Any] = {"code": code, "sentence": sentence, "node": node, "job": job, "next_step": next_step}
        values |= {"faults": list(faults)} if faults else {}
        with suppress(StorageError, BrokenPipeError):  # then the sentence on standard error has to do
            _write(json.dumps({"error": values}, indent=2))
            return
    places = (("node", node), ("job", job))
    where = "".join(f"{kind} {name}: " for kind, name in places if name and name not in sentence)
    ended = sentence if sentence.endswith((".", "!", "?", "]")) else f"{sentence}."
    gap = "\n" if "\n" in sentence else " "  # a list of faults is no place for the step
    step = f"{gap}Next: {next_step}" if next_step else ""
    with suppress(OSError):  # standard error is closed or full: the exit code has to do
        click.echo(clean(f"{program}: {where}{ended}{step}{code_mark(code)}"), err=True)


def code_mark(code: str) -> str:
    """What stands at the end of an error, so that `flotta-p2p explain` can be asked about it."""
    return f" [{code}]" if code in set(Code) else ""


def show_fault(error: FlottaError, *, program: str = "flotta-p2p", as_json: bool) -> None:
    show_error(
        error.code.value,
        error.sentence,
        node=error.node,
        job=error.job,
        next_step=error.next_step,
        program=program,
        faults=[msgspec.to_builtins(fault) for fault in getattr(error, "faults", ())],
        as_json=as_json,
    )


def show_bug(error: BaseException, *, program: str = "flotta-p2p", as_json: bool) -> None:
    """What nobody foresaw: where it happened, in one sentence."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f" at {frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else ""
    sentence = f"a mistake in flotta-p2p itself: {type(error).__name__}: {error}{place}"
    step = "report it with this line and the command"
    show_error(Code.INTERNAL.value, sentence, next_step=step, program=program, as_json=as_json)


# --- progress ----------------------------------------------------------------------------------


class Progress(Protocol):
    """Hears of every change of a job."""

    def __call__(self, status: JobStatus) -> None: ...


@contextmanager
def progress(*, as_json: bool) -> Iterator[Progress]:
    """A bar on a terminal, plain lines where standard error is a pipe or file, nothing with --json."""
    if as_json:
        yield lambda status: None
    elif sys.stderr.isatty():
        with _bar() as bar:
            yield bar
    else:
        yield _Lines()


@contextmanager
def counting(what: str, *, as_json: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal that hears `done, of`; nothing where standard error is a pipe or file, or with --json."""
    if as_json or not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


class _Lines:
    def __init__(self) -> None:
        self._last = ""

    def __call__(self, status: JobStatus) -> None:
        line = f"{status.state}: {status.tasks_done} of {status.tasks_all} tasks done"
        if line != self._last:
            click.echo(line, err=True)
            self._last = line


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("tasks"),
        TimeElapsedColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("submitted", total=None)

        def update(status: JobStatus) -> None:
            bar.update(task, description=status.state, completed=status.tasks_done, total=status.tasks_all or None)

        yield update
