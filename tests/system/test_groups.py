"""One question by group over three real nodes, through the command line, with what a person sees of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.tables.shares import penguin_shares
from protocol.tokens import new_token
from tests.flotta_p2p.commands.lines import Ran, run
from tests.system.jobs import sees
from tests.system.nodes import RunningNode, running_node

pytestmark = pytest.mark.system
TOKEN = new_token(b"groups of penguins..")
Line = Callable[..., Ran]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Asks three nodes that have met, each with the penguins of one island; Torgersen opens two columns alone."""
    folder = tmp_path_factory.mktemp("islands")
    shares = penguin_shares()
    closed = "    policy:\n      columns: [species, body_mass_g]\n"
    with ExitStack() as stack:
        nodes: list[RunningNode] = []
        for (island, share), port in zip(shares.items(), free_ports(len(shares)), strict=True):
            context = running_node(
                folder / island,
                name=island,
                port=port,
                token=TOKEN,
                csv_text=share,
                discovery=True,
                extra_yaml=closed if island == "Torgersen" else "",
            )
            nodes.append(stack.enter_context(context))
        for node in nodes:
            node.wait_until(lambda one: sees(one, 2), 60)
        assert run(folder, "key", "new").code == 0
        place = ("-c", str(nodes[0].config), "--project", "penguins", "--holders-min", "3")
        yield lambda *words: run(folder, "submit", *words, *place)


def test_a_question_by_group_shows_the_groups_of_all_holders_and_what_each_withheld(ask: Line) -> None:
    ran = ask("--columns", "body_mass_g", "--by", "species", "--where", "not (body_mass_g is None)")
    assert ran.code == 0, ran.err
    _, _, *lines = ran.out.splitlines()
    assert lines[:2] == ["342 rows in 3 groups, of 3 of 3 sources", ""]
    assert lines[2] == "body_mass_g by species"
    assert [line.split()[:7] for line in lines[3:7]] == [
        ["species", "rows", "sources", "present", "missing", "mean", "variance"],
        ["Adelie", "151", "3", "of", "3", "151", "0"],
        ["Chinstrap", "68", "1", "of", "1", "68", "0"],
        ["Gentoo", "123", "1", "of", "1", "123", "0"],
    ]
    assert lines[-1] == "Nothing was withheld."


def test_a_column_that_groups_needs_the_holders_permission_as_any_other(ask: Line) -> None:
    line = ask("--columns", "body_mass_g", "--by", "species,sex").refused(1)
    assert "Torgersen" in line and "does not open the column 'sex'" in line


def test_json_names_the_value_of_each_column_that_groups(ask: Line) -> None:
    values = ask("--by", "species", "--json").values
    assert [(group["key"], group["rows"]) for group in values["groups"]] == [
        ({"species": "Adelie"}, 152),
        ({"species": "Chinstrap"}, 68),
        ({"species": "Gentoo"}, 124),
    ]
    assert {one["name"] for one in values["coverage"]["by_source"]} == set(penguin_shares())
