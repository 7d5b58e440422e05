"""Row N6: `healthcheck` and `heartbeat` do what they say, and `allow_resource_download: false` is enforced."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from flotta_p2p.demo.fleet import free_ports
from protocol.errors import Code, DeniedError
from protocol.ids import format_job_id
from protocol.limits import DISK_FREE_BYTES_MIN
from tests.flotta_p2p.commands.lines import run
from tests.system.jobs import client, fresh_token, mean_of, new_order, sees, submit_and_wait
from tests.system.nodes import RunningNode, running_node
from tests.system.small_disk import only_to_be_read, small_disk_of

pytestmark = pytest.mark.system
CSV: Final = "value\n" + "".join(f"{row}\n" for row in range(20))
EACH_SECOND: Final = "  healthcheck: 1\n"


def found(node: RunningNode, name: str) -> dict[str, Any] | None:
    """The finding of this name, None as long as there is none."""
    listed: list[dict[str, Any]] = node.status()["health"]["findings"]
    return next((one for one in listed if one["name"] == name), None)


def verdict(node: RunningNode, name: str) -> str:
    one = found(node, name)
    return "none" if one is None else str(one["verdict"])


def told(node: RunningNode, words: str) -> int:
    return node.log_text().count(words)


# --- healthcheck -------------------------------------------------------------------------------------------------


@contextmanager
def on_a_small_disk(tmp_path: Path, token: str) -> Iterator[tuple[RunningNode, Path]]:
    """A node on a disk of its own, and that disk."""
    (port,) = free_ports(1)
    with (
        small_disk_of(tmp_path / "disk", megabytes=120) as disk,
        running_node(
            disk / "north",
            name="North",
            port=port,
            token=token,
            csv_text=CSV,
            database=True,
            node_yaml_lines=EACH_SECOND,
        ) as node,
    ):
        yield node, disk


def take_room(disk: Path) -> Path:
    """Leave half of what a node needs; delete the file to give it back."""
    facts, filler = os.statvfs(disk), disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, facts.f_bavail * facts.f_frsize - DISK_FREE_BYTES_MIN // 2)
    return filler


@pytest.mark.timeout(180)
def test_row_n6_a_node_whose_disk_is_nearly_full_says_so_and_leads_no_new_job_until_there_is_room(
    tmp_path: Path,
) -> None:
    token = fresh_token()
    artifact = mean_of(token, "value")
    with on_a_small_disk(tmp_path, token) as (node, disk):
        before = submit_and_wait(node, artifact)
        assert before.state == "succeeded", before.cause
        filler = take_room(disk)
        node.wait_until(lambda one: verdict(one, "disk") == "failed")
        shown = run(tmp_path, "status", "-c", str(node.config)).out
        assert "failed" in shown and "this node leads no new job. Next: make room" in shown and "[disk-full]" in shown
        refused = new_order(artifact)
        with client(node) as jobs:
            with pytest.raises(DeniedError, match="leads no new job") as caught:
                jobs.submit(jobs.prove(refused))
            assert caught.value.code == Code.DISK_FULL and "another node" in caught.value.next_step
            assert jobs.result(before.job_id, jobs.status(before.job_id).scheduler), "what it has, it hands out"
        filler.unlink()
        node.wait_until(lambda one: verdict(one, "disk") != "failed")
        assert submit_and_wait(node, artifact).state == "succeeded"
        assert told(node, "ERROR health, disk:") == 1


@pytest.mark.timeout(120)
def test_row_n6_a_disk_that_can_only_be_read_is_found_while_the_node_runs(tmp_path: Path) -> None:
    token = fresh_token()
    with on_a_small_disk(tmp_path, token) as (node, disk):
        with only_to_be_read(disk):
            node.wait_until(lambda one: verdict(one, "disk") == "failed")
            one = found(node, "disk")
            assert one is not None and one["code"] == "folder-unusable" and "can only be read" in one["sentence"]
        node.wait_until(lambda one: verdict(one, "disk") != "failed")


@pytest.mark.timeout(120)
def test_row_n6_what_goes_wrong_is_shown_with_since_when_and_told_once_when_it_begins_and_ends(tmp_path: Path) -> None:
    token = fresh_token()
    north, nobody = free_ports(2)
    with running_node(
        tmp_path,
        name="North",
        port=north,
        token=token,
        csv_text=CSV,
        node_yaml_lines=EACH_SECOND,
        join=f"127.0.0.1:{nobody}",
    ) as node:
        node.wait_until(lambda one: verdict(one, f"join 127.0.0.1:{nobody}") == "failed")
        table = tmp_path / "table.csv"
        text = table.read_text()
        table.unlink()
        node.wait_until(lambda one: verdict(one, "source north") == "failed")
        shown = run(tmp_path, "status", "-c", str(node.config)).out
        assert "health" in shown and "2 failed" in shown
        assert f"failed     join 127.0.0.1:{nobody}, for" in shown and "source north, for" in shown
        table.write_text(text)
        node.wait_until(lambda one: verdict(one, "source north") == "ok")
        with running_node(tmp_path / "b", name="South", port=nobody, token=token, csv_text=None):
            node.wait_until(lambda one: verdict(one, f"join 127.0.0.1:{nobody}") == "ok", 60)
            node.wait_until(lambda one: told(one, f"health, join 127.0.0.1:{nobody}: well again") == 1)
        assert told(node, f"ERROR health, join 127.0.0.1:{nobody}:") == 1
        assert told(node, "source north: it can be read again") == 1


@pytest.mark.timeout(120)
def test_row_n6_a_node_looks_at_itself_as_often_as_healthcheck_says(tmp_path: Path) -> None:
    often, seldom = free_ports(2)
    with (
        running_node(
            tmp_path / "a", name="Often", port=often, token=fresh_token(), csv_text=None, node_yaml_lines=EACH_SECOND
        ) as first,
        running_node(
            tmp_path / "b",
            name="Seldom",
            port=seldom,
            token=fresh_token(),
            csv_text=None,
            node_yaml_lines="  healthcheck: 3600\n",
        ) as second,
    ):
        for node in (first, second):
            node.wait_until(lambda one: one.status()["health"]["checked_ms"] is not None)
        for _ in range(3):  # three looks more: each begins to count anew
            first.wait_until(lambda one: one.status()["health"]["checked_ms"] > 500)
            first.wait_until(lambda one: one.status()["health"]["checked_ms"] < 500)
        assert second.status()["health"]["checked_ms"] > 1_500, "it has not looked again"


# --- heartbeat ---------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_row_n6_a_client_asks_its_scheduler_as_often_as_heartbeat_says(tmp_path: Path) -> None:
    token = fresh_token()
    (port,) = free_ports(1)
    with running_node(tmp_path / "first", name="First", port=port, token=token, csv_text=None):
        sent = {}
        for heartbeat in (0.2, 5):
            with running_node(
                tmp_path / f"every-{heartbeat}",
                name="Ward",
                port=port,
                token=token,
                csv_text=None,
                mode="client",
                join=f"127.0.0.1:{port}",
                node_yaml_lines=f"  heartbeat: {heartbeat}\n",
            ) as ward:
                ward.wait_until(lambda one: [s["state"] for s in one.status()["schedulers"]] == ["answered"])
                before, began_s = ward.status()["door"]["frames_out"], time.monotonic()
                ward.wait_until(lambda one, began_s=began_s: time.monotonic() - began_s > 4)  # type: ignore[misc]
                sent[heartbeat] = ward.status()["door"]["frames_out"] - before
    # Beside the polls a client beats for its peers, in both cases as often.
    assert sent[0.2] >= sent[5] + 5, sent


# --- allow_resource_download -------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_row_n6_a_node_that_hands_out_nothing_says_so_before_it_accepts_a_job_and_computes_for_others(
    tmp_path: Path,
) -> None:
    token = fresh_token()
    keeper_port, other_port = free_ports(2)
    artifact = mean_of(token, "value")
    with (
        running_node(
            tmp_path / "a",
            name="Keeper",
            port=keeper_port,
            token=token,
            csv_text=CSV,
            node_yaml_lines="  allow_resource_download: false\n",
        ) as keeper,
        running_node(
            tmp_path / "b", name="Other", port=other_port, token=token, csv_text=CSV, join=f"127.0.0.1:{keeper_port}"
        ) as other,
    ):
        other.wait_until(lambda one: sees(one, 1) and one.peers()["peers"][0]["sources"])
        with client(keeper) as jobs, pytest.raises(DeniedError, match="allow_resource_download") as refused:
            jobs.submit(jobs.prove(new_order(artifact)))
        assert refused.value.next_step == "submit to another node of the project"
        assert keeper.status()["jobs"] == {"live": 0, "ended": 0, "messages_waiting": 0}
        status = submit_and_wait(other, artifact)
        assert status.state == "succeeded", status.cause
        assert keeper.status()["work"]["bytes_released"] > 0


@pytest.mark.timeout(120)
def test_row_n6_a_result_is_handed_out_to_the_submitter_of_its_job_alone(tmp_path: Path) -> None:
    token = fresh_token()
    (port,) = free_ports(1)
    (tmp_path / "token").write_text(token + "\n")
    door = ("--to", f"127.0.0.1:{port}", "--token-file", str(tmp_path / "token"))
    with running_node(tmp_path / "north", name="North", port=port, token=token, csv_text=CSV) as node:
        node.wait_until(lambda one: one.status()["sources"][0]["state"] == "ready")
        for person in ("ada", "eve"):
            (tmp_path / person).mkdir()
            assert run(tmp_path / person, "key", "new").code == 0
        asked = run(tmp_path / "ada", "submit", "--columns", "value", *door, "--json")
        assert asked.code == 0, asked.err
        job = str(asked.values["job"])
        assert run(tmp_path / "ada", "job", "result", job, *door, "--json").values["rows"] == 20
        refused = run(tmp_path / "eve", "job", "result", job, *door).refused(5)
        assert "[job-unknown]" in refused
        by_the_nodes_own = submit_and_wait(node, mean_of(token, "value"))
        assert "[job-unknown]" in run(
            tmp_path / "ada", "job", "result", format_job_id(by_the_nodes_own.job_id), *door
        ).refused(5)
