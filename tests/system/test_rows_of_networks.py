"""Rows M1, M5, N7, N9 and N10: what a node is in its network, each with real nodes on machines of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from flotta_p2p.demo.fleet import free_ports
from protocol.errors import DeniedError
from protocol.ids import format_id, parse_id
from protocol.plan.tasks import Summary
from protocol.wire.control import BanPeer
from tests.flotta_p2p.commands.lines import run
from tests.flotta_p2p.configuration_files import TOKEN_A
from tests.system.jobs import client, fresh_token, mean_of, new_order, submit_and_wait
from tests.system.netns import Namespace, command_in, listening_in, namespaces, run_in
from tests.system.nodes import RunningNode, running_node
from tests.system.processes import wait_until
from tests.system.started import Started, started

pytestmark = [pytest.mark.system, pytest.mark.netns, pytest.mark.timeout(240)]
PORT: Final = 1456
ROWS: Final = 20
LIMIT_S: Final = 60.0


def table(number: int) -> str:
    return "value\n" + "".join(f"{number * 100 + row}\n" for row in range(ROWS))


def mean_over(numbers: Sequence[int]) -> float:
    values = [number * 100 + row for number in numbers for row in range(ROWS)]
    return sum(values) / len(values)


@contextmanager
def node_at(place: Namespace, folder: Path, name: str, token: str, **options: Any) -> Iterator[RunningNode]:
    with running_node(
        folder / name,
        name=name,
        port=PORT,
        token=token,
        interface=place.address,
        wrap=lambda argv: command_in(place, argv),
        **options,
    ) as node:
        yield node


def sees(count: int, node: RunningNode) -> bool:
    """Whether so many peers are within reach, with a table each."""
    reached = [one for one in node.peers()["peers"] if one["presence"] == "present" and one["sources"]]
    return len(reached) == count


def led_by(node: RunningNode, token: str) -> Summary:
    """The answer to a question over the whole project that this node accepts, schedules and aggregates."""
    prepared = new_order(mean_of(token, "value"))
    with client(node) as jobs:
        jobs.submit(jobs.prove(prepared))
        status = jobs.wait(prepared.job_id, limit_s=LIMIT_S)
        assert status.state == "succeeded", status.cause
        assert format_id(status.scheduler) == node.status()["node"]
        summary, _ = jobs.result(prepared.job_id, status.scheduler)
    assert isinstance(summary, Summary)
    return summary


# --- M1, M5 ------------------------------------------------------------------------------------------------------


def test_row_m1_a_node_is_reached_by_others_schedules_and_lets_others_join(tmp_path: Path) -> None:
    token = fresh_token()
    (tmp_path / "token").write_text(token + "\n")
    with namespaces(3) as (one, other, third), ExitStack() as stack:
        first = stack.enter_context(node_at(one, tmp_path, "First", token, csv_text=None))
        assert f"tcp {hexed(one.address)}:{PORT}" in listening_in(one)
        second = stack.enter_context(
            node_at(other, tmp_path, "Second", token, csv_text=table(1), join=f"{one.address}:{PORT}")
        )
        first.wait_until(partial(sees, 1))
        assert second.peers()["joins"][0]["state"] == "joined"
        # A person on a third machine, where no node runs, asks the first; the table is at the second.
        assert run(tmp_path, "key", "new").code == 0
        words = ("submit", "--columns", "value", "--json", "--to", f"{one.address}:{PORT}")
        asked = person_in(third, tmp_path, *words, "--token-file", str(tmp_path / "token"))
        assert f'"mean": {mean_over([1])}' in asked
        assert first.status()["jobs"]["ended"] == 1 and second.status()["jobs"]["ended"] == 0


def test_row_m5_centralised_one_node_without_a_table_leads_jobs_over_its_clients(tmp_path: Path) -> None:
    token = fresh_token()
    with namespaces(3) as places, ExitStack() as stack:
        centre = stack.enter_context(node_at(places[0], tmp_path, "Centre", token, csv_text=None))
        for number in (1, 2):
            join = f"{places[0].address}:{PORT}"
            name = f"Ward{number}"
            stack.enter_context(
                node_at(places[number], tmp_path, name, token, csv_text=table(number), mode="client", join=join)
            )
        centre.wait_until(partial(sees, 2), LIMIT_S)
        summary = led_by(centre, token)
        assert (summary.rows, summary.columns["value"].mean) == (2 * ROWS, mean_over([1, 2]))
        assert listening_in(places[1]) == listening_in(places[2]) == set()


def test_row_m5_decentralised_any_node_accepts_a_job_and_becomes_its_scheduler_and_aggregator(tmp_path: Path) -> None:
    token = fresh_token()
    with namespaces(3) as places, ExitStack() as stack:
        nodes = [
            stack.enter_context(
                node_at(
                    place,
                    tmp_path,
                    f"Site{number}",
                    token,
                    csv_text=table(number),
                    join=f"{places[0].address}:{PORT}" if number else None,
                )
            )
            for number, place in enumerate(places)
        ]
        for node in nodes:
            node.wait_until(partial(sees, 2), LIMIT_S)
        for node in nodes:
            summary = led_by(node, token)
            assert (summary.rows, summary.columns["value"].mean) == (3 * ROWS, mean_over([0, 1, 2]))
            assert node.status()["jobs"]["ended"] == 1


# --- N7 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_file", [True, False], ids=["sqlite-file", "memory"])
def test_row_n7_jobs_survive_a_restart_in_a_file_and_what_safety_rests_on_in_both(
    tmp_path: Path, in_file: bool
) -> None:
    token, [port] = fresh_token(), free_ports(1)
    banned = bytes(range(32))
    options: dict[str, Any] = {"name": "North", "port": port, "token": token, "csv_text": table(1)}
    with running_node(tmp_path, database=in_file, **options) as node:
        before = node.status()
        status = submit_and_wait(node, mean_of(token, "value"))
        assert status.state == "succeeded" and status.durable is in_file
        channel = node.control()
        channel.request(BanPeer(node=banned, reason="lost laptop"))
        channel.close()
    with running_node(tmp_path, database=in_file, **options) as node:
        after = node.status()
        assert after["node"] == before["node"]
        assert after["database"] == (str(node.workdir / "jobs.sqlite") if in_file else "memory")
        assert [parse_id(one["node"]) for one in node.peers()["bans"]] == [banned]
        with client(node) as jobs:
            if in_file:
                result, _ = jobs.result(status.job_id, status.scheduler)
                assert isinstance(result, Summary) and result.rows == ROWS
            else:
                with pytest.raises(DeniedError, match="no job"):
                    jobs.status(status.job_id)


def test_row_n7_without_a_word_of_databases_it_is_in_memory(tmp_path: Path) -> None:
    with running_node(tmp_path, name="North", port=free_ports(1)[0], token=fresh_token(), csv_text=None) as node:
        assert node.status()["database"] == "memory"
        assert node.status()["promise"] == "jobs do not survive a restart"
        assert (node.workdir / "safety.sqlite").exists()


# --- N9 ----------------------------------------------------------------------------------------------------------


def test_row_n9_nodes_with_a_common_token_and_no_configuration_find_each_other_and_work_together(
    tmp_path: Path,
) -> None:
    with namespaces(3) as places, ExitStack() as stack:
        nodes = []
        for number, (place, token) in enumerate(zip(places, (TOKEN_A, TOKEN_A, fresh_token()), strict=True)):
            home = tmp_path / f"home{number}"
            home.mkdir()
            (home / "table.csv").write_text(table(number))
            assert run(home, "project", "add", "heart", typed=token + "\n").code == 0
            assert run(home, "data", "add", "values", str(home / "table.csv"), "--project", "heart").code == 0
            nodes.append(stack.enter_context(started(place, home, home / "data" / "flotta-p2p", "flotta_p2p", "up")))
        north, south, stranger = nodes
        for node, other in ((north, south), (south, north)):
            wait_until(partial(node.sees, other.status()["name"]), LIMIT_S)
        for node in (north, south):
            assert node.line("key", "new").code == 0
            asked = node.line("submit", "--project", "heart", "--columns", "value", "--json")
            assert asked.code == 0, asked.err
            assert (asked.values["rows"], asked.values["columns"]["value"]["mean"]) == (2 * ROWS, mean_over([0, 1]))
        assert stranger.peers()["peers"] == [], "without the token nobody is its peer"


# --- N10 ---------------------------------------------------------------------------------------------------------


def test_row_n10_without_an_interface_a_node_binds_to_private_addresses_alone_and_prints_which(tmp_path: Path) -> None:
    with namespaces(1) as (place,):
        run_in(place, ["ip", "addr", "add", "198.51.100.7/24", "dev", "eth0"])
        (tmp_path / "site.yaml").write_text("workdir: work\n")
        with up(place, tmp_path) as node:
            listening = {f"{host}:{port}" for host in ("127.0.0.1", place.address) for port in (PORT, PORT + 1)}
            wait_until(partial(listens_at, node, listening))  # the statement server starts a moment later
            shown = "listening on 127.0.0.1:1456, 10.77.0.1:1456 (loopback and private addresses"
            assert shown in node.log()
        (tmp_path / "site.yaml").write_text("workdir: work\nnode: {interface: 198.51.100.7, port: 2000}\n")
        with up(place, tmp_path) as node:
            wait_until(partial(listens_at, node, {"198.51.100.7:2000", "198.51.100.7:2001"}))
            assert node.status()["addresses"] == ["198.51.100.7:2000"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_row_n10_http_and_https_addresses_mean_host_and_port_and_a_note_says_so(tmp_path: Path, scheme: str) -> None:
    with namespaces(2) as (one, other), ExitStack() as stack:
        folders = [tmp_path / "first", tmp_path / "second"]
        for number, folder in enumerate(folders):
            folder.mkdir()
            (folder / "table.csv").write_text(table(number))
        source = f"datasources: [{{name: values, type: csv, path: table.csv, token: [{TOKEN_A}]}}]\n"
        own = f"workdir: work\nnode: {{protocol: {scheme}, port: 8080, url: '{scheme}://10.77.0.1:8080'}}\n"
        (folders[0] / "site.yaml").write_text(own + "settings: {discovery: false}\n" + source)
        join = f"workdir: work\njoin: {{url: '{scheme}://10.77.0.1:8080'}}\nsettings: {{discovery: false}}\n"
        (folders[1] / "site.yaml").write_text(join + source)
        first = stack.enter_context(up(one, folders[0]))
        second = stack.enter_context(up(other, folders[1]))
        name = first.status()["name"]
        wait_until(partial(second.sees, name), LIMIT_S)
        assert first.status()["addresses"][0] == "10.77.0.1:8080"
        note = f'join.url: "{scheme}" only names host and port; the link between nodes is always encrypted by CURVE.'
        assert note in second.log()
        assert f'node.url: "{scheme}" only names host and port' in first.log()


def test_row_n10_relative_paths_are_relative_to_the_file_and_not_to_where_it_is_started(tmp_path: Path) -> None:
    site = tmp_path / "etc" / "site"
    site.mkdir(parents=True)
    (tmp_path / "etc" / "table.csv").write_text(table(3))
    (site / "site.yaml").write_text(
        "workdir: ./work\ndatabase: {host: ../jobs.sqlite}\nsettings: {keys: ./keys}\n"
        f"datasources: [{{name: values, type: csv, path: ../table.csv, token: [{TOKEN_A}]}}]\n"
    )
    words = ("flotta_p2p", "-c", str(Path("etc") / "site" / "site.yaml"))
    with namespaces(1) as (place,), started(place, tmp_path, site / "work", *words) as node:
        status = node.status()
        assert status["workdir"] == str(site / "work")
        assert Path(status["database"]).resolve() == tmp_path / "etc" / "jobs.sqlite"
        assert (site / "keys" / "node.key").exists()
        assert status["sources"][0]["rows"] == ROWS


def test_row_n10_without_a_file_a_node_works_in_the_users_data_folder(tmp_path: Path) -> None:
    workdir = tmp_path / "data" / "flotta-p2p"
    with namespaces(1) as (place,), started(place, tmp_path, workdir, "flotta_p2p", "up") as node:
        status = node.status()
        assert (status["workdir"], status["mode"], status["database"]) == (str(workdir), "node", "memory")
        assert (workdir / "keys" / "node.key").exists()


def up(place: Namespace, folder: Path) -> Any:
    return started(place, folder, folder / "work", "flotta_p2p", "up", "-c", "site.yaml")


def listens_at(node: Started, addresses: set[str]) -> bool:
    """Whether it listens exactly there, multicast aside."""
    return {one for one in node.sockets() if not one.endswith(":5353")} == addresses


def hexed(address: str) -> str:
    """As the kernel shows an IPv4 address, in the order of a little-endian machine."""
    return "".join(f"{int(part):02X}" for part in reversed(address.split(".")))


def person_in(place: Namespace, folder: Path, *words: str) -> str:
    """What `flotta-p2p WORDS` shows to a person on that machine."""
    own = ["env", f"XDG_CONFIG_HOME={folder / 'config'}", f"XDG_DATA_HOME={folder / 'data'}"]
    return run_in(place, [*own, sys.executable, "-m", "flotta_p2p", *words], limit_s=LIMIT_S).stdout
