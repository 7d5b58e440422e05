from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actors.adapters.clock import SystemClock
from actors.base import ChildEnded, Ping
from actors.child_spec import ChildSpec, backoff_ms
from actors.supervisor import HANG_ROUNDS, ActorHungError, Strategy, supervisor_spec
from protocol.errors import Code, ConfigError, FlottaError, UnreachableError
from protocol.limits import RESTART_BACKOFF_MS_MAX, RESTART_BACKOFF_MS_MIN
from protocol.machines.contract import TimerFired
from tests.actors.tree import LIMIT_S, Journal, Puppet, crash, timers_running, tree

STRATEGIES: list[Strategy] = ["one_for_one", "rest_for_one"]
Hook = Callable[[Puppet], None]


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.child_spec.RESTART_BACKOFF_MS_MIN", 5)


@pytest.fixture
def journal() -> Journal:
    return Journal()


def puppet(journal: Journal, name: str, hooks: dict[str, Hook] | None = None, **options: Any) -> ChildSpec:
    return ChildSpec(name, lambda context: Puppet.start(context, journal, **(hooks or {})), **options)


def finish(actor: Puppet) -> None:
    actor.stop()


def generation(spec: ChildSpec) -> int:
    return spec.handle.generation


def test_children_start_in_written_order_and_stop_in_reverse(journal: Journal) -> None:
    with tree([puppet(journal, name) for name in "abc"]):
        assert journal.entries() == ["begin a", "begin b", "begin c"]
    assert journal.entries()[3:] == ["end c", "end b", "end a"]


def test_a_child_starts_only_after_the_former_is_ready(journal: Journal) -> None:
    first = puppet(journal, "a", {"begin": lambda actor: None})
    with tree([first, puppet(journal, "b")], ready=False) as running:
        journal.wait_for("begin a")
        first.handle.tell(lambda actor: (actor.note("ready"), actor.ready()))
        running.root.wait_ready()
        assert journal.entries() == ["begin a", "ready a", "begin b"]


def test_a_child_has_the_handles_of_siblings_that_are_not_started_yet(journal: Journal) -> None:
    def greet(actor: Puppet) -> None:
        assert actor.context.siblings["b"].generation == 0
        actor.note("knows " + " ".join(actor.context.siblings))
        actor.ready()

    with tree([puppet(journal, "a", {"begin": greet}), puppet(journal, "b")]):
        assert journal.entries() == ["begin a", "knows a b a", "begin b"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_handle_survives_a_restart(journal: Journal, strategy: Strategy) -> None:
    spec = puppet(journal, "a")
    with tree([spec], strategy):
        spec.handle.tell(crash)
        journal.wait_for("begin a", times=2)
        assert spec.handle.tell(lambda actor: actor.note(f"generation {actor.context.generation}"))
        journal.wait_for("generation 2 a")


def test_one_for_one_restarts_the_failed_child_alone(journal: Journal) -> None:
    specs = [puppet(journal, name) for name in "abc"]
    with tree(specs, "one_for_one"):
        specs[1].handle.tell(crash)
        journal.wait_for("begin b", times=2)
        assert journal.entries()[3:] == ["end b", "begin b"]


def test_rest_for_one_stops_the_later_ones_in_reverse_and_starts_them_in_order(journal: Journal) -> None:
    specs = [puppet(journal, name) for name in "abcd"]
    with tree(specs, "rest_for_one"):
        specs[1].handle.tell(crash)
        journal.wait_for("begin d", times=2)
        assert journal.entries()[4:] == ["end b", "end d", "end c", "begin b", "begin c", "begin d"]
        assert [generation(spec) for spec in specs] == [1, 2, 2, 2]


def test_a_later_one_that_is_taken_down_does_not_count_as_failed(journal: Journal) -> None:
    specs = [puppet(journal, "a", restarts_max=4), puppet(journal, "b", restarts_max=0)]
    with tree(specs, "rest_for_one") as running:
        for times in (2, 3, 4):
            specs[0].handle.tell(crash)
            journal.wait_for("begin b", times=times)
        assert running.fatal.entries() == []


@pytest.mark.parametrize("act", [crash, finish])
def test_every_end_leads_to_a_restart(journal: Journal, act: Hook) -> None:
    spec = puppet(journal, "a")
    with tree([spec], "one_for_one"):
        spec.handle.tell(act)
        assert journal.wait_for("begin a", times=2) == ["begin a", "end a", "begin a"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_too_many_failures_in_the_window_stop_the_tree_with_the_reason(journal: Journal, strategy: Strategy) -> None:
    specs = [puppet(journal, "a"), puppet(journal, "b", restarts_max=2), puppet(journal, "c")]
    with tree(specs, strategy) as running:
        for times in (2, 3, 4):
            specs[1].handle.tell(crash)
            if times < 4:
                journal.wait_for("begin c" if strategy == "rest_for_one" else "begin b", times=times)
        (reason,) = running.fatal.wait(bool)
        assert isinstance(reason, FlottaError) and reason.code is Code.ACTOR_FAILED
        assert "Actor b failed 3 times" in str(reason) and "told to crash" in str(reason)
        assert journal.entries()[-1] == "end a"  # everything had ended before the node was told


def test_failures_outside_the_window_are_forgotten(journal: Journal) -> None:
    spec = puppet(journal, "a", restarts_max=1, window_ms=1)
    with tree([spec]) as running:
        for times in (2, 3, 4, 5):
            spec.handle.tell(crash)
            journal.wait_for("begin a", times=times)  # the back-off of 4 ms and more lets the window pass
        assert running.fatal.entries() == []


def test_the_reason_that_a_child_gave_for_people_is_the_reason_of_the_node(journal: Journal) -> None:
    def refuse(actor: Puppet) -> None:
        raise UnreachableError(Code.NODE_UNREACHABLE, "Nobody is there.")

    with tree([puppet(journal, "a", {"begin": refuse}, restarts_max=1)], ready=False) as running:
        with pytest.raises(UnreachableError, match="Nobody is there"):
            running.root.wait_ready()
        assert journal.entries().count("begin a") == 2


def test_a_child_that_is_not_ready_in_time_counts_as_failed(journal: Journal) -> None:
    spec = puppet(journal, "a", {"begin": lambda actor: None}, ready_ms=10, restarts_max=1)
    with tree([spec], ready=False) as running:
        with pytest.raises(UnreachableError, match="not ready within"):
            running.root.wait_ready()
        assert journal.entries() == ["begin a", "end a", "begin a", "end a"]


def test_a_backoff_does_not_block_the_supervisor(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.child_spec.backoff_ms", lambda name, *_: 60_000 if name == "slow" else 5)
    specs = [puppet(journal, "slow"), puppet(journal, "quick")]
    with tree(specs, "one_for_one"):
        specs[0].handle.tell(crash)
        journal.wait_for("end slow")
        specs[1].handle.tell(crash)
        assert journal.wait_for("begin quick", times=2).count("begin slow") == 1


def test_the_backoff_doubles_up_to_its_limit_and_spreads_by_a_fifth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for failures in range(1, 40):
        plain = min(RESTART_BACKOFF_MS_MAX, RESTART_BACKOFF_MS_MIN * 2 ** (failures - 1))
        waits = {backoff_ms("store", generation, failures) for generation in range(50)}
        assert 0.8 * plain - 1 <= min(waits) <= max(waits) <= 1.2 * plain
        assert len(waits) > 10


def test_a_nested_supervisor_that_gives_up_is_restarted_by_its_parent_with_all_its_children(
    journal: Journal,
) -> None:
    with timers_running() as timers:
        inner = [puppet(journal, "a"), puppet(journal, "b", restarts_max=0)]
        group = supervisor_spec("group", inner, strategy="one_for_one", clock=SystemClock(), timers=timers)
        with tree([group, puppet(journal, "z")], "one_for_one", timers=timers) as running:
            inner[1].handle.tell(crash)
            journal.wait_for("begin b", times=2)
            assert journal.entries()[3:] == ["end b", "end a", "begin a", "begin b"]
            assert inner[0].handle.tell(lambda actor: actor.note(f"generation {actor.context.generation}"))
            journal.wait_for("generation 2 a")
            assert running.fatal.entries() == []


def test_what_only_the_operator_can_mend_goes_to_the_top_at_once(journal: Journal) -> None:
    def refuse(actor: Puppet) -> None:
        raise ConfigError(Code.PORT_TAKEN, "Port 1 is taken.")

    with timers_running() as timers:
        inner = [puppet(journal, "a", {"begin": refuse})]
        group = supervisor_spec("group", inner, strategy="one_for_one", clock=SystemClock(), timers=timers)
        with tree([group], ready=False, timers=timers) as running:
            with pytest.raises(ConfigError, match="taken"):
                running.root.wait_ready()
            assert journal.entries() == ["begin a", "end a"]


# --- hangs --------------------------------------------------------------------------------------


@pytest.fixture
def quick_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.supervisor.PING_INTERVAL_MS", 40)


class Pinged(Puppet):
    """Notes each sign of life that it has given."""

    def on_receive(self, message: Any) -> None:
        super().on_receive(message)
        if isinstance(message, Ping):
            self.note("alive")


def pinged(journal: Journal, name: str) -> ChildSpec:
    return ChildSpec(name, lambda context: Pinged.start(context, journal))


@pytest.fixture
def go() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def no_dump(monkeypatch: pytest.MonkeyPatch) -> Journal:
    dumps = Journal()
    monkeypatch.setattr("faulthandler.dump_traceback", dumps.add)
    return dumps


def hang(go: threading.Event) -> Hook:
    def act(actor: Puppet) -> None:
        actor.note("hangs")
        go.wait(LIMIT_S)

    return act


@pytest.mark.usefixtures("quick_pings")
def test_a_hung_actor_stops_the_node_with_its_name_and_the_stacks(
    journal: Journal, go: threading.Event, no_dump: Journal
) -> None:
    specs = [puppet(journal, "a"), puppet(journal, "b", stop_ms=20)]
    with tree(specs) as running:
        specs[1].handle.tell(hang(go))
        (reason,) = running.fatal.wait(bool)
        assert isinstance(reason, ActorHungError) and "Actor b has given no sign of life" in str(reason)
        assert 2 in no_dump.entries()  # stderr
        assert journal.entries()[-2:] == ["hangs b", "end a"]
        go.set()
        journal.wait_for("end b")


@pytest.mark.usefixtures("quick_pings")
def test_actors_that_answer_are_left_in_peace_however_long(journal: Journal) -> None:
    with tree([pinged(journal, "a"), pinged(journal, "b")]) as running:
        for name in "ab":
            journal.wait_for(f"alive {name}", times=3 * HANG_ROUNDS)
        assert running.fatal.entries() == []


def test_an_actor_that_does_not_end_is_hung(journal: Journal, go: threading.Event, no_dump: Journal) -> None:
    specs = [puppet(journal, "a"), puppet(journal, "b", {"end": hang(go)}, stop_ms=20)]
    with tree(specs, "rest_for_one") as running:
        specs[0].handle.tell(crash)
        (reason,) = running.fatal.wait(bool)
        assert isinstance(reason, ActorHungError) and "Actor b did not end within 0.02 s" in str(reason)
        go.set()


def test_stopping_a_tree_is_bounded_even_if_a_child_hangs(
    journal: Journal, go: threading.Event, no_dump: Journal
) -> None:
    specs = [puppet(journal, "a"), puppet(journal, "b", {"end": hang(go)}, stop_ms=20)]
    with tree(specs) as running:
        running.root.stop()
        assert journal.entries()[-1] == "end a"
        (reason,) = running.fatal.wait(bool)
        assert "did not end in time: b" in str(reason)
        go.set()


# --- races --------------------------------------------------------------------------------------


def test_a_later_one_that_fails_while_it_is_being_taken_down_is_not_blamed(
    journal: Journal, go: threading.Event
) -> None:
    specs = [puppet(journal, "a"), puppet(journal, "b", restarts_max=0), puppet(journal, "c", {"end": hang(go)})]
    with tree(specs, "rest_for_one") as running:
        specs[0].handle.tell(crash)
        journal.wait_for("hangs c")  # the last is being stopped; the one before it waits for its turn
        specs[1].handle.tell(crash)
        journal.wait_for("end b")
        go.set()
        journal.wait_for("begin c", times=2)
        assert running.fatal.entries() == []


def test_news_of_an_earlier_incarnation_changes_nothing(journal: Journal) -> None:
    with timers_running() as timers:
        inner = [puppet(journal, "a"), puppet(journal, "b")]
        group = supervisor_spec("group", inner, strategy="one_for_one", clock=SystemClock(), timers=timers)
        with tree([group], timers=timers):
            group.handle.tell(ChildEnded("a", generation=0))
            for times in (2, 3):  # two back-offs of another child are longer than the one of `a` would be
                inner[1].handle.tell(crash)
                journal.wait_for("begin b", times=times)
            assert journal.entries().count("begin a") == 1


def test_a_limit_of_an_earlier_incarnation_does_not_strike_the_next(journal: Journal) -> None:
    with timers_running() as timers:
        slow = puppet(journal, "a", {"begin": lambda actor: None})
        group = supervisor_spec("group", [slow], strategy="one_for_one", clock=SystemClock(), timers=timers)
        with tree([group], ready=False, timers=timers) as running:
            journal.wait_for("begin a")
            group.handle.tell(TimerFired(name="ready:a", generation=0))
            slow.handle.tell(lambda actor: actor.ready())
            running.root.wait_ready()
            assert journal.entries() == ["begin a"]
