"""What a simulated task computes: bytes that follow from node, source and request, and from nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from protocol.ids import length_safe
from protocol.plan import products
from protocol.plan.artifact import Artifact, artifact_bytes
from protocol.plan.plan import Task, labels_of
from protocol.plan.tasks import TaskRequest
from protocol.wire.codec import encode_record

INLINE_BYTES: Final = 768
CHUNK_BYTES: Final = 256


@contextmanager
def small_chunks() -> Iterator[None]:
    """For the runs of this process: a quarter of the products go by chunks, four or five of them."""
    sizes = {"INLINE_BYTES_MAX": INLINE_BYTES, "CHUNK_BYTES": CHUNK_BYTES}
    before = {name: getattr(products, name) for name in sizes}
    try:
        for name, size in sizes.items():
            setattr(products, name, size)
        yield
    finally:
        for name, size in before.items():
            setattr(products, name, size)


def product_of(node: bytes, source: str, request: TaskRequest) -> bytes:
    """32 to 1,056 bytes."""
    asked = encode_record(msgspec.structs.replace(request, inline_bytes=0))  # how it is carried changes nothing
    seed = hashlib.sha256(length_safe(node, source.encode(), asked)).digest()
    return seed * (1 + seed[0] % 33)


def expected_products(artifact: Artifact, tasks: tuple[Task, ...]) -> list[bytes]:
    """The products of a whole job, computed at one place; the machines must come to the same."""
    data = artifact_bytes(artifact)
    made: list[bytes] = []
    for task in tasks:
        request = TaskRequest(
            operation=task.operation,
            artifact=data,
            source=None,
            inputs=tuple(made[index] for index in task.inputs),
            labels=labels_of(task, tasks),
        )
        made.append(product_of(task.node, task.source, request))
    return made
