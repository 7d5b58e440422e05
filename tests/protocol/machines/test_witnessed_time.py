"""A wall clock that jumps ahead is believed only after it has run on."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from protocol.limits import CLOCK_CONFIRM_MS, CLOCK_JUMP_MS_MAX, CLOCK_TOLERANCE_MS
from protocol.machines.contract import Now
from protocol.machines.witnessed_time import WitnessedTime

WALL_MS = 1_750_000_000_000
DAY_MS = 86_400_000


def at(boot_ms: int, wall_ms: int) -> Now:
    return Now(boot_ms * 1_000_000, wall_ms)


def test_a_clock_that_runs_as_the_boot_clock_does_is_believed() -> None:
    clock = WitnessedTime(WALL_MS)
    for minute in range(100):
        ms = minute * 60_000
        assert clock.look(at(5_000 + ms, WALL_MS + ms)) == WALL_MS + ms
    assert not clock.in_doubt


def test_time_in_which_the_machine_slept_is_seen_by_the_boot_clock() -> None:
    clock = WitnessedTime(WALL_MS)
    clock.look(at(0, WALL_MS))
    assert clock.look(at(30 * DAY_MS, WALL_MS + 30 * DAY_MS)) == WALL_MS + 30 * DAY_MS


def test_a_jump_ahead_is_believed_only_after_the_clock_has_run_on() -> None:
    clock = WitnessedTime(WALL_MS)
    clock.look(at(0, WALL_MS))
    for boot_ms in range(60_000, CLOCK_CONFIRM_MS + 60_000, 60_000):
        assert clock.look(at(boot_ms, WALL_MS + DAY_MS + boot_ms)) == WALL_MS + boot_ms
        assert clock.in_doubt
    boot_ms = CLOCK_CONFIRM_MS + 60_000
    assert clock.look(at(boot_ms, WALL_MS + DAY_MS + boot_ms)) == WALL_MS + DAY_MS + boot_ms
    assert not clock.in_doubt


def test_a_second_jump_begins_the_doubt_anew() -> None:
    clock = WitnessedTime(WALL_MS)
    clock.look(at(0, WALL_MS))
    clock.look(at(60_000, WALL_MS + DAY_MS))
    clock.look(at(CLOCK_CONFIRM_MS - 60_000, WALL_MS + 400 * DAY_MS))
    assert clock.look(at(CLOCK_CONFIRM_MS + 120_000, WALL_MS + 400 * DAY_MS + 180_000)) < WALL_MS + DAY_MS


def test_a_clock_that_was_set_right_again_leaves_no_doubt() -> None:
    clock = WitnessedTime(WALL_MS)
    clock.look(at(0, WALL_MS))
    clock.look(at(60_000, WALL_MS + DAY_MS))
    assert clock.look(at(120_000, WALL_MS + 120_000)) == WALL_MS + 120_000
    assert not clock.in_doubt


def test_a_step_back_is_followed_at_once() -> None:
    clock = WitnessedTime(WALL_MS)
    assert clock.look(at(0, WALL_MS - DAY_MS)) == WALL_MS - DAY_MS


def test_a_restart_takes_minutes_and_a_longer_absence_is_a_jump() -> None:
    short, long = WitnessedTime(WALL_MS), WitnessedTime(WALL_MS)
    assert short.look(at(0, WALL_MS + CLOCK_JUMP_MS_MAX)) == WALL_MS + CLOCK_JUMP_MS_MAX
    assert long.look(at(0, WALL_MS + CLOCK_JUMP_MS_MAX + 1)) == WALL_MS


# Smaller ones, within CLOCK_TOLERANCE_MS, count as the same time.
_LEAST_MS: Final = 2 * CLOCK_TOLERANCE_MS + 1
_JUMPS_MS: Final = st.one_of(st.just(0), st.integers(_LEAST_MS, 400 * DAY_MS), st.integers(-400 * DAY_MS, -_LEAST_MS))


@given(
    st.lists(
        st.tuples(st.integers(0, CLOCK_CONFIRM_MS // 2), _JUMPS_MS),
        max_size=30,
    )
)
def test_whatever_the_clock_does_nothing_is_sure_that_did_not_stand_or_was_not_seen(
    steps: list[tuple[int, int]],
) -> None:
    """The sure time never leads what was seen to pass by more than a small jump, but for a time that has stood."""
    clock, boot_ms, offset_ms, since_ms = WitnessedTime(WALL_MS), 0, 0, 0
    sure_ms = clock.look(at(0, WALL_MS))
    for pause_ms, jump_ms in steps:
        boot_ms += pause_ms
        if jump_ms:
            offset_ms, since_ms = offset_ms + jump_ms, boot_ms
        wall_ms = WALL_MS + boot_ms + offset_ms
        before_ms, sure_ms = sure_ms, clock.look(at(boot_ms, wall_ms))
        assert sure_ms <= wall_ms
        if boot_ms - since_ms < CLOCK_CONFIRM_MS:
            assert sure_ms <= before_ms + pause_ms + CLOCK_JUMP_MS_MAX
