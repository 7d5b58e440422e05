"""The keeper: which runs a node takes, what it stores of them, what it takes up again, and when it gives up."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import kinds
from protocol.errors import Code, InvariantBroken
from protocol.ids import format_job_id
from protocol.limits import (
    FLAME_KEPT_CRASHES_MAX,
    FLAME_KEPT_PAUSE_MS_MAX,
    FLAME_KEPT_PAUSE_MS_MIN,
    FLAME_KEPT_RUNS_MAX,
    FLAME_KEPT_TRIES_MAX,
    FLAME_KEPT_WINDOW_MS,
    FLAME_PATH_CHARS_MAX,
)
from protocol.machines.contract import (
    Drop,
    Effects,
    EndRun,
    ExecuteRun,
    OpenRun,
    Persist,
    Put,
    Refuse,
    SetTimer,
    TimerFired,
)
from protocol.machines.keeper import (
    PASSING,
    RUN_TIMER,
    TRANSITIONS,
    ExecutorCrashed,
    Keeper,
    RunEnded,
    RunNotOpened,
    RunOpened,
)
from protocol.wire.control import RunStopping, RunTaken, StopRun, TakeRun
from tests.protocol.builders import messages, now, received, refusals, writes
from tests.protocol.machines.test_transitions import Row, pairs_of, rows_of, taken

__all__ = ["taken"]

RUN = format_job_id(b"r" * 32)
TAKE = TakeRun(run=RUN, alias="j1", folder="/lab/flame_runs/j1", python="/venv/bin/python", parameters="/lab/a.json")
EXECUTE = ExecuteRun(run=RUN, python=TAKE.python)
LATER = RunNotOpened(run=RUN, code=Code.RUN_IN_PROGRESS, sentence="a guard is at work")
REFUSED = RunNotOpened(run=RUN, code=Code.RUN_CHANGED, sentence="workflow.py has changed")
WRONG = RunNotOpened(run=RUN, code=Code.NODE_FILE_WRONG, sentence="scope.py raises ImportError")
OVER = RunNotOpened(run=RUN, code=Code.RUN_UNKNOWN, sentence="it has succeeded", over=True)


class Node:
    """A keeper, the rows that it has stored, and time."""

    def __init__(self, *, rows: dict[bytes, bytes] | None = None) -> None:
        self.rows = {} if rows is None else rows
        self.machine = Keeper({kinds.FLAME_RUN: sorted(self.rows.items())})
        self.ms = 0
        self.timer: SetTimer | None = None
        self.begun = self._done(self.machine.begin(now()))

    def step(self, event: Any) -> Effects:
        return self._done(self.machine.step(event, now(self.ms)))

    def ask(self, message: Any, number: int = 1) -> Effects:
        return self.step(received(message, b"", session=b"control:%d" % number))

    def fire(self) -> Effects:
        """Its timer comes due."""
        timer, self.timer = self.timer, None
        assert timer is not None
        self.ms = (timer.at_ns - now().boot_ns) // 1_000_000
        return self.step(TimerFired(name=timer.name, generation=timer.generation))

    def again(self) -> Node:
        """The node is started again, with what it had stored."""
        return Node(rows=dict(self.rows))

    @property
    def state(self) -> str:
        views = self.machine.snapshot().runs
        return views[0].state if views else "over"

    @property
    def reason(self) -> str:
        return self.machine.snapshot().runs[0].reason

    def _done(self, effects: Effects) -> Effects:
        self.machine.check()
        for write in writes(effects):
            match write:
                case Put(kind=kinds.FLAME_RUN, key=key, value=value):
                    self.rows[key] = value
                case Drop(kind=kinds.FLAME_RUN, key=key):
                    self.rows.pop(key)
        for effect in effects:
            if isinstance(effect, SetTimer):
                self.timer = effect
        return effects


def opened(*, again: bool) -> OpenRun:
    return OpenRun(run=RUN, folder=TAKE.folder, python=TAKE.python, parameters=TAKE.parameters, again=again)


def running() -> Node:
    node = Node()
    node.ask(TAKE)
    node.step(RunOpened(run=RUN))
    return node


def waiting() -> Node:
    node = running()
    node.step(ExecutorCrashed(run=RUN, sentence="KeyError"))
    return node


def refused() -> Node:
    node = running().again()
    node.step(REFUSED)
    return node


def given_up() -> Node:
    node = waiting()
    while node.state != "given-up":
        node.fire()
        node.step(RunOpened(run=RUN))
        node.step(ExecutorCrashed(run=RUN, sentence="KeyError"))
    return node


# --- the table ---------------------------------------------------------------------------------------------------


def test_every_state_that_a_row_leads_to_has_rows_of_its_own() -> None:
    assert {after for _, _, after in rows_of(TRANSITIONS)} <= set(TRANSITIONS)
    assert [state for state, row in TRANSITIONS.items() if not row] == ["over"]


@pytest.mark.parametrize(("state", "event"), pairs_of(TRANSITIONS))
def test_a_run_moves_by_its_table_or_tells_its_story(state: str, event: str) -> None:
    machine: Any = running().machine
    kept = machine._runs[RUN]
    kept.state = state
    expected = TRANSITIONS[state].get(event)
    if expected is not None:
        machine._move(RUN, kept, event)
        assert kept.state == expected
        return
    with pytest.raises(InvariantBroken, match=f"{event} cannot follow in state {state}; .*opening --RunOpened"):
        machine._move(RUN, kept, event)


def test_every_row_of_the_table_is_taken(taken: set[Row]) -> None:
    for make in (waiting, refused, given_up):
        make().ask(StopRun(run=RUN))
        make().ask(TAKE)
    running().step(RunEnded(run=RUN))
    for end in (RunEnded(run=RUN), ExecutorCrashed(run=RUN, sentence="")):
        node = running()
        node.ask(StopRun(run=RUN))
        node.step(end)
    stopped_early = running().again()
    stopped_early.ask(StopRun(run=RUN))
    stopped_early.step(RunOpened(run=RUN))
    for hindrance in (LATER, OVER):
        running().again().step(hindrance)
    assert taken == rows_of(TRANSITIONS)


# --- handed over -------------------------------------------------------------------------------------------------


def test_a_run_is_stored_before_it_is_opened_and_acknowledged_when_it_is_open() -> None:
    node = Node()
    first, *rest = node.ask(TAKE)
    assert isinstance(first, Persist) and rest == [opened(again=False)]
    assert node.step(RunOpened(run=RUN))[0] == EXECUTE
    assert node.state == "running"


def test_the_answer_goes_to_who_asked_last_and_once_and_the_earlier_does_not_wait() -> None:
    node = Node()
    node.ask(TAKE, 1)
    (earlier,) = node.ask(TAKE, 2)  # the command's connection was cut, and it asked again
    assert isinstance(earlier, Refuse)
    assert (earlier.session, earlier.code) == (b"control:1", Code.RUN_IN_PROGRESS)
    answers = [one for one in node.step(RunOpened(run=RUN)) if one != EXECUTE]
    assert [one.session for one in answers] == [b"control:2"]  # type: ignore[union-attr]
    assert messages(node.ask(TAKE, 3)) == [RunTaken(run=RUN)]


def test_a_run_that_the_node_takes_up_again_is_not_given_back_to_who_hands_it_over_meanwhile() -> None:
    node = running().again()
    assert messages(node.ask(TAKE)) == [RunTaken(run=RUN)]
    node.step(LATER)
    assert node.state == "waiting" and RUN.encode() in node.rows


@pytest.mark.parametrize("hindrance", [LATER, REFUSED, WRONG, OVER])
def test_a_run_that_cannot_be_opened_is_given_back_to_who_handed_it_over(hindrance: RunNotOpened) -> None:
    node = Node()
    node.ask(TAKE)
    persist, answer = node.step(hindrance)
    assert isinstance(persist, Persist) and isinstance(answer, Refuse)
    assert (answer.code, answer.sentence) == (hindrance.code, hindrance.sentence)
    assert (node.rows, node.machine.snapshot().runs) == ({}, ())


def test_a_node_takes_no_more_runs_than_its_limit() -> None:
    node = Node()
    for number in range(FLAME_KEPT_RUNS_MAX):
        node.ask(TakeRun(run=format_job_id(bytes([number]) * 32), alias="j1", folder="/f", python="p"))
    assert refusals(node.ask(TAKE)) == [Code.BUSY]
    assert len(node.rows) == FLAME_KEPT_RUNS_MAX


@pytest.mark.parametrize(
    "take",
    [
        TakeRun(run="j1", alias="j1", folder="/f", python="p"),
        TakeRun(run=RUN, alias="j1", folder="/" * (FLAME_PATH_CHARS_MAX + 1), python="p"),
    ],
)
def test_what_names_no_run_is_refused(take: TakeRun) -> None:
    node = Node()
    assert len(refusals(node.ask(take))) == 1 and node.rows == {}


# --- taken up again ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [running, waiting, refused, given_up])
def test_after_a_restart_of_the_node_every_run_that_is_not_over_is_taken_up_again(make: Any) -> None:
    assert make().again().begun == (opened(again=True),)


def test_what_hinders_a_run_for_now_is_told_and_tried_again_with_longer_pauses() -> None:
    node = running().again()
    pauses_ms = []
    for _ in range(9):
        node.step(LATER)
        assert (node.state, node.reason) == ("waiting", "a guard is at work")
        since_ms = node.ms
        assert node.fire() == (opened(again=True),)
        pauses_ms.append(node.ms - since_ms)
    assert pauses_ms[:3] == [FLAME_KEPT_PAUSE_MS_MIN, 2 * FLAME_KEPT_PAUSE_MS_MIN, 4 * FLAME_KEPT_PAUSE_MS_MIN]
    assert pauses_ms[-1] == FLAME_KEPT_PAUSE_MS_MAX
    node.step(RunOpened(run=RUN))
    assert (node.state, node.reason) == ("running", "")


def test_a_run_whose_files_have_changed_is_refused_and_named_until_it_is_handed_over_anew() -> None:
    node = refused()
    assert (node.state, node.reason, node.timer) == ("refused", "workflow.py has changed", None)
    assert RUN.encode() in node.rows
    node.ask(TAKE)
    assert messages(node.step(RunOpened(run=RUN))) == [RunTaken(run=RUN)]


def test_a_run_whose_files_are_wrong_is_tried_some_times_and_then_needs_a_person() -> None:
    node = running().again()
    for _ in range(FLAME_KEPT_TRIES_MAX - 1):
        node.step(WRONG)
        assert (node.state, node.reason) == ("waiting", WRONG.sentence)
        node.fire()
    assert node.step(WRONG) == ()
    assert (node.state, node.reason) == ("refused", WRONG.sentence) and RUN.encode() in node.rows


@pytest.mark.parametrize("code", sorted(PASSING))
def test_what_passes_by_itself_is_never_refused_and_what_was_wrong_before_does_not_count(code: Code) -> None:
    node = running().again()
    for _ in range(3 * FLAME_KEPT_TRIES_MAX):
        for hindrance in (WRONG, RunNotOpened(run=RUN, code=code, sentence="")):
            node.step(hindrance)
            assert node.state == "waiting"
            node.fire()


def test_a_run_that_has_its_result_or_is_anothers_is_forgotten() -> None:
    node = running().again()
    node.step(OVER)
    assert (node.state, node.rows) == ("over", {})


def test_a_run_whose_executor_crashes_is_taken_up_after_a_pause_and_not_for_ever() -> None:
    node = running()
    for crash in range(FLAME_KEPT_CRASHES_MAX):
        node.step(ExecutorCrashed(run=RUN, sentence="KeyError"))
        assert (node.state, node.reason) == ("waiting", "its executor crashed: KeyError")
        since_ms = node.ms
        assert node.fire() == (opened(again=True),)
        assert node.ms - since_ms == FLAME_KEPT_PAUSE_MS_MIN << crash
        node.step(RunOpened(run=RUN))
    assert node.step(ExecutorCrashed(run=RUN, sentence="KeyError")) == ()
    assert node.state == "given-up" and RUN.encode() in node.rows


def test_crashes_that_lie_far_apart_are_not_counted_together() -> None:
    node = running()
    for _ in range(3 * FLAME_KEPT_CRASHES_MAX):
        node.step(ExecutorCrashed(run=RUN, sentence="KeyError"))
        node.fire()
        node.step(RunOpened(run=RUN))
        node.ms += FLAME_KEPT_WINDOW_MS
    assert node.state == "running"


def test_a_timer_that_comes_late_tries_nothing() -> None:
    node = waiting()
    stale = TimerFired(name=RUN_TIMER + RUN, generation=0)
    assert node.step(stale) == () and node.state == "waiting"
    node.ask(StopRun(run=RUN))
    assert node.fire() == ()


# --- the end -----------------------------------------------------------------------------------------------------


def test_a_run_that_has_ended_is_forgotten() -> None:
    node = running()
    node.step(RunEnded(run=RUN))
    assert (node.rows, node.machine.snapshot().runs) == ({}, ())
    assert refusals(node.ask(StopRun(run=RUN))) == [Code.RUN_UNKNOWN]


def test_a_stop_is_stored_before_it_is_ordered() -> None:
    node = running()
    persist, *rest = node.ask(StopRun(run=RUN))
    assert isinstance(persist, Persist) and rest[0] == EndRun(run=RUN)
    assert messages(tuple(rest)) == [RunStopping(run=RUN, state="running")]
    again = node.ask(StopRun(run=RUN))
    assert messages(again) == [RunStopping(run=RUN, state="stopping")] and EndRun(run=RUN) not in again
    assert refusals(node.ask(TAKE)) == [Code.RUN_IN_PROGRESS]


def test_a_run_that_was_to_stop_when_its_node_died_is_opened_only_to_be_stopped() -> None:
    node = running()
    node.ask(StopRun(run=RUN))
    later = node.again()
    assert later.step(RunOpened(run=RUN)) == (EXECUTE, EndRun(run=RUN))
    assert later.state == "stopping"
    hindered = node.again()
    hindered.step(REFUSED)
    assert (hindered.state, hindered.rows) == ("over", {})


def test_a_run_that_was_to_stop_and_is_hindered_for_now_is_stopped_once_it_can_be_opened() -> None:
    node = running()
    node.ask(StopRun(run=RUN))
    hindered = node.again()
    hindered.step(LATER)
    assert (hindered.state, hindered.reason) == ("waiting", "a guard is at work") and RUN.encode() in hindered.rows
    assert hindered.fire() == (opened(again=True),)
    assert hindered.step(RunOpened(run=RUN)) == (EXECUTE, EndRun(run=RUN))


def test_a_run_that_is_stopped_while_it_is_opened_is_executed_and_stopped() -> None:
    node = Node()
    node.ask(TAKE)
    assert messages(node.ask(StopRun(run=RUN), 2)) == [RunStopping(run=RUN, state="opening")]
    assert node.step(RunOpened(run=RUN))[:2] == (EXECUTE, EndRun(run=RUN))


@pytest.mark.parametrize("make", [waiting, refused, given_up])
def test_a_run_that_does_not_run_is_forgotten_at_once_when_it_is_stopped(make: Any) -> None:
    node = make()
    before = node.state
    assert messages(node.ask(StopRun(run=RUN))) == [RunStopping(run=RUN, state=before)]
    assert node.rows == {}


def test_a_run_whose_executor_crashes_while_it_is_stopped_is_not_taken_up_again() -> None:
    node = running()
    node.ask(StopRun(run=RUN))
    node.step(ExecutorCrashed(run=RUN, sentence="KeyError"))
    assert node.rows == {}


@pytest.mark.parametrize("stopped", [False, True])
def test_an_executor_that_crashes_after_its_result_is_over_whichever_is_told_first(stopped: bool) -> None:
    ended, crashed = RunEnded(run=RUN), ExecutorCrashed(run=RUN, sentence="KeyError")
    for order in ((ended, crashed), (crashed, ended)):
        node = running()
        if stopped:
            node.ask(StopRun(run=RUN))
        for event in order:
            node.step(event)
        assert node.rows == {} and node.state == "over"
