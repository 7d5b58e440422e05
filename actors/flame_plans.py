"""What of a run's document concerns its machine: which flame nodes there are, their policies, how long each wait is.
And what of the machine concerns who looks at the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from flame.control import BEAT_MISSED_S, Beat
from flame.graph import GraphNode
from flame.run.run_progress import NodeProgress, Progress
from flame.run.run_record import RunDocument
from flame.run.waits import waits_for
from protocol.machines.flame_events import NodePlan, NodeView, RunLimits, RunView


def plans_of(document: RunDocument) -> tuple[NodePlan, ...]:
    """What the machine has to know. A run that is resumed makes its hardware safe before anything else."""
    return tuple(
        NodePlan(
            name=node.name,
            restart=node.restart,
            restart_max=node.restart_max,
            within_ms=round(node.within_s * 1000),
            consumes_flow=_consumes_flow(document, node),
            safe=bool(node.schema.safe),
            secure_first=document.resumes > 0,
        )
        for node in document.graph.nodes
    )


def _consumes_flow(document: RunDocument, node: GraphNode) -> bool:
    ports = (node.schema.input(edge.input) for edge in document.graph.inbound(node.name))
    return any(port is not None and port.kind == "flow" for port in ports)


def limits_of(document: RunDocument) -> RunLimits:
    """Those of the product, with the limit of the run."""
    return RunLimits(run_ms=math.ceil(document.limit_s * 1000), beat_ms=round(BEAT_MISSED_S * 1000))


def progress_of(view: RunView, beats: Mapping[str, Beat]) -> Progress:
    """How each flame node is, for who looks from outside."""
    return Progress({one.name: _progress(one, beats.get(one.name, Beat())) for one in view.nodes})


def _progress(view: NodeView, beat: Beat) -> NodeProgress:
    return NodeProgress(
        state=view.end if view.state == "ended" and view.end is not None else view.state,
        restarts=view.restarts,
        exit_code=view.code,
        signal=view.signal,
        problem=view.problem,
        waits_for=waits_for(beat) if view.state == "running" else "",
        inputs=beat.inputs,
        sent=beat.sent,
    )
