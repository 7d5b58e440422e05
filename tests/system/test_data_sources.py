"""Data sources of real nodes: who reaches which, what others see of them, and what happens to their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.tables.shares import penguin_shares
from protocol.plan.tasks import Summary
from tests.flotta_p2p.commands.lines import run
from tests.system.jobs import client, fresh_token, mean_of, sees, submit_and_wait
from tests.system.nodes import RunningNode, running_node

pytestmark = pytest.mark.system
HEART, STROKE = fresh_token(), fresh_token()
WARD = "age,sex,ssn\n" + "".join(f"{30 + at},{'fm'[at % 2]},{at}\n" for at in range(20))
SECOND_SOURCE = f"""
  - name: ward
    type: csv
    path: ward.csv
    token: [{STROKE}]
    policy: {{hidden: [ssn], groupable: []}}
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningNode, RunningNode]]:
    """North holds two sources of two projects; South one of the first project, which alone they share."""
    folder = tmp_path_factory.mktemp("sources")
    ports = free_ports(2)
    (folder / "north").mkdir()
    (folder / "north" / "ward.csv").write_text(WARD)
    shares = penguin_shares()
    with (
        running_node(
            folder / "north",
            name="North",
            port=ports[0],
            token=HEART,
            csv_text=shares["Biscoe"],
            extra_yaml=SECOND_SOURCE.lstrip("\n"),
        ) as north,
        running_node(
            folder / "south",
            name="South",
            port=ports[1],
            token=HEART,
            csv_text=shares["Dream"],
            join=f"127.0.0.1:{ports[0]}",
        ) as south,
    ):
        north.wait_until(lambda node: sees(node, 1))
        for node in (north, south):
            node.wait_until(lambda one: all(source["state"] == "ready" for source in one.status()["sources"]))
        yield north, south


def rows_of(node: RunningNode, token: str, column: str) -> Summary:
    status = submit_and_wait(node, mean_of(token, column))
    assert status.state == "succeeded", status.cause
    with client(node) as asking:
        result, _ = asking.result(status.job_id, status.scheduler)
    assert isinstance(result, Summary)
    return result


def test_n5_each_project_reaches_exactly_its_own_sources(nodes: tuple[RunningNode, RunningNode]) -> None:
    north, _ = nodes
    stroke = rows_of(north, STROKE, "age")
    assert (stroke.rows, stroke.coverage.sources) == (20, 1)
    heart = rows_of(north, HEART, "body_mass_g")
    assert heart.coverage.sources == 2
    for token, column in ((HEART, "age"), (STROKE, "body_mass_g")):
        failed = submit_and_wait(north, mean_of(token, column))
        assert failed.cause is not None and failed.cause.code == "column-unknown"


def test_members_see_what_each_holder_publishes_and_nothing_of_other_projects(
    nodes: tuple[RunningNode, RunningNode], tmp_path: Path
) -> None:
    north, south = nodes
    listed = run(tmp_path, "data", "list", "--network", "--json", "-c", str(south.config)).values["sources"]
    assert sorted((one["holder"], one["source"]) for one in listed) == [("North", "north"), ("South", "south")]
    for one in listed:
        assert {"name": "species", "type": "text", "groups": True} in one["columns"], one
        assert one["columns_all"] == len(one["columns"]) and not one["problem"]
    own = run(tmp_path, "data", "list", "--network", "--json", "-c", str(north.config)).values["sources"]
    (ward,) = [one for one in own if one["source"] == "ward"]
    assert ward["columns"] == [
        {"name": "age", "type": "number", "groups": False},
        {"name": "sex", "type": "text", "groups": False},
    ]


def test_a_person_without_a_node_sees_them_through_a_door(
    nodes: tuple[RunningNode, RunningNode], tmp_path: Path
) -> None:
    north, _ = nodes
    (tmp_path / "heart.token").write_text(HEART)
    assert run(tmp_path, "key", "new").code == 0
    door = ("--to", north.address, "--token-file", str(tmp_path / "heart.token"))
    listed = run(tmp_path, "data", "list", "--network", "--json", *door).values["sources"]
    assert sorted((one["holder"], len(one["columns"]) > 3) for one in listed) == [("North", True), ("South", True)]


def test_the_holder_sees_its_sources_with_state_rows_and_projects(
    nodes: tuple[RunningNode, RunningNode], tmp_path: Path
) -> None:
    north, _ = nodes
    found = run(tmp_path, "data", "list", "--json", "-c", str(north.config)).values
    assert found["node_runs"]
    ward = next(one for one in found["sources"] if one["name"] == "ward")
    assert (ward["state"], ward["rows"], ward["columns"]) == ("ready", 20, 2)
    shown = run(tmp_path, "data", "show", "ward", "-c", str(north.config))
    assert shown.code == 0 and "ssn: as if the table did not have them" in shown.out
    assert "none: nobody may group by a column" in shown.out


def test_a_file_that_goes_and_comes_back_closes_and_opens_its_source_without_a_restart(
    nodes: tuple[RunningNode, RunningNode],
) -> None:
    north, _ = nodes
    table = north.folder / "ward.csv"

    def state(node: RunningNode) -> str:
        return str(next(one["state"] for one in node.status()["sources"] if one["name"] == "ward"))

    table.unlink()
    north.wait_until(lambda node: state(node) == "gone")
    failed = submit_and_wait(north, mean_of(STROKE, "age"))
    assert failed.cause is not None and failed.cause.code == "source-missing" and failed.cause.next_step
    table.write_text(WARD.replace("sex", "gender"))
    north.wait_until(lambda node: state(node) == "changed")
    failed = submit_and_wait(north, mean_of(STROKE, "age"))
    assert failed.cause is not None and failed.cause.code == "source-schema-changed" and failed.cause.next_step
    table.write_text(WARD.replace("ssn", "ssn_2"))  # what was hidden would stand there under another name
    failed = submit_and_wait(north, mean_of(STROKE, "age"))
    assert failed.cause is not None and failed.cause.code == "source-policy-unfit"
    table.write_text(WARD)
    north.wait_until(lambda node: state(node) == "ready")
    assert rows_of(north, STROKE, "age").rows == 20
    log = north.log_text()
    assert log.count('source ward: the table of the source "ward" is missing') == 1


def test_a_source_that_is_added_while_the_node_runs_is_open_after_the_next_start(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    folder = tmp_path / "node"
    (tmp_path / "ward.csv").write_text(WARD)
    with running_node(folder, name="North", port=port, token=HEART, csv_text=WARD) as node:
        before = node.config.read_text()
        words = ("ward", str(tmp_path / "ward.csv"), "--project", "penguins", "-c", str(node.config))
        added = run(tmp_path, "data", "add", *words)
        assert added.code == 0 and "stop the node and start it again" in added.out
        listed = run(tmp_path, "data", "list", "--json", "-c", str(node.config)).values["sources"]
        assert [(one["name"], one["state"]) for one in listed][1] == ("ward", "not open")
        block = node.config.read_text().removeprefix(before)
    with running_node(folder, name="North", port=port, token=HEART, csv_text=WARD, extra_yaml=block) as node:
        node.wait_until(lambda one: [source["state"] for source in one.status()["sources"]] == ["ready", "ready"])
