"""`check`, `graph` and `params`: what a workflow is, and what is wrong with it, before it runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from flotta_p2p.commands.flame.options import PARAMETERS, WORKFLOW, json_option
from flotta_p2p.commands.output import show, table
from protocol.errors import Code

if TYPE_CHECKING:
    from flame.authoring.loading import Loaded
    from flame.authoring.wiring import Setting, Wired
    from flame.graph import Edge, Graph, GraphNode
    from flame.ports import InputPort

_VALUE_CHARS_MAX: Final = 40  # of a value in a table; `--json` has all of it


@click.command(short_help="Tell everything that is wrong with a workflow; run nothing.")
@WORKFLOW
@PARAMETERS
@json_option
def check(workflow: Path, parameters: Path | None, as_json: bool) -> None:
    """Look for everything that is wrong with a workflow: node files, wiring, types, units, parameters. Runs nothing.

    \b
    Examples:
      flame check
      flame check rabi/workflow.py -p rabi/tuesday.json
    """
    from flame.authoring.loading import load

    warnings: list[str] = []
    loaded = load(workflow, parameters, warn=warnings.append)
    graph = loaded.checked()
    spilled = sum(edge.policy == "spill" for edge in graph.edges)
    values = {
        "workflow": graph.workflow_file,
        "name": graph.name,
        "nodes": len(graph.nodes),
        "edges": len(graph.edges),
        "parameters": len(loaded.settings),
        "warnings": warnings,
    }
    counts = [(len(graph.nodes), "flame node"), (len(graph.edges), "edge"), (len(loaded.settings), "parameter")]
    words = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts)
    lines = [f"{graph.name}: {words}; nothing is wrong.", *(f"Note: {warning}" for warning in warnings)]
    if spilled:
        lines.append(f"{spilled} of the edges keep in the journal what their input has no room for.")
    show(values, lines, as_json=as_json)


@click.command(short_help="Show flame nodes and edges of a workflow.")
@WORKFLOW
@PARAMETERS
@click.option("--dot", is_flag=True, help="As text for Graphviz: `flame graph --dot | dot -Tsvg > graph.svg`.")
@json_option
def graph(workflow: Path, parameters: Path | None, dot: bool, as_json: bool) -> None:
    """Show the flame nodes of a workflow and what joins them. Parameters without a value are no obstacle.

    \b
    Examples:
      flame graph
      flame graph --dot | dot -Tsvg > graph.svg
    """
    _, wired = _whole(workflow, parameters)
    found = wired.graph
    if as_json:
        show(msgspec.to_builtins(found), (), as_json=True)
    else:
        show({}, _dot(found) if dot else _drawn(found, wired.settings), as_json=False)


@click.command(short_help="Show parameters and who set them; write missing ones down.")
@WORKFLOW
@PARAMETERS
@click.option("--dry", is_flag=True, help="Only show; leave the parameters file as it is.")
@json_option
def params(workflow: Path, parameters: Path | None, dry: bool, as_json: bool) -> None:
    """Show all parameters with the origin of their values, and write the missing ones into the parameters file.

    What you wrote there stays. What belongs to no parameter any more is put aside below "_unused".

    \b
    Examples:
      flame params
      flame params rabi/workflow.py -p rabi/tuesday.json --dry
    """
    from flame.authoring import parameters as files

    loaded, wired = _whole(workflow, parameters)
    written = False
    if not dry:
        ports = _ports(setting for setting in wired.settings)
        missing = _ports(setting for setting in wired.settings if setting.parameter is None)
        written = files.write(loaded.file.path, files.healed(loaded.file, ports, missing))
    values = {
        "file": str(loaded.file.path),
        "written": written,
        "parameters": [_values(setting) for setting in wired.settings],
        "faults": [msgspec.to_builtins(fault) for fault in wired.setting_faults],
    }
    show(values, _settings_lines(loaded, wired, written), as_json=as_json)


def _whole(workflow: Path, parameters: Path | None) -> tuple[Loaded, Wired]:
    """Raises WorkflowError when anything but the value of a parameter is wrong."""
    from flame.authoring.faults import raise_any
    from flame.authoring.loading import load

    loaded = load(workflow, parameters)
    raise_any(loaded.structure_faults)
    assert loaded.wired is not None  # else there is a fault
    return loaded, loaded.wired


# --- parameters --------------------------------------------------------------------------------


def _ports(settings: Iterable[Setting]) -> dict[str, list[InputPort]]:
    found: dict[str, list[InputPort]] = {}
    for setting in settings:
        found.setdefault(setting.node, []).append(setting.port)
    return found


def _settings_lines(loaded: Loaded, wired: Wired, written: bool) -> list[str]:
    rows = [_row(setting) for setting in wired.settings]
    lines = table(("PARAMETER", "VALUE", "UNIT", "TYPE", "FROM", "DESCRIPTION"), rows) if rows else []
    missing = [setting for setting in wired.settings if setting.parameter is None]
    lines.append("" if rows else "This workflow has no parameters.")
    if written:
        lines.append(f"{loaded.file.path} was brought up to date.")
    if missing:
        lines.append(f"{len(missing)} without a value. Next: fill in what is marked as missing in {loaded.file.path}")
    lines += [f"Note: {fault.text}" for fault in wired.setting_faults if fault.code != Code.PARAMETER_MISSING]
    return lines


def _row(setting: Setting) -> tuple[str, ...]:
    port, parameter = setting.port, setting.parameter
    origin = "missing" if parameter is None else parameter.address or parameter.origin
    value = "" if parameter is None else json.dumps(parameter.value, ensure_ascii=False)
    shown = value if len(value) <= _VALUE_CHARS_MAX else value[: _VALUE_CHARS_MAX - 1] + "…"
    return (f"{setting.node}/{port.name}", shown, port.unit, port.type, origin, port.doc.replace("\n", " "))


def _values(setting: Setting) -> dict[str, Any]:
    port, parameter = setting.port, setting.parameter
    found = {"node": setting.node, "input": port.name, "type": port.type, "unit": port.unit, "description": port.doc}
    if parameter is None:
        return {**found, "origin": "missing"}
    return {**found, "origin": parameter.origin, "value": parameter.value, "address": parameter.address}


# --- graph -------------------------------------------------------------------------------------


def _drawn(graph: Graph, settings: Sequence[Setting]) -> list[str]:
    """Each flame node with its inputs above its outputs, in the order of the workflow file."""
    lines = [graph.name + (f": {graph.description}" if graph.description else ""), ""]
    for node in graph.nodes:
        lines.append(f"{node.name} ({node.schema.name}){_restart(node)}")
        lines += [
            f"  ◀ {edge.input} ← {edge.source}.{edge.output}  {_policy(edge)}" for edge in graph.inbound(node.name)
        ]
        lines += [f"  ◀ {setting.port.name} = {_shown(setting)}" for setting in settings if setting.node == node.name]
        for output in node.schema.outputs:
            targets = [
                f"{edge.target}.{edge.input}" for edge in graph.outbound(node.name) if edge.output == output.name
            ]
            stops = ["stops the run"] if (node.name, output.name) in graph.stop_when else []
            unit = f" in {output.unit}" if output.unit else ""
            ends = ", ".join(targets + stops)
            lines.append(f"  ▶ {output.name}: {output.lifetime} {output.type}{unit}" + (f" → {ends}" if ends else ""))
        lines.append("")
    return lines[:-1]


def _restart(node: GraphNode) -> str:
    if node.restart == "never":
        return ""
    return f", restarts {node.restart}, at most {node.restart_max} times in {node.within_s:g} s"


def _policy(edge: Edge) -> str:
    converted = f", × {edge.factor:g}" if edge.factor != 1.0 else ""
    added = f", + {edge.offset:g}" if edge.offset else ""
    return f"[{edge.policy}({edge.depth}){converted}{added}]"


def _shown(setting: Setting) -> str:
    _, value, unit, _, origin, _ = _row(setting)
    return "missing" if origin == "missing" else f"{value}{f' {unit}' if unit else ''}  ({origin})"


def _dot(graph: Graph) -> list[str]:
    """Text for Graphviz. Quoted as JSON, which is how its strings are written as well."""
    lines = [f"digraph {json.dumps(graph.name)} {{", "  rankdir=LR; node [shape=box];"]
    lines += [f"  {json.dumps(node.name)} [label={json.dumps(_label(node))}];" for node in graph.nodes]
    for edge in graph.edges:
        label = f"{edge.output} → {edge.input}" if edge.output != edge.input else edge.output
        ends = f"{json.dumps(edge.source)} -> {json.dumps(edge.target)}"
        lines.append(f"  {ends} [label={json.dumps(label, ensure_ascii=False)}];")
    return [*lines, "}"]


def _label(node: GraphNode) -> str:
    return f"{node.name}\n{node.schema.name}"
