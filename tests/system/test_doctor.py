"""Doctor beside real nodes, and on disks that are really full or closed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.programs import launcher_argv
from protocol.tokens import new_token
from tests.flotta_p2p.commands.lines import run
from tests.system.nodes import RunningNode, node_yaml, running_node
from tests.system.small_disk import fill, small_disk_of

pytestmark = pytest.mark.system
TOKEN = new_token(b"a doctor among nodes")
CSV = "value\n" + "".join(f"{row}\n" for row in range(20))


def examined(tmp_path: Path, config: Path, code: int) -> dict[str, dict[str, str]]:
    """The findings of `flotta-p2p doctor` by check; its exit code must be `code`."""
    ran = run(tmp_path, "doctor", "-c", str(config), "--json")
    assert ran.code == code, ran.out + ran.err
    return {one["check"]: one for one in ran.values["findings"]}


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_two_nodes_that_work_together_are_well_and_are_not_disturbed(tmp_path: Path) -> None:
    ports = free_ports(2)
    with (
        running_node(tmp_path / "a", name="North", port=ports[0], token=TOKEN, csv_text=CSV),
        running_node(
            tmp_path / "b",
            name="South",
            port=ports[1],
            token=TOKEN,
            csv_text=CSV,
            database=True,
            join=f"127.0.0.1:{ports[0]}",
        ) as south,
    ):
        south.wait_until(lambda one: one.status()["peers"]["present"] == 1)
        south.wait_until(lambda one: one.status()["sources"][0]["state"] == "ready")
        south.wait_until(lambda one: one.status()["door"]["clock_offsets_ms"])
        before = south.log_text(), south.node_pid
        found = examined(tmp_path, south.config, 0)
        assert (south.log_text(), south.node_pid) == before
    assert found["peer North"]["seen"].startswith("present; projects penguins; sources north")
    assert found[f"join 127.0.0.1:{ports[0]}"]["verdict"] == "ok"
    assert found["ports"]["seen"] == f"127.0.0.1:{ports[1]} and the port after each answer"
    assert found["database"]["seen"].endswith("whole")
    assert "1 peer" in found["clock"]["seen"]


def test_a_node_that_hangs_is_told_and_so_is_one_that_wants_its_folder(tmp_path: Path) -> None:
    with running_node(tmp_path / "a", name="North", port=free_ports(1)[0], token=TOKEN, csv_text=CSV) as node:
        pid = node.node_pid
        second = subprocess.run(
            launcher_argv(node.config),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert second.returncode == 3
        assert second.stderr.rstrip().endswith("[folder-locked]")
        assert f"process {pid}" in second.stderr
        with standing_still(pid):
            found = examined(tmp_path, node.config, 9)
        assert found["node"]["code"] == "timed-out"
        assert f"process {pid} holds the work directory" in found["node"]["seen"]
        assert found["database"]["verdict"] == "ok"
        node.wait_until(RunningNode.status)


def test_a_full_disk_and_one_that_can_only_be_read_are_told(tmp_path: Path) -> None:
    with small_disk_of(tmp_path / "disk", megabytes=70) as disk:
        config = disk / "node.yaml"
        config.write_text(node_yaml(name="North", port=free_ports(1)[0], token=TOKEN, source=False))
        (disk / "work").mkdir(mode=0o700)
        filler = fill(disk)
        assert examined(tmp_path, config, 9)["disk"]["code"] == "disk-full"
        filler.unlink()
        assert examined(tmp_path, config, 0)["disk"]["verdict"] == "warning"
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        found = examined(tmp_path, config, 9)
        assert (found["folder"]["code"], found["disk"]["code"]) == ("folder-unusable", "folder-unusable")
