"""What a supervisor knows of a child: how it is to be run, where it stands, how often it failed."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pykka

from actors.base import ActorHandle, Context
from protocol.errors import Code, FlottaError, LocalProtocolError
from protocol.limits import (
    READY_LIMIT_MS,
    RESTART_BACKOFF_MS_MAX,
    RESTART_BACKOFF_MS_MIN,
    RESTART_WINDOW_MS,
    RESTARTS_MAX,
    STOP_LIMIT_MS,
)
from protocol.machines.contract import Now


@dataclass(frozen=True)
class ChildSpec:
    """One child of a supervisor, and its handle, which lives as long as this record.

    `factory` makes and starts one incarnation, `lambda context: MyActor.start(context, ...)`; it runs in the
    thread of the supervisor and does no work. A child is started again whenever it ends; more than `restarts_max`
    ends within `window_ms` escalate to the parent.
    """

    name: str
    factory: Callable[[Context], pykka.ActorRef[Any]]
    ready_ms: int = READY_LIMIT_MS
    stop_ms: int = STOP_LIMIT_MS
    restarts_max: int = RESTARTS_MAX
    window_ms: int = RESTART_WINDOW_MS
    handle: ActorHandle = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "handle", ActorHandle(self.name))


class Phase(Enum):
    """Where a child stands."""

    DOWN = "down"  # to be started, at `start_at_ns` or later
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"


@dataclass
class Child:
    """What a supervisor knows of one child."""

    spec: ChildSpec
    phase: Phase = Phase.DOWN
    ref: pykka.ActorRef[Any] | None = None
    context: Context | None = None
    start_at_ns: int = 0
    was_ready: bool = False
    must_stop: bool = False  # a sibling before it has failed
    verdict: FlottaError | None = None  # why the supervisor stops it as failed
    failures_ns: deque[int] = field(default_factory=deque)
    silent_rounds: int = 0

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def lives(self) -> bool:
        return self.phase in (Phase.STARTING, Phase.UP, Phase.STOPPING)

    def plan_restart(self, error: BaseException | None, now: Now) -> None:
        """Count a failure and set the time of the next start. Raises the reason when there were too many."""
        self.failures_ns.append(now.boot_ns)
        while self.failures_ns[0] < now.boot_ns - self.spec.window_ms * 1_000_000:
            self.failures_ns.popleft()
        if len(self.failures_ns) > self.spec.restarts_max:
            raise self._last_straw(error) from error
        wait_ms = backoff_ms(self.name, self.spec.handle.generation, len(self.failures_ns))
        self.start_at_ns = now.after_ms(wait_ms)

    def _last_straw(self, error: BaseException | None) -> FlottaError:
        """The reason that goes up: what the child itself said, if it is meant for people."""
        if isinstance(error, FlottaError):
            return error
        cause = "it ended by itself" if error is None else f"{type(error).__name__}: {error}"
        return LocalProtocolError(
            f"Actor {self.name} failed {len(self.failures_ns)} times in {self.spec.window_ms / 1_000:g} s, "
            f"the last time because: {cause}.",
            Code.ACTOR_FAILED,
        )


def backoff_ms(name: str, generation: int, failures: int) -> int:
    """Wait before a restart: doubled by each failure in the window, ±20 % to keep neighbours out of step.

    The spread comes from a hash of name and generation: the same history gives the same waits.
    """
    plain = min(RESTART_BACKOFF_MS_MAX, RESTART_BACKOFF_MS_MIN << min(failures - 1, 16))
    spread = zlib.crc32(f"{name}:{generation}".encode()) % 401 - 200
    return plain + plain * spread // 1_000
