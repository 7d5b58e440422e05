import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalProtocolError
from protocol.limits import REPLAY_WINDOW_FRAMES
from protocol.replay import ReplayWindow

frames = st.tuples(st.integers(1, 3), st.integers(0, 3 * REPLAY_WINDOW_FRAMES) | st.integers(0, 2**64 - 1))


@given(st.lists(frames, max_size=60))
def test_the_window_agrees_with_a_set_of_all_that_came(arrivals: list[tuple[int, int]]) -> None:
    window = ReplayWindow()
    boot, came = 0, {-1}
    for boot_id, sequence in arrivals:
        if boot_id > boot:
            expected = True
        else:
            recent = sequence > max(came) - REPLAY_WINDOW_FRAMES
            expected = boot_id == boot and recent and sequence not in came
        assert window.admits(boot_id, sequence) == expected
        if expected:
            window.commit(boot_id, sequence)
            came = came if boot_id == boot else set()
            boot = boot_id
            came.add(sequence)


def test_asking_changes_nothing() -> None:
    window = ReplayWindow()
    assert window.admits(1, 5) and window.admits(1, 5)
    window.commit(1, 5)
    assert not window.admits(1, 5)


@pytest.mark.parametrize(("behind", "admitted"), [(REPLAY_WINDOW_FRAMES - 1, True), (REPLAY_WINDOW_FRAMES, False)])
def test_the_edge_of_the_window(behind: int, admitted: bool) -> None:
    window = ReplayWindow()
    window.commit(1, 5_000)
    assert window.admits(1, 5_000 - behind) == admitted


def test_a_new_boot_starts_again_and_the_old_one_is_over() -> None:
    window = ReplayWindow()
    window.commit(1, 100)
    window.commit(2, 0)
    assert not window.admits(1, 101)
    assert window.admits(2, 1)


def test_what_is_not_new_cannot_be_committed() -> None:
    window = ReplayWindow()
    window.commit(1, 1)
    with pytest.raises(LocalProtocolError):
        window.commit(1, 1)


def test_the_largest_jump_keeps_the_window_small() -> None:
    window = ReplayWindow()
    window.commit(1, 0)
    window.commit(1, 2**64 - 1)
    assert not window.admits(1, 0) and window.admits(1, 2**64 - 2)
