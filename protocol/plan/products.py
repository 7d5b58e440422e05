"""What a task makes, as it is carried: a small product whole, a large one as the manifest of its chunks.

A manifest stands wherever a product could stand: in the row of an attempt, in a message, among the inputs of a task.
What a worker signs (`Outcome.digest`) is the SHA-256 of what is carried, so the signature covers every chunk, and each
chunk can be verified alone, in any order, from whoever has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import msgspec

from protocol.errors import Code, RemoteProtocolError
from protocol.limits import CHUNK_BYTES, INLINE_BYTES_MAX, PRODUCT_BYTES_MAX, TASK_INPUT_BYTES_MAX
from protocol.record import Record
from protocol.wire.codec import encode_record

DIGEST_BYTES: Final = 32
Digest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]


class Manifest(Record, frozen=True):
    """The SHA-256 of each chunk of a product. All chunks but the last have CHUNK_BYTES, so that the same bytes always
    have the same manifest. Raises RemoteProtocolError(BODY_MALFORMED) otherwise.
    """

    size_bytes: int
    chunks: tuple[Digest, ...]

    def __post_init__(self) -> None:
        if not 0 < self.size_bytes <= PRODUCT_BYTES_MAX:
            raise RemoteProtocolError(Code.BODY_MALFORMED, f"a product of {self.size_bytes} bytes has no manifest")
        if len(self.chunks) != -(-self.size_bytes // CHUNK_BYTES):
            raise RemoteProtocolError(Code.BODY_MALFORMED, "a manifest whose chunks do not make up its size")

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """Of each chunk, in their order."""
        whole = len(self.chunks) - 1
        return (*(CHUNK_BYTES for _ in range(whole)), self.size_bytes - whole * CHUNK_BYTES)


Carried = bytes | Manifest
TOO_LARGE_STEP: Final = "ask for less at once: fewer columns, bins or groups; of a probe, fewer bytes"


def chunks_of(data: bytes) -> Iterator[bytes]:
    """The chunks of a large product, in their order."""
    return (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))


def manifest_of(data: bytes) -> Manifest:
    """Raises RemoteProtocolError beyond PRODUCT_BYTES_MAX."""
    return Manifest(size_bytes=len(data), chunks=tuple(chunk_digest(chunk) for chunk in chunks_of(data)))


def chunk_digest(chunk: bytes) -> bytes:
    return hashlib.sha256(chunk).digest()


def product_digest(carried: Carried) -> bytes:
    """What a worker signs."""
    return hashlib.sha256(resource_of(carried)).digest()


def resource_of(carried: Carried) -> bytes:
    """The bytes that are stored under `product_digest`."""
    return carried if isinstance(carried, bytes) else encode_record(carried)


def product_bytes(carried: Carried) -> int:
    """The size of the product itself."""
    return len(carried) if isinstance(carried, bytes) else carried.size_bytes


def carried_bytes(carried: Carried) -> int:
    """Its share of a message, roughly: 34 bytes for each chunk."""
    return len(carried) if isinstance(carried, bytes) else 40 + 34 * len(carried.chunks)


def inline_bytes(products: int) -> int:
    """How large a product may be that is carried whole, when a task takes so many: all of them fit into one message.
    Larger ones are carried as manifests.
    """
    return min(INLINE_BYTES_MAX, TASK_INPUT_BYTES_MAX // max(1, products))


def is_large_result(size_bytes: int) -> bool:
    """Whether the result of a job, which no task takes, is carried as a manifest."""
    return size_bytes > inline_bytes(0)


def is_next_piece(sizes: Sequence[int], piece: bytes) -> bool:
    """Whether a product whose chunks so far have these sizes may go on with this one."""
    return 0 < len(piece) <= CHUNK_BYTES and all(size == CHUNK_BYTES for size in sizes)


def chunks_in(carried: Carried) -> tuple[bytes, ...]:
    """The digests of its chunks, in their order; none if it is carried whole."""
    return () if isinstance(carried, bytes) else carried.chunks
