"""`diff`: what differs between two runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flame.types.portable import dump
from flotta_p2p.commands.flame.options import RUNS, json_option
from flotta_p2p.commands.flame.showing import as_text
from flotta_p2p.commands.flame.which_run import run_word, space
from flotta_p2p.commands.output import show, table

if TYPE_CHECKING:
    from flame.names.comparison import Difference


@click.command(short_help="Show what differs between two runs.")
@click.argument("left")
@click.argument("right")
@RUNS
@json_option
def diff(left: str, right: str, runs: Path | None, as_json: bool) -> int:
    """What differs between two runs: parameters, graph, code, versions, end, values. Exit code 1 when anything does.

    \b
    Examples:
      flame diff '#/j40' '#/j41'
      flame diff j40 last --json
    """
    from flame.names.comparison import compare
    from flame.run.runs import find_run

    folder = space(runs).runs
    found = list(compare(find_run(folder, run_word(left)), find_run(folder, run_word(right))))
    show({"differences": [_values(one) for one in found]}, _lines(found, left, right), as_json=as_json)
    return 1 if found else 0


def _values(one: Difference) -> dict[str, Any]:
    """A side that has no such thing is left out."""
    sides = {name: dump(side) for name, side in (("left", one.left), ("right", one.right)) if not one.is_absent(side)}
    return {"aspect": one.aspect, "what": one.what, **sides, "lines": list(one.lines)}


def _lines(found: list[Difference], left: str, right: str) -> Iterator[str]:
    rows = [(one.aspect, one.what, _side(one, one.left), _side(one, one.right)) for one in found]
    yield from table(("", "", left, right), rows) if rows else ("no difference",)
    for one in found:
        yield from ("", *one.lines) if one.lines else ()


def _side(one: Difference, side: Any) -> str:
    if one.is_absent(side):
        return "–"
    return str(side)[:12] if one.aspect == "code" else as_text(side)
