"""The catalogue: which sources the holders of a project offer, and what each holder publishes of their columns.

Nothing is kept of what other holders publish: who asks is answered by the holder itself, through this node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import assert_never

from msgspec.structs import replace

from protocol.errors import Code, DeniedError
from protocol.ids import format_id
from protocol.limits import COLUMNS_PUBLISHED_MAX, PARTICIPANTS_MAX, SCHEMA_WAIT_MS, WATCHERS_MAX
from protocol.machines.answers import refused, tell
from protocol.machines.contract import (
    ClearTimer,
    Effects,
    Now,
    Received,
    Refuse,
    Send,
    SetTimer,
    TimerFired,
    unexpected,
)
from protocol.machines.events import OPERATOR, PeerLeft, PeersAllowed, PeerSeen, ProjectsHeld, SourceInspected
from protocol.machines.planning import Holders
from protocol.record import Record
from protocol.wire.peers import AskSchema, AskSources, Schema, SourceList

# All that this machine takes.
CatalogueEvent = Received | TimerFired | PeerSeen | PeerLeft | PeersAllowed | ProjectsHeld | SourceInspected


class CatalogueSnapshot(Record, frozen=True):
    waiting: int  # who asked and was not answered yet


class Catalogue:
    """Machine of the catalogue actor."""

    def __init__(self, own_id: bytes, own_name: str, own_sources: Mapping[str, frozenset[bytes]]) -> None:
        self._own_id = own_id
        self._own_sources = own_sources  # limits.SOURCES_MAX
        self._inspected: dict[str, SourceInspected] = {}  # limits.SOURCES_MAX
        self._holders = Holders(own_id, own_name, own_sources)
        self._held: frozenset[bytes] = frozenset()
        self._asked: dict[str, list[Received]] = {}  # limits.WATCHERS_MAX in all: what is asked → those who asked

    def step(self, event: CatalogueEvent, now: Now) -> Effects:
        match event:
            case Received():
                return self._received(event, now)
            case TimerFired(name=name):
                return self._late(name)
            case PeerSeen(node=node, name=name, sources=sources):
                self._holders.seen(node, name, sources)
            case PeerLeft(node=node):
                self._holders.gone(node)
            case PeersAllowed():
                self._holders.keep_only(event.admits)
            case ProjectsHeld(projects=projects, sources=sources):
                self._held = frozenset(project.project_id for project in projects)
                self._own_sources = sources if sources is not None else self._own_sources
                self._holders.own(sources)
            case SourceInspected(source=source):
                self._inspected[source] = event
            case _:
                assert_never(event)
        return ()

    def _received(self, event: Received, now: Now) -> Effects:
        match event.message:
            case AskSources() as ask_sources:
                return self._answered(event, lambda: self._list(event, ask_sources))
            case AskSchema() as ask if event.session:
                return self._answered(event, lambda: self._ask_holder(event, ask, now))
            case AskSchema() as ask:
                schema = self._published(ask, event.project)
                return (Send(message=schema, to=event.sender, project=ask.project, reply_to=event.message_id),)
            case Schema() as schema:
                return self._told(event, schema)
        raise unexpected(event.message)

    def check(self) -> None:
        assert sum(map(len, self._asked.values())) <= WATCHERS_MAX
        assert self._inspected.keys() <= self._own_sources.keys()

    def snapshot(self) -> CatalogueSnapshot:
        return CatalogueSnapshot(waiting=sum(map(len, self._asked.values())))

    # --- submitters and the operator ask -------------------------------------------------------------

    def _answered(self, event: Received, work: Callable[[], Effects]) -> Effects:
        try:
            return work()
        except DeniedError as error:
            return (refused(event, error),)

    def _check_project(self, event: Received, project: bytes) -> None:
        if project not in self._held or (event.sender != OPERATOR and event.project != project):
            raise DeniedError(
                Code.PROJECT_UNKNOWN,
                "the project is not one of this node's, or not the one that was proved at the door",
                next_step="see `flotta-p2p project list`",
            )

    def _list(self, event: Received, ask: AskSources) -> Effects:
        self._check_project(event, ask.project)
        known = self._holders.sources_of(ask.project)
        return (tell(event, SourceList(sources=known[:PARTICIPANTS_MAX], sources_all=len(known))),)

    def _ask_holder(self, event: Received, ask: AskSchema, now: Now) -> Effects:
        self._check_project(event, ask.project)
        if not any((one.node, one.source) == (ask.node, ask.source) for one in self._holders.sources_of(ask.project)):
            raise DeniedError(
                Code.SOURCE_UNKNOWN,
                f'no source "{ask.source[:64]}" of that holder is known here',
                next_step="see `flotta-p2p data list --network`",
            )
        if self.snapshot().waiting >= WATCHERS_MAX:
            raise DeniedError(Code.BUSY, "too many ask for columns at once", next_step="ask again in a moment")
        key = _key(ask)
        self._asked.setdefault(key, []).append(event)
        send = Send(message=ask, to=ask.node, project=ask.project)
        return (send, SetTimer(name=key, at_ns=now.after_ms(SCHEMA_WAIT_MS)))

    def _told(self, event: Received, schema: Schema) -> Effects:
        """An answer that nobody waits for came late, or was never asked for."""
        if schema.node != event.sender or len(schema.columns) > COLUMNS_PUBLISHED_MAX:
            return (Refuse(code=Code.BODY_MALFORMED, sentence="columns of another node's source, or too many"),)
        key = _key(schema)
        asked = self._asked.pop(key, [])
        return (ClearTimer(name=key), *(tell(one, schema) for one in asked)) if asked else ()

    def _late(self, key: str) -> Effects:
        return tuple(
            Refuse(
                code=Code.TIMED_OUT,
                sentence=f"the holder {format_id(one.message.node)} did not answer in {SCHEMA_WAIT_MS // 1000} s",
                session=one.session,
                reply_to=one.message_id,
                next_step="see in `flotta-p2p peers` whether it is present, and ask again",
            )
            for one in self._asked.pop(key, [])
        )

    # --- peers ask ------------------------------------------------------------------------------------

    def _published(self, ask: AskSchema, proved: bytes) -> Schema:
        """What a member of the project `proved` is told; of what is not open to it no more than that."""
        answer = Schema(project=ask.project, node=self._own_id, source=ask.source)
        is_open = ask.project == proved and ask.project in self._held & self._own_sources.get(ask.source, frozenset())
        if not is_open or ask.node != self._own_id:
            return replace(answer, code=Code.SOURCE_UNKNOWN, problem="no such source is open to the project")
        found = self._inspected.get(ask.source)
        if found is None:
            return replace(answer, code=Code.BUSY, problem="the source is being read for the first time")
        if found.fault is not None:
            return replace(answer, code=found.fault.code, problem=found.fault.sentence)
        columns = found.seen.columns if found.seen is not None else ()
        return replace(answer, columns=columns[:COLUMNS_PUBLISHED_MAX], columns_all=len(columns))


def _key(what: AskSchema | Schema) -> str:
    return f"{what.project.hex()} {what.node.hex()} {what.source}"
