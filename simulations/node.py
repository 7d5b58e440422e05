"""One virtual node: the machines of a real one in a shell that keeps the transaction rule and can crash anywhere.

As in the node of the product, every machine has its own mailbox; the writes of a step are one batch of the store; the
step's other effects wait until it is committed, and so do those of later steps. A crash loses mailboxes, timers,
tasks, sessions and all that was not committed.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, assert_never

from protocol.ids import node_id
from protocol.key_statement import LIFE_MS, Certified, KeyStatement, sign_key_statement, verify_key_statement
from protocol.limits import TURN_EVENTS_MAX
from protocol.machines import events
from protocol.machines.contract import (
    ClearTimer,
    Effect,
    Effects,
    KillTask,
    Machine,
    Now,
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
from protocol.machines.enrolment import Enrolment
from protocol.machines.gate import Gate
from protocol.machines.membership import Membership
from protocol.machines.scheduler import Scheduler
from protocol.machines.worker import Worker
from protocol.policy import NodePolicy, SourcePolicy
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey
from protocol.wiring import takers
from simulations.options import NodePlan
from simulations.store import VirtualStore
from simulations.tasks import Tasks
from simulations.violation import Violation

if TYPE_CHECKING:
    from simulations.world import World

WALL_MS = 1_700_000_000_000  # the true wall clock when the virtual clock is 0
_TURN_NS_MAX = 1_000_000  # how long an event waits in a mailbox
_TRUST_NS_MAX = 200_000_000  # until the tokens are derived: one scrypt for each


class Parts(NamedTuple):
    """The classes of the machines that carry the trust; tests put broken ones in their place."""

    gate: type[Gate] = Gate
    courier: type[Courier] = Courier


class _Held:
    """Effects of one step that wait for their commit, or for the steps before them."""

    def __init__(self, effects: tuple[Effect, ...], *, committed: bool) -> None:
        self.effects = effects
        self.committed = committed


class Node:
    def __init__(self, world: World, number: int, plan: NodePlan, projects: tuple[ProjectKey, ...]) -> None:
        self._world = world
        self.number = number
        self.name = f"n{number}"
        self.plan = plan
        self.address = f"10.0.{number // 250}.{number % 250 + 1}:1456"
        secret = hashlib.sha256(f"node/{world.options.seed}/{number}".encode()).digest()
        self._key = SigningKey(secret)
        self._nonce_secret = hashlib.sha256(b"nonces" + secret).digest()
        self._curve_key = hashlib.sha256(b"curve" + secret).digest()
        self.certified = self._statement(1, projects)
        self.own_id = self.certified.node
        self._projects = projects
        self.project_ids = tuple(project.project_id for project in projects)
        self.store = VirtualStore()
        self.tasks = Tasks(world, self)
        self.up = False
        self.open = False  # the tokens are derived and the control socket answers
        self.life = 0
        self._boot_base_ns = world.rng.randint(1, 10**15)
        self.machines: dict[str, Machine] = {}
        self._mailboxes: dict[str, deque[Any]] = {}
        self._held: dict[str, deque[_Held]] = {}
        self._timers: dict[tuple[str, str], int] = {}  # the number of the newest SetTimer
        self._timer_count = 0
        self._store_free_ns = 0
        self._armed: Literal["", "before a commit", "after a commit"] = ""

    def now(self) -> Now:
        now_ns = self._world.now_ns
        wall_ms = WALL_MS + now_ns // 1_000_000 + self.plan.clock_offset_ms
        return Now(boot_ns=now_ns + self._boot_base_ns, wall_ms=wall_ms)

    def offers(self, projects: set[bytes]) -> set[tuple[str, bytes]]:
        """Its sources, each with a project that may reach it."""
        return {(name, one) for name, ids in self._source_projects().items() for one in ids if one in projects}

    # --- life and death ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Machines from the committed rows, under a higher boot id; what they resume, and then the tokens."""
        self.life += 1
        self.up = True
        boot_id = self.store.next_boot_id()
        self.certified = self._statement(boot_id, self._projects)
        self.machines = self._build(boot_id)
        self._mailboxes = {name: deque() for name in self.machines}
        self._held = {name: deque() for name in self.machines}
        self._store_free_ns = self._world.now_ns
        self._world.note(self, "node", "started", f"boot {boot_id}", main=True)
        for name, machine in self.machines.items():
            begin = getattr(machine, "begin", None)
            if begin is not None:
                self._take(name, begin(self.now()))
        self._later(self._world.rng.randrange(_TRUST_NS_MAX), self._tell_projects)

    def crash(self) -> None:
        self.up = self.open = False
        self._armed = ""
        self.machines = {}
        self._timers = {}
        self.tasks.lose_all()
        self._world.network.crashed(self)
        self._world.note(self, "node", "crashed", main=True)

    def arm(self, moment: Literal["before a commit", "after a commit"]) -> None:
        """Crash at the next commit."""
        self._armed = moment

    def disarm(self) -> None:
        self._armed = ""

    def reboot_clock(self) -> None:
        self._boot_base_ns = 1 - self._world.now_ns + self._world.rng.randrange(10**9)

    def _statement(self, sequence: int, projects: tuple[ProjectKey, ...]) -> Certified:
        own_id = node_id(self._key.public_key)
        statement = KeyStatement(
            version=1,
            curve_key=self._curve_key,
            addresses=(self.address,),
            sequence=sequence,
            not_after_ms=WALL_MS + LIFE_MS,
            name=self.name,
            hints=tuple(project.hint(own_id) for project in projects),
        )
        return verify_key_statement(sign_key_statement(statement, self._key), WALL_MS)

    def _build(self, boot_id: int) -> dict[str, Machine]:
        rows, parts = self.store.rows(), self._world.parts
        sources = self._source_projects()
        policy = NodePolicy(sources={name: SourcePolicy(projects=ids) for name, ids in sources.items()})
        typed = self.plan.meets == "typed"
        joins = tuple(node.address for node in self._world.nodes if node is not self and typed)
        core: dict[str, Machine] = {
            "membership": Membership(self.own_id, self.name, sources, joins, rows),
            "scheduler": Scheduler(self._key, self.own_id, self.name, boot_id, sources, rows),
            "worker": Worker(self._key, self.own_id, policy, rows),
        }
        return {
            "gate": parts.gate(self._key, boot_id, rows),
            "enrolment": Enrolment(self.own_id, boot_id, self._nonce_secret, self._curve_key),
            **{name: parts.courier(one, name, self.own_id, boot_id, 1, rows) for name, one in core.items()},
        }

    def _source_projects(self) -> dict[str, frozenset[bytes]]:
        return {
            name: frozenset(self._world.projects[number].project_id for number in numbers)
            for name, numbers in self.plan.sources.items()
        }

    def _tell_projects(self) -> None:
        self._publish(events.ProjectsHeld(projects=self._projects, statement=self.certified.data))
        self.open = True

    # --- events in ---------------------------------------------------------------------------------------------------

    def deliver(self, machine: str, event: Any) -> None:
        """Into the mailbox; its turn comes soon, unless the node crashes before."""
        self._mailboxes[machine].append(event)
        self._later(self._world.rng.randrange(_TURN_NS_MAX), lambda: self._turn(machine))

    def _turn(self, name: str) -> None:
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
        for event in taken:
            self._note(name, event, effects)
        self._take(name, effects)

    def _note(self, name: str, event: Any, effects: Effects) -> None:
        if isinstance(event, events.Arrived):
            self._world.checkers.arrived(self, event, effects)
        elif isinstance(event, Received):
            self._world.note(self, name, "received", type(event.message).__name__)
        elif not isinstance(event, events.Outgoing):
            self._world.note(self, name, type(event).__name__, getattr(event, "name", ""))

    def _later(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Unless this life is over by then."""
        life = self.life

        def act() -> None:
            if self.up and self.life == life:
                action()

        self._world.after(delay_ns, act)

    # --- the transaction rule ----------------------------------------------------------------------------------------

    def _take(self, name: str, effects: Effects) -> None:
        writes = tuple(write for effect in effects if isinstance(effect, Persist) for write in effect.writes)
        held = self._held[name]
        step = _Held(tuple(effect for effect in effects if not isinstance(effect, Persist)), committed=not writes)
        held.append(step)
        if not writes:
            self._perform_ready(name)
            return
        commit_ns = self._world.rng.randint(0, self._world.options.commit_ms_max * 1_000_000)
        self._store_free_ns = max(self._store_free_ns, self._world.now_ns) + commit_ns
        self._later(self._store_free_ns - self._world.now_ns, lambda: self._commit(name, writes, step))

    def _commit(self, name: str, writes: tuple[Write, ...], step: _Held) -> None:
        if self._armed == "before a commit":
            self._world.crash_now(self)
            return
        self._world.checkers.committing(self, name, writes)
        self.store.commit(writes)
        if self._armed == "after a commit":
            self._world.crash_now(self)
            return
        step.committed = True
        self._later(self._world.rng.randrange(_TURN_NS_MAX), lambda: self._perform_ready(name))

    def _perform_ready(self, name: str) -> None:
        held = self._held[name]
        while held and held[0].committed:
            for effect in held.popleft().effects:
                self._perform(name, effect)

    # --- effects -----------------------------------------------------------------------------------------------------

    def _perform(self, name: str, effect: Effect) -> None:
        match effect:
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
            case Publish():
                self._publish(effect.event)
            case StartTask():
                self.tasks.start(effect)
            case KillTask():
                self.tasks.kill(effect.key)
            case Persist():
                raise Violation("writes are committed, not performed")
            case _:
                assert_never(effect)

    def _set_timer(self, name: str, timer: SetTimer) -> None:
        self._timer_count += 1
        number = self._timers[name, timer.name] = self._timer_count

        def fire() -> None:
            if self._timers.get((name, timer.name)) == number:
                del self._timers[name, timer.name]
                self.deliver(name, TimerFired(name=timer.name, generation=timer.generation))

        self._later(max(0, timer.at_ns - self.now().boot_ns), fire)

    def _publish(self, event: Any) -> None:
        for taker in takers(event):
            if taker in self.machines:
                self.deliver(taker, event)
            else:
                self._outside(taker, event)

    def _outside(self, taker: str, event: Any) -> None:
        """What the rest of a node does with news: transport, discovery, store, control socket."""
        match event:
            case events.Transmit(raw=raw, node=node, session=session):
                self._world.network.send(self, raw, node, session)
            case events.DialDoor():
                self._world.network.dial(self, event)
            case events.HangUp(session=session):
                self._world.network.hang_up(self, session)
            case events.PeerAdmitted():
                self._world.checkers.admitted(self, event)
            case events.StatementWanted(address=address):
                self._world.network.ask_statement(self, address)
            case events.ResourceWanted(ticket=ticket, digest=digest):
                found = events.ResourceFound(ticket=ticket, data=self.store.resource(digest))
                self.deliver("scheduler", found)
            case events.ControlAnswer():
                self._world.answer(self, event)
            case events.Counted(code=code, sentence=sentence):
                self._world.note(self, "gate", "counted", f"{code}: {sentence}")
            case events.JobChanged(status=status):
                self._world.job_changed(self, status)
            case events.ProjectsHeld() | events.PeerSeen() | events.PeerAway() | events.EnrolmentFailed():
                pass  # for discovery and the log
            case _:
                raise Violation(f"nobody at {self.name} takes {type(event).__name__} for {taker}")
