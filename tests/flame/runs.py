"""Runs of small programs, as the tests of the executor need them: graphs by hand, and a process that executes one."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from flame.graph import Graph, GraphNode
from flame.ports import NodeSchema

HEAD = "from tests.flame.stub_link import Link\n"
TO_THE_END = "link = Link()\nwhile link.active():\n    pass\nlink.bye()\n"
AT_ONCE = "link = Link()\nlink.bye()\n"


def program(folder: Path, name: str, text: str) -> Path:
    """A program of a flame node; `text` is dedented and follows the import of `Link`."""
    file = folder / f"{name}.py"
    file.write_text(HEAD + textwrap.dedent(text), encoding="utf-8")
    return file


def graph_node(folder: Path, name: str, text: str, *, safe: str = "", **options: Any) -> GraphNode:
    file = program(folder, name, f"Link.safe = {safe!r}\n{text}" if safe else text)
    return GraphNode(name=name, file=str(file), schema=NodeSchema(name="Stub", file=file.name, safe=safe), **options)


def graph(folder: Path, *nodes: GraphNode) -> Graph:
    workflow = folder / "workflow.py"
    workflow.touch()
    return Graph(name="test", nodes=nodes, workflow_file=str(workflow))
