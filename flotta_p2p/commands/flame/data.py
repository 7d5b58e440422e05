"""`ls`, `cat`, `watch`, `find`: everything that a run has made, by its address."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from flame.types.portable import dump
from flotta_p2p.commands.flame.options import RUNS, json_option
from flotta_p2p.commands.flame.showing import as_cell, as_text, as_time
from flotta_p2p.commands.flame.which_run import run_word, space
from flotta_p2p.commands.output import named, show, show_exactly, table
from flotta_p2p.standard_streams import end_with_reader
from protocol.errors import Code, WorkflowError

if TYPE_CHECKING:
    from flame.names.listing import Entry
    from flame.names.streams import Value

_HOW_MANY: Final = "`flame ls` with the address of its flame node tells how many there are"
_LIFETIMES: Final = click.Choice(("runtime", "finite", "permanent"))
_COLUMNS: Final = ("address", "kind", "state", "type", "unit", "lifetime", "values", "newest", "source", "doc")


@click.command(short_help="List runs, flame nodes, inputs, outputs below an address.")
@click.argument("address", default="#/")
@RUNS
@json_option
def ls(address: str, runs: Path | None, as_json: bool) -> None:
    """What lies below ADDRESS: runs, flame nodes, inputs, outputs, parameters. Without ADDRESS: all runs.

    \b
    Examples:
      flame ls
      flame ls '#/j41'
      flame ls '#lock'             of the newest run
      flame ls '#/last/lock/params'
    """
    _show_entries(space(runs).list(address), as_json)


@click.command(short_help="Find outputs by unit, name and lifetime.")
@click.option("--unit", help="Only outputs in this unit.")
@click.option("--name", default="*", help="Only outputs of this name; * stands for anything: 'be*', 'lock/*'.")
@click.option("--lifetime", type=_LIFETIMES, help="Only outputs with this lifetime.")
@click.option("--run", "run", default="", help="In this run, j41 or last; else in the newest.")
@RUNS
@json_option
def find(unit: str | None, name: str, lifetime: Any, run: str, runs: Path | None, as_json: bool) -> None:
    """Outputs by unit, name and lifetime.

    \b
    Examples:
      flame find --unit MHz
      flame find --name 'lock/*' --run j41
    """
    _show_entries(space(runs).find(unit=unit, name=name, lifetime=lifetime, run=run_word(run) if run else ""), as_json)


@click.command(short_help="Show the values at an address.")
@click.argument("address")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values, with a line of names first.")
@RUNS
@json_option
def cat(address: str, as_csv: bool, runs: Path | None, as_json: bool) -> None:
    """The values at ADDRESS: all that a stream has, or those that are selected; what a parameter or a room holds.

    \b
    Examples:
      flame cat '#lock/beat'
      flame cat '#/j41/lock/beat[-10:]' --csv
      flame cat '#lock/beat@-5m..' --json
      flame cat '#/last/lock/params/gain'
      flame cat '#lock/log'
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    from flame.names.address import selects_one

    values = space(runs).read(address)
    first = next(values, None)  # what is not there is said before the first line is written
    if first is None and selects_one(address):
        raise WorkflowError(Code.NOTHING_THERE, f"{address}: there is no such value", next_step=_HOW_MANY)
    constant = first is not None and first.is_constant
    found = chain(() if first is None else (first,), values)
    if as_json and constant and first is not None:
        show({"address": address, "value": dump(first.value)}, (), as_json=True)
    elif as_json:
        _show_json(address, found)
    elif as_csv:
        _show_csv(found, constant=constant, written=first is not None and bool(first.author))
    elif constant and first is not None:
        show({}, _constant_lines(first.value), as_json=False)
    else:
        for value in found:
            show({}, (line_of(value),), as_json=False)


@click.command(short_help="Follow the values at an address.")
@click.argument("address")
@RUNS
@json_option
def watch(address: str, runs: Path | None, as_json: bool) -> None:
    """The newest value at ADDRESS, and every further one, until the run ends or Ctrl-C.

    With --json: one JSON document in each line.

    \b
    Examples:
      flame watch '#lock/beat'
      flame watch '#lock/error'    also of a runtime output
    """
    watched = space(runs).watch(address)
    end_with_reader()
    try:
        for value in watched.values:
            show_exactly(json.dumps(_values(value))) if as_json else show({}, (line_of(value),), as_json=False)
    except KeyboardInterrupt:
        return  # the usual end of it
    if not as_json:
        click.echo(f"run {watched.run.alias} is over: {watched.run.state}", err=True)


def line_of(value: Value) -> str:
    author = f"  {value.author}" if value.author else ""
    return f"{value.index}  {as_time(value.time_ns)}{author}  {as_text(value.value)}"


def _values(value: Value) -> dict[str, Any]:
    times = {"time": as_time(value.time_ns), "time_ns": value.time_ns}
    author = {"author": value.author} if value.author else {}
    return {"index": value.index, **times, **author, "value": dump(value.value)}


def _show_json(address: str, values: Iterable[Value]) -> None:
    """One document, written piece by piece: a stream may be larger than the memory."""
    show_exactly(f'{{\n  "address": {json.dumps(address)},\n  "values": [')
    held = ""
    for value in values:
        if held:
            show_exactly(f"    {held},")
        held = json.dumps(_values(value), allow_nan=False)
    show_exactly(f"    {held}\n  ]\n}}" if held else "  ]\n}")


def _show_csv(values: Iterable[Value], *, constant: bool, written: bool) -> None:
    if constant:
        rows: Iterator[tuple[object, ...]] = ((as_cell(value.value),) for value in values)
        show_exactly(_row(("value",)))
    else:
        rows = (
            (one.index, as_time(one.time_ns), one.time_ns, as_cell(one.value), *((one.author,) if written else ()))
            for one in values
        )
        show_exactly(_row(("index", "time", "time_ns", "value", *(("author",) if written else ()))))
    for row in rows:
        show_exactly(_row(row))


def _row(cells: tuple[object, ...]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(cells)
    return written.getvalue()


def _constant_lines(value: Any) -> list[str]:
    """Text as it is, a table of names as lines, anything else in one line."""
    if isinstance(value, str):
        return [value.removesuffix("\n")] if value else []
    if isinstance(value, dict) and value:
        return named([(str(name), as_text(one)) for name, one in value.items()])
    return [as_text(value)]


def _show_entries(entries: Iterable[Entry], as_json: bool) -> None:
    rows = [_facts(entry) for entry in entries]
    shown = [column for column in _COLUMNS if any(row[column] not in ("", None) for row in rows)]
    lines = [[_cell(column, row[column]) for column in shown] for row in rows]
    right = frozenset(at for at, column in enumerate(shown) if column == "values")
    show({"entries": rows}, table(shown, lines, right=right) if rows else ("nothing is there",), as_json=as_json)


def _facts(entry: Entry) -> dict[str, Any]:
    newest = None if entry.newest_ns is None else as_time(entry.newest_ns)
    plain = {column: getattr(entry, column) for column in _COLUMNS if column != "newest"}
    return {**plain, "newest": newest, "newest_ns": entry.newest_ns}


def _cell(column: str, value: Any) -> str:
    return "" if value is None else str(value)
