"""The probe: tasks that do nothing, so that the way from order to result can be tried and measured without data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from protocol.errors import Code, WorkflowError
from protocol.plan.artifact import Artifact
from protocol.plan.operations import ProbeParameters, operation, read_parameters
from protocol.plan.tasks import FACT_BYTES, ProbeCount


def work(artifact: Artifact, data: bytes) -> bytes:
    """As many bytes as the artifact asks for. They follow from `data`, the artifact's bytes, and do not compress."""
    return hashlib.shake_128(data).digest(probe_parameters_of(artifact).bytes)


def merge(facts: Sequence[bytes]) -> ProbeCount:
    """Counts the products. Raises WorkflowError(RESULT_ALTERED) for what is no fact of one."""
    if any(len(fact) != FACT_BYTES for fact in facts):
        raise WorkflowError(Code.RESULT_ALTERED, "what came for a product of the probe is no fact of one")
    sizes = [int.from_bytes(fact[-8:]) for fact in facts]
    return ProbeCount(products=len(sizes), bytes=sum(sizes))


def gather(products: Sequence[bytes]) -> bytes:
    """All products, one behind the other."""
    return b"".join(products)


def probe_parameters_of(artifact: Artifact) -> ProbeParameters:
    """Raises WorkflowError(ARTIFACT_MALFORMED) when the artifact is no probe."""
    for step in artifact.steps:
        if step.operation == "probe.work":
            parameters = read_parameters(operation(step.operation), step.parameters)
            assert isinstance(parameters, ProbeParameters)
            return parameters
    raise WorkflowError(Code.ARTIFACT_MALFORMED, "the artifact has no step probe.work")
