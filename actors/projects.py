"""The projects actor: tells everybody which project tokens this node holds, and what its own key statement is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from actors.base import Context, SupervisedActor
from actors.ports import Clock
from actors.timers import TimerService
from protocol.ids import node_id
from protocol.key_statement import LIFE_MS, RENEW_MS, KeyStatement, sign_key_statement
from protocol.machines.contract import TimerFired
from protocol.machines.events import ProjectsHeld
from protocol.record import Record
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey


class HoldProjects(Record, frozen=True):
    """The tokens of the configuration and of the work directory, read anew."""

    projects: tuple[ProjectKey, ...]


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
        read: Callable[[], tuple[ProjectKey, ...]],
        clock: Clock,
        timers: TimerService,
        publish: Callable[[Any], None],
    ) -> None:
        """`sequences` number the node's key statements and rise, through restarts of node and actor; `read` gives the
        projects held at a start of this actor.
        """
        super().__init__(context)
        self._key = key
        self._curve_public = curve_public
        self._seal_public = seal_public
        self._addresses = addresses
        self._node_name = name
        self._sequences = sequences
        self._read = read
        self._projects: tuple[ProjectKey, ...] = ()
        self._clock = clock
        self._timers = timers
        self._publish = publish

    def begin(self) -> None:
        self._projects = self._read()
        self._tell()
        self.ready()

    def handle(self, message: Any) -> None:
        match message:
            case HoldProjects(projects=projects):
                self._projects = projects
                self._tell()
            case TimerFired():
                self._tell()

    def end(self) -> None:
        self._timers.clear_all(self.address)

    def _tell(self) -> None:
        own_id = node_id(self._key.public_key)
        statement = KeyStatement(
            version=1,
            curve_key=self._curve_public,
            seal_key=self._seal_public,
            addresses=self._addresses,
            sequence=next(self._sequences),
            not_after_ms=self._clock.now().wall_ms + LIFE_MS,
            name=self._node_name,
            hints=tuple(sorted(project.hint(own_id) for project in self._projects)),
        )
        self._timers.set(self.address, "sign again", self._clock.now().after_ms(RENEW_MS))
        self._publish(ProjectsHeld(projects=self._projects, statement=sign_key_statement(statement, self._key)))
