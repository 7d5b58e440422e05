"""The rooms of a flame node: what each holds beside streams of values, and what is said when a name is not there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec

from flame.graph import GraphNode, Parameter
from flame.limits import LOG_SHOWN_BYTES_MAX
from flame.names.address import to_text
from flame.names.streams import open_stream, stored_memory
from flame.nearest import nearest
from flame.ordinary_files import open_ordinary
from flame.run.run_progress import NodeProgress, progress_at_end, read_progress
from flame.run.runs import Run, nothing_there, unreadable
from flame.types.portable import load
from protocol.errors import DeniedError

T = TypeVar("T")

_ONE: Final = {"out": "output", "in": "input", "params": "parameter", "memory": "memory"}


def chosen(run: Run, node: GraphNode, room: str, name: str, there: Mapping[str, T]) -> T:
    """`there[name]`. Raises WorkflowError(NOTHING_THERE) with the nearest names."""
    if name in there:
        return there[name]
    place = to_text(run.alias, node.name, room, name)
    raise nothing_there(
        f"{place}: {node.name} has no {_ONE[room]} {name!r}; {nearest(name, there)}",
        to_text(run.alias, node.name, "" if room == "out" else room),
    )


def content(run: Run, node: GraphNode, room: str, name: str) -> Any:
    """What a room holds, or one thing of it. Raises WorkflowError(NOTHING_THERE), StorageError."""
    match room:
        case "params":
            there = {one.input: load(one.value) for one in node.parameters}
        case "memory":
            there = stored_memory(run, node)
        case "log":
            return _log(run, node)
        case "status":
            return _status(run, node)
        case "schema":
            return msgspec.to_builtins(node.schema)
        case "stats":
            return _stats(run, node)
        case _:
            raise AssertionError(f"{room} is a room of streams")
    return chosen(run, node, room, name, there) if name else there


def parameter(node: GraphNode, name: str) -> Parameter | None:
    return next((one for one in node.parameters if one.input == name), None)


def _log(run: Run, node: GraphNode) -> str:
    """Empty before its first word; of a long one the end."""
    try:
        with os.fdopen(open_ordinary(run.folder.log(node.name)), "rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - LOG_SHOWN_BYTES_MAX))
            text = log.read(LOG_SHOWN_BYTES_MAX).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise unreadable(run.folder.log(node.name), error) from error
    left_out = size - LOG_SHOWN_BYTES_MAX
    return text if left_out <= 0 else f"[{left_out} bytes before this: flame logs {run.alias} {node.name}]\n{text}"


def _status(run: Run, node: GraphNode) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(_progress(run, node))
    del facts["inputs"], facts["sent"]
    return facts


def _stats(run: Run, node: GraphNode) -> dict[str, Any]:
    """Values of each output that is kept; what was sent; for each input what was received and dropped, and waits."""
    kept: dict[str, Any] = {}
    for port in node.schema.outputs:
        with suppress(DeniedError), open_stream(run, node, port) as stream:
            if stream is not None:
                extent = stream.extent()
                kept[port.name] = {"values": extent.last_seq, "newest_ns": extent.last_time_ns}
    progress = _progress(run, node)
    return {"outputs": kept, "inputs": msgspec.to_builtins(progress.inputs), "sent": dict(progress.sent)}


def _progress(run: Run, node: GraphNode) -> NodeProgress:
    """Where nobody tells of the flame node itself, its state is that of the run."""
    told = read_progress(run.folder) if run.is_running else None
    if told is None and (result := run.result) is not None:
        told = progress_at_end(result)
    here = None if told is None else told.nodes.get(node.name)
    return here if here is not None else NodeProgress(run.state)
