"""What differs between two runs: parameters, graph, code, versions, how they ended, and their values."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, Literal

import msgspec

from flame.graph import GraphNode
from flame.limits import SOURCE_BYTES_MAX
from flame.names.streams import Stream, Value, open_stream
from flame.ports import OutputPort
from flame.run.runs import Run
from flame.run.whole_files import read_whole
from flame.types.portable import load
from flame.values import encode

Aspect = Literal["parameter", "graph", "code", "version", "end", "values"]


class _Nothing(msgspec.Struct, frozen=True):
    """This run has no such thing: None may be a value."""


NOTHING = _Nothing()


class Difference(msgspec.Struct, frozen=True):
    """`what`: an address within the run, a file, a package. `left` and `right`: the value in each, or NOTHING.

    `lines`: for code, a unified diff.
    """

    aspect: Aspect
    what: str
    left: Any
    right: Any
    lines: tuple[str, ...] = ()

    def is_absent(self, side: Any) -> bool:
        return side is NOTHING


def compare(left: Run, right: Run) -> Iterator[Difference]:
    """Nothing for two runs of the same program with the same parameters, end and values. Raises StorageError."""
    yield from _differing("parameter", _parameters(left), _parameters(right))
    yield from _differing("graph", _graph(left), _graph(right))
    yield from _code(left, right)
    yield from _differing("version", left.document.provenance.versions, right.document.provenance.versions)
    yield from _differing("end", _ends(left), _ends(right))
    yield from _values(left, right)


def _differing(aspect: Aspect, left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[Difference]:
    for name in [*left, *(name for name in right if name not in left)]:
        one, other = left.get(name, NOTHING), right.get(name, NOTHING)
        if one is NOTHING or other is NOTHING or encode(one) != encode(other):
            yield Difference(aspect, name, one, other)


def _parameters(run: Run) -> dict[str, Any]:
    return {
        f"#{node.name}/params/{parameter.input}": load(parameter.value)
        for node in run.graph.nodes
        for parameter in node.parameters
    }


def _graph(run: Run) -> dict[str, Any]:
    nodes = {f"#{node.name}": node.schema.name for node in run.graph.nodes}
    edges = {
        f"#{edge.target}/in/{edge.input}": f"#{edge.source}/{edge.output} {edge.policy}({edge.depth})"
        for edge in run.graph.edges
    }
    return nodes | edges


def _ends(run: Run) -> dict[str, Any]:
    result = run.result
    nodes = {} if result is None else {f"#{name}/status": one.end for name, one in sorted(result.nodes.items())}
    return {"run": run.state} | nodes


def _code(left: Run, right: Run) -> Iterator[Difference]:
    one, other = ({source.name: source.sha256 for source in run.document.provenance.sources} for run in (left, right))
    for difference in _differing("code", one, other):
        before, after = _text(left, difference.what), _text(right, difference.what)
        old, new = (f"{run.alias}/{difference.what}" for run in (left, right))
        lines = tuple(difflib.unified_diff(before, after, old, new, lineterm=""))
        yield msgspec.structs.replace(difference, lines=lines)


def _text(run: Run, name: str) -> list[str]:
    """Of a file that was too large to be copied, or does not read, nothing."""
    try:
        return read_whole(run.folder.sources / name, SOURCE_BYTES_MAX).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _values(left: Run, right: Run) -> Iterator[Difference]:
    """Streams that are kept in both: how many values, and the first that is another one."""
    for node, port in _outputs(left):
        other = next(((n, p) for n, p in _outputs(right) if (n.name, p.name) == (node.name, port.name)), None)
        if other is None:
            continue  # told of the graph
        with open_stream(left, node, port) as one, open_stream(right, *other) as two:
            if one is None and two is None:
                continue
            place = f"#{node.name}/{port.name}"
            before, after = (NOTHING if stream is None else stream.extent().last_seq for stream in (one, two))
            if before != after:
                yield Difference("values", f"{place} (how many)", before, after)
            if one is not None and two is not None:
                first = max(one.extent().first_seq, two.extent().first_seq)  # of one, values may be gone by their time
                yield from _first_other(place, _from(one, first), _from(two, first))


def _outputs(run: Run) -> Iterator[tuple[GraphNode, OutputPort]]:
    return ((node, port) for node in run.graph.nodes for port in node.schema.outputs)


def _from(stream: Stream, first_seq: int) -> Iterator[Value]:
    return stream.read(first_seq, stream.extent().last_seq)


def _first_other(place: str, left: Iterator[Value], right: Iterator[Value]) -> Iterator[Difference]:
    for one, other in zip_longest(left, right):
        if one is None or other is None:
            return  # told by how many there are
        if encode(one.value) != encode(other.value):
            yield Difference("values", f"{place}[{one.index}]", one.value, other.value)
            return
