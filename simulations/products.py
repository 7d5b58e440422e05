"""What a simulated task computes: bytes that follow from node, source and request, and from nothing else."""

from __future__ import annotations

import hashlib

from protocol.ids import length_safe
from protocol.plan.artifact import Artifact, artifact_bytes
from protocol.plan.plan import Task, labels_of
from protocol.plan.tasks import TaskRequest
from protocol.wire.codec import encode_record


def product_of(node: bytes, source: str, request: TaskRequest) -> bytes:
    """32 to 1,056 bytes."""
    seed = hashlib.sha256(length_safe(node, source.encode(), encode_record(request))).digest()
    return seed * (1 + seed[0] % 33)


def expected_products(artifact: Artifact, tasks: tuple[Task, ...]) -> list[bytes]:
    """The products of a whole job, computed at one place; the machines must come to the same."""
    data = artifact_bytes(artifact)
    products: list[bytes] = []
    for task in tasks:
        request = TaskRequest(
            operation=task.operation,
            artifact=data,
            source=None,
            inputs=tuple(products[index] for index in task.inputs),
            labels=labels_of(task, tasks),
        )
        products.append(product_of(task.node, task.source, request))
    return products
