"""Child processes: started in a session of their own, watched, and killed with their whole group.

Used by the launcher, which stays small: standard library only, and none of its large modules (dataclasses,
argparse, pathlib). Everything here belongs to one thread, which must outlive the children: on Linux the
signal at a parent's death is sent when the *thread* that spawned them ends.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from actors.failpoints import FOLDER_VARIABLE, Point, reached
from protocol.limits import CHILD_END_MS, CHILD_MEMORY_WATCH_MS, CHILDREN_MAX

PARENT_VARIABLE = "FLOTTA_PARENT_PID"  # tells a process which parent it must not outlive
_PASSED_ON = frozenset(("PATH", "LANG", "TZ", "HOME", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR", FOLDER_VARIABLE))
# A task slot is not a machine: without these each child starts a thread per core, several times over.
_THREADS = {"POLARS_MAX_THREADS": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_STDERR = 2

OnReady = Callable[[int], None]  # what a selector calls with the mask of events; kept as the key's data


def _can_watch_ends() -> bool:
    if not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # a kernel or a container that does not have it
        return False
    return True


CAN_WATCH_ENDS = _can_watch_ends()  # otherwise ends are looked for every CHILD_MEMORY_WATCH_MS


class EndReason(StrEnum):
    """Why a child ended; the word is followed by `: detail` where there is more to say."""

    EXITED = "exited"  # by itself, with a code or by a signal that was not ours
    KILLED = "killed"  # the node asked for it
    OUT_OF_MEMORY = "out-of-memory"  # its resident size went over its limit
    NODE_GONE = "node-gone"  # the node ended or let go of the launcher
    FRAME_TOO_LARGE = "frame-too-large"  # it sent what cannot be a message
    FRAME_MALFORMED = "frame-malformed"  # likewise, or its last message is torn
    CHANNEL_CLOSED = "channel-closed"  # it closed its channel and did not exit
    NO_DESCRIPTOR = "no-descriptor"  # the node had none left for its channel
    SPAWN_FAILED = "spawn-failed"  # it never ran
    ROLE_UNKNOWN = "role-unknown"  # it never ran
    KEY_TAKEN = "key-taken"  # it never ran
    TOO_MANY_CHILDREN = "too-many-children"  # it never ran


class SpawnRefusedError(Exception):
    """A child was not started; the text is a reason as in `EndReason`."""


class End(NamedTuple):
    """The end of one child: exit code, or the signal that ended it; why; whether it was to outlive the node."""

    key: str
    code: int | None
    signal: int | None
    reason: str
    keep: bool


def say(sentence: str) -> None:
    """One line on standard error; a standard error that is gone is no reason to fail."""
    with contextlib.suppress(OSError):
        os.write(_STDERR, f"flotta launcher: {sentence}\n".encode())


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a child sees of `environment`: an allow-list, without keys and tokens, and our own few."""
    passed_on = {k: v for k, v in environment.items() if k in _PASSED_ON or k.startswith("LC_")}
    return passed_on | _THREADS | {PARENT_VARIABLE: str(os.getpid())}


class Process:
    """One process in a session and process group of its own. Raises OSError when it cannot be started."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        selector: selectors.BaseSelector,
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
        stderr: int | None = None,
        cwd: str | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._selector = selector
        self._pidfd: int | None = None
        self._popen = subprocess.Popen(
            argv,
            env=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        self.pid = self._popen.pid
        try:
            if CAN_WATCH_ENDS:
                self._pidfd = os.pidfd_open(self.pid)
                selector.register(self._pidfd, selectors.EVENT_READ, lambda mask: None)  # an end wakes the loop
        except OSError:
            self.kill()
            self.reap()
            raise

    def has_ended(self) -> bool:
        """Whether it has ended. It stays unreaped where possible: its group's id stays ours."""
        if hasattr(os, "waitid"):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return self._popen.poll() is not None

    def wait_end(self, limit_ms: int) -> None:
        """Wait until it has ended, for so long."""
        end_s = time.monotonic() + limit_ms / 1000
        while not self.has_ended() and (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.02))

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM, the process alone)."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to its whole group. Only before `reap`."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # an empty group; macOS: only zombies in it
            os.killpg(self.pid, signal.SIGKILL)

    def reap(self, limit_ms: int = CHILD_END_MS) -> tuple[int | None, int | None]:
        """Kill what is left of the group, and wait: (code, None), (None, signal), (None, None) if in vain."""
        self.kill()
        if self._pidfd is not None:
            with contextlib.suppress(KeyError):  # it was opened and could not be registered
                self._selector.unregister(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        try:
            status = self._popen.wait(limit_ms / 1000)
        except subprocess.TimeoutExpired:
            return None, None
        return (status, None) if status >= 0 else (None, -status)


class _Child(NamedTuple):
    process: Process
    keep: bool
    rss_bytes_max: int


class Children:
    """The running children, at most `CHILDREN_MAX`, by key. `roles` names the programs that may run."""

    def __init__(self, roles: Mapping[str, Sequence[str]], selector: selectors.BaseSelector) -> None:
        self._roles = roles
        self._selector = selector
        self._running: dict[str, _Child] = {}
        self._reasons: dict[str, str] = {}  # why we killed it; the first reason stands
        self._next_watch_s = 0.0
        self._blind = False

    def spawn(self, key: str, role: str, *, keep: bool, rss_bytes_max: int) -> tuple[int, socket.socket]:
        """Start a child; its standard input is a stream socket, whose other end is returned with its pid.

        What it prints goes to our standard error. Raises SpawnRefusedError.
        """
        if key in self._running:
            raise SpawnRefusedError(EndReason.KEY_TAKEN)
        if len(self._running) >= CHILDREN_MAX:
            raise SpawnRefusedError(EndReason.TOO_MANY_CHILDREN)
        if role not in self._roles:
            raise SpawnRefusedError(EndReason.ROLE_UNKNOWN)
        try:
            process, channel = self._start(self._roles[role])
        except (OSError, ValueError) as error:
            raise SpawnRefusedError(f"{EndReason.SPAWN_FAILED}: {getattr(error, 'strerror', None) or error}") from None
        self._running[key] = _Child(process, keep, rss_bytes_max)
        return process.pid, channel

    def _start(self, argv: Sequence[str]) -> tuple[Process, socket.socket]:
        reached(Point.SPAWN_BEFORE)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = Process(
                    argv, child_environment(os.environ), self._selector, stdin=theirs.fileno(), stdout=_STDERR
                )
            except BaseException:
                ours.close()
                raise
        reached(Point.SPAWN_AFTER)
        return process, ours

    def kill(self, key: str, reason: str) -> None:
        """Kill the child and its group. One that has ended meanwhile is no fault: its end is told anyway."""
        if key in self._running:
            self._reasons.setdefault(key, reason)
            self._running[key].process.kill()

    def kill_all(self, reason: str, *, kept_too: bool) -> None:
        for key, child in self._running.items():
            if kept_too or not child.keep:
                self.kill(key, reason)

    def collect(self) -> list[End]:
        """The children that have ended since the last call. Never waits."""
        ended = [key for key, child in self._running.items() if child.process.has_ended()]
        return [self._bury(key) for key in ended]

    def _bury(self, key: str) -> End:
        child = self._running.pop(key)
        code, by_signal = child.process.reap()
        reason = self._reasons.pop(key, EndReason.EXITED)
        killed = code is None and by_signal in (signal.SIGKILL, None)
        # A child that ended by itself just before we killed it has a code, or a signal that we never send.
        return End(key, code, by_signal, reason if killed else EndReason.EXITED, child.keep)

    def watch_memory(self) -> None:
        """Kill every child whose resident size is over its limit; looks once in `CHILD_MEMORY_WATCH_MS`."""
        now_s = time.monotonic()
        if now_s < self._next_watch_s:
            return
        self._next_watch_s = now_s + CHILD_MEMORY_WATCH_MS / 1000
        for key, child in self._running.items():
            resident = resident_bytes(child.process.pid)
            if resident is None:
                self._say_blind()
            elif resident > child.rss_bytes_max:
                self.kill(key, EndReason.OUT_OF_MEMORY)

    def _say_blind(self) -> None:
        if not self._blind:
            self._blind = True
            say("this system does not tell the memory of processes: limits of children are not watched.")

    def wait_s(self) -> float | None:
        """How long a loop may sleep before it looks again; None while no child runs."""
        return max(0.0, self._next_watch_s - time.monotonic()) if self._running else None

    def kept(self) -> dict[str, int]:
        """Process ids, by key, of those that outlive the node."""
        return {key: c.process.pid for key, c in self._running.items() if c.keep and key not in self._reasons}

    def end_all(self) -> None:
        """Kill all, kept ones too, and wait for their end, `CHILD_END_MS` each at worst."""
        self.kill_all(EndReason.KILLED, kept_too=True)
        for key in list(self._running):
            self._bury(key)


def resident_bytes(pid: int) -> int | None:
    """Resident size of a process that is not yet reaped; None where the system does not tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:  # noqa: PTH123 (pathlib would cost the launcher 1 MB)
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
