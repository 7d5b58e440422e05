"""The node: one function reads as the order in which it starts; it stops in reverse."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from actors.adapters.clock import SystemClock
from actors.adapters.control_socket import control_path, note_control_path
from actors.adapters.entropy import SystemEntropy
from actors.adapters.folder_lock import FolderLock, check_disk_space, lock_folder, prepare_workdir
from actors.adapters.route import Route
from actors.adapters.store import LocalStore
from actors.adapters.tunnel import route_by
from actors.base import ActorHandle, Context
from actors.bus import Bus
from actors.child_spec import ChildSpec
from actors.datasource import DatasourceActor
from actors.discovery_actor import ROLE as DISCOVERY_ROLE
from actors.discovery_actor import DiscoveryActor
from actors.failpoints import Point, reached
from actors.flame_keeper import KEEPER_STOP_MS, FlameKeeperActor
from actors.gateway import GatewayActor
from actors.journal import JournalActor
from actors.machine_shell import MachineActor, Rows
from actors.observer import ObserverActor
from actors.ports import ChildGone, ChildSaid, ChildStarted, LauncherGone, Spawner, SpawnerEvent
from actors.projects import ProjectsActor
from actors.root import Root
from actors.store import StoreActor
from actors.supervisor import supervisor_spec
from actors.task_runner import TaskRunnerActor
from actors.timers import TimerService
from actors.transport import TransportActor
from flotta_p2p.configuration.schema import Configuration
from flotta_p2p.identity import (
    Identity,
    Listening,
    Projects,
    choose_listening,
    load_identity,
    source_files,
)
from flotta_p2p.reports import Facts, describe
from protocol import kinds
from protocol.errors import Code, FlottaError, UnreachableError
from protocol.findings import SOURCE
from protocol.ids import format_id
from protocol.invitation import ROOT_DOMAIN as INVITATION_ROOT
from protocol.machines.admission import Admission
from protocol.machines.catalogue import Catalogue
from protocol.machines.contract import Machine
from protocol.machines.delivery import Courier
from protocol.machines.enrolment import Enrolment
from protocol.machines.gate import Gate
from protocol.machines.health import Health
from protocol.machines.membership import Membership
from protocol.machines.poller import Poller
from protocol.machines.scheduler import Scheduler
from protocol.machines.worker import Worker

_log = logging.getLogger(__name__)

_REPORTERS: Final = (
    "gate",
    "transport",
    "enrolment",
    "membership",
    "scheduler",
    "worker",
    "discovery",
    "admission",
    "poller",
    "health",
    "keeper",
)
_SCHEDULER_KINDS: Final = (kinds.JOB, kinds.TASK, kinds.REMOVED, kinds.WITNESSED)
MakeSpawner = Callable[[Callable[[SpawnerEvent], None]], Spawner]


@dataclass
class _Parts:
    """What the factories of the actors share."""

    configuration: Configuration
    identity: Identity
    listening: Listening
    projects: Projects
    boot_id: int
    statement_sequences: Iterator[int]
    clock: SystemClock
    timers: TimerService
    bus: Bus
    spawner: Spawner
    route: Route
    handles: dict[str, ActorHandle]  # of all actors by name; filled when their specs are made

    @property
    def client(self) -> bool:
        return self.configuration.mode == "client"

    @property
    def alone(self) -> bool:
        return self.configuration.mode == "standalone"


_WORKER_KINDS: Final = (kinds.EXECUTED, kinds.ATTEMPT, kinds.CHUNK)


class Node:
    """A node in this process. `start` returns when it is ready; `stop` undoes it. `on_fatal` hears why it ended by
    itself.
    """

    def __init__(
        self, configuration: Configuration, make_spawner: MakeSpawner, on_fatal: Callable[[FlottaError], None]
    ) -> None:
        self._configuration = configuration
        self._make_spawner = make_spawner
        self._on_fatal = on_fatal
        self._undo: list[Callable[[], None]] = []
        self.facts: Facts | None = None

    def start(self) -> Facts:
        """Raises the FlottaError that keeps the node from running; nothing is left half-started."""
        try:
            self.facts = self._start()
            return self.facts
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops everything, the last started first. Every step has its own bound."""
        while self._undo:
            undo = self._undo.pop()
            try:
                undo()
            except FlottaError as error:
                _log.error("while stopping: %s", error)

    def _start(self) -> Facts:
        configuration = self._configuration
        workdir = configuration.workdir
        prepare_workdir(workdir)
        check_disk_space(workdir)
        lock: FolderLock = lock_folder(workdir)
        self._undo.append(lock.release)
        identity = load_identity(configuration.keys)
        lock.name_node(format_id(identity.node))
        projects = Projects(configuration)
        projects.held()  # a weak token, or a file that is broken, ends the start here, before anything runs
        listening = choose_listening(configuration)
        clock = SystemClock()
        boot_id = self._next_boot_id(clock.now().wall_ms)
        reached(Point.BOOT_ID_KEPT)
        timers = TimerService(clock)
        timers.start()
        self._undo.append(timers.stop)
        bus = Bus()
        handles: dict[str, ActorHandle] = {}
        spawner = self._make_spawner(lambda event: self._child_event(handles, event))
        self._undo.append(spawner.stop)
        route = route_by(configuration.settings.proxy, self._on_fatal)
        self._undo.append(route.close)
        parts = _Parts(
            configuration=configuration,
            identity=identity,
            listening=listening,
            projects=projects,
            boot_id=boot_id,
            statement_sequences=itertools.count(boot_id),
            clock=clock,
            timers=timers,
            bus=bus,
            spawner=spawner,
            route=route,
            handles=handles,
        )
        facts = self._facts(parts)
        specs = self._specs(parts, facts)
        bus.connect(handles)
        root = Root(specs, clock=clock, timers=timers, on_fatal=self._on_fatal)
        self._undo.append(root.stop)
        root.start()
        root.wait_ready()
        note_control_path(workdir)
        return facts

    def _facts(self, parts: _Parts) -> Facts:
        configuration = parts.configuration
        return Facts(
            node=parts.identity.node,
            name=configuration.node.name,
            mode=configuration.mode,
            addresses=parts.listening.addresses,
            listening=tuple(f"{host}:{parts.listening.port}" for host in parts.listening.hosts),
            chosen_interface=configuration.node.interface,
            workdir=configuration.workdir,
            database=configuration.database_file,
            project_names=parts.projects.names,
            sources=parts.projects.sources,
            started_wall_ms=parts.clock.now().wall_ms,
        )

    def _next_boot_id(self, wall_ms: int) -> int:
        store = self._open_store()
        try:
            return store.next_boot_id(wall_ms)
        finally:
            store.close()

    def _open_store(self) -> LocalStore:
        configuration = self._configuration
        metadata: Literal["memory"] | Path = configuration.database_file or "memory"
        return LocalStore.open(configuration.workdir, metadata=metadata)

    def _child_event(self, handles: dict[str, ActorHandle], event: SpawnerEvent) -> None:
        match event:
            case ChildStarted(key=key) | ChildSaid(key=key) | ChildGone(key=key):
                taker = "discovery" if key.startswith(DISCOVERY_ROLE) else "runner"
                if taker in handles:
                    handles[taker].tell(event)
            case LauncherGone(reason=reason):
                self._on_fatal(UnreachableError(Code.NODE_STOPPING, f"the launcher is gone ({reason})"))

    # --- the tree, in the order of its start -----------------------------------------------------

    def _specs(self, parts: _Parts, facts: Facts) -> list[ChildSpec]:
        """rest_for_one: whoever stands on a failed actor is started anew behind it. Runs of flame stand on the store
        alone: nothing that fails in the network stops them. With the news of the projects every machine begins to
        admit and to accept; only then the operator is heard.
        """
        delivery = (kinds.OUTBOX, kinds.INBOX)
        specs = [
            ChildSpec("store", lambda context: StoreActor.start(context, self._open_store), restarts_max=1),
            ChildSpec("keeper", lambda context: self._keeper(context, parts), stop_ms=KEEPER_STOP_MS),
            self._machine("gate", parts, self._gate(parts), (kinds.SEEN_BOOT,)),
            ChildSpec("transport", lambda context: self._transport(context, parts)),
            self._machine("enrolment", parts, self._enrolment(parts), ()),
            self._machine("membership", parts, self._membership(parts), (kinds.PEER, *delivery)),
            self._machine("scheduler", parts, self._scheduler(parts), (*_SCHEDULER_KINDS, *delivery)),
            ChildSpec("runner", lambda context: self._runner(context, parts)),
            self._machine("worker", parts, self._worker(parts), (*_WORKER_KINDS, *delivery)),
            self._machine("catalogue", parts, self._catalogue(parts), ()),
            self._sources(parts),
            ChildSpec("discovery", lambda context: self._discovery(context, parts)),
            *([self._machine("poller", parts, self._poller(parts), ())] if parts.client else []),
            ChildSpec("journal", lambda context: JournalActor.start(context, clock=parts.clock)),
            self._machine("health", parts, self._health(parts), ()),
            ChildSpec("observer", lambda context: self._observer(context, parts)),
            self._machine("admission", parts, self._admission(parts), (kinds.BAN, kinds.ACCEPTED, kinds.INVITATION)),
            ChildSpec("projects", lambda context: self._projects(context, parts)),
            ChildSpec("gateway", lambda context: self._gateway(context, parts, facts)),
        ]
        parts.handles.update({spec.name: spec.handle for spec in specs})
        return specs

    def _machine(self, name: str, parts: _Parts, make: Callable[[Rows], Machine], tables: tuple[str, ...]) -> ChildSpec:
        def factory(context: Context) -> Any:
            return MachineActor.start(
                context,
                make,
                tables,
                store=parts.handles["store"],
                gate=parts.handles["gate"],
                publish=parts.bus.publish,
                clock=parts.clock,
                timers=parts.timers,
                runner=parts.handles["runner"],
            )

        return ChildSpec(name, factory)

    def _keeper(self, context: Context, parts: _Parts) -> Any:
        return FlameKeeperActor.start(
            context,
            workdir=parts.configuration.workdir,
            store=parts.handles["store"],
            gate=parts.handles["gate"],
            publish=parts.bus.publish,
            clock=parts.clock,
            timers=parts.timers,
        )

    def _gate(self, parts: _Parts) -> Callable[[Rows], Machine]:
        """A gate sends far fewer frames than nanoseconds pass: the boot clock is above all that an earlier one used."""
        return lambda rows: Gate(
            parts.identity.key, parts.boot_id, rows, first_sequence=parts.clock.now().boot_ns, client=parts.client
        )

    def _transport(self, context: Context, parts: _Parts) -> Any:
        identity, listening = parts.identity, parts.listening
        return TransportActor.start(
            context,
            identity.node,
            identity.curve,
            identity.seal,
            listening.hosts,
            listening.port,
            parts.clock,
            parts.bus.publish,
            parts.route,
        )

    def _enrolment(self, parts: _Parts) -> Callable[[Rows], Machine]:
        identity = parts.identity
        return lambda rows: Enrolment(
            identity.node,
            parts.boot_id,
            SystemEntropy().bytes(32),
            identity.curve.public,
            identity.seal.public,
            client=parts.client,
            opening_ms=parts.route.opening_ms,
        )

    def _poller(self, parts: _Parts) -> Callable[[Rows], Machine]:
        heartbeat_ms = round(parts.configuration.node.heartbeat * 1_000)
        return lambda rows: Poller(parts.identity.node, heartbeat_ms)

    def _health(self, parts: _Parts) -> Callable[[Rows], Machine]:
        interval_ms = round(parts.configuration.node.healthcheck * 1_000)
        return lambda rows: Health(interval_ms)

    def _courier(self, machine: Machine, owner: str, parts: _Parts, rows: Rows) -> Machine:
        return Courier(machine, owner, parts.identity.node, parts.boot_id, parts.clock.now().boot_ns, rows)

    def _membership(self, parts: _Parts) -> Callable[[Rows], Machine]:
        configuration = parts.configuration
        joins = (str(configuration.join_url),) if configuration.join_url is not None else ()
        sources = parts.projects.sources()
        return lambda rows: self._courier(
            Membership(parts.identity.node, configuration.node.name, sources, joins, rows, client=parts.client),
            "membership",
            parts,
            rows,
        )

    def _scheduler(self, parts: _Parts) -> Callable[[Rows], Machine]:
        identity, name = parts.identity, parts.configuration.node.name
        sources = parts.projects.sources()
        return lambda rows: self._courier(
            Scheduler(
                identity.key,
                identity.node,
                name,
                parts.boot_id,
                sources,
                rows,
                client=parts.client,
                hands_out_results=parts.configuration.node.allow_resource_download,
                durable=parts.configuration.database_file is not None,
                retention=parts.configuration.settings.results.retention,
            ),
            "scheduler",
            parts,
            rows,
        )

    def _worker(self, parts: _Parts) -> Callable[[Rows], Machine]:
        identity = parts.identity
        return lambda rows: self._courier(
            Worker(identity.key, identity.node, parts.projects.policy(), rows), "worker", parts, rows
        )

    def _catalogue(self, parts: _Parts) -> Callable[[Rows], Machine]:
        identity, name = parts.identity, parts.configuration.node.name
        sources = parts.projects.sources()
        return lambda rows: Catalogue(identity.node, name, sources)

    def _admission(self, parts: _Parts) -> Callable[[Rows], Machine]:
        """Behind all who take its news, and before the tokens are told."""
        identity, peers = parts.identity, parts.configuration.settings.peers
        listed = None if peers == "any" else peers
        root = identity.key.derived_secret(INVITATION_ROOT)
        return lambda rows: Admission(identity.node, root, listed, rows, alone=parts.alone)

    def _runner(self, context: Context, parts: _Parts) -> Any:
        return TaskRunnerActor.start(
            context,
            spawner=parts.spawner,
            store=parts.handles["store"],
            sources=source_files(parts.configuration),
            clock=parts.clock,
            timers=parts.timers,
        )

    def _sources(self, parts: _Parts) -> ChildSpec:
        specs = []
        for name, source in source_files(parts.configuration).items():

            def factory(context: Context, source: Any = source) -> Any:
                return DatasourceActor.start(
                    context,
                    source=source,
                    runner=parts.handles["runner"],
                    clock=parts.clock,
                    timers=parts.timers,
                    publish=parts.bus.publish,
                )

            spec = ChildSpec(SOURCE + name, factory)
            specs.append(spec)
            parts.handles[spec.name] = spec.handle
        return supervisor_spec("datasources", specs, strategy="one_for_one", clock=parts.clock, timers=parts.timers)

    def _discovery(self, context: Context, parts: _Parts) -> Any:
        return DiscoveryActor.start(
            context,
            own_id=parts.identity.node,
            interfaces=parts.listening.hosts,
            port=parts.listening.port,
            zeroconf=parts.configuration.discovery,
            route=parts.route,
            spawner=parts.spawner,
            clock=parts.clock,
            timers=parts.timers,
            publish=parts.bus.publish,
        )

    def _gateway(self, context: Context, parts: _Parts, facts: Facts) -> Any:
        return GatewayActor.start(
            context,
            socket_path=control_path(parts.configuration.workdir),
            siblings=parts.handles,
            reporters=_reporters(parts),
            publish=parts.bus.publish,
            describe=lambda kind, snapshots: describe(kind, facts, snapshots, parts.route.values(), parts.clock.now()),
            reload=parts.projects.held,
            clock=parts.clock,
            timers=parts.timers,
        )

    def _observer(self, context: Context, parts: _Parts) -> Any:
        configuration = parts.configuration
        database = configuration.database_file
        elsewhere = (database.parent,) if database is not None and database.parent != configuration.workdir else ()
        results = "resources-memory" if database is None else "resources"
        return ObserverActor.start(
            context,
            siblings=parts.handles,
            reporters=tuple(name for name in _reporters(parts) if name != "health"),
            folders=(configuration.workdir, *elsewhere),
            results=configuration.workdir / results / "data.mdb",
            clock=parts.clock,
            timers=parts.timers,
            publish=parts.bus.publish,
        )

    def _projects(self, context: Context, parts: _Parts) -> Any:
        return ProjectsActor.start(
            context,
            key=parts.identity.key,
            curve_public=parts.identity.curve.public,
            seal_public=parts.identity.seal.public,
            addresses=parts.listening.addresses,
            name=parts.configuration.node.name,
            sequences=parts.statement_sequences,
            read=parts.projects.held,
            clock=parts.clock,
            timers=parts.timers,
            publish=parts.bus.publish,
        )


def _reporters(parts: _Parts) -> tuple[str, ...]:
    """The actors that answer SnapshotWanted."""
    return tuple(name for name in parts.handles if name in _REPORTERS or name.startswith(SOURCE))
