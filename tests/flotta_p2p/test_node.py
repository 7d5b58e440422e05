"""A whole node in one process: starts and stops without a trace, says why it cannot start, survives its actors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from actors.base import ActorHandle, SupervisedActor
from actors.bus import Bus
from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.identity import Projects
from protocol.errors import Code, DeniedError, FlottaError
from protocol.plan.artifact import Artifact, Query, summary_artifact
from protocol.plan.operations import SummaryParameters
from protocol.tokens import ProjectKey
from protocol.wire.control import AskPeers, ReloadProjects
from tests.flotta_p2p.nodes import ROWS, TOKEN, RunningNode, make_node, meet, running
from tests.leaks import nothing_left_behind
from tests.system.nodes import descendants
from tests.system.processes import wait_until

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("own_runtime")]

RECOVERY_S: Final = 2.0
ACTORS: Final = (
    "store",
    "keeper",
    "gate",
    "transport",
    "enrolment",
    "membership",
    "scheduler",
    "runner",
    "worker",
    "catalogue",
    "source anna",
    "datasources",
    "discovery",
    "journal",
    "health",
    "observer",
    "admission",
    "gateway",
    "projects",
)


class Poison:
    """A message that crashes whatever actor takes it."""


@contextmanager
def no_trace() -> Iterator[None]:
    """Nothing that was not there before outlives the block: threads, actors, descriptors, processes."""
    before, processes = open_files(), set(descendants(os.getpid()))
    with nothing_left_behind():
        yield
    wait_until(lambda: processes.issuperset(descendants(os.getpid())), 3)
    wait_until(lambda: open_files().items() <= before.items(), 3)


def open_files() -> dict[str, str]:
    """Descriptor → what it is open on, sockets and pipes by kind."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[entry.name] = str(entry.readlink()).partition(":")[0]
        except FileNotFoundError:
            continue  # the descriptor of this very look
    return found


def artifact(token: str = TOKEN) -> Artifact:
    return summary_artifact(
        ProjectKey.derive(token).project_id, Query(columns=("value",)), SummaryParameters(statistics=("count", "mean"))
    )


ARTIFACT: Final = artifact()


def assert_pooled(node: RunningNode, holders: int, question: Artifact = ARTIFACT) -> None:
    status, result = node.run_job(question, holders_min=holders)
    assert status.state == "succeeded", status
    assert result is not None and result.rows == holders * ROWS


def settle(node: RunningNode) -> None:
    """Wait until the node has read its source and has nothing more to start."""
    wait_until(lambda: node.status()["sources"][0]["state"] == "ready")
    wait_until(lambda: node.status()["discovery"]["state"] == "ready")


def test_a_node_answers_a_job_and_leaves_no_trace(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with no_trace():
        with running(tmp_path, name="Anna", port=port) as node:
            assert_pooled(node, 1)
            settle(node)
            assert node.status()["silent"] == []
        node.node.stop()  # once more: no effect
        assert node.fatal == []


def test_stop_right_after_start_is_clean(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with no_trace():
        for _ in range(2):
            with running(tmp_path, name="Anna", port=port):
                pass


def refusal(folder: Path, before: Callable[[], None] = lambda: None, **options: Any) -> FlottaError:
    """The one error that keeps a node from starting; afterwards the folder is free again and nothing runs."""
    with no_trace():
        node = make_node(folder, name="Anna", **options)
        before()
        with pytest.raises(FlottaError) as caught:
            node.start()
    return caught.value


def test_a_taken_port_is_said_at_once(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with running(tmp_path / "a", name="Bert", port=port) as bert:
        settle(bert)
        began_s = time.monotonic()
        error = refusal(tmp_path / "b", port=port)
        assert error.code is Code.PORT_TAKEN and str(port) in str(error) and error.next_step
        assert time.monotonic() - began_s < 3


def test_a_locked_folder_is_said_at_once(tmp_path: Path) -> None:
    first, second = free_ports(2)
    with running(tmp_path, name="Anna", port=first) as anna:
        settle(anna)
        error = refusal(tmp_path, port=second)
        assert error.code is Code.FOLDER_LOCKED and str(os.getpid()) in str(error)


def test_an_unreadable_database_is_said_and_left_as_it_is(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    (tmp_path / "work").mkdir(mode=0o700)
    database = tmp_path / "work" / "jobs.sqlite"
    database.write_bytes(b"this is no database" * 400)
    error = refusal(tmp_path, port=port, database=True)
    assert error.code is Code.DATABASE_FAILED and "jobs.sqlite" in str(error)
    assert database.read_bytes() == b"this is no database" * 400


def test_a_full_disk_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr("actors.adapters.folder_lock.DISK_FREE_BYTES_MIN", 1 << 60)
    assert refusal(tmp_path, port=port).code is Code.DISK_FULL


def keep_token(workdir: Path, name: str, token: str) -> None:
    folder = workdir / "projects"
    for one in (workdir, folder):
        one.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{name}.token"
    file.touch(mode=0o600)
    file.write_text(f"{token}\n")


def test_a_weak_token_file_is_said_without_the_token(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    error = refusal(tmp_path, lambda: keep_token(tmp_path / "work", "weak", "12345678"), port=port)
    assert error.code is Code.TOKEN_WEAK and "weak" in str(error) and "12345678" not in str(error)


def test_two_nodes_meet_by_a_typed_address_and_answer_a_job(tmp_path: Path) -> None:
    first, second = free_ports(2)
    with (
        no_trace(),
        running(tmp_path / "a", name="Anna", port=first) as anna,
        running(tmp_path / "b", name="Bert", port=second, join=f"127.0.0.1:{first}") as bert,
    ):
        meet(anna, bert)
        assert_pooled(anna, 2)
        assert_pooled(bert, 2)


def test_a_token_added_while_the_node_runs_makes_it_a_peer_without_restart(tmp_path: Path) -> None:
    first, second = free_ports(2)
    other = "f3a0c9d81b7e4265d0a9183c6f52e7b4981d0c3a"
    with (
        running(tmp_path / "a", name="Anna", port=first) as anna,
        running(tmp_path / "b", name="Bert", port=second, token=other, join=f"127.0.0.1:{first}") as bert,
    ):
        wait_until(lambda: anna.status()["strangers"] + bert.status()["strangers"] > 0)
        assert anna.present() == []
        keep_token(anna.workdir, "later", other)
        assert anna.ask(ReloadProjects()).values == {"projects": 2}
        meet(anna, bert)
        assert {project["name"] for project in anna.status()["projects"]} == {"penguins", "later"}


def test_a_peer_that_comes_back_at_another_port_is_found_again(tmp_path: Path) -> None:
    first, second, third = free_ports(3)
    with running(tmp_path / "a", name="Anna", port=first) as anna:
        for port in (second, third):
            with running(tmp_path / "b", name="Bert", port=port, join=f"127.0.0.1:{first}") as bert:
                meet(anna, bert)
                wait_until(partial(is_known_at, anna, f"127.0.0.1:{port}"), 5)
                assert_pooled(anna, 2)


def is_known_at(node: RunningNode, address: str) -> bool:
    (peer,) = node.ask(AskPeers()).values["peers"]
    return list(peer["addresses"]) == [address]


@pytest.fixture
def trees(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, ActorHandle]]:
    """The handles of the nodes that start, one mapping each; all actors can be poisoned."""
    found: list[Mapping[str, ActorHandle]] = []
    connect = Bus.connect

    def noting(self: Bus, handles: Mapping[str, ActorHandle]) -> None:
        found.append(handles)
        connect(self, handles)

    dispatch = SupervisedActor._dispatch

    def taking_poison(self: SupervisedActor, message: Any) -> None:
        if isinstance(message, Poison):
            raise RuntimeError("poisoned")
        dispatch(self, message)

    monkeypatch.setattr(SupervisedActor, "_dispatch", taking_poison)
    monkeypatch.setattr(Bus, "connect", noting)
    return found


@pytest.mark.timeout(120)
def test_after_the_crash_of_any_actor_the_next_job_has_all_holders_again(
    tmp_path: Path, trees: list[Mapping[str, ActorHandle]]
) -> None:
    first, second = free_ports(2)
    with (
        running(tmp_path / "a", name="Anna", port=first) as anna,
        running(tmp_path / "b", name="Bert", port=second, join=f"127.0.0.1:{first}") as bert,
    ):
        meet(anna, bert)
        assert set(ACTORS) == set(trees[0])
        for name in ACTORS:
            crash(trees[0][name])
            wait_until(partial(is_whole, anna), RECOVERY_S)
            wait_until(partial(answers_with_both, anna), 10)
        assert anna.fatal == bert.fatal == []


def crash(handle: ActorHandle) -> None:
    before = handle.generation
    assert handle.tell(Poison())
    wait_until(lambda: handle.generation > before, RECOVERY_S)


def is_whole(node: RunningNode) -> bool:
    """Every actor answers, and the other node is within reach."""
    try:
        return node.status()["silent"] == [] and len(node.present()) == 1
    except FlottaError:
        return False


def answers_with_both(node: RunningNode) -> bool:
    """Whether a new job has both holders; a scheduler that has not met the other one yet refuses it at once."""
    try:
        status, result = node.run_job(ARTIFACT, holders_min=2)
    except DeniedError as refusal:
        assert refusal.code == Code.HOLDERS_MISSING
        return False
    assert result is not None, status
    return result.rows == 2 * ROWS


def test_projects_may_be_read_from_many_threads(tmp_path: Path) -> None:
    node = make_node(tmp_path, name="Anna", port=free_ports(1)[0])
    projects = Projects(node._configuration)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: projects.read(), range(32)))
    assert all(one[0] is found[0][0] for one in found)
