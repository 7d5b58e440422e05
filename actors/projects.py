"""The projects actor: tells everybody which project tokens this node holds, and what its own key statement is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from actors.base import Context, SupervisedActor
from actors.ports import Clock
from actors.timers import TimerService
from protocol.ids import node_id
from protocol.key_statement import LIFE_MS, RENEW_MS, KeyStatement, sign_key_statement, verify_key_statement
from protocol.limits import LEAVE_FLUSH_MS
from protocol.machines.contract import TimerFired
from protocol.machines.events import Departed, JoinsKept, KeptJoin, ProjectsHeld
from protocol.record import Record
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey

_log = logging.getLogger("flotta-p2p")


class Held(Record, frozen=True):
    """What configuration and work directory say of projects and joining. A node that has left holds no project.

    `sources`: of this node, each with the projects that may reach it; None: as at the start.
    """

    projects: tuple[ProjectKey, ...]
    sources: Mapping[str, frozenset[bytes]] | None = None
    joins: tuple[KeptJoin, ...] = ()
    left: bool = False


class HoldProjects(Record, frozen=True):
    """Read anew."""

    held: Held


class ProjectsActor(SupervisedActor):
    """Starts behind all who take its news: with it every machine begins to admit, to knock and to accept orders."""

    def __init__(
        self,
        context: Context,
        *,
        key: SigningKey,
        curve_public: bytes,
        seal_public: bytes,
        addresses: tuple[str, ...],
        name: str,
        sequences: Iterator[int],
        read: Callable[[], Held],
        clock: Clock,
        timers: TimerService,
        publish: Callable[[Any], None],
    ) -> None:
        """`sequences` number the node's key statements and rise, through restarts of node and actor; `read` gives what
        is held at a start of this actor.
        """
        super().__init__(context)
        self._key = key
        self._curve_public = curve_public
        self._seal_public = seal_public
        self._addresses = addresses
        self._node_name = name
        self._sequences = sequences
        self._read = read
        self._held = Held(projects=())
        self._clock = clock
        self._timers = timers
        self._publish = publish

    def begin(self) -> None:
        self._held = self._read()
        self._tell()
        self.ready()

    def handle(self, message: Any) -> None:
        match message:
            case HoldProjects(held=held):
                self._held = held
                self._tell()
            case TimerFired(name="depart"):
                self._publish(Departed())
            case TimerFired():
                self._tell()

    def end(self) -> None:
        self._timers.clear_all(self.address)

    def _tell(self) -> None:
        held, own_id = self._held, node_id(self._key.public_key)
        statement = KeyStatement(
            version=1,
            curve_key=self._curve_public,
            seal_key=self._seal_public,
            addresses=self._addresses,
            sequence=next(self._sequences),
            not_after_ms=self._clock.now().wall_ms + LIFE_MS,
            name=self._node_name,
            hints=tuple(sorted(project.hint(own_id) for project in held.projects)),
        )
        self._timers.set(self.address, "sign again", self._clock.now().after_ms(RENEW_MS))
        signed = sign_key_statement(statement, self._key)
        self._warn_of_hints(len(verify_key_statement(signed, 0).statement.hints))
        self._publish(ProjectsHeld(projects=held.projects, statement=signed, sources=held.sources, left=held.left))
        self._publish(JoinsKept(joins=held.joins))
        if held.left:
            self._timers.set(self.address, "depart", self._clock.now().after_ms(LEAVE_FLUSH_MS))

    def _warn_of_hints(self, shown: int) -> None:
        """Two nodes that both leave out the hint of the same project do not find each other by it."""
        held = len(self._held.projects)
        if shown < held:
            _log.warning(
                "the key statement has room for the hints of %d of %d projects: nodes of the others are met if their "
                "own statements show them. Next: a shorter node.name or node.url, or one address in node.interface",
                shown,
                held,
            )
