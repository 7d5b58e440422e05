"""Health: what a node watches of itself while it runs, every `node.healthcheck` seconds and more often while something
is not well.

It asks for an observation, judges it in the words of `protocol/findings.py`, and tells what has begun and what has
ended. What is wrong with the disk keeps the scheduler of this node from leading new jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, assert_never

from protocol import findings
from protocol.findings import Disk, Finding, Verdict
from protocol.key_statement import verify_key_statement
from protocol.limits import CLOCK_OFFSET_MS_GOOD, HEALTH_AGAIN_MS, HEALTH_FIRST_MS, HEALTH_STEP_SHOWN_MS
from protocol.machines.contract import Effects, Now, Publish, SetTimer, TimerFired
from protocol.machines.events import HealthChanged, HealthWanted, ProjectsHeld
from protocol.machines.gate import GateSnapshot
from protocol.machines.membership_view import MembershipSnapshot
from protocol.machines.poller import PollerSnapshot
from protocol.machines.stored_results import ResultsView
from protocol.record import Record

_NOT_MEANT_TO_RUN: Final = ("starting", "leaving", "left")


class DiskSeen(Record, frozen=True):
    """One disk that the node writes to. `disk` None: it could not be looked at, for this `reason`."""

    path: str
    disk: Disk | None = None
    reason: str = ""


class SourceSeen(Record, frozen=True):
    """One data source, as its own actor tells of it."""

    name: str
    state: str
    columns_all: int
    problem: str
    next_step: str
    code: str


class Observed(Record, frozen=True):
    """All that was seen at one look. None stands for what did not answer in time; `silent` names those who did not.
    `results_bytes`: what the file of results takes; `results`: what the scheduler counts in it.
    """

    disks: tuple[DiskSeen, ...]
    results_bytes: int
    results: ResultsView | None
    store_ms: int | None
    sources: tuple[SourceSeen, ...]
    membership: MembershipSnapshot | None
    gate: GateSnapshot | None
    poller: PollerSnapshot | None
    tasks_running: int | None
    discovery_state: str | None
    discovery_problems: tuple[str, ...]
    silent: tuple[str, ...]


class HealthView(Record, frozen=True):
    """A finding, and since when its verdict is as it is, by both clocks."""

    finding: Finding
    since_ms: int
    since_ns: int


class HealthSnapshot(Record, frozen=True):
    views: tuple[HealthView, ...]
    checked_ns: int  # by the boot clock; 0: not yet


# All that this machine takes.
HealthEvent = TimerFired | ProjectsHeld | Observed


class Health:
    """Machine of the health actor."""

    def __init__(self, interval_ms: int) -> None:
        self._interval_ms = interval_ms
        self._views: dict[str, HealthView] = {}  # bounded by limits.SOURCES_MAX, KEPT_JOINS_MAX, PEERS_MAX and a few
        self._checked_ns = 0
        self._statement_until_ms: int | None = None  # of this node's own; None: not told yet
        self._left = False  # the operator took the node out of its projects: it reaches for nobody
        self._last: Now | None = None
        self._set: tuple[int, Now] | None = None  # the wall clock was set, by so many milliseconds, seen then

    def begin(self, now: Now) -> Effects:
        self._last = now
        return (SetTimer(name="check", at_ns=now.after_ms(min(HEALTH_FIRST_MS, self._interval_ms))),)

    def step(self, event: HealthEvent, now: Now) -> Effects:
        self._note_clock(now)
        match event:
            case TimerFired():
                again = SetTimer(name="check", at_ns=now.after_ms(self._interval_ms))
                return (Publish(event=HealthWanted()), again)
            case ProjectsHeld(statement=statement, left=left):
                self._left = left
                self._statement_until_ms = verify_key_statement(statement, 0).statement.not_after_ms
                return ()
            case Observed():
                return self._observed(event, now)
            case _:
                assert_never(event)

    def check(self) -> None:
        assert all(name == view.finding.name for name, view in self._views.items())

    def snapshot(self) -> HealthSnapshot:
        return HealthSnapshot(views=tuple(self._views.values()), checked_ns=self._checked_ns)

    # --- one look -------------------------------------------------------------------------------------

    def _observed(self, seen: Observed, now: Now) -> Effects:
        """What is not well is looked at again soon, so that its end is noticed."""
        before, found = self._views, {one.name: one for one in self._judge(seen, now)}
        self._views = {name: self._view(one, now) for name, one in found.items()}
        self._checked_ns = now.boot_ns
        begun = tuple(one for name, one in found.items() if one.verdict not in ("ok", _verdict(before.get(name))))
        ended = tuple(
            found.get(name, view.finding)
            for name, view in before.items()
            if view.finding.verdict != "ok" and (name not in found or found[name].verdict == "ok")
        )
        unwell = tuple(one for one in found.values() if one.verdict != "ok")
        soon_ms = min(self._interval_ms, HEALTH_AGAIN_MS)
        again = (SetTimer(name="check", at_ns=now.after_ms(soon_ms)),) if unwell else ()
        changed = (Publish(event=HealthChanged(unwell=unwell, begun=begun, ended=ended)),) if begun or ended else ()
        return (*changed, *again)

    def _view(self, found: Finding, now: Now) -> HealthView:
        known = self._views.get(found.name)
        if known is not None and known.finding.verdict == found.verdict:
            return HealthView(finding=found, since_ms=known.since_ms, since_ns=known.since_ns)
        return HealthView(finding=found, since_ms=now.wall_ms, since_ns=now.boot_ns)

    def _judge(self, seen: Observed, now: Now) -> Iterator[Finding]:
        yield findings.worst(_disk(one) for one in seen.disks)
        yield findings.database(seen.store_ms)
        yield findings.results(seen.results_bytes)
        if seen.results is not None:
            view = seen.results
            yield findings.quota(view.used_bytes, view.reserved_bytes, view.quota_bytes)
        for one in seen.sources:
            yield findings.source(one.name, one.state, one.columns_all, one.problem, one.next_step, one.code)
        if seen.discovery_state is not None:
            yield _discovery(seen.discovery_state, seen.discovery_problems)
        if not self._left:
            yield from _ways_to_others(seen, now)
        yield self._clock(seen, now)
        if self._statement_until_ms is not None:
            yield findings.statement(self._statement_until_ms - now.wall_ms)
        if seen.tasks_running is not None:
            yield findings.tasks(seen.tasks_running)
        yield findings.actors(seen.silent)

    # --- the clock ------------------------------------------------------------------------------------

    def _note_clock(self, now: Now) -> None:
        """The boot clock runs evenly: what the wall clock went more or less, it was set."""
        if self._last is not None:
            ran_ms = (now.boot_ns - self._last.boot_ns) // 1_000_000
            set_ms = now.wall_ms - self._last.wall_ms - ran_ms
            if abs(set_ms) > CLOCK_OFFSET_MS_GOOD:
                self._set = (set_ms, now)
        self._last = now

    def _clock(self, seen: Observed, now: Now) -> Finding:
        """What the peers' clocks say comes before what this one did."""
        found = findings.clock(_offsets(seen))
        if found.verdict == "ok" and self._set is not None:
            set_ms, when = self._set
            ago_ms = (now.boot_ns - when.boot_ns) // 1_000_000
            if ago_ms < HEALTH_STEP_SHOWN_MS:
                return findings.clock_was_set(set_ms, ago_ms)
        return found


def _verdict(view: HealthView | None) -> Verdict:
    return "ok" if view is None else view.finding.verdict


def _disk(seen: DiskSeen) -> Finding:
    return findings.disk_unseen(seen.path, seen.reason) if seen.disk is None else findings.disk(seen.path, seen.disk)


def _discovery(state: str, problems: tuple[str, ...]) -> Finding:
    if state == "ready":
        return findings.discovery(problems)
    return findings.discovery(()) if state in _NOT_MEANT_TO_RUN else findings.discovery_down(state, problems)


def _ways_to_others(seen: Observed, now: Now) -> Iterator[Finding]:
    """The typed addresses, and of a client those that it polls."""
    for join in seen.membership.joins if seen.membership is not None else ():
        yield findings.join(join.address, join.state, join.attempts, join.problem)
    for one in seen.poller.schedulers if seen.poller is not None else ():
        silent_ms = (now.boot_ns - one.answered_ns) // 1_000_000 if one.answered_ns else None
        yield findings.scheduler(one.name, one.state, one.unanswered, silent_ms)


def _offsets(seen: Observed) -> dict[str, int]:
    """How far the clocks of the present peers differ from this one, by name."""
    if seen.membership is None or seen.gate is None:
        return {}
    present = {one.node.hex(): one.name for one in seen.membership.peers if one.presence == "present"}
    return {present[node]: ms for node, ms in seen.gate.clock_offsets_ms.items() if node in present}
