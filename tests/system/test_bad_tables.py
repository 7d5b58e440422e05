"""A table that cannot be used fails the job with one sentence; the node lives on and answers the next question."""

from __future__ import annotations

import threading
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
        (HEADER + b"\n" + FIRST.replace(b"37", b"3\0") + b"\n" + REST, "source-encoding"),
        (b",".join(b"c%d" % at for at in range(10_000)) + b"\n", "source-too-large"),
        (HEADER + b"\n" + FIRST + b',"\n' + REST, "source-ragged"),
        (HEADER + b",name\n" + GOOD.partition(b"\n")[2].replace(b"\n", b",x\n"), "source-schema-changed"),
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


def test_a_folder_in_the_place_of_the_table_says_so(node: RunningNode) -> None:
    table = node.folder / "table.csv"
    table.unlink()
    table.mkdir()
    try:
        assert "is a folder" in ask(node).refused(1)
        node.wait_until(lambda one: one.status()["sources"][0]["state"] == "broken")
    finally:
        table.rmdir()
        table.write_bytes(GOOD)
    assert ask(node).code == 0


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        b"\n".join(b'"' + line.replace(b",", b'","') + b'"' for line in GOOD.splitlines()),
        GOOD.replace(b"Adelie", b'"Ade\nlie"', 1),
    ],
    ids=["byte order mark", "CRLF", "quoted", "a quoted line end"],
)
def test_the_usual_forms_of_a_table_give_the_same_result(node: RunningNode, table: Path, text: bytes) -> None:
    assert table.read_bytes() == GOOD
    asked = [ask(node, "--json").values]
    table.write_bytes(text)
    asked.append(ask(node, "--json").values)
    before, after = ({**values, "job": ""} for values in asked)
    assert before == after and before["columns"]


def test_a_table_that_grows_all_the_time_gives_a_whole_result_or_one_sentence(node: RunningNode, table: Path) -> None:
    stop = threading.Event()

    def grow() -> None:
        while not stop.wait(0.005):
            with table.open("ab") as file:
                file.write(FIRST + b"\n")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(3):
            asked = ask(node, "--json")
            assert asked.code == 0 or asked.values["error"]["code"] == "source-changed"
    finally:
        stop.set()
        writer.join()


def test_a_bad_table_is_told_by_a_check_before_anything_is_configured(tmp_path: Path) -> None:
    bad = {
        "missing.csv": None,
        "ragged.csv": b"age,sex\n1,f\n2\n",
        "nul.csv": b"age,sex\n1,f\n2,\0\n",
        "twice.csv": b"age,age\n1,2\n",
    }
    for name, content in bad.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        refused = run(tmp_path, "data", "check", str(tmp_path / name))
        assert refused.code == 8 and "Next: " in refused.refused(8), name
    assert run(tmp_path, "data", "check", str(tmp_path)).code == 8
    (tmp_path / "mixed.csv").write_text("dose,name\n1,Rossi\n2,Rossi\nlots,Rossi\n")
    told = run(tmp_path, "data", "check", str(tmp_path / "mixed.csv"))
    assert told.code == 0 and "stands in line 4" in told.out
    assert "lots" not in told.out and "Rossi" not in told.out
