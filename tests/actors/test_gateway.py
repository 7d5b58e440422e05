"""The gateway: each request of a client gets its own answer within a limit, and who left is forgotten."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors import gateway
from actors.adapters.clock import SystemClock
from actors.adapters.control_client import ControlClient
from actors.adapters.control_socket import control_path
from actors.base import ActorHandle
from actors.child_spec import ChildSpec
from actors.gateway import GatewayActor
from actors.inbox import Inbox
from actors.messages import Snapshot, SnapshotWanted
from actors.projects import Held, HoldProjects
from protocol.errors import Code, ConfigError
from protocol.limits import CONTROL_BYTES_MAX
from protocol.machines.contract import Received
from protocol.machines.events import OPERATOR, ControlAnswer, JobChanged
from protocol.tokens import ProjectKey
from protocol.wire.control import (
    HEAD,
    AcceptPeer,
    AskInvitations,
    AskPeers,
    AskProof,
    AskStatus,
    BanPeer,
    Invite,
    ProofGiven,
    ReloadProjects,
    Report,
    RevokeInvitation,
    WaitJob,
    body_length,
    decode_control,
)
from protocol.wire.control import encode_control as encode
from protocol.wire.jobs import AskJob, JobStatus
from protocol.wire.peers import Refused
from tests.actors.tree import LIMIT_S, Journal, box, timers_running, tree
from tests.system.processes import wait_until

JOB = b"j" * 32
PROJECT = ProjectKey.derive("9d41c7f0a2b85e3617dd094c5b8e12fa6073bd2e")


def status(state: Any = "running", done: int = 0) -> JobStatus:
    return JobStatus(
        job_id=JOB,
        project=b"p" * 16,
        submitter=b"s" * 32,
        state=state,
        epoch=1,
        submitted_ms=0,
        ended_ms=0,
        tasks_done=done,
        tasks_all=3,
        cancelling=False,
        scheduler=b"n" * 32,
        holder_names={},
        durable=True,
    )


@dataclass
class World:
    workdir: Path
    handle: ActorHandle
    published: Journal
    siblings: dict[str, Inbox]
    actors: list[GatewayActor]

    def client(self) -> ControlClient:
        return ControlClient(self.workdir)

    def send(self, client: ControlClient, message: Any) -> None:
        client._socket.sendall(encode(message))

    def asked(self, number: int = 1) -> Received:
        received = self.published.wait(lambda told: len(told) >= number)[number - 1]
        assert isinstance(received, Received)
        return received

    def answer(self, asked: Received, message: Any) -> None:
        self.handle.tell(ControlAnswer(session=asked.session, message=message))

    def open_requests(self) -> int:
        return len(self.actors[-1]._open)


def read(client: ControlClient) -> Any:
    ends = time.monotonic() + LIMIT_S
    length, number = body_length(client._exactly(HEAD.size, ends))
    return decode_control(number, client._exactly(length, ends))


@pytest.fixture
def world(tmp_path: Path, own_runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("actors.child_spec.RESTART_BACKOFF_MS_MIN", 5)
    with running(tmp_path) as one:
        yield one


@contextmanager
def running(workdir: Path) -> Iterator[World]:
    boxes = {name: box(name) for name in ("membership", "worker", "projects", "admission")}
    published, clock = Journal(), SystemClock()
    actors: list[GatewayActor] = []

    class Watched(GatewayActor):
        def begin(self) -> None:
            actors.append(self)
            super().begin()

    with timers_running() as timers:
        spec = ChildSpec(
            "gateway",
            lambda context: Watched.start(
                context,
                socket_path=control_path(workdir),
                siblings={name: handle for name, (handle, _) in boxes.items()},
                reporters=("membership", "worker"),
                publish=published.add,
                describe=lambda kind, parts: {"kind": kind, **parts},
                reload=lambda: Held(projects=(PROJECT,)),
                clock=clock,
                timers=timers,
            ),
        )
        with tree([spec], timers=timers) as running_tree:
            siblings = {name: inbox for name, (_, inbox) in boxes.items()}
            yield World(workdir, spec.handle, published, siblings, actors)
            assert running_tree.fatal.entries() == []


def snapshot_of(inbox: Inbox, name: str, values: Any) -> None:
    wanted = inbox.take(LIMIT_S)
    assert isinstance(wanted, SnapshotWanted)
    wanted.reply_to.tell(Snapshot(ticket=wanted.ticket, name=name, values=values))


def test_a_report_has_the_snapshots_of_all_reporters(world: World) -> None:
    client = world.client()
    for ask, kind in ((AskStatus(), "status"), (AskPeers(), "peers")):
        world.send(client, ask)
        for name in ("membership", "worker"):
            snapshot_of(world.siblings[name], name, name.upper())
        assert read(client) == Report(values={"kind": kind, "membership": "MEMBERSHIP", "worker": "WORKER"})
    client.close()
    assert world.open_requests() == 0


def test_a_silent_actor_delays_a_report_for_a_while_and_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "REPORT_LIMIT_MS", 50)
    client = world.client()
    world.send(client, AskStatus())
    snapshot_of(world.siblings["worker"], "worker", 1)
    assert read(client) == Report(values={"kind": "status", "membership": None, "worker": 1})
    late = world.siblings["membership"].take(LIMIT_S)
    assert isinstance(late, SnapshotWanted)
    late.reply_to.tell(Snapshot(ticket=late.ticket, name="membership", values="late"))
    world.siblings["membership"].close()  # it is down: nobody waits for it
    world.send(client, AskPeers())
    snapshot_of(world.siblings["worker"], "worker", 2)
    assert read(client) == Report(values={"kind": "peers", "membership": None, "worker": 2})
    client.close()


def test_a_wait_ends_with_the_first_news_and_its_other_answer_is_not_heard(world: World) -> None:
    client = world.client()
    world.send(client, WaitJob(job_id=JOB, known_state="running", known_done=0, wait_ms=30_000))
    asked = world.asked()
    assert asked.message == AskJob(job_id=JOB, with_tasks=False)
    world.handle.tell(JobChanged(status=status(done=0)))  # no news
    world.handle.tell(JobChanged(status=status(done=1)))
    assert read(client) == status(done=1)
    world.answer(asked, status(done=0))  # the scheduler's answer was overtaken
    world.send(client, AskJob(job_id=JOB))
    world.answer(world.asked(2), status(done=2))
    assert read(client) == status(done=2)
    client.close()


def test_a_wait_ends_in_time_with_what_is_known(world: World) -> None:
    client = world.client()
    for number, known in ((1, None), (2, status())):
        world.send(client, WaitJob(job_id=JOB, known_state="running", known_done=0, wait_ms=50))
        if known is not None:
            world.answer(world.asked(number), known)
        answer = read(client)
        assert answer == known if known else isinstance(answer, Refused) and answer.code == Code.TIMED_OUT
    client.close()


def test_a_question_that_the_scheduler_leaves_open_is_answered_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "ASK_LIMIT_MS", 50)
    client = world.client()
    answer = client.request(AskJob(job_id=JOB))
    assert isinstance(answer, Refused) and answer.code == Code.TIMED_OUT
    client.close()
    assert world.open_requests() == 0


def test_clients_that_leave_are_forgotten(world: World) -> None:
    for message in (WaitJob(job_id=JOB, known_state="", known_done=0, wait_ms=30_000), AskStatus(), AskJob(job_id=JOB)):
        client = world.client()
        world.send(client, message)
        wait_until(lambda: world.open_requests() == 1)
        client.close()
        wait_until(lambda: world.open_requests() == 0)
    world.answer(world.asked(1), status())
    assert isinstance(ask(world, AskProof(project=b"", job_id=JOB, submitter_key=b"")), Refused)


def ask(world: World, message: Any) -> Any:
    client = world.client()
    try:
        return client.request(message)
    finally:
        client.close()


def test_a_proof_is_given_for_a_project_that_is_held(world: World) -> None:
    wanted = AskProof(project=PROJECT.project_id, job_id=JOB, submitter_key=b"s" * 32)
    assert ask(world, wanted) == ProofGiven(proof=PROJECT.submit_proof(JOB, b"s" * 32))


def test_a_node_that_has_left_says_so_when_a_proof_is_wanted(world: World) -> None:
    world.actors[-1]._reload = lambda: Held(projects=(), left=True)
    ask(world, ReloadProjects())
    answer = ask(world, AskProof(project=PROJECT.project_id, job_id=JOB, submitter_key=b"s" * 32))
    assert (answer.code, answer.next_step) == (Code.NODE_LEFT, "flotta-p2p rejoin")


def test_reloaded_projects_are_handed_on_and_a_fault_in_them_is_answered(world: World) -> None:
    assert ask(world, ReloadProjects()) == Report(values={"projects": 1})
    assert world.siblings["projects"].take(LIMIT_S) == HoldProjects(held=Held(projects=(PROJECT,)))

    def broken() -> Held:
        raise ConfigError(Code.TOKEN_WEAK, "a weak token", next_step="make another")

    world.actors[-1]._reload = broken
    assert ask(world, ReloadProjects()) == Refused(
        code=Code.TOKEN_WEAK, sentence="a weak token", next_step="make another"
    )


ASKED_OF_ADMISSION = [
    Invite(project=b"p" * 16, name="heart", valid_ms=1, nonce=b"n" * 16),
    AskInvitations(),
    RevokeInvitation(invitation=b"i" * 16),
    BanPeer(node=b"n" * 32),
    AcceptPeer(node=b"n" * 32),
]


@pytest.mark.parametrize("message", ASKED_OF_ADMISSION, ids=lambda message: type(message).__name__)
def test_what_the_operator_decides_goes_to_admission_alone_and_its_answer_comes_back(
    world: World, message: Any
) -> None:
    client = world.client()
    world.send(client, message)
    asked = world.siblings["admission"].take(LIMIT_S)
    assert isinstance(asked, Received) and asked.message == message and asked.sender == OPERATOR
    assert world.published.entries() == []
    world.answer(asked, Report(values={"done": True}))
    assert read(client) == Report(values={"done": True})
    client.close()


@pytest.mark.parametrize("message", [Report(values={}), status(), Refused(code="x", sentence="y")])
def test_an_answer_is_no_request(world: World, message: Any) -> None:
    answer = ask(world, message)
    assert isinstance(answer, Refused) and answer.code == Code.TYPE_NOT_ALLOWED
    assert world.published.entries() == []


def test_an_answer_that_is_too_large_is_refused_in_one_sentence(world: World) -> None:
    client = world.client()
    world.send(client, AskStatus())
    snapshot_of(world.siblings["membership"], "membership", "x" * CONTROL_BYTES_MAX)
    snapshot_of(world.siblings["worker"], "worker", 1)
    answer = read(client)
    assert isinstance(answer, Refused) and answer.code == Code.FRAME_TOO_LARGE
    client.close()


def test_after_a_crash_new_clients_are_served_and_old_answers_are_not_heard(world: World) -> None:
    client = world.client()
    world.send(client, AskJob(job_id=JOB))
    old = world.asked()
    world.handle.tell(Snapshot(ticket=[], name="", values=None))  # type: ignore[arg-type]
    wait_until(lambda: len(world.actors) == 2 and control_path(world.workdir).exists())
    client.close()
    client = world.client()
    world.send(client, AskJob(job_id=JOB))
    new = world.asked(2)
    assert new.session != old.session and new.message_id != old.message_id
    world.answer(old, status(done=1))
    world.answer(new, status(done=2))
    assert read(client) == status(done=2)
    client.close()
