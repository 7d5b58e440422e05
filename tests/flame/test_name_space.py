"""The name space: one address for a value, wherever it is."""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from flame.archive import write_archive
from flame.control import InputCount
from flame.journal import Journal
from flame.limits import LOG_SHOWN_BYTES_MAX
from flame.names.comparison import compare
from flame.names.name_space import NameSpace, read_value
from flame.run.run_progress import NodeProgress, Progress, progress_file
from flame.run.run_record import NodeResult
from flame.run.runs import find_run
from flame.values import encode
from protocol.errors import AddressError, Code, FlottaError, StorageError, WorkflowError
from tests.flame.saved_runs import BEGAN_NS, SECOND_NS, SavedRun, graph

ODD = [0.0, -0.0, math.nan, math.inf, -math.inf, b"\x00\xff", None, 2**63, 2**64 - 1, [[1.0], [2, [None, 3.0]]], "é"]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "flame_runs"


@pytest.fixture
def space(runs: Path) -> NameSpace:
    return NameSpace(runs)


@pytest.fixture
def saved(runs: Path) -> SavedRun:
    run = SavedRun(runs)
    run.set_values("lock", {"beat": [80.0, 80.5, 81.0, 81.5], "piezo": [0.1]}, memory={"integral": 1.5})
    run.set_values("scope", {"trace": [np.array([0.25, 0.5]), np.array([1.0])], "queue": [1, 2, 3]})
    return run


def values(space: NameSpace, address: str) -> list[Any]:
    return [value.value for value in space.read(address)]


def refusal(look: Callable[[], Any], code: Code) -> FlottaError:
    with pytest.raises((WorkflowError, AddressError, StorageError)) as caught:
        look()
    assert caught.value.code is code
    return caught.value


def test_one_value_has_the_same_address_absolute_relative_by_id_and_as_the_last(
    space: NameSpace, saved: SavedRun
) -> None:
    saved.end()
    forms = ["#/j1/lock/beat", "#lock/beat", "#/last/lock/beat", "#/@last/lock/beat", "#lock/out/beat"]
    for address in [*forms, f"#/{saved.document.id}/lock/beat"]:
        assert values(space, address) == [80.0, 80.5, 81.0, 81.5]
        assert space.read_value(address) == 81.5


def test_the_nearest_folder_of_runs_is_found_from_below(saved: SavedRun, tmp_path: Path) -> None:
    below = tmp_path / "analysis" / "plots"
    below.mkdir(parents=True)
    assert read_value("#lock/beat[0]", below) == 80.0


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("[-1]", [81.5]),
        ("[0]", [80.0]),
        ("[1:3]", [80.5, 81.0]),
        ("[-2:]", [81.0, 81.5]),
        ("[7:]", []),
        ("@2026-11-22T10:00:01Z", [80.5]),
        ("@2026-11-22T10:00:01.999999999Z", [80.5]),
        ("@2026-11-22T09:59Z", []),
        ("@2026-11-22T10:00:01Z..2026-11-22T10:00:02Z", [80.5, 81.0]),
        ("@2026-11-22T10:00:01.000000001Z..", [81.0, 81.5]),
        ("@..2026-11-22T10:00:00Z", [80.0]),
        ("@-58s..", [81.0, 81.5]),  # before the end of the run, a minute after its beginning
        ("@-58s", [81.0]),
    ],
)
def test_selectors_pick_by_position_and_time(
    space: NameSpace, saved: SavedRun, selector: str, expected: list[float]
) -> None:
    saved.end()
    assert values(space, f"#lock/beat{selector}") == expected


def test_one_value_or_a_list_is_what_the_selector_means(space: NameSpace, saved: SavedRun) -> None:
    assert space.read_value("#lock/beat[1]") == 80.5
    assert space.read_value("#lock/beat[1:2]") == [80.5]
    assert space.read_value("#lock/beat[9:]") == []
    refusal(lambda: space.read_value("#lock/beat[9]"), Code.NOTHING_THERE)


def test_every_value_carries_number_and_time(space: NameSpace, saved: SavedRun) -> None:
    assert [(one.seq, one.index, one.time_ns) for one in space.read("#lock/beat[2:]")] == [
        (3, 2, BEGAN_NS + 2 * SECOND_NS),
        (4, 3, BEGAN_NS + 3 * SECOND_NS),
    ]


def test_bug_02_every_value_is_read_as_it_was_set(space: NameSpace, runs: Path) -> None:
    SavedRun(runs).set_values("lock", {"beat": ODD})
    assert [encode(value) for value in values(space, "#lock/beat")] == [encode(value) for value in ODD]


def test_bug_10_values_have_the_time_of_measurement_and_their_order(space: NameSpace, runs: Path) -> None:
    run = SavedRun(runs)
    journal = Journal.open(run.folder.journal("lock"), run.journalled("lock"))
    times = [BEGAN_NS + 5, BEGAN_NS + 3, BEGAN_NS + 4]  # a clock that was set back
    for at, time_ns in enumerate(times):
        journal.append({"beat": encode(at)}, time_ns)
    journal.close()
    assert [(one.value, one.time_ns) for one in space.read("#lock/beat")] == list(enumerate(times))


def test_a_caller_cannot_tell_whether_a_value_came_from_the_journal_or_the_archive(
    space: NameSpace, runs: Path
) -> None:
    run = SavedRun(runs)
    run.set_values("lock", {"beat": [80.0, 80.5, 81.0, 81.5]})
    run.set_values("scope", {"trace": [*ODD, np.array([0.5, math.nan]), {"a": [b"x"]}]})
    write_archive(run.folder, run.document, run.end())
    selected = ["", "[-1]", "[1:3]", "[9:]", "@2026-11-22T10:00:01Z", "@-58s.."]
    addresses = [*(f"#lock/beat{one}" for one in selected), *(f"#scope/trace{one}" for one in selected)]

    def all_of() -> list[tuple[int, int, bytes]]:
        return [(one.seq, one.time_ns, encode(one.value)) for at in addresses for one in space.read(at)]

    listed, journalled = space.list("#lock/out")[0], all_of()
    shutil.rmtree(run.folder.path / "nodes")
    assert all_of() == journalled
    assert space.list("#lock/out")[0] == listed
    assert space.read_value("#lock/memory") == {}
    refusal(lambda: list(space.read("#lock/piezo")), Code.NOTHING_THERE)


def test_an_input_shows_what_arrived_there_in_its_unit(space: NameSpace, saved: SavedRun) -> None:
    assert [list(value) for value in values(space, "#lock/in/trace")] == [[250.0, 500.0], [1000.0]]
    assert [list(value) for value in values(space, "#scope/trace")] == [[0.25, 0.5], [1.0]]


def test_a_runtime_output_that_spills_is_read_from_the_journal(space: NameSpace, saved: SavedRun) -> None:
    assert values(space, "#scope/queue") == values(space, "#lock/in/queue") == [1, 2, 3]


def test_parameters_and_memory_are_read_one_by_one_and_as_a_whole(space: NameSpace, saved: SavedRun) -> None:
    assert space.read_value("#lock/params/gain") == space.read_value("#lock/in/gain") == 0.2
    assert space.read_value("#lock/params") == {"gain": 0.2}
    assert space.read_value("#lock/memory/integral") == 1.5
    assert space.read_value("#lock/memory") == {"integral": 1.5}


def test_the_rooms_without_names_tell_of_the_flame_node(space: NameSpace, saved: SavedRun) -> None:
    saved.folder.log("lock").parent.mkdir()
    saved.folder.log("lock").write_text("locked\n")
    saved.end("failed", nodes={"lock": NodeResult("failed", 1, problem="drift_lock.py:7: broken", restarts=2)})
    assert space.read_value("#lock/log") == "locked\n"
    assert space.read_value("#scope/log") == ""
    with saved.folder.log("lock").open("a") as log:
        log.write("x" * LOG_SHOWN_BYTES_MAX)
    shown = space.read_value("#lock/log")
    assert shown.startswith("[7 bytes before this: flame logs") and "locked" not in shown
    status = space.read_value("#lock/status")
    assert (status["state"], status["restarts"], status["problem"]) == ("failed", 2, "drift_lock.py:7: broken")
    assert space.read_value("#scope/status")["state"] == "failed"
    assert space.read_value("#lock/schema")["name"] == "DriftLock"
    assert space.read_value("#lock/stats")["outputs"]["beat"]["values"] == 4


def test_what_is_not_there_is_told_with_the_nearest_names(space: NameSpace, saved: SavedRun) -> None:
    assert "nearest: beat" in str(refusal(lambda: space.read_value("#lock/baet"), Code.NOTHING_THERE))
    assert "nearest: lock" in str(refusal(lambda: space.list("#/j1/lok"), Code.NOTHING_THERE))
    assert "it has gain" in str(refusal(lambda: space.read_value("#lock/params/speed"), Code.NOTHING_THERE))
    assert "it has integral" in str(refusal(lambda: space.read_value("#lock/memory/x"), Code.NOTHING_THERE))
    assert "has no input 'x'" in str(refusal(lambda: space.list("#lock/in/x"), Code.NOTHING_THERE))
    assert "is a folder" in str(refusal(lambda: space.read("#lock"), Code.NOTHING_THERE))


def test_a_runtime_output_of_a_run_that_ended_says_how_to_keep_it(space: NameSpace, saved: SavedRun) -> None:
    saved.end()
    assert "declare it finite or permanent" in str(refusal(lambda: list(space.read("#lock/error")), Code.NOTHING_THERE))


def test_of_a_runtime_output_that_is_live_no_earlier_value_can_be_asked_for(space: NameSpace, saved: SavedRun) -> None:
    with saved.running():
        for selector in ("[0]", "[-2:]", "@-5m.."):
            seen = refusal(partial(values, space, f"#lock/error{selector}"), Code.NOTHING_THERE)
            assert "the newest value alone" in str(seen)


def test_what_no_edge_converts_is_shown_as_it_was_sent(space: NameSpace, runs: Path) -> None:
    SavedRun(runs).set_values("scope", {"trace": [None, "text", [1.0], 2]})
    assert values(space, "#lock/in/trace") == [None, "text", [1.0], 2000.0]


def test_an_unknown_run_is_told_with_where_it_was_looked_for(space: NameSpace, saved: SavedRun, tmp_path: Path) -> None:
    assert str(space.runs) in str(refusal(lambda: space.list("#/j7"), Code.RUN_UNKNOWN))
    refusal(lambda: space.list("#/j" + "a" * 52 + "/lock/beat"), Code.RUN_UNKNOWN)
    refusal(lambda: read_value("#lock/beat", Path("/")), Code.RUN_UNKNOWN)


@pytest.mark.parametrize("address", ["lock/beat", "", "#", "#/", "#lock//beat", "#../x", "#/j0/lock", "#lock[0]"])
def test_what_is_no_address_of_a_value_is_refused(space: NameSpace, saved: SavedRun, address: str) -> None:
    with pytest.raises((AddressError, WorkflowError)):
        space.read_value(address)


def test_last_is_the_newest_run_that_ended_and_has_this_flame_node(space: NameSpace, runs: Path) -> None:
    SavedRun(runs).set_values("lock", {"beat": [1.0]})
    lone = graph()
    other = SavedRun(runs, type(lone)(name="other", nodes=lone.nodes[:1]))
    third = SavedRun(runs)
    third.set_values("lock", {"beat": [3.0]})
    with third.running():
        assert space.read_value("#/last/lock/beat") == 1.0
        assert space.list("#/last")[0].address == f"#/{other.folder.alias}/scope"
        assert space.read_value("#lock/beat") == 3.0
    assert space.read_value("#/last/lock/beat") == 3.0


def test_lists_show_runs_flame_nodes_outputs_and_rooms(space: NameSpace, saved: SavedRun) -> None:
    saved.end()
    assert [(one.address, one.kind, one.state, one.doc) for one in space.list()] == [
        ("#/j1", "run", "succeeded", "Rabi scan")
    ]
    assert [one.address for one in space.list("#/j1")] == ["#/j1/scope", "#/j1/lock"]
    beat = space.list("#lock")[0]
    assert (beat.address, beat.unit, beat.lifetime, beat.values) == ("#/j1/lock/beat", "MHz", "permanent", 4)
    assert next(one.address for one in space.list("#lock") if one.kind == "room") == "#/j1/lock/in"
    assert [(one.name, one.source) for one in space.list("#lock/in")] == [
        ("trace", "#/j1/scope/trace"),
        ("gain", "file"),
        ("queue", "#/j1/scope/queue"),
    ]
    assert space.list("#lock/beat") == (beat,)
    assert [one.name for one in space.list("#lock/memory")] == ["integral"]


def test_every_address_that_is_listed_can_be_listed_or_read(space: NameSpace, saved: SavedRun) -> None:
    def walk(address: str) -> None:
        for entry in space.list(address):
            if entry.kind in ("run", "flame node") or (
                entry.kind == "room" and entry.name in ("in", "params", "memory")
            ):
                walk(entry.address)
            elif entry.values is None and entry.kind in ("output", "input") and entry.name in ("level", "error"):
                refusal(partial(space.read_value, entry.address), Code.NOTHING_THERE)
            else:
                space.read_value(entry.address)

    walk("#/")


def test_a_run_whose_document_is_damaged_does_not_hide_the_others(space: NameSpace, runs: Path) -> None:
    SavedRun(runs)
    SavedRun(runs).folder.document.write_text("{")
    assert [one.state for one in space.list()] == ["broken off", "unreadable"]
    refusal(lambda: space.list("#/j2"), Code.FOLDER_UNUSABLE)


def test_outputs_are_found_by_unit_name_and_lifetime(space: NameSpace, saved: SavedRun) -> None:
    assert [one.name for one in space.find(unit="MHz")] == ["beat", "error"]
    assert [one.name for one in space.find(name="b*")] == ["beat"]
    assert [one.name for one in space.find(name="scope/*", lifetime="permanent")] == ["trace"]
    assert space.find(unit="K") == ()
    refusal(lambda: space.find(run="j9"), Code.RUN_UNKNOWN)


def test_watching_a_run_that_ended_gives_the_newest_value_and_ends(space: NameSpace, saved: SavedRun) -> None:
    saved.end()
    watch = space.watch("#lock/beat")
    assert [value.value for value in watch.values] == [81.5]
    assert watch.run.state == "succeeded"


def test_watching_gives_every_value_once_in_order_until_the_run_ends(space: NameSpace, runs: Path) -> None:
    run = SavedRun(runs)
    journal = Journal.open(run.folder.journal("lock"), run.journalled("lock"))
    journal.append({"beat": encode(0)}, BEGAN_NS)
    journal.append({"beat": encode(1)}, BEGAN_NS)
    seen: list[int] = []
    first = threading.Event()

    def watch() -> None:
        for value in space.watch("#lock/beat").values:
            seen.append(value.value)
            first.set()

    with run.running():
        watcher = threading.Thread(target=watch)
        watcher.start()
        assert first.wait(10)
        for number in range(2, 300):
            journal.append({"beat": encode(number)}, BEGAN_NS)
    watcher.join(20)
    journal.close()
    assert not watcher.is_alive()
    assert seen == list(range(1, 300))


def test_watching_begins_before_the_flame_node_does(space: NameSpace, runs: Path) -> None:
    run = SavedRun(runs)
    seen: list[Any] = []
    with run.running():
        watcher = threading.Thread(target=lambda: seen.extend(space.watch("#lock/beat").values))
        watcher.start()
        run.set_values("lock", {"beat": [1.0]})
    watcher.join(20)
    assert [value.value for value in seen] == [1.0]


def test_what_never_changes_is_not_watched(space: NameSpace, saved: SavedRun) -> None:
    refusal(lambda: space.watch("#lock/params/gain"), Code.NOTHING_THERE)
    refusal(lambda: space.watch("#lock/beat[0]"), Code.NOTHING_THERE)


def test_values_stay_where_they_were_when_the_folder_is_moved(saved: SavedRun, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "flame_runs"
    moved.parent.mkdir()
    shutil.move(saved.folder.path.parent, moved)
    assert NameSpace(moved).read_value("#/j1/lock/beat") == 81.5


def test_an_address_of_values_that_were_kept_for_a_while_says_that_they_are_gone(
    space: NameSpace, saved: SavedRun
) -> None:
    saved.set_values("lock", {"piezo": [0.2, 0.3, 0.4]})
    with Journal.open(saved.folder.journal("lock"), saved.journalled("lock")) as journal:
        journal.drop({"piezo": 2})
    assert values(space, "#lock/piezo") == values(space, "#lock/piezo[0:4]") == [0.3, 0.4]
    assert space.read_value("#lock/piezo[-1]") == 0.4 and values(space, "#lock/piezo[9:12]") == []
    assert [value.index for value in space.read("#lock/piezo[1:3]")] == [2]
    for address in ("#lock/piezo[0]", "#lock/piezo[0:2]", "#lock/piezo@2026-11-22T10:00:00Z", "#lock/piezo[-4:-2]"):
        with pytest.raises(WorkflowError, match="before \\[2\\] were kept for a while only, and are gone"):
            values(space, address)
    assert space.list("#lock/piezo")[0].values == 4


def test_status_and_stats_have_one_shape_while_a_run_goes_on_and_afterwards(
    space: NameSpace, saved: SavedRun, tmp_path: Path
) -> None:
    counted = {"trace": InputCount(received=7, waiting=2)}
    now = NodeProgress("running", restarts=1, waits_for="room in scope/x", inputs=counted, sent={"beat": 4})
    saved.folder.sockets.symlink_to(tmp_path)
    progress_file(tmp_path).write_bytes(msgspec.json.encode(Progress({"lock": now})))
    with saved.running():
        live = [space.read_value("#lock/status"), space.read_value("#lock/stats")]
        assert space.list("#/j1")[1].state == "running"
        unknown = space.read_value("#scope/status")
        progress_file(tmp_path).write_bytes(b"{")
        assert space.read_value("#lock/status")["state"] == "running"
    assert (live[0]["restarts"], live[0]["waits_for"]) == (1, "room in scope/x")
    assert live[1]["inputs"]["trace"]["received"] == 7 and live[1]["sent"] == {"beat": 4}
    saved.end("stopped", nodes={"lock": NodeResult("stopped", 0, restarts=1, inputs=counted, sent={"beat": 4})})
    ended = [space.read_value("#lock/status"), space.read_value("#lock/stats")]
    assert [list(one) for one in ended] == [list(one) for one in live] and unknown.keys() == live[0].keys()
    assert ended[1] == live[1] and ended[0]["state"] == "stopped"


def test_values_that_are_gone_are_no_difference(space: NameSpace, saved: SavedRun, runs: Path) -> None:
    saved.set_values("lock", {"piezo": [0.2, 0.3]})
    other = SavedRun(runs)
    other.set_values("lock", {"beat": [80.0, 80.5, 81.0, 81.5], "piezo": [0.1, 0.2, 0.3]})
    with Journal.open(other.folder.journal("lock"), other.journalled("lock")) as journal:
        journal.drop({"piezo": 2})
    found = {difference.what for difference in compare(find_run(runs, "j1"), find_run(runs, "j2"))}
    assert not [what for what in found if "piezo" in what]
