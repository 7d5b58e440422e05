"""What the machine of a flame run takes and gives. It knows flame nodes by their names, and never what they compute."""

from __future__ import annotations

from typing import Literal

from protocol.limits import (
    FLAME_BEAT_MISSED_MS,
    FLAME_FAREWELL_MS,
    FLAME_HELLO_MS,
    FLAME_KILL_MS,
    FLAME_LEAVE_MS,
    FLAME_SAFE_MS,
    FLAME_STOP_MS,
    FLAME_WIRE_MS,
)
from protocol.machines.contract import ClearTimer, SetTimer, TimerFired
from protocol.record import Record

Restart = Literal["never", "on-failure", "always"]
NodeEnd = Literal["succeeded", "stopped", "failed", "killed", "hung", "never-started"]
RunEnd = Literal["succeeded", "failed", "stopped", "timed-out", "interrupted"]
Order = Literal["wire", "connect", "start", "stop"]


class NodePlan(Record, frozen=True):
    """What an executor has to know of a flame node. `restart_max` restarts are allowed in any `within_ms`.

    `consumes_flow`: it has a flow input with an edge; when all of those have ended, nothing is left to do. `safe`: it
    names a safe program. `secure_first`: its last process may have died unclean in an earlier life of the executor, so
    that its safe program runs before anything else.
    """

    name: str
    restart: Restart = "never"
    restart_max: int = 3
    within_ms: int = 300_000
    consumes_flow: bool = False
    safe: bool = False
    secure_first: bool = False


class RunLimits(Record, frozen=True):
    """How long each wait may last; `protocol.limits` says why. `run_ms` 0: the run has no limit."""

    run_ms: int = 0
    hello_ms: int = FLAME_HELLO_MS
    wire_ms: int = FLAME_WIRE_MS
    beat_ms: int = FLAME_BEAT_MISSED_MS
    stop_ms: int = FLAME_STOP_MS
    leave_ms: int = FLAME_LEAVE_MS
    farewell_ms: int = FLAME_FAREWELL_MS
    kill_ms: int = FLAME_KILL_MS
    safe_ms: int = FLAME_SAFE_MS


# --- events -------------------------------------------------------------------------------------


class RunBegun(Record, frozen=True):
    """The run is written down: start."""


class NodeGreeted(Record, frozen=True):
    """`refusal`: why it must not take part, "" when it may: it is not what the run was checked with."""

    node: str
    refusal: str = ""


class NodeWired(Record, frozen=True):
    """All its inputs are bound."""

    node: str


class NodeConnected(Record, frozen=True):
    """All its outputs are connected: it is ready. `cpu_ms`: what its process has computed until now."""

    node: str
    cpu_ms: int = 0


class NodeBeat(Record, frozen=True):
    node: str


class NodeMeasured(Record, frozen=True):
    """What its process has computed since it was started. Told before each of its timers fires, when it is known."""

    node: str
    cpu_ms: int


class NodeWantsStop(Record, frozen=True):
    """The program of a flame node asks to stop the whole run."""

    node: str
    reason: str


class NodeLeft(Record, frozen=True):
    """Its farewell. `problem`: what went wrong in its program, "" for nothing."""

    node: str
    problem: str = ""


class ProcessEnded(Record, frozen=True):
    """The one process of this flame node, its program or its safe program, is gone with its whole group.

    `story`: what its log says of the cause, or why it could not be started (then there is neither code nor signal).
    """

    node: str
    code: int | None = None
    signal: int | None = None
    story: str = ""


class StopOrdered(Record, frozen=True):
    """Somebody asks to stop the run in order. `suspends`: only for now, it is to be taken up again."""

    reason: str
    suspends: bool = False


class Interrupted(Record, frozen=True):
    """Ctrl-C. Once: stop in order. Twice: kill."""


NodeEvent = NodeGreeted | NodeWired | NodeConnected | NodeBeat | NodeMeasured | NodeWantsStop | NodeLeft | ProcessEnded
RunEvent = RunBegun | NodeEvent | StopOrdered | Interrupted | TimerFired

# --- effects ------------------------------------------------------------------------------------


class StartProcess(Record, frozen=True):
    """Start the program of a flame node. Its end comes back as `ProcessEnded`, one that cannot be started too."""

    node: str
    restarts: int


class RunSafe(Record, frozen=True):
    """Start its safe program instead. Its end comes back as `ProcessEnded`."""

    node: str


class KillProcess(Record, frozen=True):
    """SIGKILL to the group of the one process of this flame node."""

    node: str


class Tell(Record, frozen=True):
    """Send the message of this name to a flame node."""

    node: str
    order: Order
    reason: str = ""


class Finish(Record, frozen=True):
    """Every flame node has ended. The last effect. `suspended`: the run is not over, and has no result yet."""

    end: RunEnd
    reason: str
    suspended: bool = False


RunEffect = StartProcess | RunSafe | KillProcess | Tell | SetTimer | ClearTimer | Finish

# --- for people ---------------------------------------------------------------------------------


class NodeView(Record, frozen=True):
    """`end` is that of its last process, None while it runs; final when `state` is "ended"."""

    name: str
    state: str
    end: NodeEnd | None
    code: int | None
    signal: int | None
    problem: str
    restarts: int


class RunView(Record, frozen=True):
    """`late` counts messages that came when nothing waited for them any more."""

    phase: str
    end: RunEnd | None
    reason: str
    nodes: tuple[NodeView, ...]
    late: int
