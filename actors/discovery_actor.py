"""The discovery actor: keeps the discovery process, tells it what to announce, and verifies what it hears."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from actors.adapters.route import DIRECT, Route, Way
from actors.adapters.statements import statement_port
from actors.base import Context, SupervisedActor
from actors.discovery import (
    Announce,
    Command,
    DiscoveryCounts,
    DiscoveryProblem,
    DiscoveryReady,
    Event,
    Fetch,
    Fetched,
    Found,
    Lost,
    Stop,
    decode_event,
    encode_command,
)
from actors.inbox import Inbox
from actors.messages import Snapshot, SnapshotWanted
from actors.ports import ChildGone, ChildSaid, ChildStarted, Clock, Spawner
from actors.timers import TimerService
from protocol.errors import FlottaError, RemoteProtocolError
from protocol.ids import short_id
from protocol.key_statement import parse_address, verify_key_statement
from protocol.limits import (
    DISCOVERY_FETCHES_MAX,
    DISCOVERY_MEMORY_BYTES_MAX,
    DISCOVERY_STOP_MS,
    FETCH_LIMIT_MS,
    NODE_PORT,
    RESTART_BACKOFF_MS_MAX,
    RESTART_BACKOFF_MS_MIN,
    RESTART_WINDOW_MS,
    STRANGERS_MAX,
)
from protocol.machines.contract import TimerFired
from protocol.machines.events import (
    Discovered,
    DiscoveryLost,
    ProjectsHeld,
    StatementMissing,
    StatementWanted,
)

_log = logging.getLogger(__name__)
ROLE: Final = "discovery"


class DiscoveryActor(SupervisedActor):
    """The node runs without the process: it is started again with back-off, and typed addresses wait for it."""

    def __init__(
        self,
        context: Context,
        *,
        own_id: bytes,
        interfaces: tuple[str, ...],
        port: int,
        zeroconf: bool,
        spawner: Spawner,
        clock: Clock,
        timers: TimerService,
        publish: Callable[[Any], None],
        route: Route = DIRECT,
    ) -> None:
        super().__init__(context)
        self._own_id = own_id
        self._interfaces = interfaces
        self._port = port
        self._zeroconf = zeroconf
        self._route = route
        self._spawner = spawner
        self._clock = clock
        self._timers = timers
        self._publish = publish
        self._statement = b""
        self._state = "starting"
        self._problems: dict[str, None] = {}  # at most eight, the newest
        self._counts: dict[str, int] = {}
        self._heard: dict[str, bytes] = {}  # limits.STRANGERS_MAX: instance → node id
        self._left = False  # the node is out of its projects: nothing is announced, nobody is asked
        self._runs = False  # the process has started and has not ended
        self._fetches: dict[int, str] = {}  # limits.DISCOVERY_FETCHES_MAX: ticket → address
        self._ways: dict[int, Way] = {}  # limits.DISCOVERY_FETCHES_MAX: ticket → the way to the statement port
        self._tickets = 0
        self._starts = 0
        self._failures = 0  # ends of the process, less than RESTART_WINDOW_MS after its start, in a row
        self._spawned_ns = 0
        self._malformed = 0

    @property
    def _child(self) -> str:
        return f"{ROLE}-{self.context.generation}-{self._starts}"

    def begin(self) -> None:
        self._spawn()
        self.ready()

    def handle(self, message: Any) -> None:
        match message:
            case ProjectsHeld(statement=statement, left=left):
                self._statement = statement
                self._leave_or_return(left)
                self._announce()
            case StatementWanted(address=address):
                self._fetch(address)
            case ChildStarted(key=key) if key == self._child:
                self._runs = True
                if self._left:
                    self._tell(Stop())
                self._announce()
                for ticket, address in list(self._fetches.items()):
                    self._ask(ticket, address)
            case ChildSaid(key=key, message=said) if key == self._child:
                self._said(said)
            case ChildGone(key=key, reason=reason) if key == self._child:
                self._gone(reason)
            case TimerFired(name="spawn"):
                if self._left:
                    self._state = "left"
                else:
                    self._spawn()
            case TimerFired(name=name):
                self._missed(int(name), "discovery gave no answer in time")
            case SnapshotWanted(ticket=ticket, reply_to=reply_to):
                reply_to.tell(Snapshot(ticket=ticket, name=self.name, values=self._values()))

    def end(self) -> None:
        """The process says goodbye to the network and ends; it is waited for, since its launcher would not."""
        self._timers.clear_all(self.address)
        for way in self._ways.values():
            way.close()
        farewell = Inbox()
        self.address.attach(farewell)
        self._tell(Stop())
        deadline_ns = self._clock.now().after_ms(DISCOVERY_STOP_MS)
        while (left_ns := deadline_ns - self._clock.now().boot_ns) > 0:
            message = farewell.take(left_ns / 1e9)
            if isinstance(message, ChildGone) and message.key == self._child:
                return
        self._spawner.kill(self._child)

    def _values(self) -> dict[str, Any]:
        return {
            "state": self._state,
            "zeroconf": self._zeroconf,
            "interfaces": list(self._interfaces),
            "problems": list(self._problems),
            "counts": {**self._counts, "malformed_events": self._malformed},
        }

    # --- the process -----------------------------------------------------------------------------

    def _spawn(self) -> None:
        self._starts += 1
        self._spawned_ns = self._clock.now().boot_ns
        self._state = "starting"
        self._spawner.spawn(self._child, ROLE, on_node_death="kill", rss_bytes_max=DISCOVERY_MEMORY_BYTES_MAX)

    def _leave_or_return(self, left: bool) -> None:
        """The process says goodbye to the network and ends; it is started again when the node is back."""
        before, self._left = self._left, left
        if left and not before:
            self._state = "leaving"
            self._tell(Stop())
        elif before and not left and self._state == "left":
            self._spawn()

    def _gone(self, reason: str) -> None:
        self._runs = False
        if self._left:
            self._state = "left"
            return
        self._state = "down"
        self._note(f"the discovery process ended ({reason}) and is started again")
        now = self._clock.now()
        ran_well = now.boot_ns - self._spawned_ns >= RESTART_WINDOW_MS * 1_000_000
        self._failures = 1 if ran_well else self._failures + 1
        pause = min(RESTART_BACKOFF_MS_MAX, RESTART_BACKOFF_MS_MIN << min(self._failures, 10))
        self._timers.set(self.address, "spawn", now.after_ms(pause), 0)

    def _tell(self, command: Command) -> None:
        self._spawner.send(self._child, encode_command(command))

    def _announce(self) -> None:
        if self._runs and self._statement and not self._left:
            self._tell(
                Announce(
                    instance_prefix=short_id(self._own_id),
                    statement=self._statement,
                    interfaces=self._interfaces,
                    port=self._port,
                    zeroconf=self._zeroconf,
                )
            )

    def _fetch(self, address: str) -> None:
        """Asks the process now, or as soon as it runs (again). Answered within FETCH_LIMIT_MS whatever happens."""
        if self._left:
            sentence = "this node has left its projects; flotta-p2p rejoin brings it back"
            self._publish(StatementMissing(address=address, sentence=sentence))
            return
        if len(self._fetches) >= DISCOVERY_FETCHES_MAX:
            self._publish(StatementMissing(address=address, sentence="too many addresses are being asked"))
            return
        self._tickets += 1
        self._fetches[self._tickets] = address
        self._timers.set(self.address, str(self._tickets), self._clock.now().after_ms(FETCH_LIMIT_MS), 0)
        if self._runs:
            self._ask(self._tickets, address)

    def _ask(self, ticket: int, address: str) -> None:
        self._leave(ticket)
        try:
            host, port = parse_address(address, default_port=NODE_PORT)
            way = self._ways[ticket] = self._route.way(f"{host}:{statement_port(port)}")
        except FlottaError as error:
            self._missed(ticket, str(error))
            return
        self._tell(Fetch(ticket=ticket, host=host, port=port, through=way.socket_path))

    def _missed(self, ticket: int, sentence: str) -> None:
        """The way knows better what is wrong with it than the process, which sees only that it was hung up on."""
        problem = self._leave(ticket)
        address = self._closed(ticket)
        if address is not None:
            self._publish(StatementMissing(address=address, sentence=str(problem or sentence)))

    def _closed(self, ticket: int) -> str | None:
        """The address of a fetch that is over now; None when it was over before."""
        self._timers.clear(self.address, str(ticket))
        self._leave(ticket)
        return self._fetches.pop(ticket, None)

    def _leave(self, ticket: int) -> FlottaError | None:
        """Closes the way of a fetch. Returns why it could not be opened, if it could not."""
        way = self._ways.pop(ticket, None)
        if way is None:
            return None
        way.close()
        return way.problem()

    # --- what it hears ---------------------------------------------------------------------------

    def _said(self, message: bytes) -> None:
        """The process parses strangers' packets: nothing that it says is believed without a check."""
        try:
            self._heard_event(decode_event(message))
        except RemoteProtocolError:
            self._malformed += 1

    def _heard_event(self, event: Event) -> None:
        match event:
            case Found(instance=instance, statement=statement, addresses=addresses, port=port):
                self._found(instance, statement, f"{addresses[0]}:{port}")
            case Lost(instance=instance):
                node = self._heard.pop(instance, None)
                if node is not None and node not in self._heard.values():
                    self._publish(DiscoveryLost(node=node))
            case Fetched():
                self._fetched(event)
            case DiscoveryReady():
                self._state = "ready"
            case DiscoveryProblem(sentence=sentence):
                self._note(sentence)
            case DiscoveryCounts():
                self._counts = {
                    "malformed_announcements": event.malformed_announcements,
                    "dropped_announcements": event.dropped_announcements,
                    "refused_clients": event.refused_clients,
                }

    def _found(self, instance: str, statement: bytes, heard_at: str) -> None:
        certified = verify_key_statement(statement, self._clock.now().wall_ms)
        if certified.node == self._own_id:
            return
        if instance in self._heard or len(self._heard) < STRANGERS_MAX:
            self._heard[instance] = certified.node
        self._publish(Discovered(certified=certified, heard_at=heard_at))

    def _fetched(self, event: Fetched) -> None:
        if event.statement is None:
            self._missed(event.ticket, event.problem)
            return
        try:
            certified = verify_key_statement(event.statement, self._clock.now().wall_ms)
        except RemoteProtocolError as error:
            self._missed(event.ticket, error.sentence)
            return
        address = self._closed(event.ticket)
        if address is not None:
            self._publish(Discovered(certified=certified, heard_at=address, typed=True))

    def _note(self, sentence: str) -> None:
        if sentence not in self._problems:
            _log.warning("discovery: %s", sentence)
        self._problems.pop(sentence, None)
        self._problems[sentence] = None
        while len(self._problems) > 8:
            del self._problems[next(iter(self._problems))]
