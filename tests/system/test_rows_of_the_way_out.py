"""Row N12: the way out of a network that lets nobody in, and what is told of a way that is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from flotta_p2p.demo.fleet import free_ports
from protocol.plan.tasks import Summary
from tests.flotta_p2p.commands.lines import run
from tests.proxies import proxy
from tests.servers import strange_server
from tests.system.jobs import client, fresh_token, mean_of, submit_and_wait
from tests.system.netns import Namespace, command_in, listening_in, namespaces, run_in
from tests.system.nodes import RunningNode, running_node
from tests.system.processes import wait_until

pytestmark = pytest.mark.system
LOOPBACK: Final = "127.0.0.1"
NODE_PORT: Final = 443  # a client may need any number
PROXY_PORT: Final = 3128
CSV: Final = "value\n" + "".join(f"{row}\n" for row in range(20))
KINDS: Final = ("socks5", "http")


# --- a network from which only the proxy can be reached ------------------------------------------


class Inside:
    """A machine behind a firewall, the node that it wants to reach, and the proxy between them."""

    def __init__(self, folder: Path, kind: str, place: Namespace, between: Namespace, node: RunningNode) -> None:
        self.folder = folder
        self.place = place
        self.node = node
        self.url = f"{kind}://{between.address}:{PROXY_PORT}"
        self._kind = kind
        self._between = between
        self._proxy: subprocess.Popen[bytes] | None = None

    def start_proxy(self) -> None:
        """Returns once it listens."""
        program = [sys.executable, "-m", "tests.proxies", self._kind, self._between.address, str(PROXY_PORT)]
        self._proxy = subprocess.Popen(command_in(self._between, program))
        listening = f":{PROXY_PORT:04X} 00000000:0000 0A"
        wait_until(lambda: listening in run_in(self._between, ["cat", "/proc/net/tcp"]).stdout)

    def stop_proxy(self) -> None:
        if self._proxy is not None:
            self._proxy.kill()
            self._proxy.wait()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        own = {"XDG_CONFIG_HOME": str(self.folder / "config"), "XDG_DATA_HOME": str(self.folder / "data")}
        return subprocess.run(
            command_in(self.place, [sys.executable, "-m", "flotta_p2p", *words]),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env={**os.environ, **own},
        )

    def values(self, *words: str) -> dict[str, Any]:
        ran = self.run(*words, "--json")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        found: dict[str, Any] = json.loads(ran.stdout)
        return found


@contextmanager
def inside(tmp_path: Path, kind: str, token: str) -> Iterator[Inside]:
    """A node on port 443, a proxy, and a machine whose packets to the node go nowhere."""
    with ExitStack() as stack:
        outside, between, place = stack.enter_context(namespaces(3))
        run_in(place, ["ip", "route", "add", "unreachable", f"{outside.address}/32"])
        node = stack.enter_context(
            running_node(
                tmp_path / "north",
                name="North",
                port=NODE_PORT,
                token=token,
                csv_text=CSV,
                interface=outside.address,
                wrap=lambda argv: command_in(outside, argv),
            )
        )
        one = Inside(tmp_path, kind, place, between, node)
        stack.callback(one.stop_proxy)
        one.start_proxy()
        assert one.run("key", "new").returncode == 0
        (tmp_path / "token").write_text(token + "\n")
        yield one


@pytest.mark.netns
@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", KINDS)
def test_row_n12_a_question_goes_through_a_proxy_from_where_nothing_else_can_be_reached(
    tmp_path: Path, kind: str
) -> None:
    with inside(tmp_path, kind, fresh_token()) as one:
        address = f"10.77.0.1:{NODE_PORT}"
        one.node.wait_until(lambda node: node.status()["sources"][0]["state"] == "ready")
        question = ("submit", "--columns", "value", "--to", address, "--token-file", str(tmp_path / "token"))
        direct = one.run(*question)
        assert direct.returncode == 4, direct.stderr
        assert "[node-unreachable]" in direct.stderr

        # Before anything is enrolled: doctor says which step fails, and that the proxy is a way.
        found = json.loads(one.run("doctor", "--to", address, "--json").stdout)
        assert [step["check"] for step in found["findings"] if step["verdict"] == "failed"] == ["route"]
        assert found["request"]["destination"] == "10.77.0.1"
        assert found["request"]["ports"] == [NODE_PORT, NODE_PORT + 1]
        found = one.values("doctor", "--to", address, "--proxy", one.url)
        assert {step["verdict"] for step in found["findings"]} == {"ok"}
        assert found["request"]["source"] == one.place.address

        result = one.values(*question, "--proxy", one.url)
        assert (result["rows"], result["columns"]["value"]["mean"]) == (20, 9.5)
        config = tmp_path / "inside.yaml"
        config.write_text(f"workdir: ./inside\nsettings:\n  proxy: {one.url}\n")
        assert one.values("jobs", "-c", str(config), *question[3:])["jobs"][0]["job"] == result["job"]


@pytest.mark.netns
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
def test_row_n12_a_client_that_only_a_proxy_lets_out_takes_part_in_jobs_also_after_the_proxy_was_down(
    tmp_path: Path, kind: str
) -> None:
    token = fresh_token()
    with (
        inside(tmp_path, kind, token) as one,
        running_node(
            tmp_path / "ward",
            name="Ward",
            port=1456,
            token=token,
            csv_text="value\n" + "".join(f"{1000 + row}\n" for row in range(20)),
            join=f"10.77.0.1:{NODE_PORT}",
            mode="client",
            proxy=one.url,
            wrap=lambda argv: command_in(one.place, argv),
        ) as ward,
    ):
        for round_number in (1, 2):
            one.node.wait_until(lambda node: _sources_present(node) == ["ward"], 60)
            status = submit_and_wait(one.node, mean_of(token, "value"))
            assert status.state == "succeeded", status.cause
            with client(one.node) as jobs:
                summary, _ = jobs.result(status.job_id, status.scheduler)
            assert isinstance(summary, Summary)
            assert (summary.rows, summary.columns["value"].mean) == (40, 509.5)
            if round_number == 1:
                one.stop_proxy()
                ward.wait_until(lambda node: _problems(node) == {"proxy-unreachable"}, 30)
                assert "way out" in run(tmp_path, "doctor", "-c", str(ward.config)).out
                one.start_proxy()
        assert listening_in(one.place) == set()
        assert ward.status()["way_out"]["problems"] == []


def _sources_present(node: RunningNode) -> list[str]:
    return [source for peer in node.peers()["peers"] if peer["presence"] == "present" for source in peer["sources"]]


def _problems(node: RunningNode) -> set[str]:
    return {problem["code"] for problem in node.status()["way_out"]["problems"]}


# --- what a node says of a way that is wrong -----------------------------------------------------


def _joining(folder: Path, address: str, *, proxy_url: str = "") -> Any:
    return running_node(
        folder,
        name="South",
        port=free_ports(1)[0],
        token=fresh_token(),
        csv_text=None,
        join=address,
        proxy=proxy_url,
    )


def _join_problem(node: RunningNode) -> str:
    node.wait_until(lambda one: one.peers()["joins"][0]["problem"])
    problem: str = node.peers()["joins"][0]["problem"]
    return problem


@pytest.mark.parametrize(
    ("name", "words"), [("http", "a web server answers there"), ("endless", "not a flotta-p2p node")]
)
def test_row_n12_a_node_tells_what_it_found_where_it_was_to_join(tmp_path: Path, name: str, words: str) -> None:
    with strange_server(name) as port, _joining(tmp_path, f"{LOOPBACK}:{port}") as node:
        problem = _join_problem(node)
        assert words in problem
        assert f"flotta-p2p doctor --to {LOOPBACK}:{port}" in problem
        node.wait_until(lambda one: one.peers()["joins"][0]["attempts"] >= 2)
        assert words in run(tmp_path, "peers", "-c", str(node.config)).out


@pytest.mark.parametrize("kind", KINDS)
def test_row_n12_a_node_tells_what_is_wrong_with_its_proxy_and_joins_once_it_is_well(tmp_path: Path, kind: str) -> None:
    token = fresh_token()
    ports = free_ports(2)
    with (
        running_node(tmp_path / "a", name="North", port=ports[0], token=token, csv_text=None),
        proxy(kind, login=("ada", "right")) as real,
        running_node(
            tmp_path / "b",
            name="South",
            port=ports[1],
            token=token,
            csv_text=None,
            join=f"{LOOPBACK}:{ports[0]}",
            proxy=f"{kind}://ada:${{PROXY_PASSWORD}}@{LOOPBACK}:{real.port}",
            environment={"PROXY_PASSWORD": "shibboleth"},
        ) as south,
    ):
        assert "does not accept this user and password" in _join_problem(south)
        assert "shibboleth" not in south.log_text()
        real.login = ("ada", "shibboleth")
        south.wait_until(lambda node: node.status()["peers"]["present"] == 1, 60)
        text = run(tmp_path, "status", "-c", str(south.config), environment={"PROXY_PASSWORD": "shibboleth"}).out
        assert f"by {kind}://{LOOPBACK}:{real.port}; opened" in text
