"""The projects actor: its statements are numbered upwards whatever happens, and name what is held now."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actors.adapters.clock import SystemClock
from actors.child_spec import ChildSpec
from actors.projects import Held, HoldProjects, ProjectsActor
from actors.timers import TimerService
from protocol.ids import node_id
from protocol.key_statement import hints_match, verify_key_statement
from protocol.limits import PROJECTS_MAX
from protocol.machines.contract import TimerFired
from protocol.machines.events import Departed, JoinsKept, KeptJoin, ProjectsHeld
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey
from tests.actors.tree import Journal, timers_running, tree

KEY = SigningKey(b"k" * 32)
OLD, NEW = (
    ProjectKey.derive(token) for token in ("9d41c7f0a2b85e3617dd094c5b8e12fa", "5e1f0b9ac3d84726a1907fe3bd62c85f")
)


def projects_actor(
    sequences: Iterator[int], read: Callable[[], Held], timers: TimerService, told: Journal, name: str = "Anna"
) -> ChildSpec:
    return ChildSpec(
        "projects",
        lambda context: ProjectsActor.start(
            context,
            key=KEY,
            curve_public=b"c" * 32,
            seal_public=b"s" * 32,
            addresses=("127.0.0.1:1",),
            name=name,
            sequences=sequences,
            read=read,
            clock=SystemClock(),
            timers=timers,
            publish=told.add,
        ),
    )


def tellings(told: list[Any], number: int = 0) -> list[ProjectsHeld]:
    found = [one for one in told if isinstance(one, ProjectsHeld)]
    return found if len(found) >= number else []


def test_statements_rise_through_changes_and_crashes_and_carry_the_hints_of_what_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actors.child_spec.RESTART_BACKOFF_MS_MIN", 5)
    published, sequences = Journal(), itertools.count(100)
    with timers_running() as timers:
        spec = projects_actor(sequences, lambda: Held(projects=(OLD,)), timers, published)
        with tree([spec], timers=timers):
            spec.handle.tell(HoldProjects(held=Held(projects=(OLD, NEW))))
            published.wait(lambda told: bool(tellings(told, 2)))
            spec.handle.tell(HoldProjects(held=None))  # type: ignore[arg-type]
            published.wait(lambda told: bool(tellings(told, 3)))
            spec.handle.tell(TimerFired(name="sign again"))
            told = tellings(published.wait(lambda told: bool(tellings(told, 4))))
    statements = [verify_key_statement(one.statement, SystemClock().now().wall_ms) for one in told]
    numbers = [one.statement.sequence for one in statements]
    assert numbers == sorted(set(numbers)) and numbers[0] == 100
    own = node_id(KEY.public_key)
    assert [hints_match(one, [NEW.hint(own)]) for one in statements] == [False, True, False, False]
    assert [one.projects for one in told] == [(OLD,), (OLD, NEW), (OLD,), (OLD,)]


def test_join_addresses_are_told_behind_the_tokens() -> None:
    published = Journal()
    kept = (KeptJoin(address="lab:1456"),)
    with timers_running() as timers:
        spec = projects_actor(itertools.count(), lambda: Held(projects=(OLD,), joins=kept), timers, published)
        with tree([spec], timers=timers):
            held, joins = published.wait(lambda told: len(told) == 2)
    assert isinstance(held, ProjectsHeld) and joins == JoinsKept(joins=kept)


def test_a_node_that_leaves_says_so_and_departs_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.projects.LEAVE_FLUSH_MS", 1)
    published = Journal()
    with timers_running() as timers:
        spec = projects_actor(itertools.count(), lambda: Held(projects=(OLD,)), timers, published)
        with tree([spec], timers=timers):
            spec.handle.tell(HoldProjects(held=Held(projects=(), left=True)))
            told = published.wait(lambda told: any(isinstance(one, Departed) for one in told))
    last = tellings(told)[-1]
    assert last.left and last.projects == ()
    assert verify_key_statement(last.statement, SystemClock().now().wall_ms).statement.hints == ()


@pytest.mark.parametrize(("name", "room"), [("Anna", True), ("n" * 64, False)])
def test_projects_whose_hints_have_no_room_are_logged(name: str, room: bool, caplog: pytest.LogCaptureFixture) -> None:
    held = Held(projects=tuple(ProjectKey(bytes([number]) * 32) for number in range(PROJECTS_MAX)))
    with timers_running() as timers:
        spec = projects_actor(itertools.count(), lambda: held, timers, Journal(), name)
        with tree([spec], timers=timers):
            pass
    assert ("has room for the hints of" in caplog.text) == (not room)
