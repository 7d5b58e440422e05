"""Who may write what into a run that goes on: the rule of `flame write`. Pure, and the one place that decides.

Nobody may write unless the workflow opens an input: `lock.writable("target")` to the user who runs it, and with
`by=["anna", "@lab"]` to the user anna and the group lab besides. Only state inputs without an edge can be written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NoReturn

import msgspec

from flame.graph import Graph, GraphNode, Writable
from flame.library.reading import reading
from flame.nearest import nearest
from flame.ports import InputPort, NodeSchema
from flame.types import portable
from protocol.errors import Code, DeniedError, WorkflowError

GROUP_MARK: Final = "@"


class Author(msgspec.Struct, frozen=True):
    """Who is at the other end of a connection, as the system says. `groups`: names of those the user belongs to."""

    uid: int
    name: str
    groups: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.name} (uid {self.uid})"


class WriteRequest(msgspec.Struct, frozen=True):
    """What an author asks for. `value`: in the form of `flame.types.portable`."""

    node: str
    input: str
    value: Any


def why_unwritable(node: str, schema: NodeSchema, name: str, fed_by: str = "") -> tuple[str, str]:
    """Why nobody can ever write this input, grants aside, as a sentence and a next step; ("", "") when one can.
    `fed_by`: the output that its edge comes from, "" without one.
    """
    port = schema.input(name)
    place = f"{node}/{name}"
    if port is None:
        names = [one.name for one in schema.inputs]
        return f"{node} has no input {name!r}; {nearest(name, names)}", f"`flame ls '#{node}/in'` lists its inputs"
    if fed_by:
        return f"{place} is fed by the output {fed_by}, so nobody can write it", "write an input without an edge"
    if port.kind != "state":
        step = f"declare it as inputs.state({name!r}, …), or write another input"
        return f"{place} is a flow, and only a state can be written", step
    return "", ""


def _why(graph: Graph, node: GraphNode, name: str) -> tuple[str, str]:
    edge = next((one for one in graph.inbound(node.name) if one.input == name), None)
    return why_unwritable(node.name, node.schema, name, "" if edge is None else f"{edge.source}/{edge.output}")


def opened(graph: Graph, node: str, name: str) -> tuple[InputPort, Writable]:
    """The port that may be written by some, and by whom. Raises WorkflowError(NOTHING_THERE), and
    DeniedError(WRITE_REFUSED) that says why nobody may write it.
    """
    found = next((one for one in graph.nodes if one.name == node), None)
    if found is None:
        sentence = f"the run has no flame node {node!r}; {nearest(node, [one.name for one in graph.nodes])}"
        raise WorkflowError(Code.NOTHING_THERE, sentence, next_step="`flame ls` shows runs and their flame nodes")
    port = found.schema.input(name)
    sentence, step = _why(graph, found, name)
    if port is None:
        raise WorkflowError(Code.NOTHING_THERE, sentence, next_step=step)
    if sentence:
        _refuse(sentence, step)
    grant = next((one for one in found.writable if one.input == name), None)
    if grant is None:
        open_ones = [one.input for one in found.writable]
        also = f"; of {node} it opens {', '.join(open_ones)}" if open_ones else ""
        _refuse(
            f"the workflow does not open {node}/{name} for writing{also}",
            f'write {node}.writable("{name}") into the workflow, for the next run',
        )
    return port, grant


def is_granted(grant: Writable, author: Author, owner_uid: int) -> bool:
    """Whether the workflow lets this user write. Root has no right of its own."""
    if author.uid == owner_uid:
        return True
    is_named = author.name in grant.by and not author.name.startswith(GROUP_MARK)
    return is_named or any(GROUP_MARK + group in grant.by for group in author.groups)


def is_known(graph: Graph, author: Author, owner_uid: int) -> bool:
    """Whether anything at all is granted to this user."""
    return any(is_granted(grant, author, owner_uid) for node in graph.nodes for grant in node.writable)


def judge(graph: Graph, owner_uid: int, author: Author, request: WriteRequest, *, has_ended: bool = False) -> Any:
    """The value as the input takes it, in the form of `flame.types.portable`. `has_ended`: the flame node has, or the
    run is ending.

    Raises DeniedError(WRITE_REFUSED), and WorkflowError: NOTHING_THERE, VALUE_WRONG for type, unit and limits.
    """
    port, grant = opened(graph, request.node, request.input)
    place = f"{request.node}/{request.input}"
    if not is_granted(grant, author, owner_uid):
        besides = f" and {', '.join(grant.by)}" if grant.by else ""
        _refuse(
            f"{author} may not write {place}: the workflow grants it to the user who runs it{besides}",
            "ask one of these to write it, or to be named in .writable(…, by=[…])",
        )
    if has_ended:
        _refuse(f"{place} is not written: {request.node} has ended or is stopping", "`flame ps` shows the runs")
    return checked(port, request.value, place)


def checked(port: InputPort, held: Any, place: str) -> Any:
    """A value as the input takes it, both in the form of `flame.types.portable`. Raises WorkflowError(VALUE_WRONG)."""
    try:
        value = portable.load(held)
        read = reading(port)
        return portable.dump(value if read is None else read(value))
    except WorkflowError as error:
        sentence = error.sentence.removeprefix(f"input {port.name!r}: ")
        step = error.next_step
        if port.unit and isinstance(held, str):
            step = f"write the number alone: it is taken in {port.unit}"
        raise WorkflowError(Code.VALUE_WRONG, f"{place}: {sentence}", next_step=step) from None
    except (RecursionError, ValueError, OverflowError, MemoryError) as error:  # numpy's, of sizes that cannot be
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        step = f"write a value of the type {port.type}"
        raise WorkflowError(Code.VALUE_WRONG, f"{place}: the value cannot be taken: {why}", next_step=step) from None


def writable_inputs(graph: Graph) -> Iterator[tuple[GraphNode, InputPort]]:
    """All that the workflow opens and that can be written."""
    for node in graph.nodes:
        for grant in node.writable:
            port = node.schema.input(grant.input)
            if port is not None and not _why(graph, node, grant.input)[0]:
                yield node, port


def is_writable(graph: Graph, node: str, name: str) -> bool:
    """Whether it is one of these."""
    return any((one.name, port.name) == (node, name) for one, port in writable_inputs(graph))


def stream_name(node: str, name: str) -> str:
    """Of an input, in the journal of writes."""
    return f"{node}/{name}"


def names_others(graph: Graph) -> bool:
    """Whether somebody besides the user who runs it may write anything."""
    return any(grant.by for node in graph.nodes for grant in node.writable)


def _refuse(sentence: str, next_step: str) -> NoReturn:
    raise DeniedError(Code.WRITE_REFUSED, sentence, next_step=next_step)
