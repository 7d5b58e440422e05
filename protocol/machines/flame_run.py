"""One run of a workflow: its flame nodes are started, wired, started in step, watched, started anew, and stopped.

Every wait has a limit, so every run ends, and every flame node ends exactly once. A message that nothing waits for is
passed over and counted: it was on its way when something else happened. The messages stand in `flame/control.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, assert_never

from protocol.limits import FLAME_LATE_MS, FLAME_REASON_CHARS_MAX, FLAME_RESTART_MS_MAX, FLAME_RESTART_MS_MIN
from protocol.machines.contract import ClearTimer, Now, SetTimer, Stories, TimerFired, unexpected
from protocol.machines.flame_events import (
    Finish,
    Interrupted,
    KillProcess,
    NodeBeat,
    NodeConnected,
    NodeEvent,
    NodeGreeted,
    NodeLeft,
    NodeMeasured,
    NodePlan,
    NodeView,
    NodeWantsStop,
    NodeWired,
    Order,
    ProcessEnded,
    RunBegun,
    RunEffect,
    RunEnd,
    RunEvent,
    RunLimits,
    RunSafe,
    RunView,
    StartProcess,
    StopOrdered,
    Tell,
)
from protocol.machines.flame_verdict import OVERDUE, UNCLEAN, FlameNode, joined

LIMIT_TIMER: Final = "limit"
NODE_TIMER: Final = "node:"

_GONE: Final = {"Killed": "killing", "ProcessEnded": "departed"}
_LISTENING: Final = {"StopTold": "stopping", "Left": "leaving", "ProcessEnded": "departed"}
_WATCHED: Final = {**_LISTENING, "Killed": "killing"}
# A flame node. "departed": its process is gone, and what is next is decided; "safing": its safe program runs.
TRANSITIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "waiting": {"Started": "starting", "SafeStarted": "safing", "Ended": "ended"},
    "starting": {"Greeted": "wiring", "StopTold": "stopping", **_GONE},
    "wiring": {"Wired": "wired", **_WATCHED},
    "wired": {"ConnectTold": "connecting", **_LISTENING},
    "connecting": {"Connected": "ready", **_WATCHED},
    "ready": {"StartTold": "running", **_LISTENING},
    "running": _WATCHED,
    "stopping": {"Left": "leaving", **_GONE},
    "leaving": _GONE,
    "killing": {"ProcessEnded": "departed", "Ended": "ended"},
    "departed": {"SafeStarted": "safing", "Paused": "pausing", "Started": "starting", "Ended": "ended"},
    "safing": _GONE,
    "pausing": {"Started": "starting", "Ended": "ended"},
    "ended": {},
}


class FlameRun:
    """Machine of one run. `limits.run_ms` after it began it is stopped in order.

    Its first event is `RunBegun`, its last effect `Finish`; events that come after that change nothing.
    """

    def __init__(self, plans: Sequence[NodePlan], limits: RunLimits) -> None:
        self._limits = limits
        self._nodes = {plan.name: FlameNode(plan) for plan in plans}  # limits.FLAME_NODES_MAX
        self._stories = Stories()
        self._effects: list[RunEffect] = []  # bounded by a few for each flame node; of this step
        self._now = Now(0, 0)
        self._begun = False  # RunBegun came
        self._bound = False  # all inputs of all flame nodes were bound once
        self._running = False  # all were told to start once
        self._end: RunEnd | None = None  # set: the run stops, or has ended
        self._reason = ""
        self._suspended = False  # it stops only for now
        self._interrupts = 0
        self._finished = False
        self._late = 0

    def step(self, event: RunEvent, now: Now) -> tuple[RunEffect, ...]:
        if isinstance(event, RunBegun) and self._begun:
            raise unexpected(event)
        if self._finished:
            self._late += 1
            return ()
        self._now, self._effects = now, []
        match event:
            case RunBegun():
                self._begin()
            case StopOrdered(reason=reason, suspends=suspends):
                self._suspended |= suspends and self._end is None
                self._stop("stopped", reason)
            case Interrupted():
                self._interrupt()
            case TimerFired():
                self._timer_fired(event)
            case _:
                self._of_node(event)
        self._settle()
        return tuple(self._effects)

    def takes_writes(self, node: str) -> bool:
        """Whether `flame write` may reach a flame node of this name: neither it nor the run ends."""
        one = self._nodes.get(node)
        return self._end is None and (one is None or one.state != "ended")

    def check(self) -> None:
        for node in self._nodes.values():
            assert node.state in TRANSITIONS
            assert node.state != "ended" or node.end is not None
            assert len(node.restarted_ns) <= node.plan.restart_max
        assert self._finished == (self._end is not None and self._all_in("ended"))
        assert not self._running or self._bound

    def snapshot(self) -> RunView:
        return RunView(
            phase=self._phase(),
            end=self._end,
            reason=self._reason,
            nodes=tuple(
                NodeView(
                    name=name,
                    state=node.state,
                    end=node.end,
                    code=node.code,
                    signal=node.signal,
                    problem=node.problem,
                    restarts=node.restarts,
                )
                for name, node in self._nodes.items()
            ),
            late=self._late,
        )

    def _phase(self) -> str:
        if self._finished:
            return "ended"
        if self._end is not None:
            return "stopping"
        if self._running:
            return "running"
        return "starting" if self._begun else "waiting"

    # --- the run as a whole ----------------------------------------------------------------------

    def _begin(self) -> None:
        self._begun = True
        if self._limits.run_ms:
            self._effects.append(SetTimer(name=LIMIT_TIMER, at_ns=self._now.after_ms(self._limits.run_ms)))
        for node in self._nodes.values():
            if node.plan.safe and node.plan.secure_first:
                node.restarting = True
                self._secure(node)
            else:
                self._start(node)

    def _settle(self) -> None:
        """What follows when several flame nodes have come to the same point."""
        if self._end is None and self._begun:
            self._pass_barriers()
            consumers = [node for node in self._nodes.values() if node.plan.consumes_flow]
            if consumers and all(node.state == "ended" for node in consumers):
                self._stop("succeeded", "every flame node that consumes a flow has ended")
        if self._all_in("ended") and (self._begun or self._end is not None):
            self._finish()

    def _pass_barriers(self) -> None:
        """Nobody connects before all inputs are bound, nobody sends before all are connected: nothing can be lost."""
        self._bound = self._bound or self._all_in("wired")
        if self._bound:
            for node in self._in("wired"):
                self._move(node, "ConnectTold")
                self._tell(node, "connect")
                self._wait(node, self._limits.wire_ms)
        self._running = self._running or (bool(self._nodes) and self._all_in("ready"))
        if self._running:
            for node in self._in("ready"):
                self._move(node, "StartTold")
                self._tell(node, "start")
                node.ran = node.begun = True
                node.heard_ns = self._now.boot_ns
                self._wait(node, self._limits.beat_ms)

    def _stop(self, end: RunEnd, reason: str) -> None:
        """Stop in order. The first cause stands."""
        if self._end is not None:
            return
        self._end, self._reason = end, reason[:FLAME_REASON_CHARS_MAX]
        self._effects.append(ClearTimer(name=LIMIT_TIMER))
        for node in self._nodes.values():
            match node.state:
                case "waiting":
                    node.end = "never-started"
                    self._end_node(node)
                case "pausing":
                    self._end_node(node)
                case "starting":
                    self._wait(node, self._limits.stop_ms)  # it is told once it listens
                case "wiring" | "wired" | "connecting" | "ready" | "running":
                    self._tell_stop(node)

    def _interrupt(self) -> None:
        self._interrupts += 1
        self._stop("interrupted", "interrupted by Ctrl-C")
        if self._interrupts > 1:
            for node in self._nodes.values():
                if "Killed" in TRANSITIONS[node.state] and node.state != "safing":
                    self._kill(node, "its process was killed by a second Ctrl-C", hung=False)

    def _finish(self) -> None:
        bad = next(((name, node) for name, node in self._nodes.items() if node.end in UNCLEAN), None)
        end: RunEnd = self._end or "succeeded"
        reason = self._reason or "every flame node has ended"
        if bad is not None and end in ("succeeded", "stopped"):
            end, reason = "failed", f"{bad[0]}: {bad[1].problem}"
        self._end, self._reason, self._finished = end, reason[:FLAME_REASON_CHARS_MAX], True
        self._effects.append(ClearTimer(name=LIMIT_TIMER))
        self._effects.append(Finish(end=end, reason=self._reason, suspended=self._suspended))

    # --- what flame nodes say --------------------------------------------------------------------

    def _of_node(self, event: NodeEvent) -> None:
        node = self._nodes[event.node]
        match event:
            case NodeGreeted(refusal=refusal) if node.state == "starting":
                self._greeted(node, refusal)
            case NodeWired() if node.state == "wiring":
                self._move(node, "Wired")
                self._wait(node, None)
            case NodeConnected(cpu_ms=cpu_ms) if node.state == "connecting":
                node.cpu_ms = cpu_ms
                self._move(node, "Connected")
                self._wait(node, None)
            case NodeBeat() if node.state in ("running", "stopping"):
                node.heard_ns = self._now.boot_ns
            case NodeMeasured(cpu_ms=cpu_ms):
                node.measured(cpu_ms, self._now)
            case NodeWantsStop(reason=reason) if node.state in ("running", "stopping", "leaving", "departed"):
                self._stop("stopped", reason or f"{event.node} asked to stop")
            case NodeLeft(problem=problem):
                self._left(node, problem)
            case ProcessEnded():
                self._process_ended(node, event)
            case NodeGreeted() | NodeWired() | NodeConnected() | NodeBeat() | NodeWantsStop():
                self._late += 1
            case _:
                assert_never(event)

    def _greeted(self, node: FlameNode, refusal: str) -> None:
        node.greeted = True
        if self._end is not None:
            self._tell_stop(node)
        elif refusal:
            node.refused = True
            self._kill(node, refusal, hung=False)
        else:
            self._move(node, "Greeted")
            self._tell(node, "wire")
            self._wait(node, self._limits.wire_ms)

    def _left(self, node: FlameNode, problem: str) -> None:
        if node.state == "departed":
            node.farewell = problem
            self._judge(node)
        elif "Left" in TRANSITIONS[node.state]:
            node.farewell = problem
            self._move(node, "Left")
            self._wait(node, self._limits.leave_ms)
        else:
            self._late += 1

    # --- processes -------------------------------------------------------------------------------

    def _start(self, node: FlameNode) -> None:
        node.forget_process()
        node.end, node.problem = None, ""
        self._move(node, "Started")
        self._effects.append(StartProcess(node=node.plan.name, restarts=node.restarts))
        self._wait(node, self._limits.hello_ms)

    def _secure(self, node: FlameNode) -> None:
        node.securing = True
        self._move(node, "SafeStarted")
        self._effects.append(RunSafe(node=node.plan.name))
        self._wait(node, self._limits.safe_ms)

    def _kill(self, node: FlameNode, blame: str, *, hung: bool) -> None:
        """Kill its process. What is said of it already stands: a first cause is not a consequence."""
        if node.state == "killing":
            return
        if not node.blame:
            node.blame, node.hung = blame, hung
        self._move(node, "Killed")
        self._effects.append(KillProcess(node=node.plan.name))
        self._wait(node, self._limits.kill_ms)

    def _process_ended(self, node: FlameNode, event: ProcessEnded) -> None:
        if "ProcessEnded" not in TRANSITIONS[node.state]:
            self._late += 1  # it was given up: the kernel has let it go after all
            return
        self._move(node, "ProcessEnded")
        if node.securing:
            self._secured(node, event)
            return
        node.code, node.signal, node.story = event.code, event.signal, event.story
        if node.greeted and node.farewell is None and event.code is not None and not node.blame:
            self._wait(node, self._limits.farewell_ms)
        else:
            self._judge(node)

    def _judge(self, node: FlameNode) -> None:
        """Its process is gone: how did it end, and what is next?"""
        node.end, problem = node.verdict()
        node.problem = problem[:FLAME_REASON_CHARS_MAX]
        unclean = node.end in UNCLEAN
        node.restarting = self._end is None and node.may_restart(self._now, unclean=unclean)
        if node.plan.safe and (unclean or node.restarting):
            self._secure(node)
        else:
            self._go_on(node)
        if unclean and not node.restarting:
            self._stop("failed", f"{node.plan.name}: {node.problem}")

    def _secured(self, node: FlameNode, event: ProcessEnded) -> None:
        """Its safe program has ended. Where that failed, nothing of this flame node runs again by itself."""
        node.securing = False
        if event.code == 0:
            self._go_on(node)
            return
        how = f"exit code {event.code}" if event.code is not None else f"signal {event.signal}"
        problem = f"its safe program failed with {how}; bring its hardware to a safe state by hand"
        node.restarting = False
        node.end = node.end if node.end in UNCLEAN else "failed"
        node.problem = joined(node.problem, joined(problem, event.story))[:FLAME_REASON_CHARS_MAX]
        self._end_node(node)
        self._stop("failed", f"{node.plan.name}: {node.problem}")

    def _go_on(self, node: FlameNode) -> None:
        if not node.restarting or self._end is not None:
            node.end = node.end or "never-started"
            self._end_node(node)
        elif node.end is None:  # it was made safe first
            self._start(node)
        else:
            self._move(node, "Paused")
            pause_ms = FLAME_RESTART_MS_MIN << min(len(node.restarted_ns), 16)
            self._wait(node, min(pause_ms, FLAME_RESTART_MS_MAX))

    def _end_node(self, node: FlameNode) -> None:
        self._move(node, "Ended")
        self._wait(node, None)

    # --- time ------------------------------------------------------------------------------------

    def _wait(self, node: FlameNode, limit_ms: int | None) -> None:
        """From now on its one timer is this."""
        node.timer += 1
        node.extended = False
        name = NODE_TIMER + node.plan.name
        if limit_ms is None:
            self._effects.append(ClearTimer(name=name))
            return
        node.set_ns, node.due_ns = self._now.boot_ns, self._now.after_ms(limit_ms)
        self._effects.append(SetTimer(name=name, at_ns=node.due_ns, generation=node.timer))

    def _timer_fired(self, event: TimerFired) -> None:
        if event.name == LIMIT_TIMER:
            if self._begun:
                self._stop("timed-out", f"the run did not end within its limit of {self._limits.run_ms / 1000:g} s")
            return
        node = self._nodes[event.name.removeprefix(NODE_TIMER)]
        if event.generation != node.timer or self._stood_still(node):
            return
        match node.state:
            case "running":
                self._look_at_beats(node)
            case "safing":
                self._kill(node, "", hung=True)
            case "departed":
                self._judge(node)
            case "killing":
                self._give_up(node)
            case "pausing":
                node.restarts += 1
                node.restarted_ns.append(self._now.boot_ns)
                self._start(node)
            case state:
                waited_for = "stopping" if self._end is not None and state == "starting" else state
                self._kill(node, OVERDUE[waited_for].format((node.due_ns - node.set_ns) / 1e9), hung=True)

    def _stood_still(self, node: FlameNode) -> bool:
        """Whether the timer is late: this process stood still itself, as in a suspend, and messages wait to be read.
        Then the wait begins anew, once.
        """
        if node.extended or self._now.boot_ns <= node.due_ns + FLAME_LATE_MS * 1_000_000:
            return False
        node.heard_ns = self._now.boot_ns
        self._wait(node, (node.due_ns - node.set_ns) // 1_000_000)
        node.extended = True
        return True

    def _look_at_beats(self, node: FlameNode) -> None:
        limit_ns = self._limits.beat_ms * 1_000_000
        left_ns = node.heard_ns + limit_ns - self._now.boot_ns
        if left_ns <= 0:
            self._kill(node, f"its process gave no sign of life for {self._limits.beat_ms / 1000:g} s", hung=True)
        else:
            self._wait(node, max(1, left_ns // 1_000_000))

    def _give_up(self, node: FlameNode) -> None:
        """SIGKILL did not end it: it hangs in the kernel."""
        node.end = "hung"
        node.problem = joined(node.problem or node.blame, "its process cannot be killed: it hangs in the kernel")
        self._end_node(node)
        self._stop("failed", f"{node.plan.name}: {node.problem}")

    # --- small -----------------------------------------------------------------------------------

    def _tell(self, node: FlameNode, order: Order, reason: str = "") -> None:
        self._effects.append(Tell(node=node.plan.name, order=order, reason=reason))

    def _tell_stop(self, node: FlameNode) -> None:
        self._move(node, "StopTold")
        node.told_stop = True
        self._tell(node, "stop", self._reason)
        self._wait(node, self._limits.stop_ms)

    def _in(self, state: str) -> list[FlameNode]:
        return [node for node in self._nodes.values() if node.state == state]

    def _all_in(self, state: str) -> bool:
        return all(node.state == state for node in self._nodes.values())

    def _move(self, node: FlameNode, event: str) -> None:
        after = TRANSITIONS[node.state].get(event)
        if after is None:
            raise self._stories.broken(node.plan.name, f"{event} cannot follow in state {node.state}")
        self._stories.add(node.plan.name, node.state, event, after)
        node.state = after
