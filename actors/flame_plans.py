"""What of a run's document concerns its machine: which flame nodes there are, their policies, how long each wait is."""

from __future__ import annotations

import math

from flame.control import BEAT_MISSED_S
from flame.graph import GraphNode
from flame.run.run_record import RunDocument
from protocol.machines.flame_events import NodePlan, RunLimits


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
