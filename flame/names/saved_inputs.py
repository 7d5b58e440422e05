"""What arrived at the inputs of a flame node in a saved run: data for a dry run, the synthetic experiment."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flame.names.name_space import NameSpace
from protocol.errors import Code, WorkflowError


def saved_inputs(address: str, start: Path, inputs: Sequence[str]) -> dict[str, list[Any]]:
    """By input, in the unit of the input, oldest first. One of which nothing is kept is left out, and named on standard
    error; so is one that the saved flame node did not have.

    `address`: of the flame node. Raises WorkflowError(RUN_UNKNOWN | NOTHING_THERE), StorageError.
    """
    space = NameSpace.near(start)
    space.list(address)  # one that is not there is told before anything is read
    found: dict[str, list[Any]] = {}
    for name in inputs:
        try:
            found[name] = list(_arrived(space, address, name))
        except WorkflowError as error:
            if error.code is not Code.NOTHING_THERE:
                raise
            print(f"input {name!r} is fed by the file: {error.sentence}", file=sys.stderr)
    return found


def _arrived(space: NameSpace, address: str, name: str) -> Iterator[Any]:
    """Before what was written to an input while the run went on, it had its parameter."""
    for value in space.read(f"{address}/in/{name}"):
        if value.author and value.seq == 1:
            yield space.read_value(f"{address}/params/{name}")
        yield value.value
