"""Which run is meant, of which folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from protocol.errors import AddressError, Code, WorkflowError

if TYPE_CHECKING:
    from flame.names.name_space import NameSpace
    from flame.run.runs import Run


def space(runs: Path | None) -> NameSpace:
    """Of `--runs`, else of the nearest folder. Raises WorkflowError(RUN_UNKNOWN) when there is none."""
    from flame.names.name_space import NameSpace

    if runs is not None and not runs.is_dir():
        raise _unknown(f"{runs} is no folder", "name a folder flame_runs")
    return NameSpace(runs) if runs is not None else NameSpace.near(Path.cwd())


def run_word(text: str) -> str:
    """Of a run as people write it: `#/j41`, `j41`, `last`, the text of its id. Raises AddressError."""
    from flame.names.address import parse

    try:
        address = parse(text if text.startswith("#") else f"#/{text}")
    except AddressError:
        raise _unknown(f"{text!r} is no run", "`flame ps` lists the runs; write j41, last or the id of one") from None
    if address.node or address.above:
        raise click.UsageError(f"{text!r} is no run; write #/j41, j41 or last")
    return address.run


def found_run(word: str, runs: Path | None) -> Run:
    from flame.run.runs import find_run

    return find_run(space(runs).runs, run_word(word) if word else "")


def _unknown(sentence: str, next_step: str) -> WorkflowError:
    return WorkflowError(Code.RUN_UNKNOWN, sentence, next_step=next_step)
