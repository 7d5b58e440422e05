"""`ls`, `cat`, `watch`, `find`, `plot`, `diff`: what a person and a script get to see."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from flame.run.run_record import to_json
from flame.types import portable
from flame.values import encode
from flotta_p2p import exit_codes
from flotta_p2p.commands.flame import flame
from tests.flame.saved_runs import SavedRun, graph

ODD = [
    0.0,
    -0.0,
    math.nan,
    math.inf,
    b"\x00\xff",
    None,
    2**63,
    [[1.0], [2, [None]]],
    "a,b\n",
    np.array([1.5, math.nan]),
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SavedRun:
    monkeypatch.chdir(tmp_path)
    saved = SavedRun(tmp_path / "flame_runs")
    saved.set_values("lock", {"beat": [80.0, 80.5, 81.0], "piezo": ODD}, memory={"integral": 1.5})
    saved.set_values("scope", {"trace": [np.array([0.25, 0.5, 0.25])]})
    saved.end()
    return saved


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        flame.main(list(words), "flame")
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.out, said.err


def values_in(text: str) -> list[Any]:
    return [portable.load(one["value"]) for one in json.loads(text)["values"]]


def test_ls_shows_only_columns_that_say_something(run: SavedRun, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "ls", "#lock/out")
    assert code == exit_codes.OK
    assert out.splitlines()[0].split() == ["address", "kind", "type", "unit", "lifetime", "values", "newest", "doc"]
    assert "#/j1/lock/beat" in out and "MHz" in out and "2026-11-22T10:00:02.000000000Z" in out


def test_ls_without_an_address_lists_runs(run: SavedRun, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "ls", "--json")
    assert [(one["address"], one["state"]) for one in json.loads(out)["entries"]] == [("#/j1", "succeeded")]


def test_bug_02_cat_as_json_gives_every_value_bit_for_bit(run: SavedRun, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "cat", "#lock/piezo", "--json")
    assert code == exit_codes.OK
    assert [encode(one) for one in values_in(out)] == [encode(one) for one in ODD]


def test_bug_10_cat_gives_position_and_time_with_every_value(run: SavedRun, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "cat", "#lock/beat[1:]")
    assert out.splitlines() == ["1  2026-11-22T10:00:01.000000000Z  80.5", "2  2026-11-22T10:00:02.000000000Z  81.0"]


def test_cat_as_csv_is_read_back_by_any_reader(run: SavedRun, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "cat", "#lock/piezo", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["index"] for row in rows] == [str(at) for at in range(len(ODD))]
    assert rows[3]["value"] == "inf" and rows[5]["value"] == "" and rows[6]["value"] == str(2**63)
    assert rows[8]["value"] == "a,b\n"
    assert int(rows[1]["time_ns"]) - int(rows[0]["time_ns"]) == 10**9


def test_cat_of_nothing_selected_is_empty_in_every_form(run: SavedRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "cat", "#lock/beat[9:]")[:2] == (exit_codes.OK, "")
    assert values_in(call(capsys, "cat", "#lock/beat[9:]", "--json")[1]) == []
    assert call(capsys, "cat", "#lock/beat[9:]", "--csv")[1] == "index,time,time_ns,value\n"


def test_cat_shows_parameters_memory_and_the_log(run: SavedRun, capsys: pytest.CaptureFixture[str]) -> None:
    run.folder.log("lock").parent.mkdir()
    run.folder.log("lock").write_text("one\ntwo\n")
    assert call(capsys, "cat", "#lock/params")[1] == "gain  0.2\n"
    assert json.loads(call(capsys, "cat", "#lock/memory/integral", "--json")[1])["value"] == 1.5
    assert call(capsys, "cat", "#lock/log")[1] == "one\ntwo\n"


def test_a_fault_is_one_sentence_and_an_exit_code(run: SavedRun, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "cat", "#lock/baet")
    assert (code, out) == (exit_codes.DATA, "")
    assert err.startswith("flame: #/j1/lock/baet: lock has no output 'baet'; nearest: beat.")
    assert err.endswith("[nothing-there]\n")
    code, out, _ = call(capsys, "cat", "#lock/error", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (exit_codes.DATA, "nothing-there")
    assert call(capsys, "ls", "lock")[0] == exit_codes.DATA
    assert call(capsys, "cat", "#lock/beat", "--csv", "--json")[0] == exit_codes.USAGE


def test_watch_of_a_run_that_ended_gives_the_newest_value_and_says_so(
    run: SavedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "watch", "#lock/beat")
    assert (code, out) == (exit_codes.OK, "2  2026-11-22T10:00:02.000000000Z  81.0\n")
    assert err == "run j1 is over: succeeded\n"


def test_find_searches_by_unit(run: SavedRun, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "find", "--unit", "MHz", "--run", "#/j1", "--json")
    assert [one["address"] for one in json.loads(out)["entries"]] == ["#/j1/lock/beat", "#/j1/lock/error"]
    assert call(capsys, "find", "--run", "#/j1/lock")[0] == exit_codes.USAGE


def test_plot_draws_numbers_over_time_and_the_last_array_over_its_index(
    run: SavedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capsys, "plot", "#lock/beat")
    assert code == exit_codes.OK
    assert out.splitlines()[0].strip() == "MHz"
    assert "81 ┤" in out and "80 ┤" in out and "0 to 2 s after 2026-11-22T10:00:00" in out
    assert json.loads(call(capsys, "plot", "#scope/trace", "--json")[1])["y"] == [0.25, 0.5, 0.25]
    assert call(capsys, "plot", "#lock/piezo[4]")[0] == exit_codes.DATA
    assert call(capsys, "plot", "#lock/beat[9:]")[0] == exit_codes.DATA


def test_a_picture_without_matplotlib_says_what_to_install(
    run: SavedRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = call(capsys, "plot", "#lock/beat", "--png", "beat.png")
    assert code == exit_codes.CONFIG and "pip install matplotlib" in err


def test_diff_of_a_run_with_itself_is_empty(run: SavedRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "diff", "j1", "#/last")[:2] == (exit_codes.OK, "no difference\n")


def test_diff_shows_parameters_ends_and_the_first_other_value(
    run: SavedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    other = SavedRun(run.folder.path.parent, graph(gain=math.nan))
    other.set_values("lock", {"beat": [80.0, -0.0]})
    code, out, _ = call(capsys, "diff", "j1", "j2", "--json")
    found = {(one["aspect"], one["what"]): one for one in json.loads(out)["differences"]}
    assert code == 1
    assert found["parameter", "#lock/params/gain"]["right"] == {"$float": "nan"}
    assert found["end", "run"]["right"] == "broken off"
    assert found["values", "#lock/beat (how many)"]["left"] == 3
    assert found["values", "#lock/beat[1]"]["right"] == -0.0
    assert "right" not in found["values", "#scope/trace (how many)"]
    assert "#lock/params/gain" in call(capsys, "diff", "j1", "j2")[1]


def test_an_unknown_run_is_no_usage_error(run: SavedRun, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "diff", "j1", "j9")
    assert code == exit_codes.DATA and "[run-unknown]" in err


def test_doctor_names_runs_that_were_broken_off(run: SavedRun, capsys: pytest.CaptureFixture[str]) -> None:
    SavedRun(run.folder.path.parent)
    code, out, _ = call(capsys, "doctor", "--json")
    found = {one["check"]: one for one in json.loads(out)["findings"]}
    assert code == exit_codes.OK
    assert found["runs"]["verdict"] == "warning" and "j2" in found["runs"]["seen"]
    assert {"folder", "disk", "fsync", "sockets", "libraries"} <= set(found)


def test_doctor_leaves_a_run_of_a_node_to_its_node(run: SavedRun, capsys: pytest.CaptureFixture[str]) -> None:
    kept = SavedRun(run.folder.path.parent)
    kept.folder.document.write_bytes(to_json(msgspec.structs.replace(kept.document, workdir="/srv/node")))
    found = {one["check"]: one for one in json.loads(call(capsys, "doctor", "--json")[1])["findings"]}
    assert "node of /srv/node" in found["run j2"]["seen"] and "--workdir /srv/node" in found["run j2"]["next_step"]
