"""Runs that are handed over to a node, by `run --background` and `resume --background`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from flotta_p2p.commands.options import Place
from flotta_p2p.commands.output import show
from protocol.errors import Code, DeniedError, UnreachableError

if TYPE_CHECKING:
    from actors.adapters.flame_files import HeldRun
    from flotta_p2p.channels import ControlChannel

BACKGROUND: Final = click.option(
    "--background", is_flag=True, help="In the node of this machine: it outlives the terminal, and a crash of the node."
)


@dataclass(frozen=True)
class Node:
    """A node that runs, and its work directory, by which a run knows whose it is."""

    workdir: Path
    channel: ControlChannel


def check_background(*, background: bool) -> None:
    """Raises click.UsageError when a node is named that nothing is handed over to."""
    source = click.get_current_context().get_parameter_source
    if not background and ParameterSource.COMMANDLINE in (source("config"), source("workdir")):
        raise click.UsageError("-c and --workdir name the node of a run with --background")


@contextmanager
def node_of(place: Place) -> Iterator[Node]:
    """Raises UnreachableError(NODE_NOT_RUNNING)."""
    from flotta_p2p.commands.places import workdir_of

    workdir = workdir_of(place).resolve()
    with channel_to(workdir) as channel:
        yield Node(workdir, channel)


@contextmanager
def channel_to(workdir: Path) -> Iterator[ControlChannel]:
    from flotta_p2p.channels import ControlChannel

    channel = ControlChannel(workdir)
    try:
        yield channel
    finally:
        channel.close()


def hand_over(node: Node, held: HeldRun, parameters: Path | None, *, is_new: bool, as_json: bool) -> int:
    """Raises DeniedError when the node refuses it; then nothing is left of a run that is new. Raises UnreachableError
    when it is not known whether the node has it.
    """
    from actors.adapters.flame_files import discard_unbegun
    from protocol.wire.control import TakeRun

    folder, alias = held.folder, held.folder.alias
    take = TakeRun(
        run=held.document.id,
        alias=alias,
        folder=str(folder.path.absolute()),
        python=sys.executable,
        parameters="" if parameters is None else str(parameters.absolute()),
    )
    held.lock.release()
    try:
        node.channel.request(take)
    except DeniedError as error:
        if is_new and error.code is not Code.RUN_IN_PROGRESS:  # else a request before this one was heard
            discard_unbegun(folder)
        raise
    except UnreachableError as error:
        error.next_step = f"`flame ps` tells whether {alias} runs; `flotta-p2p status` asks the node"
        raise
    _show_handed_over(node, held, as_json=as_json)
    return 0


def _show_handed_over(node: Node, held: HeldRun, *, as_json: bool) -> None:
    from flame.names.address import to_text

    alias = held.folder.alias
    address = to_text(alias)
    values: dict[str, Any] = {
        "run": alias,
        "id": held.document.id,
        "address": address,
        "folder": str(held.folder.path.absolute()),
        "workdir": str(node.workdir),
    }
    lines = (
        f"{alias} goes on in the node of {node.workdir}: {address}",
        "",
        "  flame ps                how it is, and how it ended",
        f"  flame watch '{address}/NODE/OUTPUT'",
        f"  flame stop {alias}",
    )
    show(values, lines, as_json=as_json)
