"""Feedback loops in which nothing may ever start: each flame node waits for what only the loop can bring.

Declarations do not say whether a program reads or sets first, so its text is looked at as well. That is a guess, good
for a warning; what a flame node really waits for is told while the run goes on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from flame.authoring.node_files import read_source
from flame.graph import Graph

Position = tuple[int, int]  # line and column
# Methods by which a program looks at an input before there is a value.
_LOOKS: Final = frozenset({"updated", "last", "age"})


def loops_that_wait(graph: Graph) -> Iterator[str]:
    """Cycles of edges in which each flame node reads before it has set anything, as far as its text tells."""
    kinds = {node.name: {port.name: port.kind for port in node.schema.inputs} for node in graph.nodes}
    uses = {node.name: _Use(Path(node.file)) for node in graph.nodes}
    targets: dict[str, set[str]] = {node.name: set() for node in graph.nodes}
    for edge in graph.edges:
        if uses[edge.target].waits_for(edge.input, if_unknown=kinds[edge.target][edge.input] == "state"):
            targets[edge.source].add(edge.target)
    told: set[str] = set()
    for name in targets:
        ring = _ring(name, targets) if name not in told else ()
        if ring:
            told.update(ring)
            path = " → ".join((*ring, ring[0]))
            why = f"{path}: each may wait for the first value of the one before it"
            yield f"{why}; one has to set its output before it reads"


class _Use:
    """Where the text of a program reads its inputs, and sets its outputs for the first time."""

    def __init__(self, file: Path) -> None:
        try:
            nodes = list(ast.walk(ast.parse(read_source(file))))
        except (SyntaxError, ValueError):
            nodes = []
        self._handles = dict(filter(None, map(_declared, nodes)))
        self._reads: dict[str, list[Position]] = {}
        self._looks: set[str] = set()
        self._sets: list[Position] = []
        for node in nodes:
            if isinstance(node, ast.For):
                self._read(node.iter, node)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                self._called(node, node.func)

    def waits_for(self, port: str, *, if_unknown: bool) -> bool:
        if port in self._looks:
            return False
        if port not in self._reads:
            return if_unknown
        return not self._sets or min(self._reads[port]) < min(self._sets)

    def _called(self, call: ast.Call, method: ast.Attribute) -> None:
        if method.attr == "get" and not (call.args or call.keywords):
            self._read(method.value, call)
        elif method.attr == "get" or method.attr in _LOOKS:
            self._looks.add(self._port(method.value))
        elif method.attr == "select":
            self._looks.update(map(self._port, call.args))
        elif method.attr == "set":
            self._sets.append((call.end_lineno or 0, call.end_col_offset or 0))  # what stands within is read before

    def _read(self, handle: ast.expr, where: ast.For | ast.Call) -> None:
        self._reads.setdefault(self._port(handle), []).append((where.lineno, where.col_offset))

    def _port(self, handle: ast.expr) -> str:
        """`gain` for what was declared so and `inp["gain"]`; "" for anything else."""
        if isinstance(handle, ast.Subscript):
            return str(handle.slice.value) if isinstance(handle.slice, ast.Constant) else ""
        return self._handles.get(ast.unparse(handle), "")


def _declared(node: ast.AST) -> tuple[str, str] | None:
    """The variable and the name of an input, of `gain = inp.state("gain", …)`, with a type or without."""
    match node:
        case (
            ast.Assign(targets=[variable], value=ast.Call(func=ast.Attribute(attr="flow" | "state"), args=[name, *_]))
            | ast.AnnAssign(target=variable, value=ast.Call(func=ast.Attribute(attr="flow" | "state"), args=[name, *_]))
        ):
            return ast.unparse(variable), str(name.value) if isinstance(name, ast.Constant) else ""
    return None


def _ring(start: str, targets: dict[str, set[str]]) -> tuple[str, ...]:
    """The shortest way from `start` back to it."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while ways:
        longer = []
        for way in ways:
            for target in sorted(targets[way[-1]]):
                if target == start:
                    return way
                if target not in seen:
                    seen.add(target)
                    longer.append((*way, target))
        ways = longer
    return ()
