"""How nodes come together and go apart: rows N4 and N5 of what the product must do, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.programs import launcher_argv
from protocol.errors import Code
from tests.flotta_p2p.commands.lines import Ran, run
from tests.system.nodes import STOP_LIMIT_S, RunningNode

pytestmark = pytest.mark.system

TABLE = "value\n" + "".join(f"{row}\n" for row in range(20))
QUESTION = ("submit", "--project", "heart", "--columns", "value", "--statistics", "count,mean")


class Machine:
    """A folder with a table and a configuration file that names the project, but not its token."""

    def __init__(self, folder: Path, name: str, settings: str = "", mode: str = "node") -> None:
        folder.mkdir()
        self.folder, self.name = folder, name
        (self.port,) = free_ports(1)
        self.config = folder / "node.yaml"
        (folder / "table.csv").write_text(TABLE)
        self.config.write_text(
            f"workdir: ./work\nmode: {mode}\nnode:\n  name: {name}\n  interface: 127.0.0.1\n  port: {self.port}\n"
            f"join:\n  first: {'true' if mode == 'node' else 'false'}\nsettings:\n  discovery: false\n{settings}"
            f"datasources:\n  - name: {name}\n    type: csv\n    path: ./table.csv\n    token: [heart]\n"
        )

    def types(self, *words: str, typed: str = "") -> Ran:
        """One command, typed on this machine."""
        return run(self.folder, *words, "-c", str(self.config), typed=typed)

    def done(self, *words: str, typed: str = "") -> dict[str, Any]:
        """As `types`, and it must succeed."""
        ran = self.types(*words, "--json", typed=typed)
        assert ran.code == 0, ran.out + ran.err
        return ran.values

    @contextmanager
    def up(self) -> Iterator[RunningNode]:
        """`flotta-p2p up`, until the block ends."""
        with (self.folder / "node.log").open("ab") as log:
            process = subprocess.Popen(launcher_argv(self.config), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        node = RunningNode(self.folder, process, self.port)
        try:
            node.wait_until(lambda one: one.status()["sources"][0]["state"] == "ready")
            yield node
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(STOP_LIMIT_S)


def presence(node: RunningNode) -> list[str]:
    return [one["presence"] for one in node.peers()["peers"] if one["projects"]]


def node_id_of(node: RunningNode) -> str:
    return str(node.status()["node"])


@pytest.fixture
def north(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "north", "north")


@pytest.fixture
def south(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "south", "south", "  keys: ./keys\n")


@contextmanager
def together(north: Machine, south: Machine) -> Iterator[tuple[RunningNode, RunningNode]]:
    """Both nodes run, south came by an invitation, and they are present to each other."""
    north.done("project", "new", "heart")
    with north.up() as first:
        south.done("join", typed=north.done("peers", "invite")["invitation"])
        with south.up() as second:
            for node in (first, second):
                node.wait_until(lambda one: presence(one) == ["present"])
            yield first, second


@contextmanager
def computing_stands_still(node: RunningNode) -> Iterator[None]:
    """No task of this node ends by itself."""

    def found() -> list[int]:
        return [one for one in node.child_pids if b"federated.child" in Path(f"/proc/{one}/cmdline").read_bytes()]

    node.wait_until(lambda _: found())
    stopped = found()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in set(stopped) & set(node.all_pids()):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def job_at(holder: RunningNode, machine: Machine, leader: RunningNode) -> Iterator[str]:
    """A job that `machine`'s operator submitted to its node, and that waits for the holder."""
    with computing_stands_still(holder):
        job = str(machine.done(*QUESTION, "--holders-min", "2", "--no-wait")["job"])
        holder.wait_until(lambda one: one.status()["work"]["tasks_running"])
        leader.wait_until(lambda one: one.status()["jobs"]["live"])
        yield job


def cause_of(machine: Machine, job: str) -> dict[str, Any]:
    """Waits for the end of a job that fails."""
    machine.types("job", "wait", job, "--limit", "20s")
    shown = machine.done("job", "show", job)
    assert shown["state"] == "failed", shown
    cause: dict[str, Any] = shown["cause"]
    return cause


# --- coming together ---------------------------------------------------------------------------------------------


def test_row_n5_three_commands_on_each_of_two_machines_lead_to_a_first_result(north: Machine, south: Machine) -> None:
    north.done("project", "new", "heart")  # 1
    with north.up() as first:  # 2
        invitation = north.done("peers", "invite")["invitation"]  # 3
        joined = south.done("join", typed=invitation)  # 1, and nothing else is typed on south
        assert (joined["name"], joined["node_told"]) == ("heart", False)
        with south.up() as second:  # 2
            for node in (first, second):
                node.wait_until(lambda one: presence(one) == ["present"])
            result = south.types(*QUESTION, "--holders-min", "2", "--json")  # 3
            assert result.code == 0, result.out + result.err
            assert "your key is made" in result.err
            assert (result.values["rows"], result.values["columns"]["value"]["mean"]) == (40, 9.5)
            second.wait_until(lambda one: one.peers()["joins"][0]["state"] == "joined")
            (used,) = north.done("peers", "invitations")["invitations"]
            assert used["used_by"] == node_id_of(second)


def test_row_n5_a_client_comes_by_an_invitation_and_needs_no_address_in_its_file(
    north: Machine, tmp_path: Path
) -> None:
    ward = Machine(tmp_path / "ward", "ward", mode="client")
    lonely = ward.types("up")
    assert lonely.code == 3 and "flotta-p2p join" in lonely.err
    north.done("project", "new", "heart")
    with north.up() as first:
        ward.done("join", typed=north.done("peers", "invite")["invitation"])
        with ward.up() as second:
            for node in (first, second):
                node.wait_until(lambda one: presence(one) == ["present"])
            result = north.types(*QUESTION, "--holders-min", "2", "--json")
            assert result.code == 0, result.out + result.err


def test_row_n4_a_node_that_runs_joins_at_once_and_again_after_its_restart(north: Machine, south: Machine) -> None:
    north.done("project", "new", "heart")
    token = (north.folder / "work/projects/heart.token").read_text()
    south.done("project", "add", "heart", typed=token)
    with south.up() as second:
        assert south.done("join", f"127.0.0.1:{north.port}")["node_told"] is True
        second.wait_until(lambda one: any(join["problem"] for join in one.peers()["joins"]))  # nobody is there yet
        with north.up() as first:
            second.wait_until(lambda one: presence(one) == ["present"], 40)
            first.wait_until(lambda one: presence(one) == ["present"])
    with north.up() as first, south.up():
        first.wait_until(lambda one: presence(one) == ["present"], 40)
    assert south.done("join", "--forget", f"127.0.0.1:{north.port}")["forgotten"] is True


def test_row_n5_an_invitation_lets_one_node_in_and_says_what_is_wrong_with_any_other_use(
    north: Machine, south: Machine, tmp_path: Path
) -> None:
    third = Machine(tmp_path / "third", "third")
    north.done("project", "new", "heart")
    with north.up():
        good = north.done("peers", "invite")["invitation"]
        altered = good[:60] + ("A" if good[60] != "A" else "B") + good[61:]
        assert "[invitation-malformed]" in south.types("join", typed=altered).refused(3)
        south.done("join", typed=good)
        south.done("join", typed=good)  # the same node, within ten minutes
        assert "[invitation-used]" in third.types("join", typed=good).refused(5)
        (used,) = north.done("peers", "invitations")["invitations"]
        assert used["state"] == "used" and used["used_by"]
        closed = north.done("peers", "invite", "--valid", "1h")
        north.done("peers", "invite", "--revoke", closed["id"][:8])
        assert "[invitation-revoked]" in third.types("join", typed=closed["invitation"]).refused(5)
        assert "made the invitation itself" in north.types("join", typed=good).refused(5)
        late = north.done("peers", "invite")["invitation"]
    assert "[node-unreachable]" in third.types("join", typed=late).refused(4)
    with north.up():
        third.done("join", typed=late)  # it outlived the restart of the node
        assert "[invitation-used]" in Machine(tmp_path / "fourth", "x").types("join", typed=good).refused(5)
    assert not (tmp_path / "fourth/work/projects").exists()


def test_row_n5_with_a_list_a_node_that_proves_the_token_waits_until_it_is_accepted(
    tmp_path: Path, south: Machine
) -> None:
    north = Machine(tmp_path / "north", "north", "  peers: []\n")
    north.done("project", "new", "heart")
    south.done("project", "add", "heart", typed=(north.folder / "work/projects/heart.token").read_text())
    south.done("join", f"127.0.0.1:{north.port}")
    with north.up() as first, south.up() as second:
        first.wait_until(lambda one: one.status()["waiting"] == 1)
        assert presence(first) == [] and f"peers accept {node_id_of(second)}" in north.types("peers").out
        north.done("peers", "accept", node_id_of(second))
        for node in (first, second):
            node.wait_until(lambda one: presence(one) == ["present"], 40)


# --- taking back -------------------------------------------------------------------------------------------------


def test_row_n5_a_ban_takes_effect_in_a_running_job_on_open_connections_and_over_a_restart(
    north: Machine, south: Machine
) -> None:
    with together(north, south) as (first, second):
        holder = node_id_of(second)
        with job_at(second, north, first) as job:
            north.done("peers", "ban", holder, "--reason", "lost laptop")
            cause = cause_of(north, job)
            assert cause["code"] == Code.NODE_BANNED and "south" in cause["sentence"]
        first.wait_until(lambda one: one.status()["door"]["refused"].get(Code.NODE_BANNED))
        assert presence(first) == []
        first.stop()
        with north.up() as again:
            second.wait_until(lambda one: presence(one) == ["away"])
            (ban,) = again.peers()["bans"]
            assert (ban["node"], ban["reason"]) == (holder, "lost laptop") and presence(again) == []
            north.done("peers", "accept", holder)
            for node in (again, second):
                node.wait_until(lambda one: presence(one) == ["present"], 40)


def test_row_n5_tasks_of_a_scheduler_that_is_banned_are_stopped(north: Machine, south: Machine) -> None:
    with together(north, south) as (first, second), job_at(second, north, first):
        south.done("peers", "ban", node_id_of(first))
        second.wait_until(lambda one: one.status()["work"]["tasks_running"] == 0)


def test_row_n5_a_new_token_ends_a_running_job_and_lets_in_who_has_it(north: Machine, south: Machine) -> None:
    with together(north, south) as (first, second):
        with job_at(second, north, first) as job:
            rotated = north.done("project", "rotate", "heart")
            assert rotated["node_told"] is True
            assert cause_of(north, job)["code"] == Code.PROJECT_ROTATED
        first.wait_until(lambda one: presence(one) == [])
        south.done("project", "rotate", "heart", "--received", typed=rotated["token"])
        for node in (first, second):
            node.wait_until(lambda one: presence(one) == ["present"], 40)
        result = south.types(*QUESTION, "--holders-min", "2", "--json")
        assert result.code == 0, result.out + result.err


def test_row_n4_a_node_that_leaves_says_so_stays_out_over_a_restart_and_comes_back(
    north: Machine, south: Machine
) -> None:
    with together(north, south) as (first, second):
        with job_at(second, north, first) as job:
            south.done("leave")
            first.wait_until(lambda one: presence(one) == ["left"])
            cause = cause_of(north, job)
            assert cause["code"] == Code.NODE_LEFT and "south" in cause["node_name"]
        assert second.status()["left"] is True and "this node is out of its projects" in south.types("status").out
        assert "this node is out of its projects" in south.types("peers").out
        assert "[node-left]" in south.types(*QUESTION).refused(5)
        second.stop()
        with south.up() as again:
            assert again.status()["left"] is True and presence(again) == []
            assert presence(first) == ["left"]
            south.done("rejoin")
            for node in (first, again):
                node.wait_until(lambda one: presence(one) == ["present"], 40)
