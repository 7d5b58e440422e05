"""Bad input at a node and at a client: each says what to do, nothing is half-started and nothing lost.

Wrong values of keys are in tests/flotta_p2p/test_configuration_matrix.py. A clock is wrong here by the one seam through
which a whole node reads the time: the machine's own clock stays as it is.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from actors.adapters.clock import SystemClock
from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.programs import launcher_argv
from protocol.machines.contract import Now
from tests.flotta_p2p import nodes as in_process
from tests.flotta_p2p.commands.lines import run
from tests.flotta_p2p.nodes import ROWS, meet, running
from tests.flotta_p2p.test_node import ARTIFACT
from tests.servers import strange_server
from tests.system.jobs import fresh_token, mean_of, submit_and_wait
from tests.system.nodes import RunningNode, node_yaml, running_node
from tests.system.processes import wait_until
from tests.system.small_disk import only_to_be_read, small_disk_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
HOUR_MS: Final = 3_600_000
LOOPBACK: Final = "127.0.0.1"
MODES: Final = pytest.mark.parametrize("mode", ["node", "client"])
CSV: Final = "value\n" + "".join(f"{row}\n" for row in range(20))


def comes_to(mode: str, port: int) -> dict[str, Any]:
    """What a second node or a client needs to come to the node at `port`."""
    return {"mode": mode, "join": f"{LOOPBACK}:{port}"}


# --- a clock that is an hour off ---------------------------------------------------------------------------------


class WrongClock(SystemClock):
    """Off by `off_ms`, until somebody sets it."""

    off_ms = 0

    def now(self) -> Now:
        right = super().now()
        return Now(right.boot_ns, right.wall_ms + self.off_ms)


@pytest.fixture
def runtime_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))


def clock_of(node: in_process.RunningNode) -> dict[str, Any]:
    listed: list[dict[str, Any]] = node.status()["health"]["findings"]
    return next((one for one in listed if one["name"] == "clock"), {"verdict": "none"})


def has_clock(node: in_process.RunningNode, verdict: str) -> bool:
    return bool(clock_of(node)["verdict"] == verdict)


@MODES
@pytest.mark.parametrize("off_ms", [HOUR_MS, -HOUR_MS], ids=["ahead", "behind"])
@pytest.mark.usefixtures("runtime_folder")
def test_a_clock_an_hour_off_is_told_on_both_sides_fails_no_job_in_silence_and_works_once_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, off_ms: int, mode: str
) -> None:
    caplog.set_level(logging.INFO)
    first, second = free_ports(2)
    often = "  healthcheck: 1\n  heartbeat: 0.5\n"
    monkeypatch.setattr(WrongClock, "off_ms", off_ms)
    with running(tmp_path / "a", name="Anna", port=first, node_lines=often) as anna, ExitStack() as stack:
        with monkeypatch.context() as patched:
            patched.setattr("flotta_p2p.node.SystemClock", WrongClock)
            theirs = running(tmp_path / "b", name="Bert", port=second, node_lines=often, **comes_to(mode, first))
            bert = stack.enter_context(theirs)
        meet(anna, bert)
        for node, other in ((anna, "Bert"), (bert, "Anna")):
            wait_until(partial(has_clock, node, "failed"))
            told = clock_of(node)
            assert f"{other} by 3" in told["sentence"] and "compare both clocks" in told["next_step"]
        assert sum("health, clock: these clocks differ" in one.getMessage() for one in caplog.records) == 2

        status, result = anna.run_job(ARTIFACT, holders_min=2)
        assert status.state == "failed" and result is None and status.cause is not None
        assert status.cause.code == ("order-expired" if off_ms > 0 else "time-outside")
        assert status.cause.node_name.startswith("Bert") and "compare the clocks" in status.cause.next_step
        wait_until(lambda: anna.status()["jobs"]["live"] == bert.status()["work"]["tasks_running"] == 0)

        monkeypatch.setattr(WrongClock, "off_ms", 0)  # the operator sets it while everything runs
        wait_until(lambda: not has_clock(anna, "failed") and not has_clock(bert, "failed"))
        assert "was set" in clock_of(bert)["sentence"]
        meet(anna, bert)
        status, result = anna.run_job(ARTIFACT, holders_min=2)
        assert status.state == "succeeded" and result is not None and result.rows == 2 * ROWS, status.cause


# --- a work directory that cannot be used ------------------------------------------------------------------------


def up(config: Path) -> subprocess.CompletedProcess[str]:
    """`flotta-p2p up`, which must end by itself."""
    return subprocess.run(
        launcher_argv(config), capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )


def written(folder: Path, mode: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.csv").write_text(CSV)
    join = f"{LOOPBACK}:1" if mode == "client" else None
    config = folder / "node.yaml"
    config.write_text(node_yaml(name="North", port=free_ports(1)[0], token=fresh_token(), mode=mode, join=join))
    return config


def sentence_of(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 3, ended.stderr
    assert "Traceback" not in ended.stderr and "Next: " in ended.stderr
    return ended.stderr.strip().splitlines()[-1]


@MODES
@pytest.mark.parametrize("made_before", [True, False], ids=["used before", "not there yet"])
def test_a_work_directory_that_can_only_be_read_is_said_and_nothing_starts(
    tmp_path: Path, mode: str, made_before: bool
) -> None:
    with small_disk_of(tmp_path / "disk", megabytes=100) as disk:
        config = written(disk, mode)
        workdir = disk / "work"
        if made_before:
            workdir.mkdir(mode=0o700)
        with only_to_be_read(disk):
            said = sentence_of(up(config))
            assert f"the work directory {workdir} cannot be used" in said and "[folder-unusable]" in said
            assert ("its disk can only be read" if made_before else "Read-only file system") in said
        assert sorted(one.name for one in disk.iterdir()) == sorted(
            ["node.yaml", "table.csv", *(["work"] if made_before else [])]
        )
        assert not made_before or list(workdir.iterdir()) == []


@MODES
def test_a_second_node_on_the_same_folder_is_told_who_has_it_and_the_first_goes_on(tmp_path: Path, mode: str) -> None:
    token, [port] = fresh_token(), free_ports(1)
    ward_options: dict[str, Any] = {"name": "Ward", "token": token, "csv_text": CSV, **comes_to(mode, port)}
    with (
        running_node(tmp_path / "first", name="First", port=port, token=token, csv_text=None) as first,
        running_node(tmp_path / "ward", port=free_ports(1)[0], **ward_options) as ward,
    ):
        first.wait_until(sees_a_table)
        said = sentence_of(up(ward.config))
        assert f"is in use by process {ward.node_pid}" in said and "[folder-locked]" in said
        assert submit_and_wait(first, mean_of(token, "value")).state == "succeeded"


def sees_a_table(node: RunningNode) -> bool:
    return [bool(one["sources"]) for one in node.peers()["peers"] if one["presence"] == "present"] == [True]


# --- a data source that vanishes ---------------------------------------------------------------------------------


@MODES
def test_a_table_that_vanishes_while_the_node_runs_ends_jobs_with_its_name_and_opens_again_by_itself(
    tmp_path: Path, mode: str
) -> None:
    token, [port, other] = fresh_token(), free_ports(2)
    artifact = mean_of(token, "value")
    with (
        running_node(tmp_path / "first", name="First", port=port, token=token, csv_text=None) as first,
        running_node(
            tmp_path / "ward",
            name="Ward",
            port=other,
            token=token,
            csv_text=CSV,
            node_yaml_lines="  healthcheck: 1\n",
            **comes_to(mode, port),
        ) as ward,
    ):
        first.wait_until(sees_a_table)
        assert submit_and_wait(first, artifact).state == "succeeded"
        (tmp_path / "ward" / "table.csv").rename(tmp_path / "elsewhere.csv")
        failed = submit_and_wait(first, artifact)
        assert failed.state == "failed" and failed.cause is not None
        assert failed.cause.code == "source-missing" and failed.cause.node_name.startswith("Ward")
        assert failed.cause.next_step
        ward.wait_until(lambda one: "source ward" in unwell(one))
        (tmp_path / "elsewhere.csv").rename(tmp_path / "ward" / "table.csv")
        ward.wait_until(lambda one: unwell(one) == [])
        assert submit_and_wait(first, artifact).state == "succeeded"


def unwell(node: RunningNode) -> list[str]:
    return [one["name"] for one in node.status()["health"]["findings"] if one["verdict"] == "failed"]


# --- an address to join at that is none --------------------------------------------------------------------------


@contextmanager
def nobody() -> Iterator[int]:
    yield free_ports(1)[0]


WRONG_ADDRESSES: Final[dict[str, tuple[Callable[[], AbstractContextManager[int]], str]]] = {
    "nobody": (nobody, "Connection refused"),
    "a web server": (partial(strange_server, "http"), "a web server answers there, not a flotta-p2p node"),
    "a port that says nothing": (partial(strange_server, "silent"), "no answer within 2 s"),
    "a port that hangs up": (partial(strange_server, "hangs up"), "it is not a flotta-p2p node, or a busy one"),
}


@MODES
@pytest.mark.parametrize("kind", WRONG_ADDRESSES)
def test_an_address_where_no_node_is_is_told_with_what_was_found_and_joined_once_a_node_is_there(
    tmp_path: Path, mode: str, kind: str
) -> None:
    make, words = WRONG_ADDRESSES[kind]
    token = fresh_token()
    with ExitStack() as stack:
        wrong = stack.enter_context(ExitStack())
        port = wrong.enter_context(make())
        south = stack.enter_context(
            running_node(
                tmp_path / "south",
                name="South",
                port=free_ports(1)[0],
                token=token,
                csv_text=CSV,
                node_yaml_lines="  healthcheck: 1\n",
                **comes_to(mode, port),
            )
        )
        name = f"join {LOOPBACK}:{port}"
        south.wait_until(lambda one: one.peers()["joins"][0]["attempts"] >= 2 and name in unwell(one))
        (join,) = south.peers()["joins"]
        assert words in join["problem"] and f"flotta-p2p doctor --to {LOOPBACK}:{port}" in join["problem"]
        assert words in run(tmp_path, "status", "-c", str(south.config)).out

        wrong.close()
        first = stack.enter_context(
            running_node(tmp_path / "first", name="First", port=port, token=token, csv_text=None)
        )
        first.wait_until(sees_a_table, 60)
        south.wait_until(lambda one: unwell(one) == [])
        assert submit_and_wait(first, mean_of(token, "value")).state == "succeeded"
