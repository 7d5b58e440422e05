"""A table that cannot be used fails the job with one sentence; the node lives on and answers the next question."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.tables.shares import penguin_shares
from tests.flotta_p2p.commands.lines import Ran, run
from tests.system.jobs import fresh_token
from tests.system.nodes import RunningNode, running_node

pytestmark = pytest.mark.system
GOOD = penguin_shares()["Biscoe"].encode()
HEADER, FIRST, REST = GOOD.split(b"\n", 2)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    folder = tmp_path_factory.mktemp("north")
    port = free_ports(1)[0]
    with running_node(folder, name="North", port=port, token=fresh_token(), csv_text=GOOD.decode()) as one:
        assert run(folder, "key", "new").code == 0
        yield one


@pytest.fixture
def table(node: RunningNode) -> Iterator[Path]:
    """The node's table, to be spoilt; good again afterwards."""
    file = node.folder / "table.csv"
    yield file
    file.write_bytes(GOOD)
    assert ask(node).code == 0


def ask(node: RunningNode, *more: str) -> Ran:
    return run(
        node.folder, "submit", "--project", "penguins", "--columns", "body_mass_g", *more, "-c", str(node.config)
    )


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        (None, "source-missing"),
        (b"", "source-empty"),
        (HEADER + b"\nAdelie,Biscoe,39.1\n" + REST, "source-ragged"),
        (HEADER + b"\nAd\xe9lie" + FIRST[6:] + b"\n" + REST, "source-encoding"),
        (HEADER + b"\n" + FIRST.replace(b"3400", b"heavy").replace(FIRST.split(b",")[5], b"heavy") + b"\n" + REST,
         "column-not-numeric"),
        (HEADER.replace(b"year", b"sex") + b"\n" + FIRST + b"\n" + REST, "column-duplicate"),
        (HEADER + b"\n" + FIRST.replace(FIRST.split(b",")[5], b"1e200") + b"\n" + REST, "value-out-of-range"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_unusable_table_is_one_sentence_with_node_job_cause_and_next_step(
    node: RunningNode, table: Path, spoilt: bytes | None, code: str
) -> None:
    if spoilt is None:
        table.unlink()
    else:
        table.write_bytes(spoilt)
    pid = node.node_pid
    line = ask(node).refused(1)
    assert "job j" in line and "failed at node North" in line
    as_json = ask(node, "--json")
    assert (as_json.code, as_json.values["error"]["code"]) == (1, code)
    assert str(table) not in line and "heavy" not in line  # neither the path nor a cell leaves the holder
    assert node.node_pid == pid
