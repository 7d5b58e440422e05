"""Starts a node and its child processes, watches and ends them: `python -m actors.launcher --plan JSON`.

The plan is one JSON object. It is seen by everyone who may list processes, so nothing secret belongs into it:

    {"node": [ARGV…], "children": {ROLE: [ARGV…], …}, "final_codes": [2, 3, …]}

- The node inherits the environment, standard output and standard error of the launcher, and gets
  `FLOTTA_LAUNCHER_FD`, the descriptor of its socket to the launcher (see `actors.child_service`), and
  `FLOTTA_PARENT_PID`. Its standard input is empty.
- An end with code 0 or one of `final_codes` (the operator must mend something first) is passed on. Once a node
  has lived for `NODE_SETTLED_MS`, a final code means that something has changed around it, such as a full disk:
  then it is tried again every `NODE_PATIENCE_MS`, without end. After any other end the node is started again with
  back-off; too many of those and the launcher stops with `GIVEN_UP`.
- SIGTERM, SIGINT and SIGHUP ask the node to stop; after `NODE_STOP_MS` it is killed. The launcher's code is
  the node's.
- A launcher that finds `FLOTTA_PARENT_PID` in its environment dies with that process.
- Children that were asked for with `on_node_death: keep` outlive the node. Nothing outlives the launcher,
  even when it is killed: node and children call `actors.child_bootstrap.adopt_parent_death`.

One thread, one loop, standard library only: 13 MB resident, half of it shared with other Python processes.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from typing import NamedTuple

from actors.child_service import ChildService
from actors.children import CAN_WATCH_ENDS, PARENT_VARIABLE, Children, EndReason, Process, say
from protocol.errors import Code, ConfigError
from protocol.limits import (
    CHILD_MEMORY_WATCH_MS,
    NODE_BACKOFF_MS_MAX,
    NODE_BACKOFF_MS_MIN,
    NODE_ENDS_MAX,
    NODE_ENDS_WINDOW_MS,
    NODE_PATIENCE_MS,
    NODE_SETTLED_MS,
    NODE_STOP_MS,
)

LAUNCHER_VARIABLE = "FLOTTA_LAUNCHER_FD"
GIVEN_UP = 70  # the node ends again and again
PLAN_WRONG = 64  # the launcher was started wrongly
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_CODE_OF_SIGNAL = 128  # added to a signal's number, as shells do


class Plan(NamedTuple):
    """What to run. `final_codes`: exit codes after which the node is not started again."""

    node: tuple[str, ...]
    children: dict[str, tuple[str, ...]]
    final_codes: frozenset[int]


def read_plan(text: str) -> Plan:
    """The plan as JSON. Raises ConfigError."""
    try:
        plan = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(Code.CONFIG_MALFORMED, f"The launcher's plan is not JSON: {error}.") from None
    match plan:
        case {"node": node, "children": dict(children), "final_codes": list(codes), **rest} if (
            not rest
            and all(_is_argv(argv) for argv in (node, *children.values()))
            and all(type(code) is int for code in codes)
        ):
            return Plan(tuple(node), {role: tuple(argv) for role, argv in children.items()}, frozenset(codes))
    raise ConfigError(
        Code.CONFIG_MALFORMED,
        'The launcher\'s plan is not of the form {"node": [ARGV…], "children": {ROLE: [ARGV…]}, "final_codes": [N…]}.',
    )


def _is_argv(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)


class Restarts:
    """When to start the node again. Times in seconds of one steady clock; pure."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=NODE_ENDS_MAX)
        self._delay_ms = NODE_BACKOFF_MS_MIN

    def after_end(self, started_s: float, now_s: float) -> float | None:
        """The pause in seconds before the next start, or None: it has ended too often."""
        window_s = NODE_ENDS_WINDOW_MS / 1000
        if now_s - started_s >= window_s:
            self._delay_ms = NODE_BACKOFF_MS_MIN
        self._ends.append(now_s)
        if len(self._ends) == NODE_ENDS_MAX and now_s - self._ends[0] < window_s:
            return None
        delay_ms, self._delay_ms = self._delay_ms, min(2 * self._delay_ms, NODE_BACKOFF_MS_MAX)
        return delay_ms / 1000


class Launcher:
    """`run` does everything, in the main thread of its process, once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._selector = selectors.DefaultSelector()
        self._children = Children(plan.children, self._selector)
        self._restarts = Restarts()
        self._node: Process | None = None
        self._service: ChildService | None = None
        self._started_s = 0.0
        self._start_at_s: float | None = None  # the node is down until then
        self._kill_at_s: float | None = None  # the node should have ended by then
        self._settled = False  # a node of this launcher has once lived for NODE_SETTLED_MS
        self._stopping = False
        self._last_code = 0
        self._exit_code: int | None = None

    def run(self) -> int:
        """Run the node until it ends for good. Returns the exit code."""
        wake, signals = socket.socketpair()
        with wake, signals, self._selector:
            self._catch_signals(wake, signals)
            try:
                self._start_node()
                while self._exit_code is None:
                    for key, mask in self._selector.select(self._wait_s()):
                        key.data(mask)
                    self._tick()
            finally:
                signal.set_wakeup_fd(-1)
                self._end_everything()
        return self._exit_code

    def _catch_signals(self, wake: socket.socket, signals: socket.socket) -> None:
        wake.setblocking(False)
        signals.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for number in _STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, lambda *_: None)  # the loop learns of it by the wake-up descriptor
        self._selector.register(signals, selectors.EVENT_READ, lambda mask: self._on_signal(signals))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)  # who started us may have held them back

    def _on_signal(self, signals: socket.socket) -> None:
        if set(signals.recv(64)).isdisjoint(_STOP_SIGNALS) or self._stopping:
            return
        self._stopping = True
        if self._node is None:
            self._exit_code = self._last_code
        else:
            self._node.terminate()
            self._expect_end()

    def _start_node(self) -> None:
        self._start_at_s = None
        self._started_s = time.monotonic()
        ours, theirs = socket.socketpair()
        with theirs:
            ours_for_node = {LAUNCHER_VARIABLE: str(theirs.fileno()), PARENT_VARIABLE: str(os.getpid())}
            try:
                self._node = Process(
                    self._plan.node, os.environ | ours_for_node, self._selector, pass_fds=(theirs.fileno(),)
                )
            except (OSError, ValueError) as error:
                ours.close()
                self._node_not_started(error)
                return
        self._service = ChildService(ours, self._children, self._selector)

    def _node_not_started(self, error: Exception) -> None:
        why = f"the node's program {self._plan.node[0]!r} cannot be started ({error})"
        if isinstance(error, BlockingIOError):  # EAGAIN: the system is out of processes for now
            self._start_later(why)
        else:
            say(f"{why}.")
            self._exit_code = GIVEN_UP

    def _wait_s(self) -> float | None:
        now_s = time.monotonic()
        waits = [max(0.0, at - now_s) for at in (self._start_at_s, self._kill_at_s) if at is not None]
        children_s = self._children.wait_s()
        if children_s is not None:
            waits.append(children_s)
        if not CAN_WATCH_ENDS:
            waits.append(CHILD_MEMORY_WATCH_MS / 1000)
        return min(waits, default=None)

    def _tick(self) -> None:
        if self._service is not None and self._service.closed is not None:
            self._node_let_go(self._service.closed)
        if self._node is not None and self._node.has_ended():
            self._node_ended(self._node)
        self._children.watch_memory()
        for end in self._children.collect():
            if self._service is not None:
                self._service.report(end)
            elif end.keep and self._start_at_s is not None:
                say(
                    f"child {end.key} ended while the node was down: "
                    f"code {end.code}, signal {end.signal}, {end.reason}."
                )
        now_s = time.monotonic()
        if self._kill_at_s is not None and now_s >= self._kill_at_s and self._node is not None:
            self._kill_at_s = None
            say(f"the node did not end within {NODE_STOP_MS / 1000:g} s and is killed.")
            self._node.kill()
        if self._start_at_s is not None and now_s >= self._start_at_s:
            self._start_node()

    def _expect_end(self) -> None:
        if self._kill_at_s is None:
            self._kill_at_s = time.monotonic() + NODE_STOP_MS / 1000

    def _node_let_go(self, why: str) -> None:
        """It closed its socket: it is about to end, or it broke the rules."""
        self._service = None
        self._children.kill_all(EndReason.NODE_GONE, kept_too=False)
        if why and self._node is not None:
            say(f"the node is killed: {why}.")
            self._node.kill()
        self._expect_end()

    def _node_ended(self, node: Process) -> None:
        self._children.kill_all(EndReason.NODE_GONE, kept_too=False)
        if self._service is not None:
            self._service.close("")
        self._node = self._service = self._kill_at_s = None
        code, by_signal = node.reap()
        self._last_code = code if code is not None else _CODE_OF_SIGNAL + (by_signal or signal.SIGKILL)
        if self._stopping and by_signal in _STOP_SIGNALS:  # it was asked to stop before it could listen
            self._last_code = 0
        now_s = time.monotonic()
        if now_s - self._started_s >= NODE_SETTLED_MS / 1000:
            self._settled = True
        final = code in self._plan.final_codes
        if self._stopping or code == 0 or (final and not self._settled):
            self._exit_code = self._last_code
            return
        if final:  # it has run well before: a full disk or a taken port passes, and nobody may be there to start it
            say(f"the node ended with code {code}; it is tried again in {NODE_PATIENCE_MS // 1000} s.")
            self._start_at_s = now_s + NODE_PATIENCE_MS / 1000
            return
        self._start_later(
            f"the node ended with code {code}" if by_signal is None else f"signal {by_signal} ended the node"
        )

    def _start_later(self, why: str) -> None:
        now_s = time.monotonic()
        pause_s = self._restarts.after_end(self._started_s, now_s)
        if pause_s is None:
            say(f"{why}, {NODE_ENDS_MAX} ends within {NODE_ENDS_WINDOW_MS // 60_000} minutes: giving up.")
            self._exit_code = GIVEN_UP
        else:
            say(f"{why}; it is started again in {pause_s:g} s.")
            self._start_at_s = now_s + pause_s

    def _end_everything(self) -> None:
        if self._service is not None:
            self._service.close("")
        if self._node is not None:
            self._node.reap()
        self._children.end_all()


def main(arguments: list[str]) -> int:
    """The program: exit code of the node, `GIVEN_UP` or `PLAN_WRONG`."""
    match arguments:
        case ["--plan", text]:
            try:
                plan = read_plan(text)
            except ConfigError as error:
                say(str(error))
                return PLAN_WRONG
            if PARENT_VARIABLE in os.environ:  # started by a program of ours that may be killed, such as the demo
                from actors.child_bootstrap import adopt_parent_death, parent_pid

                adopt_parent_death(parent_pid())
            return Launcher(plan).run()
        case _:
            say("usage: python -m actors.launcher --plan JSON")
            return PLAN_WRONG


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
