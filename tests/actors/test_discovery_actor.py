"""The discovery actor: the process comes back after every end, typed addresses are answered, nothing is believed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from actors.adapters.clock import SystemClock
from actors.adapters.route import DIRECT, DirectRoute, Route
from actors.base import ActorHandle
from actors.child_spec import ChildSpec
from actors.discovery import (
    Announce,
    Event,
    Fetch,
    Fetched,
    Found,
    Lost,
    Stop,
    decode_command,
    encode_event,
)
from actors.discovery_actor import DiscoveryActor
from actors.messages import Snapshot, SnapshotWanted
from actors.ports import ChildGone, ChildSaid, ChildStarted
from protocol.errors import Code, DeniedError, FlottaError
from protocol.ids import node_id
from protocol.key_statement import LIFE_MS, KeyStatement, sign_key_statement
from protocol.limits import DISCOVERY_FETCHES_MAX
from protocol.machines.events import Discovered, DiscoveryLost, ProjectsHeld, StatementMissing, StatementWanted
from protocol.signing import SigningKey
from tests.actors.tree import LIMIT_S, Journal, box, timers_running, tree

OWN, OTHER = SigningKey(b"o" * 32), SigningKey(b"p" * 32)


def statement_of(key: SigningKey, sequence: int = 1) -> bytes:
    return sign_key_statement(
        KeyStatement(
            version=1,
            curve_key=b"c" * 32,
            seal_key=b"s" * 32,
            addresses=("127.0.0.1:1456",),
            sequence=sequence,
            not_after_ms=SystemClock().now().wall_ms + LIFE_MS,
            name="x",
        ),
        key,
    )


class Processes:
    """A spawner whose processes the test plays."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.kept: dict[str, int] = {}

    def spawn(self, key: str, role: str, *, on_node_death: Literal["kill", "keep"], rss_bytes_max: int) -> None:
        self.journal.add(("spawn", key))

    def kill(self, key: str) -> None:
        self.journal.add(("kill", key))

    def send(self, key: str, message: bytes) -> bool:
        self.journal.add((key, decode_command(message)))
        return True

    def stop(self) -> None:
        pass


@dataclass
class World:
    handle: ActorHandle
    processes: Processes
    published: Journal

    def started(self, number: int) -> str:
        """Wait until the process is asked for the `number`-th time, and say that it runs. Its key."""
        key = _spawns(self.processes.journal.wait(lambda told: len(_spawns(told)) >= number))[number - 1]
        self.handle.tell(ChildStarted(key=key, pid=1))
        return key

    def gone(self, key: str) -> None:
        self.handle.tell(ChildGone(key=key, code=1, signal=None, reason="exited"))

    def say(self, key: str, event: Event) -> None:
        self.handle.tell(ChildSaid(key=key, message=encode_event(event)))

    def told(self, key: str, kind: type[Any], number: int = 1) -> list[Any]:
        """The commands of a kind that the process got, at least `number`."""

        def commands(told: list[Any]) -> list[Any]:
            return [one[1] for one in told if one[0] == key and isinstance(one[1], kind)]

        return commands(self.processes.journal.wait(lambda told: len(commands(told)) >= number))

    def settle(self) -> dict[str, Any]:
        """Wait until it has taken everything so far; what it tells of itself."""
        asker, answers = box("asker")
        self.handle.tell(SnapshotWanted(ticket=1, reply_to=asker))
        snapshot = answers.take(LIMIT_S)
        assert isinstance(snapshot, Snapshot)
        values: dict[str, Any] = snapshot.values
        return values


def _spawns(told: list[Any]) -> list[str]:
    return [key for what, key in told if what == "spawn"]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("actors.discovery_actor.RESTART_BACKOFF_MS_MIN", 5)
    with running() as one:
        yield one


@contextmanager
def running(route: Route = DIRECT) -> Iterator[World]:
    processes, published = Processes(), Journal()
    with timers_running() as timers:
        spec = ChildSpec(
            "discovery",
            lambda context: DiscoveryActor.start(
                context,
                own_id=node_id(OWN.public_key),
                interfaces=("127.0.0.1",),
                port=1456,
                zeroconf=False,
                spawner=processes,
                clock=SystemClock(),
                timers=timers,
                publish=published.add,
                route=route,
            ),
        )
        with tree([spec], timers=timers) as it:
            yield World(spec.handle, processes, published)
            assert it.fatal.entries() == []


def hold(world: World, sequence: int = 1) -> bytes:
    statement = statement_of(OWN, sequence)
    world.handle.tell(ProjectsHeld(projects=(), statement=statement))
    return statement


def test_a_process_that_ends_is_started_again_and_announces_again(world: World) -> None:
    statement = hold(world)
    for number in (1, 2, 3):
        key = world.started(number)
        (announce,) = world.told(key, Announce)
        assert (announce.statement, announce.port) == (statement, 1456)
        world.gone(key)
    world.started(4)
    assert "started again" in world.settle()["problems"][0]
    keys = _spawns(world.processes.journal.entries())
    assert len(set(keys)) == len(keys)


def test_a_process_that_ran_well_is_started_again_soon_however_often_it_ended_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.discovery_actor.RESTART_WINDOW_MS", 0)
    began_s = time.monotonic()
    for number in range(1, 13):
        world.gone(world.started(number))
    world.started(13)
    assert time.monotonic() - began_s < 5  # doubling each time would have taken ten


def test_news_of_an_earlier_process_is_not_heard(world: World) -> None:
    first = world.started(1)
    world.gone(first)
    second = world.started(2)
    world.gone(first)
    world.say(first, Found(instance="x", statement=statement_of(OTHER), addresses=("10.0.0.1",), port=1))
    world.settle()
    assert world.published.entries() == []
    assert _spawns(world.processes.journal.entries()) == [first, second]


def test_a_changed_statement_is_announced_anew(world: World) -> None:
    key = world.started(1)
    hold(world, 1)
    newer = hold(world, 2)
    assert world.told(key, Announce, 2)[-1].statement == newer


def test_a_typed_address_is_asked_and_its_statement_verified(world: World) -> None:
    key = world.started(1)
    world.handle.tell(StatementWanted(address="10.0.0.1"))
    (fetch,) = world.told(key, Fetch)
    assert (fetch.host, fetch.port) == ("10.0.0.1", 1456)
    world.say(key, Fetched(ticket=fetch.ticket, statement=statement_of(OTHER)))
    world.say(key, Fetched(ticket=fetch.ticket, statement=statement_of(OTHER)))  # once more: not heard
    world.say(key, Fetched(ticket=99, statement=statement_of(OTHER)))
    world.settle()
    (found,) = world.published.entries()
    assert isinstance(found, Discovered) and found.typed and found.heard_at == "10.0.0.1"
    assert found.certified.node == node_id(OTHER.public_key)


@pytest.mark.parametrize("statement", [None, b"x" * 40, statement_of(OTHER)[:-1]])
def test_no_statement_or_a_forged_one_is_a_reason(world: World, statement: bytes | None) -> None:
    key = world.started(1)
    world.handle.tell(StatementWanted(address="lab:1456"))
    (fetch,) = world.told(key, Fetch)
    world.say(key, Fetched(ticket=fetch.ticket, statement=statement, problem="" if statement else "Nobody answers."))
    (missing,) = world.published.wait(bool)
    assert isinstance(missing, StatementMissing) and missing.address == "lab:1456" and missing.sentence


class ShutWay:
    """A way whose proxy does not open it."""

    endpoint, socket_path = "ipc:///run/7", "/run/7"

    def __init__(self, closed: Journal) -> None:
        self._closed = closed

    def problem(self) -> FlottaError:
        return DeniedError(Code.PROXY_REFUSED, "the proxy says no", next_step="ask its owner")

    def close(self) -> None:
        self._closed.add("closed")


class Shut(DirectRoute):
    def __init__(self) -> None:
        self.closed = Journal()
        self.asked: list[str] = []

    def way(self, address: str) -> Any:
        self.asked.append(address)
        return ShutWay(self.closed)


def test_behind_a_proxy_the_process_is_given_a_socket_and_what_is_wrong_with_the_way_is_told() -> None:
    route = Shut()
    with running(route) as world:
        key = world.started(1)
        world.handle.tell(StatementWanted(address="lab:1456"))
        (fetch,) = world.told(key, Fetch)
        assert (fetch.host, fetch.port, fetch.through) == ("lab", 1456, "/run/7")
        assert route.asked == ["lab:1457"]
        world.say(key, Fetched(ticket=fetch.ticket, problem="It hung up."))
        (missing,) = world.published.wait(bool)
        assert missing.sentence == "the proxy says no. Next: ask its owner"
        assert route.closed.entries() == ["closed"]
        world.handle.tell(StatementWanted(address="lab:1456"))
        world.told(key, Fetch, 2)
    assert route.closed.entries() == ["closed", "closed"]  # none stays open behind the actor


def test_an_address_that_does_not_read_is_answered_at_once(world: World) -> None:
    world.started(1)
    world.handle.tell(StatementWanted(address="no address:x"))
    (missing,) = world.published.wait(bool)
    assert isinstance(missing, StatementMissing)


def test_what_was_asked_of_a_process_that_ended_is_asked_of_the_next_one_once(world: World) -> None:
    world.handle.tell(StatementWanted(address="10.0.0.1"))
    first = world.started(1)
    (asked,) = world.told(first, Fetch)
    world.gone(first)
    second = world.started(2)
    assert world.told(second, Fetch) == [asked]
    world.say(second, Fetched(ticket=asked.ticket, problem="Nobody answers."))
    world.published.wait(bool)


def test_an_address_is_answered_in_time_even_if_no_process_ever_runs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.discovery_actor.FETCH_LIMIT_MS", 30)
    world.handle.tell(StatementWanted(address="10.0.0.1"))
    (missing,) = world.published.wait(bool)
    assert missing == StatementMissing(address="10.0.0.1", sentence="discovery gave no answer in time")
    key = world.started(1)
    world.settle()
    assert [one for one in world.processes.journal.entries() if one[0] == key] == []


def test_as_many_addresses_are_asked_at_once_as_the_process_takes(world: World) -> None:
    key = world.started(1)
    for number in range(DISCOVERY_FETCHES_MAX + 1):
        world.handle.tell(StatementWanted(address=f"10.0.0.{number}"))
    (missing,) = world.published.wait(bool)
    assert isinstance(missing, StatementMissing) and "too many" in missing.sentence
    assert len(world.told(key, Fetch, DISCOVERY_FETCHES_MAX)) == DISCOVERY_FETCHES_MAX


def test_others_are_told_once_found_and_once_lost_and_oneself_never(world: World) -> None:
    key = world.started(1)
    world.say(key, Found(instance="own", statement=statement_of(OWN), addresses=("10.0.0.1",), port=1))
    for instance in ("a", "b"):
        world.say(key, Found(instance=instance, statement=statement_of(OTHER), addresses=("10.0.0.2",), port=2))
    for instance in ("own", "a", "unknown"):
        world.say(key, Lost(instance=instance))
    world.settle()
    assert [type(one) for one in world.published.entries()] == [Discovered, Discovered]
    world.say(key, Lost(instance="b"))
    world.settle()
    assert world.published.entries()[-1] == DiscoveryLost(node=node_id(OTHER.public_key))
    assert world.published.entries()[0].heard_at == "10.0.0.2:2"


def test_nonsense_of_the_process_is_counted_and_nothing_more(world: World) -> None:
    key = world.started(1)
    for number, message in zip(itertools.count(1), (b"\xff", b"{}", b'{"type":"found"}'), strict=False):
        world.handle.tell(ChildSaid(key=key, message=message))
        assert world.settle()["counts"]["malformed_events"] == number
    world.say(key, Found(instance="x", statement=b"forged", addresses=("10.0.0.1",), port=1))
    assert world.settle()["counts"]["malformed_events"] == 4
    assert world.published.entries() == []


def test_a_node_that_has_left_announces_nothing_and_asks_nobody_until_it_is_back(world: World) -> None:
    statement = hold(world)
    key = world.started(1)
    world.told(key, Announce)
    world.handle.tell(ProjectsHeld(projects=(), statement=statement, left=True))
    world.told(key, Stop)
    world.handle.tell(StatementWanted(address="lab:1456"))
    (missing,) = world.published.wait(bool)
    assert isinstance(missing, StatementMissing) and "rejoin" in missing.sentence
    world.gone(key)
    assert world.settle()["state"] == "left"
    world.handle.tell(ProjectsHeld(projects=(), statement=statement, left=True))  # told again each day
    assert len(_spawns(world.processes.journal.entries())) == 1
    hold(world, 2)
    world.told(world.started(2), Announce)


def test_a_node_that_left_before_its_start_announces_nothing(world: World) -> None:
    world.handle.tell(ProjectsHeld(projects=(), statement=statement_of(OWN), left=True))
    world.settle()
    key = world.started(1)
    world.told(key, Stop)
    world.gone(key)
    assert world.settle()["state"] == "left"
    assert not any(isinstance(command, Announce) for _, command in world.processes.journal.entries())


def test_a_node_that_comes_back_while_its_process_still_ends_is_announced_by_the_next_one(world: World) -> None:
    statement = hold(world)
    key = world.started(1)
    world.handle.tell(ProjectsHeld(projects=(), statement=statement, left=True))
    world.told(key, Stop)
    hold(world, 2)
    world.gone(key)
    world.told(world.started(2), Announce)
