"""One virtual node: the machines of a real one in a shell that keeps the transaction rule and can break anywhere.

As in the node of the product, every machine has its own mailbox; the writes of a step are one batch of the store; the
step's other effects wait until it is synced, and so do those of later steps. A crash loses mailboxes, timers, tasks,
sessions and what was not synced; a machine that falls loses its own, and so do those that were started after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, assert_never

from protocol.limits import (
    RESTART_BACKOFF_MS_MAX,
    RESTART_BACKOFF_MS_MIN,
    RESTART_WINDOW_MS,
    RESTARTS_MAX,
    TURN_EVENTS_MAX,
)
from protocol.machines import events
from protocol.machines.contract import (
    ClearTimer,
    Effect,
    Effects,
    EndRun,
    ExecuteRun,
    KillTask,
    Machine,
    NextPiece,
    Now,
    OpenRun,
    Persist,
    Publish,
    Received,
    Refuse,
    Send,
    SetTimer,
    StartTask,
    TimerFired,
    Write,
)
from protocol.machines.delivery import Courier
from protocol.tokens import ProjectKey
from protocol.wiring import takers
from simulations.clocks import NodeClock
from simulations.committing import Committer
from simulations.faults import MACHINE_NAMES, MACHINES, MachineName
from simulations.machines import Identity, MachineSet
from simulations.options import NodePlan
from simulations.outside import publish_outside
from simulations.store import Batch, VirtualStore
from simulations.tasks import Tasks
from simulations.violation import Violation

if TYPE_CHECKING:
    from simulations.world import World

_TURN_NS_MAX = 1_000_000  # how long an event waits in a mailbox
_TRUST_NS_MAX = 200_000_000  # until the tokens are derived: one scrypt for each


class _Held:
    """Effects of one step that wait for their commit, or for the steps before them."""

    def __init__(self, effects: list[Effect], *, committed: bool) -> None:
        self.effects = effects
        self.committed = committed

    def commit(self) -> None:
        self.committed = True


class Node:
    def __init__(self, world: World, number: int, plan: NodePlan, projects: tuple[ProjectKey, ...]) -> None:
        self._world = world
        self.number = number
        self.name = f"n{number}"
        self.plan = plan
        self.address = f"10.0.{number // 250}.{number % 250 + 1}:1456"
        addresses = () if plan.is_client else (self.address,)
        self.identity = Identity(f"node/{world.options.seed}/{number}", self.name, addresses, projects)
        self.own_id = self.identity.own_id
        self.project_ids = tuple(project.project_id for project in projects)
        self.certified = self.identity.statement(1)
        self.store = VirtualStore()
        self.tasks = Tasks(world, self)
        self.clock = NodeClock(plan.clock_offset_ms, plan.drift_ppm, world.rng.randint(1, 10**15))
        self.up = False
        self.open = False  # the tokens are derived and the control socket answers
        self.armed: Literal["", "before a commit", "after a commit"] = ""
        self.life = 0
        self.incarnations: dict[MachineName, int] = dict.fromkeys(
            MACHINES, 0
        )  # through all lives: how often each machine was started
        self.banned: frozenset[bytes] = frozenset()  # by its operator; kept like a committed row
        self.kept_out: frozenset[bytes] = frozenset()  # of those, as far as its gate has been told
        self._paused_until_ns = 0
        self._deferred: list[Callable[[], None]] = []  # what became due while it was paused
        self._boot_id = self._statements = 0
        self.machines: dict[MachineName, Machine] = {}
        self._committer = Committer(world, self)
        self._mailboxes: dict[MachineName, deque[Any]] = {}
        self._held: dict[MachineName, deque[_Held]] = {}
        self._timers: dict[tuple[MachineName, str], int] = {}  # the number of the newest SetTimer
        self._timer_count = 0
        self._falls: list[int] = []  # boot times of those within the window
        self._rises = 0  # the number of the newest start, of all machines or of some

    def now(self) -> Now:
        return self.clock.now(self._world.now_ns)

    def offers(self, projects: set[bytes]) -> set[tuple[str, bytes]]:
        """Its sources, each with a project that may reach it."""
        return {(name, one) for name, ids in self._source_projects().items() for one in ids if one in projects}

    # --- life and death ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Machines from the synced rows, under a higher boot id; what they resume, and then the tokens."""
        self.life += 1
        self.up = True
        self._boot_id = self._statements = self.store.next_boot_id(self.now().wall_ms)
        self._committer = Committer(self._world, self)
        self._falls = []
        self._world.note(self, "node", "started", f"boot {self._boot_id}", main=True)
        self._raise()

    def crash(self) -> None:
        """Without warning, at this instant."""
        self._committer.crash()
        self.up = self.open = False
        self.armed = ""
        self._paused_until_ns = 0
        self._deferred = []
        self.machines = {}
        self._timers = {}
        self.tasks.lose_all()
        self._world.network.crashed(self)
        self._world.note(self, "node", "crashed", main=True)

    def fall(self, machine: MachineName, why: str) -> None:
        """It crashes, and all that were started after it are stopped; they begin anew after a pause that doubles."""
        if not self.up or machine not in self.machines:
            return
        self._world.note(self, machine, "fell", why, main=True)
        fallen = MACHINES[MACHINES.index(machine) :]
        for name in fallen:
            self.machines.pop(name, None)
            self.incarnations[name] += 1  # nothing that was meant for the old one arrives
        self._timers = {key: number for key, number in self._timers.items() if key[0] not in fallen}
        self.open = False
        if "scheduler" in fallen:
            self.tasks.lose_all()  # their runner is started between scheduler and worker
        if "gate" in fallen:
            self._world.network.crashed(self)  # so is the transport, after the gate
        now_ns = self.now().boot_ns
        self._falls = [at for at in self._falls if now_ns - at <= RESTART_WINDOW_MS * 1_000_000] + [now_ns]
        if len(self._falls) > RESTARTS_MAX:
            self._world.breaker.give_up(self)
            return
        pause_ms = min(RESTART_BACKOFF_MS_MAX, RESTART_BACKOFF_MS_MIN * 2 ** (len(self._falls) - 1))
        self._rises += 1
        rise = self._rises
        self.later(pause_ms * 1_000_000, lambda: self._raise() if rise == self._rises else None)

    def pause(self, length_ms: int) -> None:
        """Nothing of its process runs; what comes waits. Its children run on."""
        self._paused_until_ns = max(self._paused_until_ns, self._world.now_ns + length_ms * 1_000_000)
        self._world.note(self, "node", "paused", f"for {length_ms} ms", main=True)
        self._world.after(length_ms * 1_000_000, lambda: None if self.paused else self.resume())

    def resume(self) -> None:
        """What waited comes soon, in any order but that of one mailbox."""
        self._paused_until_ns = 0
        deferred, self._deferred = self._deferred, []
        for action in deferred:
            self._world.after(self._world.rng.randrange(_TURN_NS_MAX), action)

    def ban(self, banned: frozenset[bytes]) -> None:
        """Its operator's word from now on: whom it keeps out."""
        changed, self.banned = banned != self.banned, banned
        if changed and self.up:
            self._world.note(self, "node", "bans", f"{len(banned)} nodes", main=True)
            self._publish(events.PeersAllowed(banned=banned))

    @property
    def paused(self) -> bool:
        return self._paused_until_ns > self._world.now_ns

    def _raise(self) -> None:
        """Starts what is down, from what the store holds then."""
        self._committer.flush()
        rows, making = self.store.rows(), self._machine_set()
        for name in MACHINES:
            if name in self.machines or (name == "poller" and not self.plan.is_client):
                continue
            self.incarnations[name] += 1
            if name == "gate":
                self.kept_out = frozenset()
            self._mailboxes[name] = deque()
            self._held[name] = deque()
            machine = self.machines[name] = making.make(name, self._boot_id, self.now().boot_ns, rows)
            begin = getattr(machine, "begin", None)
            if begin is not None:
                self._take(name, begin(self.now()))
        rise = self._rises
        trust_ns = self._world.rng.randrange(_TRUST_NS_MAX)
        self.later(trust_ns, lambda: self._tell_projects() if rise == self._rises else None)

    def _tell_projects(self) -> None:
        self.certified = self.identity.statement(self._statements)
        self._statements += 1
        self._publish(events.PeersAllowed(banned=self.banned))
        self._publish(events.ProjectsHeld(projects=self.identity.projects, statement=self.certified.data))
        self.open = True

    def _machine_set(self) -> MachineSet:
        joins = self._world.typed_by(self)
        return MachineSet(self._world.parts, self.identity, self._source_projects(), joins)

    def _source_projects(self) -> dict[str, frozenset[bytes]]:
        return {
            name: frozenset(self._world.projects[number].project_id for number in numbers)
            for name, numbers in self.plan.sources.items()
        }

    # --- events in ---------------------------------------------------------------------------------------------------

    def deliver(self, machine: MachineName, event: Any) -> None:
        """Into the mailbox, unless the machine is down; its turn comes soon, unless it falls before."""
        if machine in self.machines:
            self._mailboxes[machine].append(event)
            self.later(self._world.rng.randrange(_TURN_NS_MAX), partial(self._turn, machine), machine)

    def _turn(self, name: MachineName) -> None:
        """Some of what waits, at least one; of what an earlier turn took along nothing is left."""
        mailbox, machine = self._mailboxes[name], self.machines[name]
        if not mailbox:
            return
        if isinstance(machine, Courier):
            count = self._world.rng.randint(1, min(len(mailbox), TURN_EVENTS_MAX))
            taken = [mailbox.popleft() for _ in range(count)]
            effects = machine.turn(taken, self.now())
        else:
            taken = [mailbox.popleft()]
            effects = machine.step(taken[0], self.now())
        machine.check()
        self._world.steps += len(taken)
        for event in taken:
            self._note(name, event, effects)
        self._take(name, effects)

    def _note(self, name: MachineName, event: Any, effects: Effects) -> None:
        if isinstance(event, events.PeersAllowed) and name == "gate":
            self.kept_out = event.banned
        if isinstance(event, events.Arrived):
            self._world.checkers.arrived(self, event, effects)
        elif isinstance(event, Received):
            self._world.note(self, name, "received", type(event.message).__name__)
        elif not isinstance(event, events.Outgoing):
            self._world.note(self, name, type(event).__name__, getattr(event, "name", ""))

    def later(self, delay_ns: int, action: Callable[[], None], machine: MachineName | None = None) -> None:
        """Unless this life, or that of the machine, is over by then; while the node is paused it waits."""
        incarnation = self.incarnations[machine] if machine is not None else 0
        self._world.after(delay_ns, partial(self._due, self.life, machine, incarnation, action))

    def _due(self, life: int, machine: MachineName | None, incarnation: int, action: Callable[[], None]) -> None:
        if not self.up or self.life != life:
            return
        if self.paused:
            self._deferred.append(partial(self._due, life, machine, incarnation, action))
        elif machine is None or self.incarnations[machine] == incarnation:
            action()

    # --- the transaction rule ----------------------------------------------------------------------------------------

    def _take(self, name: MachineName, effects: Effects) -> None:
        writes: list[Write] = []
        others: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Persist):
                writes += effect.writes
            else:
                others.append(effect)
        step = _Held(others, committed=not writes)
        self._held[name].append(step)
        if writes:
            self._committer.write(Batch(name, self.incarnations[name], tuple(writes), step.commit))
        else:
            self._perform_ready(name)

    def committed(self, batch: Batch, delay_ns: int) -> None:
        """A batch is synced: its step's effects are carried out, unless its machine has fallen meanwhile."""
        if batch.incarnation == self.incarnations[batch.machine]:
            batch.done()
            self.later(delay_ns, partial(self._perform_ready, batch.machine), batch.machine)

    def refused(self, batch: Batch, delay_ns: int) -> None:
        """Its machine falls when it hears of it."""
        if batch.incarnation == self.incarnations[batch.machine]:
            self.later(delay_ns, partial(self.fall, batch.machine, "a commit was refused"), batch.machine)

    def _perform_ready(self, name: MachineName) -> None:
        held = self._held[name]
        while held and held[0].committed:
            for effect in held.popleft().effects:
                self._perform(name, effect)

    # --- effects -----------------------------------------------------------------------------------------------------

    def _perform(self, name: MachineName, effect: Effect) -> None:
        match effect:
            case Publish():
                self._publish(effect.event)
            case Send():
                self._world.checkers.sending(self, name, effect)
                self.deliver("gate", events.Outgoing(send=effect))
            case Refuse():
                self._world.note(self, name, "refused", f"{effect.code}: {effect.sentence}")
                self.deliver("gate", effect)
            case SetTimer():
                self._set_timer(name, effect)
            case ClearTimer():
                self._timers.pop((name, effect.name), None)
            case StartTask():
                self.tasks.start(effect)
            case KillTask():
                self.tasks.kill(effect.key)
            case NextPiece():
                self.tasks.next_piece(effect.key, effect.run)
            case OpenRun() | ExecuteRun() | EndRun():
                raise Violation("no machine of a simulation has runs of flame")
            case Persist():
                raise Violation("writes are committed, not performed")
            case _:
                assert_never(effect)

    def _set_timer(self, name: MachineName, timer: SetTimer) -> None:
        self._timer_count += 1
        number = self._timers[name, timer.name] = self._timer_count

        def fire() -> None:
            if self._timers.get((name, timer.name)) == number:
                del self._timers[name, timer.name]
                self.deliver(name, TimerFired(name=timer.name, generation=timer.generation))

        self.later(self.clock.world_delay_ns(self._world.now_ns, timer.at_ns), fire)

    def _publish(self, event: Any) -> None:
        for taker in takers(event):
            machine = MACHINE_NAMES.get(taker)
            if machine is not None:
                self.deliver(machine, event)  # of a node that is no client nothing comes to a poller
            else:
                publish_outside(self._world, self, taker, event)
