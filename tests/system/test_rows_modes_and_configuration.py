"""Rows of modes and configuration, each as a person meets it: the command, real processes, and their sockets."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from flotta_p2p.tables.shares import penguin_shares
from protocol.ids import format_id
from tests.flotta_p2p.commands.lines import run
from tests.flotta_p2p.configuration_files import TOKEN_A, TOKEN_B
from tests.flotta_p2p.test_configuration_good import SAMPLE
from tests.system.netns import Namespace, namespaces
from tests.system.processes import wait_until
from tests.system.started import Started, started

pytestmark = [pytest.mark.system, pytest.mark.netns]
OTHER: Final = format_id(bytes(32))
SHORTEST: Final = """\
datasources:
  - name: penguins
    type: csv
    path: penguins.csv
    token: [%s]
"""


@pytest.fixture
def machine() -> Iterator[Namespace]:
    """A machine of its own, where the usual ports are free."""
    with namespaces(1) as (one,):
        yield one


def told(node: Started) -> list[list[str]]:
    """The commands that the node tells to type."""
    lines = [shlex.split(line) for line in node.log().splitlines() if line.startswith("  flotta-p2p ")]
    return [words[1:] for words in lines]


def has_problem(node: Started, words: str) -> bool:
    """Whether the node says this of the address that it cannot join at."""
    ran = node.line("peers", "--json", "--workdir", str(node.workdir))
    return words in str(ran.values["joins"][0]["problem"])


# --- M3 ----------------------------------------------------------------------------------------


def test_row_m3_a_standalone_node_needs_nothing_and_answers_what_it_tells_to_ask(
    machine: Namespace, tmp_path: Path
) -> None:
    with started(machine, tmp_path, tmp_path / "data" / "flotta-p2p-standalone", "flotta_p2p.standalone") as node:
        assert "for learning and tests" in node.log()
        (question,) = told(node)
        answered = node.line(*question, "--json")
        assert answered.code == 0, answered.err
        assert (answered.values["rows"], answered.values["columns"]["body_mass_g"]["mean"]) == (152, 3700.6622516556292)
        assert node.sockets() == {"127.0.0.1:1458", "127.0.0.1:1459"}, "loopback alone"
        assert node.status()["discovery"]["zeroconf"] is False, "nothing is announced"


def test_row_m3_a_standalone_node_accepts_a_configuration_and_a_weak_token(machine: Namespace, tmp_path: Path) -> None:
    (tmp_path / "penguins.csv").write_text(penguin_shares()["Dream"])
    (tmp_path / "site.yaml").write_text("mode: node\nworkdir: work\nsettings: {keys: keys}\n" + SHORTEST % "secret")
    words = ("flotta_p2p", "up", "--standalone", "-c", "site.yaml")
    with started(machine, tmp_path, tmp_path / "work", *words) as node:
        assert node.sockets() == {"127.0.0.1:1456", "127.0.0.1:1457"}, "loopback alone"
        assert (tmp_path / "keys" / "node.key").exists() and not (tmp_path / "work" / "keys").exists()
        (look,) = told(node)
        assert "penguins" in node.line(*look).out
        assert node.line("key", "new").code == 0
        place = ("--workdir", str(tmp_path / "work"))
        answered = node.line("submit", "--project", "penguins", "--columns", "year", *place, "--json")
        assert answered.values["rows"] == 124


def test_row_m3_a_standalone_node_refuses_whatever_would_connect_it_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("mode: standalone\nworkdir: work\n" + SHORTEST % "secret")
    of_the_file = ("-c", str(tmp_path / "site.yaml"))
    of_its_folder = ("--workdir", str(tmp_path / "data" / "flotta-p2p-standalone"))
    for place in (of_the_file, of_its_folder):
        for words in (
            ("join", "lab:1456"),
            ("join", "fp2i_no-invitation"),
            ("peers", "invite"),
            ("peers", "accept", OTHER),
        ):
            refused = run(tmp_path, *words, *place).refused(5)
            assert "a standalone node is for learning and tests" in refused and "[node-alone]" in refused
    assert list(tmp_path.iterdir()) == [tmp_path / "site.yaml"]


def test_row_m3_a_standalone_node_connects_with_nobody_while_it_runs(machine: Namespace, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("alone", "member", "stranger")]
    for folder, port, token in zip(folders, (1456, 1466, 1476), (TOKEN_A, TOKEN_A, TOKEN_B), strict=True):
        folder.mkdir()
        (folder / "penguins.csv").write_text(penguin_shares()["Dream"])
        join = "" if port == 1456 else "join: {url: '127.0.0.1:1456'}\nsettings: {discovery: false}\n"
        (folder / "site.yaml").write_text(f"workdir: work\nnode: {{port: {port}}}\n{join}" + SHORTEST % token)
    up = ("flotta_p2p", "up", "-c", "site.yaml")
    with (
        started(machine, folders[0], folders[0] / "work", *up, "--standalone") as alone,
        started(machine, folders[1], folders[1] / "work", *up) as member,
        started(machine, folders[2], folders[2] / "work", *up) as stranger,
    ):
        for words in (("join", "lab:1456"), ("peers", "invite"), ("peers", "accept", OTHER)):
            assert "[node-alone]" in alone.line(*words, "--workdir", str(alone.workdir)).refused(5)
        assert not (alone.workdir / "joins").exists()
        for one, problem in ((member, "did not open its door"), (stranger, "no project token in common")):
            wait_until(partial(has_problem, one, problem))
        assert "a standalone node is for learning and tests" in member.log()
        assert alone.status()["door"]["refused"]["node-alone"] >= 1
        for one in (alone, member, stranger):
            assert sum(one.status()["peers"].values()) == 0


# --- N1 ----------------------------------------------------------------------------------------


def test_row_n1_the_sample_of_the_original_manual_starts_a_node(machine: Namespace, tmp_path: Path) -> None:
    (tmp_path / "iris.csv").write_text(penguin_shares()["Dream"])
    (tmp_path / "config.yaml").write_text(SAMPLE.replace("/data/iris.csv", str(tmp_path / "iris.csv")))
    with started(machine, tmp_path, tmp_path / "storage", "flotta_p2p", "-c", "config.yaml") as node:
        status = node.status()
        assert status["name"] == "flottaNode"
        assert {"127.0.0.1:1456", f"{machine.address}:1456"} <= node.sockets()
        assert [project["name"] for project in status["projects"]] == ["my_beautiful_project"]
        assert status["database"] == str(tmp_path / "sqlite.db")


def test_row_n1_the_shortest_useful_file_is_one_data_source_with_a_token(machine: Namespace, tmp_path: Path) -> None:
    (tmp_path / "penguins.csv").write_text(penguin_shares()["Biscoe"])
    (tmp_path / "config.yaml").write_text(SHORTEST % TOKEN_A)
    with started(machine, tmp_path, tmp_path / "data" / "flotta-p2p", "flotta_p2p", "up", "-c", "config.yaml") as node:
        assert [project["name"] for project in node.status()["projects"]] == ["penguins"]
        assert node.line("key", "new").code == 0
        answered = node.line("submit", "--project", "penguins", "--columns", "body_mass_g", "--json")
        assert answered.values["rows"] == 168


# --- N2, N3 ------------------------------------------------------------------------------------


def test_row_n2_variables_are_replaced_in_values_and_lists_and_an_unset_one_is_named(
    machine: Namespace, tmp_path: Path
) -> None:
    (tmp_path / "penguins.csv").write_text(penguin_shares()["Dream"])
    (tmp_path / "config.yaml").write_text("node: {name: '${SITE}'}\n" + SHORTEST % "'${TOKEN_OF_HEART}'")
    set_ = {"SITE": "north", "TOKEN_OF_HEART": TOKEN_A}
    workdir = tmp_path / "data" / "flotta-p2p"
    with started(machine, tmp_path, workdir, "flotta_p2p", "-c", "config.yaml", environment=set_) as node:
        assert node.status()["name"] == "north"
        assert TOKEN_A not in node.log()
    refused = run(tmp_path, "up", "-c", str(tmp_path / "config.yaml"), environment={"SITE": "north"}).refused(3)
    assert "line 6: the environment variable TOKEN_OF_HEART is not set" in refused


def test_row_n3_a_wrong_key_is_refused_with_file_line_expectation_and_nearest_key_and_nothing_starts(
    tmp_path: Path,
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(SAMPLE.replace("heartbeat:", "hartbeat:"))
    refused = run(tmp_path, "up", "-c", str(file)).refused(3)
    assert f'{file} line 9: unknown key "hartbeat" under node; did you mean "heartbeat"?' in refused
    file.write_text(SAMPLE.replace("dialect: sqlite ", "dialect: postgresql "))
    refused = run(tmp_path, "up", "-c", str(file)).refused(3)
    assert 'database.dialect: "postgresql" is not part of this version yet; it can do "sqlite"' in refused
    assert list(tmp_path.iterdir()) == [file]
