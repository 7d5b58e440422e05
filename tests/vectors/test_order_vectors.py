"""Orders and plans of the past are read for ever, with the ids that they had."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.errors import FlottaError
from protocol.ids import node_id
from protocol.plan.artifact import artifact_bytes, artifact_id, read_artifact
from protocol.plan.order import SignedOrder, sign_order, verify_order
from protocol.plan.plan import derive, sign_plan, verify_plan
from protocol.signing import Envelope, SigningKey
from protocol.tokens import ProjectKey
from protocol.wire.codec import decode_record, encode_record

FOLDER = Path(__file__).parent
SHAPES = {
    ("orders", "valid"): {
        *("kind", "name", "project_key", "submitter_seed", "artifact", "artifact_id", "payload"),
        *("envelope", "proof", "job_id"),
    },
    ("orders", "invalid"): {"kind", "name", "project_key", "envelope", "proof", "code"},
    ("plans", "valid"): {"kind", "name", "scheduler_seed", "artifact", "payload", "envelope", "scheduler", "tasks"},
}


def vectors(file: str, kind: str) -> list[Any]:
    content = json.loads((FOLDER / f"{file}.json").read_text())["vectors"]
    return [pytest.param(vector, id=vector["name"]) for vector in content if vector["kind"] == kind]


def raw(vector: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


@pytest.mark.parametrize("file", ["orders", "plans"])
def test_every_vector_has_a_known_shape(file: str) -> None:
    for vector in json.loads((FOLDER / f"{file}.json").read_text())["vectors"]:
        assert set(vector) == SHAPES[file, vector["kind"]]


@pytest.mark.parametrize("vector", vectors("orders", "valid"))
def test_an_order_is_verified_with_the_ids_that_hashlib_gives(vector: dict[str, Any]) -> None:
    project_key, seed, artifact, payload, envelope, proof = raw(
        vector, "project_key", "submitter_seed", "artifact", "payload", "envelope", "proof"
    )
    submitter = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    job_id = hashlib.sha256(b"flotta-p2p/job-id/v1\0" + submitter + payload).digest()
    fields = b"".join(len(one).to_bytes(4, "big") + one for one in (job_id, submitter))
    assert hmac.digest(project_key, b"flotta-p2p/submit/v1" + fields, "sha256") == proof
    assert vector["artifact_id"] == hashlib.sha256(artifact).hexdigest() == artifact_id(artifact).hex()
    project = ProjectKey(project_key)
    verified = verify_order(SignedOrder(envelope=envelope, proof=proof), {project.project_id: project})
    assert (verified.job_id, verified.submitter) == (job_id, submitter) == (bytes.fromhex(vector["job_id"]), submitter)


@pytest.mark.parametrize("vector", vectors("orders", "valid"))
def test_an_order_is_written_today_as_it_was(vector: dict[str, Any]) -> None:
    seed, artifact, envelope, proof, project_key = raw(
        vector, "submitter_seed", "artifact", "envelope", "proof", "project_key"
    )
    project = ProjectKey(project_key)
    order = verify_order(SignedOrder(envelope=envelope, proof=proof), {project.project_id: project}).order
    assert sign_order(order, SigningKey(seed))[0] == envelope
    assert artifact_bytes(read_artifact(artifact)) == artifact == order.artifact


@pytest.mark.parametrize("vector", vectors("orders", "invalid"))
def test_an_invalid_order_is_refused_with_its_code(vector: dict[str, Any]) -> None:
    project_key, envelope, proof = raw(vector, "project_key", "envelope", "proof")
    project = ProjectKey(project_key)
    with pytest.raises(FlottaError) as refused:
        verify_order(SignedOrder(envelope=envelope, proof=proof), {project.project_id: project})
    assert refused.value.code == vector["code"]


@pytest.mark.parametrize("vector", vectors("plans", "valid"))
def test_a_plan_reads_and_gives_its_tasks_and_is_written_as_it_was(vector: dict[str, Any]) -> None:
    seed, artifact, payload, envelope, scheduler = raw(
        vector, "scheduler_seed", "artifact", "payload", "envelope", "scheduler"
    )
    verified = verify_plan(envelope)
    key = SigningKey(seed)
    assert verified.scheduler == scheduler == node_id(key.public_key)
    assert decode_record(envelope, Envelope, bytes_max=100_000).payload == payload == encode_record(verified.plan)
    assert sign_plan(verified.plan, key) == envelope
    tasks = derive(read_artifact(artifact), verified.plan, scheduler)
    assert [[task.operation, task.node.hex(), task.source, list(task.inputs)] for task in tasks] == vector["tasks"]
