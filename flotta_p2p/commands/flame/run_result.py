"""How a run ended, for people and as JSON."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click
import msgspec

from flotta_p2p.commands.flame.run_display import HEADERS, NUMBERS, result_rows
from flotta_p2p.commands.output import clean, show, show_error, table
from protocol.errors import NEXT_STEP, Code

if TYPE_CHECKING:
    from flame.run.run_folder import RunFolder
    from flame.run.run_record import RunResult, WriteCount


def show_result(result: RunResult, folder: RunFolder, fault: str, *, as_json: bool) -> None:
    """What went wrong stands on standard error. `fault`: why there is no archive, "" for nothing."""
    took_s = (result.ended_ns - result.started_ns) / 1e9
    cause, _ = _cause_and_step(result)
    lines = [f"{result.alias} {result.end} after {took_s:.1f} s: {cause}", ""]
    lines += table(HEADERS[:-1], result_rows(result), right=NUMBERS)
    lines += [f"{name}: {note}" for name, node in result.nodes.items() for note in node.notes]
    lines += [f"{name}: written {_how_often(count)}" for name, count in result.written.items()]
    if result.archive:
        lines += ["", f"archive: {folder.path / result.archive}"]
    with suppress(BrokenPipeError):  # the exit code tells of the run, not of who wanted to read of it
        show(msgspec.to_builtins(result), lines, as_json=as_json)
    if not as_json:
        _tell_faults(result, fault)


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
