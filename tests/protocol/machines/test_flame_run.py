"""The machine of a flame run: what starts when, what each end is called, what is started anew, and when it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest

from flame import graph
from flame.run import run_record
from protocol.errors import InvariantBroken
from protocol.limits import (
    FLAME_BEAT_MISSED_MS,
    FLAME_COMPUTING_MS,
    FLAME_FAREWELL_MS,
    FLAME_HELLO_MS,
    FLAME_KILL_MS,
    FLAME_LEAVE_MS,
    FLAME_SAFE_MS,
    FLAME_STOP_MS,
    FLAME_WIRE_MS,
)
from protocol.machines import flame_events
from protocol.machines.contract import Stories, TimerFired
from protocol.machines.flame_events import (
    Finish,
    Interrupted,
    NodeConnected,
    NodeGreeted,
    NodeLeft,
    NodeMeasured,
    NodePlan,
    NodeWantsStop,
    ProcessEnded,
    RunBegun,
    RunLimits,
    StopOrdered,
)
from protocol.machines.flame_run import LIMIT_TIMER, TRANSITIONS
from tests.protocol.machines.flame_world import World
from tests.protocol.machines.test_transitions import Row, pairs_of, rows_of

A, B = NodePlan(name="a"), NodePlan(name="b")
ANEW = NodePlan(name="a", restart="on-failure")
SAFE = NodePlan(name="a", safe=True)
SAFE_ANEW = NodePlan(name="a", restart="on-failure", safe=True)


def running(*plans: NodePlan, limits: RunLimits | None = None) -> World:
    world = World(*plans, limits=limits)
    world.begin()
    world.run(*(plan.name for plan in plans))
    return world


# --- the table ---------------------------------------------------------------------------------------------------


def test_every_state_that_a_row_leads_to_has_rows_of_its_own() -> None:
    assert {after for _, _, after in rows_of(TRANSITIONS)} <= set(TRANSITIONS)
    assert [state for state, row in TRANSITIONS.items() if not row] == ["ended"]


@pytest.mark.parametrize(("state", "event"), pairs_of(TRANSITIONS))
def test_a_flame_node_moves_by_its_table_or_tells_its_story(state: str, event: str) -> None:
    machine: Any = running(A).machine
    node = machine._nodes["a"]
    node.state = state
    expected = TRANSITIONS[state].get(event)
    if expected is not None:
        machine._move(node, event)
        assert node.state == expected
        return
    with pytest.raises(
        InvariantBroken, match=f"{event} cannot follow in state {state}; .*waiting --Started--> starting"
    ):
        machine._move(node, event)


def test_the_names_of_ends_and_restarts_are_those_of_the_records() -> None:
    assert set(get_args(flame_events.NodeEnd)) == set(get_args(run_record.NodeEnd))
    assert set(get_args(flame_events.RunEnd)) == set(get_args(run_record.RunEnd))
    assert set(get_args(flame_events.Restart)) == set(get_args(graph.Restart))


# --- the start ---------------------------------------------------------------------------------------------------


def test_nobody_connects_before_all_are_wired_and_nobody_starts_before_all_are_connected() -> None:
    world = World(A, B)
    world.begin()
    world.greet("a", "b")
    world.wire("a")
    assert world.told == [("a", "wire"), ("b", "wire")]
    world.wire("b")
    world.connect("b")
    assert world.told[2:] == [("a", "connect"), ("b", "connect")]
    world.connect("a")
    assert world.told[4:] == [("a", "start"), ("b", "start")]
    assert world.machine.snapshot().phase == "running"


def test_a_run_without_flame_nodes_is_over_at_once() -> None:
    world = World()
    world.begin()
    assert world.finish == Finish(end="succeeded", reason="every flame node has ended")


def test_a_run_begins_once() -> None:
    world = running(A)
    with pytest.raises(InvariantBroken, match="RunBegun"):
        world.step(RunBegun())


def test_a_run_that_is_stopped_before_it_began_starts_nothing() -> None:
    world = World(A)
    world.step(StopOrdered(reason="no"))
    assert world.finish == Finish(end="stopped", reason="no")
    assert (world.view("a").end, world.started) == ("never-started", [])
    assert world.step(RunBegun()) == ()


# --- ends --------------------------------------------------------------------------------------------------------


def test_a_run_whose_flame_nodes_have_all_ended_has_succeeded() -> None:
    world = running(A, B)
    world.leave("a")
    assert world.state("b") == "running"
    world.leave("b")
    assert world.finish == Finish(end="succeeded", reason="every flame node has ended")
    assert (world.view("a").end, world.view("a").code) == ("succeeded", 0)


def test_a_run_is_over_when_everybody_who_consumes_a_flow_has_ended() -> None:
    world = running(A, NodePlan(name="b", consumes_flow=True))
    world.leave("b")
    assert world.told[-1] == ("a", "stop")
    world.leave("a")
    assert world.finish is not None and world.finish.end == "succeeded"
    assert (world.view("a").end, world.view("b").end) == ("stopped", "succeeded")


@pytest.mark.parametrize("plan", [A, ANEW])
def test_one_that_must_not_take_part_is_killed_and_fails_the_run_without_a_restart(plan: NodePlan) -> None:
    world = World(plan, B)
    world.begin()
    world.greet("b")
    world.step(NodeGreeted(node="a", refusal="it is another"))
    assert world.killed == {"a"} and ("a", "wire") not in world.told
    world.end("a", signal=9)
    world.leave("b")
    assert world.finish == Finish(end="failed", reason="a: it is another")
    assert world.view("a").end == "failed" and world.view("a").restarts == 0


def test_a_flame_node_may_stop_the_run() -> None:
    world = running(A, B)
    world.step(NodeWantsStop(node="a", reason="enough points"))
    assert world.told[-2:] == [("a", "stop"), ("b", "stop")]
    world.leave("a")
    world.leave("b")
    assert world.finish == Finish(end="stopped", reason="enough points")
    assert (world.view("a").end, world.view("b").end) == ("stopped", "stopped")


def test_a_flame_node_that_ends_right_after_it_stopped_the_run_stops_it_all_the_same() -> None:
    world = running(A, B)
    world.end("a")
    world.step(NodeWantsStop(node="a", reason="done"))
    world.step(NodeLeft(node="a"))
    world.leave("b")
    assert world.finish == Finish(end="stopped", reason="done")


def fails_with_code(world: World) -> None:
    world.end("a", 3)
    world.step(NodeLeft(node="a"))


def dies_by_signal(world: World) -> None:
    world.end("a", signal=11, story="a.py:7: faulthandler")


def leaves_without_farewell(world: World) -> None:
    world.end("a", 0)
    world.pass_ms(FLAME_FAREWELL_MS)


def says_what_went_wrong(world: World) -> None:
    world.leave("a", "a.py:3: ValueError: no gain", 1)


def falls_silent(world: World) -> None:
    world.pass_ms(FLAME_BEAT_MISSED_MS)
    world.end("a", signal=9)


def stays_after_its_farewell(world: World) -> None:
    world.step(NodeLeft(node="a"))
    world.pass_ms(FLAME_LEAVE_MS)
    world.end("a", signal=9)


def cannot_be_killed(world: World) -> None:
    world.pass_ms(FLAME_BEAT_MISSED_MS + FLAME_KILL_MS)


def look_at(world: World, cpu_ms: int) -> None:
    """Its beats are missed, and that is what its process has computed so far."""
    world.ns = world.timers["node:a"].at_ns
    world.step(NodeMeasured(node="a", cpu_ms=cpu_ms))
    world.fire("node:a")


def test_a_flame_node_that_sends_no_beats_lives_as_long_as_it_computes() -> None:
    world = World(A)
    world.begin()
    world.greet("a")
    world.wire("a")
    world.step(NodeConnected(node="a", cpu_ms=40_000))  # its start was long: that does not count
    for look in range(1, 4):
        look_at(world, 40_000 + look * FLAME_COMPUTING_MS)
        assert world.state("a") == "running"
    look_at(world, 40_000 + 4 * FLAME_COMPUTING_MS - 1)
    assert world.killed == {"a"}


def test_what_a_flame_node_computed_is_counted_anew_after_a_restart() -> None:
    world = running(ANEW)
    look_at(world, 90_000)
    world.end("a", 3)
    world.step(NodeLeft(node="a"))
    world.fire("node:a")
    world.run("a")
    look_at(world, FLAME_COMPUTING_MS)
    assert world.state("a") == "running"


def suspended(world: World) -> None:
    world.step(StopOrdered(reason="for now", suspends=True))
    assert world.told[-1] == ("a", "stop")


def test_a_run_that_stops_only_for_now_is_not_over_even_when_a_flame_node_does_not_stop_in_order() -> None:
    orderly, unclean = running(A), running(A)
    suspended(orderly)
    orderly.leave("a")
    assert orderly.finish == Finish(end="stopped", reason="for now", suspended=True)
    suspended(unclean)
    unclean.end("a", signal=9)
    assert unclean.finish is not None and (unclean.finish.end, unclean.finish.suspended) == ("failed", True)


def test_a_run_that_stops_for_good_is_over_whatever_is_ordered_then() -> None:
    world = running(A)
    world.step(StopOrdered(reason="enough"))
    world.step(StopOrdered(reason="for now", suspends=True))
    world.leave("a")
    assert world.finish == Finish(end="stopped", reason="enough")


UNCLEAN: list[tuple[Callable[[World], None], str, str]] = [
    (fails_with_code, "failed", "its process ended with exit code 3"),
    (dies_by_signal, "killed", "its process was killed by signal 11; a.py:7: faulthandler"),
    (leaves_without_farewell, "failed", "without a farewell"),
    (says_what_went_wrong, "failed", "a.py:3: ValueError: no gain"),
    (falls_silent, "hung", "no sign of life for 5 s"),
    (stays_after_its_farewell, "hung", "did not end within 5 s of its farewell"),
    (cannot_be_killed, "hung", "cannot be killed"),
]


@pytest.mark.parametrize(("happen", "end", "problem"), UNCLEAN)
def test_bug_12_a_flame_node_that_dies_stops_the_others_and_fails_the_run(
    happen: Callable[[World], None], end: str, problem: str
) -> None:
    world = running(A, B)
    world.step(flame_events.NodeBeat(node="b"))
    world.timers.pop("node:b")  # b beats all the time
    happen(world)
    assert world.view("a").end == end and problem in world.view("a").problem
    assert world.told[-1] == ("b", "stop")
    world.leave("b")
    assert world.finish is not None and world.finish.end == "failed"
    assert world.finish.reason == f"a: {world.view('a').problem}"
    assert world.view("b").end == "stopped"


@pytest.mark.parametrize("far", ["started", "greeted", "wired", "connecting", "ready"])
def test_a_flame_node_that_ends_before_the_run_began_has_failed_whatever_its_code(far: str) -> None:
    world = World(A, B)
    world.begin()
    if far != "started":
        world.greet("a")
    if far in ("wired", "connecting", "ready"):
        world.wire("a")
    if far in ("connecting", "ready"):
        world.greet("b")
        world.wire("b")
    if far == "ready":
        world.connect("a")
    world.leave("a")
    assert world.view("a").end == "failed"
    assert ("register()" if far == "started" else "before the run began") in world.view("a").problem


@pytest.mark.parametrize(
    ("steps", "limit_ms", "problem"),
    [(0, FLAME_HELLO_MS, "did not come to register() within 60 s"), (1, FLAME_WIRE_MS, "join its edges within 60 s")],
)
def test_a_flame_node_that_hangs_during_the_start_is_killed(steps: int, limit_ms: int, problem: str) -> None:
    world = World(A, B)
    world.begin()
    world.greet("b")
    world.wire("b")
    if steps:
        world.greet("a")
    world.pass_ms(limit_ms - 1)
    assert not world.killed
    world.pass_ms(1)
    assert world.killed == {"a"}
    world.end("a", signal=9)
    assert world.view("a").end == "hung" and problem in world.view("a").problem
    assert world.told[-1] == ("b", "stop")


def test_one_that_has_said_nothing_yet_is_told_to_stop_once_it_listens() -> None:
    world = World(A)
    world.begin()
    world.step(StopOrdered(reason="no"))
    assert world.told == []
    world.greet("a")
    assert world.told == [("a", "stop")]
    world.leave("a")
    assert world.view("a").end == "never-started"
    assert world.finish is not None and world.finish.end == "stopped"


def test_beats_keep_a_flame_node_alive() -> None:
    world = running(A)
    for _ in range(20):
        world.pass_ms(FLAME_BEAT_MISSED_MS - 1)
        world.beat("a")
    assert world.state("a") == "running"


@pytest.mark.parametrize("state", ["starting", "wiring", "connecting", "running", "stopping", "leaving"])
def test_an_executor_that_stood_still_itself_blames_nobody_for_it_but_waits_once_more(state: str) -> None:
    world = placed(state)
    world.fire("node:a", late_ms=3_600_000)
    assert world.state("a") == state and not world.killed
    world.fire("node:a", late_ms=3_600_000)
    assert world.killed == {"a"}


def test_a_run_has_a_limit() -> None:
    world = running(A, limits=RunLimits(run_ms=2_500))
    world.timers.pop("node:a")
    world.pass_ms(2_500)
    assert world.told[-1] == ("a", "stop")
    world.leave("a")
    assert world.finish == Finish(end="timed-out", reason="the run did not end within its limit of 2.5 s")


def test_a_limit_that_fires_before_the_run_began_is_of_nobody() -> None:
    world = World(A)
    assert world.step(TimerFired(name=LIMIT_TIMER)) == ()


def test_a_flame_node_that_does_not_stop_is_killed_and_fails_the_run() -> None:
    world = running(A)
    world.step(StopOrdered(reason="enough"))
    world.beat("a")
    world.pass_ms(FLAME_STOP_MS)
    assert world.killed == {"a"}
    world.end("a", signal=9)
    assert world.view("a").end == "hung"
    assert world.finish is not None and world.finish.end == "failed" and "within 30 s" in world.finish.reason


def test_ctrl_c_once_stops_in_order_and_twice_kills() -> None:
    world = running(A, B)
    world.step(Interrupted())
    assert world.told[-2:] == [("a", "stop"), ("b", "stop")] and not world.killed
    world.leave("a")
    world.step(Interrupted())
    assert world.killed == {"b"}
    world.end("b", signal=9)
    assert world.finish == Finish(end="interrupted", reason="interrupted by Ctrl-C")
    assert (world.view("a").end, world.view("b").end) == ("stopped", "killed")


def test_the_first_ctrl_c_never_kills_even_while_the_run_stops_already() -> None:
    world = running(A)
    world.step(StopOrdered(reason="enough"))
    world.step(Interrupted())
    assert not world.killed
    world.step(Interrupted())
    assert world.killed == {"a"}


def test_the_first_cause_of_a_stop_stands() -> None:
    world = running(A, B)
    world.leave("a", "a.py:1: first", 1)
    world.step(Interrupted())
    world.leave("b", "b.py:1: second", 1)
    assert world.finish == Finish(end="failed", reason="a: a.py:1: first")


# --- restarts ----------------------------------------------------------------------------------------------------


def test_one_that_is_started_anew_goes_through_the_start_alone() -> None:
    world = running(ANEW, B)
    world.end("a", signal=9)
    assert world.state("a") == "pausing" and world.state("b") == "running"
    world.fire("node:a")
    del world.told[:]
    world.run("a")
    assert world.told == [("a", "wire"), ("a", "connect"), ("a", "start")]
    assert (world.state("a"), world.view("a").restarts) == ("running", 1)


def test_one_that_dies_during_the_start_is_waited_for_by_the_others() -> None:
    world = World(ANEW, B)
    world.begin()
    world.run("b")
    world.end("a", 1)
    world.fire("node:a")
    world.greet("a")
    world.wire("a")
    assert ("b", "connect") in world.told and ("b", "start") not in world.told
    world.connect("a", "b")
    assert world.told[-2:] == [("a", "start"), ("b", "start")]


def test_restarts_are_counted_within_a_window() -> None:
    world = running(NodePlan(name="a", restart="on-failure", restart_max=2, within_ms=60_000))
    for _ in range(2):
        world.end("a", signal=9)
        world.fire("node:a")
        world.run("a")
    world.ns += 60_000 * 1_000_000
    for _ in range(2):
        world.end("a", signal=9)
        world.fire("node:a")
        world.run("a")
    world.end("a", signal=9)
    assert world.view("a").end == "killed" and "2 restarts did not help" in world.view("a").problem
    assert world.finish is not None and world.finish.end == "failed"
    assert world.view("a").restarts == 4


def test_pauses_before_restarts_double() -> None:
    world = running(NodePlan(name="a", restart="on-failure", restart_max=9))
    pauses = []
    for _ in range(9):
        world.end("a", signal=9)
        pauses.append((world.timers["node:a"].at_ns - world.ns) // 1_000_000)
        world.fire("node:a")
        world.run("a")
    assert pauses == [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]


def test_a_clean_end_is_followed_by_a_restart_only_by_the_policy_always() -> None:
    world = running(ANEW, B)
    world.leave("a")
    assert world.state("a") == "ended"
    world = running(NodePlan(name="a", restart="always"), B)
    world.leave("a")
    assert world.state("a") == "pausing"


def test_nothing_is_started_anew_while_the_run_stops() -> None:
    world = running(ANEW, B)
    world.end("a", signal=9)
    world.step(StopOrdered(reason="enough"))
    assert world.state("a") == "ended"
    world = running(ANEW, B)
    world.step(StopOrdered(reason="enough"))
    world.end("a", signal=9)
    assert world.state("a") == "ended" and "a" not in world.running


# --- safe programs (L11) -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("happen", "end", "problem"), [one for one in UNCLEAN if one[0] is not cannot_be_killed])
def test_the_safe_program_runs_after_any_unclean_death(happen: Callable[[World], None], end: str, problem: str) -> None:
    world = running(SAFE)
    happen(world)
    assert world.running == {"a": "safe"} and world.finish is None
    world.end("a")
    assert world.view("a").end == end and world.finish is not None


def test_the_safe_program_does_not_run_after_a_clean_end() -> None:
    world = running(SAFE)
    world.leave("a")
    assert world.started == [("a", "program")]


def test_the_safe_program_runs_before_a_restart() -> None:
    world = running(SAFE_ANEW)
    world.end("a", signal=9)
    assert world.running == {"a": "safe"}
    world.end("a")
    assert world.state("a") == "pausing"
    world.fire("node:a")
    assert world.started == [("a", "program"), ("a", "safe"), ("a", "program")]


def test_the_safe_program_runs_after_a_second_ctrl_c_too() -> None:
    world = running(SAFE)
    world.step(Interrupted())
    world.step(Interrupted())
    world.end("a", signal=9)
    assert world.running == {"a": "safe"}
    world.step(Interrupted())
    assert not world.killed
    world.end("a")
    assert world.finish is not None and world.finish.end == "interrupted"


def test_a_run_that_is_taken_up_again_makes_its_hardware_safe_first() -> None:
    world = World(NodePlan(name="a", safe=True, secure_first=True), NodePlan(name="b", secure_first=True))
    world.begin()
    assert world.running == {"a": "safe", "b": "program"}
    world.end("a")
    assert world.running == {"a": "program", "b": "program"}
    world.run("a", "b")
    assert world.state("a") == "running"


def test_a_stop_while_the_hardware_is_made_safe_first_starts_nothing_more() -> None:
    world = World(NodePlan(name="a", safe=True, secure_first=True))
    world.begin()
    world.step(StopOrdered(reason="no"))
    world.end("a")
    assert (world.view("a").end, world.started) == ("never-started", [("a", "safe")])
    assert world.finish is not None and world.finish.end == "stopped"


@pytest.mark.parametrize("hangs", [True, False])
def test_nothing_runs_again_on_hardware_whose_safe_program_failed(hangs: bool) -> None:
    world = running(SAFE_ANEW, B)
    world.timers.pop("node:b")
    world.end("a", signal=9)
    if hangs:
        world.pass_ms(FLAME_SAFE_MS)
        assert world.killed == {"a"}
        world.end("a", signal=9)
    else:
        world.end("a", 1, story="off.py:2: OSError: no laser")
    assert world.state("a") == "ended" and "its safe program failed" in world.view("a").problem
    assert world.told[-1] == ("b", "stop")
    world.leave("b")
    assert world.finish is not None and world.finish.end == "failed"


# --- late and strange ----------------------------------------------------------------------------------------------


def test_what_is_written_reaches_flame_nodes_until_they_or_the_run_end() -> None:
    world = World(NodePlan(name="a"), NodePlan(name="b"))
    assert world.machine.takes_writes("a")  # before it starts: it begins with that
    world.begin()
    world.run("a", "b")
    world.leave("a")
    assert (world.machine.takes_writes("a"), world.machine.takes_writes("b")) == (False, True)
    assert world.machine.takes_writes("nobody"), "that it is not there is told by who judges"
    world.step(StopOrdered(reason=""))
    assert not world.machine.takes_writes("b")


def test_what_comes_too_late_is_passed_over_and_counted() -> None:
    world = running(A, B)
    world.greet("a")
    world.wire("a")
    world.connect("a")
    assert world.machine.snapshot().late == 3
    world.leave("a")
    world.step(NodeLeft(node="a"))
    world.beat("a")
    world.step(ProcessEnded(node="a", signal=9))
    assert world.machine.snapshot().late == 6
    assert world.view("a").end == "succeeded"


def test_a_timer_that_was_replaced_changes_nothing() -> None:
    world = running(A)
    assert world.step(TimerFired(name="node:a", generation=1)) == ()


def test_a_timer_in_a_state_that_waits_for_nothing_is_our_own_mistake() -> None:
    world = running(A)
    machine: Any = world.machine
    machine._nodes["a"].state = "waiting"
    with pytest.raises(KeyError):
        world.step(TimerFired(name="node:a", generation=machine._nodes["a"].timer))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[Row]]:
    """The rows that the machine takes while the test runs."""
    rows: set[Row] = set()
    add = Stories.add

    def noted(stories: Stories, key: Any, before: str, event: str, after: str) -> None:
        rows.add((before, event, after))
        add(stories, key, before, event, after)

    monkeypatch.setattr(Stories, "add", noted)
    yield rows


def greeted_and_wired(world: World, node: str) -> None:
    world.greet(node)
    world.wire(node)


def placed(state: str) -> World:
    """A run of two flame nodes, of which `a` is in `state`."""
    world = World(SAFE_ANEW, B)
    world.begin()
    way: list[tuple[str, Callable[[], None]]] = [
        ("starting", lambda: None),
        ("wiring", lambda: world.greet("a")),
        ("wired", lambda: world.wire("a")),
        ("connecting", lambda: greeted_and_wired(world, "b")),
        ("ready", lambda: world.connect("a")),
        ("running", lambda: world.connect("b")),
    ]
    for name, act in way if state in dict(way) else ():
        act()
        if name == state:
            return world
    world.run("a", "b")
    match state:
        case "stopping":
            world.step(StopOrdered(reason="enough"))
        case "leaving":
            world.step(NodeLeft(node="a"))
        case "safing":
            world.end("a", signal=9)
    assert world.state("a") == state
    return world


def cause(world: World, event: str) -> None:
    match event:
        case "StopTold":
            world.step(StopOrdered(reason="enough"))
            if world.state("a") == "starting":
                world.greet("a")
        case "Left":
            world.step(NodeLeft(node="a"))
        case "Killed":
            world.fire("node:a")
        case "ProcessEnded":
            world.end("a", 1)


def test_every_row_is_taken(taken: set[Row]) -> None:
    for state in ("starting", "wiring", "wired", "connecting", "ready", "running", "stopping", "leaving", "safing"):
        for event in TRANSITIONS[state]:
            cause(placed(state), event)
    for plan in (SAFE_ANEW, ANEW):
        for stops in (True, False):
            world = running(plan)
            world.end("a", signal=9)
            if world.state("a") == "safing":
                world.end("a")
            if stops:
                world.step(StopOrdered(reason="enough"))
            else:
                world.fire("node:a")
    test_a_run_that_is_taken_up_again_makes_its_hardware_safe_first()
    test_a_run_that_is_stopped_before_it_began_starts_nothing()
    cannot_be_killed(running(A))
    falls_silent(running(A))
    assert taken == rows_of(TRANSITIONS)
