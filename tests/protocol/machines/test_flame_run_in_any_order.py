"""Whatever happens in whatever order: a flame run ends, each flame node once, and nothing runs behind it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.machines.contract import TimerFired
from protocol.machines.flame_events import (
    Interrupted,
    NodeBeat,
    NodeConnected,
    NodeGreeted,
    NodeLeft,
    NodeMeasured,
    NodePlan,
    NodeWantsStop,
    NodeWired,
    RunLimits,
    StopOrdered,
)
from tests.protocol.machines.flame_world import World

NAMES = ("a", "b", "c")
RUN_MS = 200_000
STEPS_MAX = 2_000  # far more than a run of three flame nodes can need once its limit is over

plans = st.builds(
    NodePlan,
    name=st.just(""),
    restart=st.sampled_from(("never", "on-failure", "always")),
    restart_max=st.integers(0, 3),
    within_ms=st.sampled_from((0, 1_000, 300_000)),
    consumes_flow=st.booleans(),
    safe=st.booleans(),
    secure_first=st.booleans(),
)
SAY: tuple[Callable[[str], object], ...] = (
    lambda node: NodeGreeted(node=node),
    lambda node: NodeWired(node=node),
    lambda node: NodeConnected(node=node),
    lambda node: NodeBeat(node=node),
    lambda node: NodeMeasured(node=node, cpu_ms=500),
    lambda node: NodeWantsStop(node=node, reason=""),
    lambda node: NodeLeft(node=node),
    lambda node: NodeLeft(node=node, problem="wrong"),
)
acts = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(NAMES), st.integers(0, len(SAY) - 1)),
    st.tuples(st.just("forward"), st.sampled_from(NAMES), st.just(0)),
    st.tuples(st.just("end"), st.sampled_from(NAMES), st.sampled_from((0, 1, -9))),
    st.tuples(st.just("fire"), st.just(""), st.sampled_from((0, 0, 0, 5_000))),
    st.tuples(st.just("stale"), st.sampled_from(NAMES), st.integers(0, 5)),
    st.tuples(st.just("order"), st.just(""), st.sampled_from((0, 0, 0, 1, 2))),
)


def forward(world: World, node: str) -> None:
    """The message that the flame node would send next, so that runs come far."""
    match world.state(node):
        case "starting":
            world.greet(node)
        case "wiring":
            world.wire(node)
        case "connecting":
            world.connect(node)
        case "running":
            world.beat(node)


def act(world: World, what: str, node: str, number: int) -> None:
    if node and node not in (view.name for view in world.machine.snapshot().nodes):
        return
    match what:
        case "say":
            world.step(SAY[number](node))  # type: ignore[arg-type]
        case "forward":
            forward(world, node)
        case "end" if node in world.running:
            world.end(node, number, signal=9 if number < 0 else None)
        case "fire" if world.timers:
            world.fire(late_ms=number)
        case "stale":  # a timer that was replaced, and fired in the same moment
            name = f"node:{node}"
            newest = world.timers[name].generation if name in world.timers else 1
            world.step(TimerFired(name=name, generation=min(number, newest - 1)))
        case "order" if number:
            world.step(Interrupted() if number == 1 else StopOrdered(reason="enough"))


def end_of(world: World, stubborn: frozenset[str]) -> None:
    """Nobody says anything more: processes that are killed end, save the stubborn, and time passes."""
    for _ in range(STEPS_MAX):
        if world.finish is not None:
            return
        dead = sorted(world.killed - stubborn)
        if dead:
            world.end(dead[0], signal=9)
        else:
            world.fire()
    raise AssertionError(f"the run does not end: {world.machine.snapshot()}")


@settings(max_examples=150)
@given(
    st.lists(plans, max_size=len(NAMES)),
    st.lists(acts, max_size=60),
    st.frozensets(st.sampled_from(NAMES), max_size=1),
    st.lists(acts, max_size=10),
)
def test_a_run_ends_each_flame_node_once_and_nothing_runs_behind_it(
    drawn: list[NodePlan],
    order: list[tuple[str, str, int]],
    stubborn: frozenset[str],
    later: list[tuple[str, str, int]],
) -> None:
    named = [msgspec.structs.replace(plan, name=name) for name, plan in zip(NAMES, drawn, strict=False)]
    world = World(*named, limits=RunLimits(run_ms=RUN_MS))
    world.begin()
    ended: dict[str, object] = {}
    for one in order:
        act(world, *one)
        for view in world.machine.snapshot().nodes:
            if view.state == "ended":
                assert ended.setdefault(view.name, view) == view, "a flame node ended twice"
    end_of(world, stubborn)
    assert world.finish is not None
    assert all("cannot be killed" in world.view(node).problem for node in world.running), "a process outlives the run"
    assert not world.timers
    views = world.machine.snapshot()
    assert all(view.state == "ended" and view.end is not None for view in views.nodes)
    assert {view.name for view in views.nodes if view.end in ("failed", "killed", "hung") and not view.problem} == set()
    if world.finish.end in ("succeeded", "stopped"):
        assert all(view.end in ("succeeded", "stopped", "never-started") for view in views.nodes)
    for one in later:  # World asserts that no effect follows the end
        act(world, *one)
    assert world.machine.snapshot().nodes == views.nodes
