"""Members of a project learn what a holder publishes of its sources, from the holder itself, and nobody else does."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.columns import Column
from protocol.errors import Code
from protocol.ids import node_id
from protocol.limits import COLUMNS_PUBLISHED_MAX, NAME_CHARS_MAX, SCHEMA_WAIT_MS, WATCHERS_MAX
from protocol.machines.catalogue import Catalogue
from protocol.machines.contract import Effects, Received, SetTimer, TimerFired
from protocol.machines.events import OPERATOR, PeerLeft, PeersAllowed, PeerSeen, ProjectsHeld, SourceInspected
from protocol.plan.tasks import Fault, Inspection
from protocol.tokens import ProjectKey
from protocol.wire.peers import AskSchema, AskSources, ListedSource, Schema, SourceList, SourceOffer
from protocol.wire.registry import encode_message
from tests.protocol.builders import OTHER_PROJECT, PROJECT, messages, node_key, now, received, refusals, sends

HEART, OTHER = PROJECT.project_id, OTHER_PROJECT.project_id
OWN, PEER = (node_id(node_key(number).public_key) for number in (1, 2))
COLUMNS = (Column(name="age", type="number"), Column(name="sex", type="text", groups=False))


def catalogue(columns: tuple[Column, ...] = COLUMNS) -> Catalogue:
    """A node with two sources, each open to a project of its own, and a peer with one."""
    machine = Catalogue(OWN, "here", {"heart": frozenset([HEART]), "other": frozenset([OTHER])})
    machine.step(ProjectsHeld(projects=(PROJECT, OTHER_PROJECT), statement=b""), now())
    for source in ("heart", "other"):
        seen = Inspection(columns=columns, rows=9, schema=b"")
        machine.step(SourceInspected(source=source, seen=seen), now())
    machine.step(PeerSeen(node=PEER, name="there", sources=(SourceOffer(name="ward", project=HEART),)), now())
    return machine


def step(machine: Catalogue, event: Received | TimerFired, ms: int = 0) -> Effects:
    effects = machine.step(event, now(ms))
    machine.check()
    return effects


def by_peer(message: Any, project: bytes = HEART) -> Received:
    return received(message, PEER, project=project)


def by_operator(message: Any) -> Received:
    return received(message, OPERATOR, session=b"control:1")


def by_submitter(message: Any, project: bytes = HEART) -> Received:
    return received(message, b"p" * 32, session=b"door", project=project)


def own_schema(source: str = "heart", project: bytes = HEART) -> AskSchema:
    return AskSchema(project=project, node=OWN, source=source)


def test_a_peer_is_told_the_columns_of_a_source_that_is_open_to_its_project() -> None:
    (told,) = messages(step(catalogue(), by_peer(own_schema())), Schema)
    assert (told.columns, told.columns_all, told.problem) == (COLUMNS, 2, "")


@pytest.mark.parametrize(
    ("ask", "proved"),
    [
        (own_schema("other", OTHER), HEART),  # another project than the one that the connection brought
        (own_schema("other", HEART), HEART),
        (own_schema("none"), HEART),
        (own_schema("heart", OTHER), OTHER),
        (AskSchema(project=HEART, node=PEER, source="heart"), HEART),
    ],
)
def test_of_any_other_source_a_peer_hears_one_and_the_same(ask: AskSchema, proved: bytes) -> None:
    (told,) = messages(step(catalogue(), by_peer(ask, proved)), Schema)
    assert (told.columns, told.columns_all, told.code) == ((), 0, Code.SOURCE_UNKNOWN)
    assert told.problem == "no such source is open to the project"


def test_a_project_that_is_no_longer_held_opens_nothing() -> None:
    machine = catalogue()
    machine.step(ProjectsHeld(projects=(OTHER_PROJECT,), statement=b""), now())
    (told,) = messages(step(machine, by_peer(own_schema())), Schema)
    assert told.code == Code.SOURCE_UNKNOWN
    assert refusals(step(machine, by_operator(AskSources(project=HEART)))) == [Code.PROJECT_UNKNOWN]


def test_a_project_with_a_new_token_reaches_the_sources_that_it_reached() -> None:
    machine = catalogue()
    rotated = ProjectKey(b"r" * 32)
    sources = {"heart": frozenset([rotated.project_id]), "other": frozenset([OTHER])}
    machine.step(ProjectsHeld(projects=(rotated, OTHER_PROJECT), statement=b"", sources=sources), now())
    machine.check()
    (told,) = messages(step(machine, by_peer(own_schema(project=rotated.project_id), rotated.project_id)), Schema)
    assert told.columns == COLUMNS
    (listed,) = messages(step(machine, by_operator(AskSources(project=rotated.project_id))), SourceList)
    assert [one.source for one in listed.sources] == ["heart"]


@pytest.mark.parametrize(
    "gone",
    [
        PeersAllowed(banned=frozenset([PEER])),
        PeersAllowed(named=frozenset()),
        PeerLeft(node=PEER, name="there"),
    ],
)
def test_the_sources_of_a_holder_that_is_banned_or_has_left_are_not_listed(gone: Any) -> None:
    machine = catalogue()
    machine.step(gone, now())
    (listed,) = messages(step(machine, by_operator(AskSources(project=HEART))), SourceList)
    assert [one.node for one in listed.sources] == [OWN]
    ask = AskSchema(project=HEART, node=PEER, source="ward")
    assert refusals(step(machine, by_submitter(ask))) == [Code.SOURCE_UNKNOWN]


def test_a_source_that_cannot_be_read_tells_its_problem_and_no_columns() -> None:
    machine = catalogue()
    fault = Fault(code="source-missing", sentence="it is missing", next_step="put it back")
    machine.step(SourceInspected(source="heart", fault=fault), now())
    (told,) = messages(step(machine, by_peer(own_schema())), Schema)
    assert (told.columns, told.code, told.problem) == ((), "source-missing", "it is missing")


def test_a_source_that_was_not_read_yet_says_so() -> None:
    machine = Catalogue(OWN, "here", {"heart": frozenset([HEART])})
    machine.step(ProjectsHeld(projects=(PROJECT,), statement=b""), now())
    (told,) = messages(step(machine, by_peer(own_schema())), Schema)
    assert told.code == Code.BUSY


def test_as_many_columns_as_are_told_fit_into_a_message_and_the_rest_is_counted() -> None:
    names = [f"{number:04}" + "\N{GRINNING FACE}" * (NAME_CHARS_MAX - 4) for number in range(4_096)]
    machine = catalogue(tuple(Column(name=name, type="boolean", groups=False) for name in names))
    (told,) = messages(step(machine, by_peer(own_schema())), Schema)
    assert (len(told.columns), told.columns_all) == (COLUMNS_PUBLISHED_MAX, 4_096)
    assert encode_message(told)


def test_the_sources_of_a_project_are_listed_to_its_members() -> None:
    known = (ListedSource(node=OWN, name="here", source="heart"), ListedSource(node=PEER, name="there", source="ward"))
    for event in (by_operator(AskSources(project=HEART)), by_submitter(AskSources(project=HEART))):
        (told,) = messages(step(catalogue(), event), SourceList)
        assert (told.sources, told.sources_all) == (known, 2)


@pytest.mark.parametrize("ask", [AskSources(project=OTHER), AskSchema(project=OTHER, node=OWN, source="other")])
def test_a_submitter_hears_of_no_other_project_than_the_one_it_proved(ask: Any) -> None:
    assert refusals(step(catalogue(), by_submitter(ask))) == [Code.PROJECT_UNKNOWN]


def test_a_question_about_another_holder_goes_to_it_and_its_answer_to_all_who_asked() -> None:
    machine = catalogue()
    ask = AskSchema(project=HEART, node=PEER, source="ward")
    for event in (by_operator(ask), by_submitter(ask)):
        (sent,) = sends(step(machine, event), AskSchema)
        assert (sent.to, sent.project, sent.message) == (PEER, HEART, ask)
    told = Schema(project=HEART, node=PEER, source="ward", columns=COLUMNS, columns_all=2)
    answers = sends(step(machine, by_peer(told)), Schema)
    assert [(one.session, one.message) for one in answers] == [(b"control:1", told), (b"door", told)]
    assert step(machine, by_peer(told)) == ()  # nobody waits any more
    assert machine.snapshot().waiting == 0


def test_a_holder_that_does_not_answer_is_named_after_a_while() -> None:
    machine = catalogue()
    effects = step(machine, by_operator(AskSchema(project=HEART, node=PEER, source="ward")))
    (timer,) = [one for one in effects if isinstance(one, SetTimer)]
    assert timer.at_ns == now(SCHEMA_WAIT_MS).boot_ns
    assert refusals(step(machine, TimerFired(name=timer.name), SCHEMA_WAIT_MS)) == [Code.TIMED_OUT]
    assert machine.snapshot().waiting == 0


def test_an_answer_about_another_node_or_with_too_many_columns_is_refused() -> None:
    machine = catalogue()
    step(machine, by_operator(AskSchema(project=HEART, node=PEER, source="ward")))
    forged = Schema(project=HEART, node=OWN, source="heart", columns=COLUMNS, columns_all=2)
    many = Schema(project=HEART, node=PEER, source="ward", columns=COLUMNS * COLUMNS_PUBLISHED_MAX)
    for schema in (forged, many):
        assert refusals(step(machine, by_peer(schema))) == [Code.BODY_MALFORMED]
    assert machine.snapshot().waiting == 1


def test_an_unknown_source_and_one_question_too_many_are_refused() -> None:
    machine = catalogue()
    unknown = AskSchema(project=HEART, node=PEER, source="none")
    assert refusals(step(machine, by_operator(unknown))) == [Code.SOURCE_UNKNOWN]
    known = AskSchema(project=HEART, node=PEER, source="ward")
    for _ in range(WATCHERS_MAX):
        assert not refusals(step(machine, by_operator(known)))
    assert refusals(step(machine, by_operator(known))) == [Code.BUSY]


def test_a_source_that_goes_with_its_projects_new_token_is_open_to_the_new_project_alone() -> None:
    machine = catalogue()
    sources = dict.fromkeys(("heart", "other"), frozenset([OTHER]))
    machine.step(ProjectsHeld(projects=(OTHER_PROJECT,), statement=b"", sources=sources), now())
    (told,) = messages(step(machine, by_peer(own_schema("heart", OTHER), OTHER)), Schema)
    assert told.columns == COLUMNS
    (listed,) = messages(step(machine, by_operator(AskSources(project=OTHER))), SourceList)
    assert [one.source for one in listed.sources] == ["heart", "other"]


@pytest.mark.parametrize("gone", [PeerLeft(node=PEER, name="there"), PeersAllowed(banned=frozenset([PEER]))])
def test_sources_of_who_left_or_was_banned_are_not_listed(gone: PeerLeft | PeersAllowed) -> None:
    machine = catalogue()
    machine.step(gone, now())
    (listed,) = messages(step(machine, by_operator(AskSources(project=HEART))), SourceList)
    assert [one.node for one in listed.sources] == [OWN]
