"""Tokens and keys stay where they belong: in the run of a node and a job they are found nowhere else."""

from __future__ import annotations

import base64
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from actors.adapters.clock import SystemClock
from actors.adapters.entropy import SystemEntropy
from actors.adapters.key_files import load_or_create_curve_secret, load_signing_key
from actors.adapters.route import DIRECT
from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.identity import load_identity
from flotta_p2p.joining import use_invitation
from flotta_p2p.order_options import OrderOptions
from flotta_p2p.submission import JobClient, prepare_order
from protocol.invitation import parse_invitation
from protocol.plan.artifact import Query, summary_artifact
from protocol.plan.operations import SummaryParameters
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey
from protocol.wire.control import Invite, ReloadProjects
from tests.flotta_p2p.nodes import CSV
from tests.system.nodes import RunningNode, running_node

pytestmark = pytest.mark.system

TOKEN: Final = "5e1f0b9ac3d84726a1907fe3bd62c85f49d0173e"  # in the configuration
ADDED: Final = "c8a07d3f5219e6b4407ad1c95be8f2036d1794ab"  # in the work directory, while the node runs
OWN_PLACES: Final = ("keys", "projects")


def forms(secret: bytes) -> Iterator[bytes]:
    """How a secret could stand in a file or a text."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for encoded in (base64.b64encode(secret), base64.urlsafe_b64encode(secret), base64.b32encode(secret)):
        yield encoded.rstrip(b"=")[:-1]  # the last character also carries bits of what may follow
    yield repr(secret)[2:-1].encode()


def secrets_of(node: RunningNode) -> dict[str, bytes]:
    keys = node.workdir / "keys"
    projects = {"token": ProjectKey.derive(TOKEN), "added token": ProjectKey.derive(ADDED)}
    return {
        "token": TOKEN.encode(),
        "added token": ADDED.encode(),
        "signing key": load_signing_key(keys / "node.key"),
        "transport key": load_or_create_curve_secret(keys / "transport.key", SystemEntropy()),
        **{f"project key of the {name}": project._key for name, project in projects.items()},
        **{f"door key of the {name}": project.door_secret for name, project in projects.items()},
    }


def run_job(node: RunningNode, key: SigningKey) -> bytes:
    """Everything that a person hears of a job, as text."""
    channel = node.control()
    try:
        client = JobClient(channel, SystemClock(), lambda seconds: None)
        project = ProjectKey.derive(TOKEN).project_id
        artifact = summary_artifact(project, Query(columns=("value",)), SummaryParameters(statistics=("count",)))
        prepared = prepare_order(artifact, OrderOptions(), key, SystemClock(), SystemEntropy())
        client.submit(client.prove(prepared))
        status = client.wait(prepared.job_id, limit_s=20)
        assert status.state == "succeeded", status
        return repr((status, client.result(prepared.job_id, status.scheduler), client.jobs())).encode()
    finally:
        channel.close()


def add_token(node: RunningNode) -> None:
    folder = node.workdir / "projects"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / "added.token"
    file.touch(mode=0o600)
    file.write_text(f"{ADDED}\n")
    channel = node.control()
    assert channel.request(ReloadProjects()).values == {"projects": 2}
    channel.close()


def let_a_guest_in(node: RunningNode, guest_folder: Path) -> bytes:
    """Another node gets the token by an invitation, the secret of which is returned."""
    ask = Invite(project=ProjectKey.derive(TOKEN).project_id, name="penguins", valid_ms=60_000, nonce=b"n" * 16)
    channel = node.control()
    made = channel.request(ask)
    channel.close()
    invitation = parse_invitation(made.text)
    assert use_invitation(invitation, load_identity(guest_folder), DIRECT).token.reveal() == TOKEN
    return invitation.secret


def test_no_secret_is_in_logs_reports_arguments_environments_or_databases(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    submitter = SigningKey(seed := SystemEntropy().bytes(32))
    seen: dict[str, bytes] = {}
    (port,) = free_ports(1)
    with running_node(tmp_path, name="Anna", port=port, token=TOKEN, csv_text=CSV, database=True) as node:
        add_token(node)
        invited = let_a_guest_in(node, tmp_path_factory.mktemp("guest"))
        seen["job"] = run_job(node, submitter)
        seen["status"] = repr((node.status(), node.peers())).encode()
        os.kill(node.node_pid, signal.SIGUSR1)  # every thread's stack goes to the log
        for pid in node.all_pids():
            for what in ("cmdline", "environ"):
                seen[f"{what} of {pid}"] = Path(f"/proc/{pid}/{what}").read_bytes()
        secrets = {**secrets_of(node), "submitter's key": seed, "invitation": invited}
        seen |= files_below(tmp_path)
    seen |= {f"{name} at the end": data for name, data in files_below(tmp_path).items()}
    assert b"most recent call first" in seen["node.log at the end"]
    assert any(name.endswith("jobs.sqlite") for name in seen)
    leaks = [(what, where) for what, secret in secrets.items() for where, data in seen.items() if any_in(secret, data)]
    assert leaks == []


def any_in(secret: bytes, data: bytes) -> bool:
    return any(form in data for form in forms(secret))


def files_below(folder: Path) -> dict[str, bytes]:
    """All files of a node but those where its secrets belong."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "node.yaml" and path.parent.name not in OWN_PLACES
    }


def test_a_crash_of_the_node_leaves_no_core_file_with_its_keys(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running_node(tmp_path, name="Anna", port=port, token=TOKEN, csv_text=None) as node:
        assert resource.prlimit(node.node_pid, resource.RLIMIT_CORE) == (0, 0)


def test_the_search_finds_a_secret_in_each_form() -> None:
    secret = bytes(range(1, 33))
    for form in forms(secret):
        assert any_in(secret, b"x" + form + b"y")
