"""What is well with a node and what is not, in the words of `flotta-p2p doctor` and of the health that a node watches
by itself. Each function turns facts into one finding; who gathers the facts is no matter here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from protocol.errors import Code
from protocol.limits import (
    CLOCK_OFFSET_MS_GOOD,
    CLOCK_TOLERANCE_MS,
    DISK_FREE_BYTES_GOOD,
    DISK_FREE_BYTES_MIN,
    DISK_FREE_FILES_GOOD,
    DISK_FREE_PERCENT_GOOD,
    HEALTH_ANSWER_MS,
    MEASURE_BYTES_MAX,
    QUOTA_PERCENT_GOOD,
    RESOURCE_MAP_BYTES_MAX,
    RESOURCE_MAP_PERCENT_GOOD,
    STATEMENT_LEFT_MS_GOOD,
    STORE_ANSWER_MS_GOOD,
    TASK_SLOTS,
    TASKS_WAITING_GOOD,
)
from protocol.record import Record
from protocol.words import many, size, span

Verdict = Literal["ok", "warning", "failed"]
DISK: Final = "disk"
SOURCE: Final = "source "  # before the name of a data source; its actor is called so too


class Finding(Record, frozen=True):
    """`name` is that of the check, `sentence` has no end. `warning`: worth knowing, nothing is broken."""

    name: str
    verdict: Verdict
    sentence: str
    next_step: str = ""
    code: Code | None = None

    @property
    def leads_no_job(self) -> bool:
        """Whether a node with it leads no new job: what it promised to a submitter it could not keep."""
        return self.name == DISK and self.verdict == "failed"


class Disk(Record, frozen=True):
    """The file system that holds a path. `kind` is "" where the system does not tell."""

    free_bytes: int
    all_bytes: int
    free_files: int
    read_only: bool
    kind: str = ""


def disk(path: str, facts: Disk) -> Finding:
    """Room for the work directory, or for a database that lies elsewhere."""
    if facts.read_only:
        step = "mount it for writing; a disk with errors is often set to reading alone"
        return _failed(DISK, f"the disk of {path} can only be read", step, Code.FOLDER_UNUSABLE)
    if facts.free_bytes < DISK_FREE_BYTES_MIN:
        seen = f"the disk of {path} has {size(facts.free_bytes)} free; with less than {size(DISK_FREE_BYTES_MIN)}"
        return _failed(DISK, f"{seen} this node leads no new job", f"make room: {_comfort(facts)}", Code.DISK_FULL)
    if facts.free_files < DISK_FREE_FILES_GOOD:
        seen = f"the disk of {path} has room for {facts.free_files} more files"
        return _failed(DISK, seen, "remove files", Code.DISK_FULL)
    if facts.free_bytes < _good_bytes(facts):
        seen = f"the disk of {path} has {size(facts.free_bytes)} free of {size(facts.all_bytes)}"
        return _warning(DISK, seen, f"make room: {_comfort(facts)}")
    return _ok(DISK, f"{size(facts.free_bytes)} free of {size(facts.all_bytes)} for {path}")


def disk_unseen(path: str, reason: str) -> Finding:
    """It could not be looked at."""
    step = "look at the disk and its mount; what the node wrote before is there when the disk is"
    return _failed(DISK, f"the disk of {path} {reason}", step, Code.FOLDER_UNUSABLE)


def database(answered_ms: int | None) -> Finding:
    """How long the store took to answer; None: longer than HEALTH_ANSWER_MS."""
    name, step = "database", "see what else uses the disk of the work directory"
    if answered_ms is None:
        return _failed(name, f"no answer within {HEALTH_ANSWER_MS // 1000} s", step, Code.TIMED_OUT)
    if answered_ms > STORE_ANSWER_MS_GOOD:
        return _warning(name, f"it took {answered_ms / 1000:.1f} s to answer", step)
    return _ok(name, "answers")


def results(used_bytes: int) -> Finding:
    """The file of results against the most that it can grow to; what they may take of it is their `quota`."""
    seen = f"their file has {size(used_bytes)} of the {size(RESOURCE_MAP_BYTES_MAX)} that it can have"
    if used_bytes * 100 > RESOURCE_MAP_BYTES_MAX * RESOURCE_MAP_PERCENT_GOOD:
        step = "lead jobs on another node: beyond that no result is stored"
        return _warning("results", seen, step, Code.STORE_FULL)
    return _ok("results", seen)


def quota(used_bytes: int, reserved_bytes: int, quota_bytes: int) -> Finding:
    """Room for the result of one more job, beside what is stored and what the jobs that run have reserved."""
    name, taken_bytes = "quota", used_bytes + reserved_bytes
    seen = f"results use {size(used_bytes)} of {size(quota_bytes)}, and jobs that run reserve {size(reserved_bytes)}"
    step = "flotta-p2p job remove --ended-before 30d, or raise settings.results.quota_mb"
    if reserved_bytes and used_bytes + MEASURE_BYTES_MAX <= quota_bytes:
        step = f"wait until running jobs have ended, or cancel some; else {step}"
    if taken_bytes + MEASURE_BYTES_MAX > quota_bytes:
        return _failed(name, f"{seen}, so new jobs are refused", step, Code.QUOTA_REACHED)
    if taken_bytes * 100 >= quota_bytes * QUOTA_PERCENT_GOOD:
        return _warning(name, seen, step)
    return _ok(name, seen)


def source(name: str, state: str, columns_all: int, problem: str, next_step: str, code: str) -> Finding:
    """Whether a table can be read, as its own actor says."""
    if problem:
        known = Code(code) if code in set(Code) else None
        return _failed(SOURCE + name, problem.rstrip("."), next_step.rstrip("."), known)
    return _ok(SOURCE + name, f"{state}, {many(columns_all, 'column')}")


def clock(offsets_ms: Mapping[str, int]) -> Finding:
    """Against the clocks of the peers that are present, by their names."""
    name = "clock"
    if not offsets_ms:
        return _ok(name, "plausible; no peer is present whose clock could be compared")
    far = {peer: ms for peer, ms in offsets_ms.items() if abs(ms) > CLOCK_OFFSET_MS_GOOD}
    if not far:
        most = max(abs(ms) for ms in offsets_ms.values())
        return _ok(name, f"at most {most / 1000:.1f} s off the clocks of {many(len(offsets_ms), 'peer')}")
    shown = ", ".join(f"{peer} by {abs(ms) // 1000} s ({'ahead' if ms > 0 else 'behind'})" for peer, ms in far.items())
    own = len(far) * 2 > len(offsets_ms) and len(offsets_ms) > 1
    step = "set this machine's clock (NTP)" if own else "compare both clocks with NTP and set the one that is wrong"
    seen = f"these clocks differ from this one: {shown}"
    if max(abs(ms) for ms in far.values()) > CLOCK_TOLERANCE_MS:
        late = f"{seen}; beyond {CLOCK_TOLERANCE_MS // 1000} s orders and messages can be refused"
        return _failed(name, late, step, Code.TIME_OUTSIDE)
    return _warning(name, seen, step, Code.TIME_OUTSIDE)


def clock_was_set(step_ms: int, ago_ms: int) -> Finding:
    """The wall clock stepped while the node ran. Nobody knows which time was right."""
    way = "forward" if step_ms > 0 else "back"
    seen = f"this machine's clock was set {way} by {span(abs(step_ms))}, {span(ago_ms)} ago"
    return _warning("clock", seen, "see that it is right now, and that NTP keeps it", Code.TIME_OUTSIDE)


def statement(left_ms: int) -> Finding:
    """How long the node's key statement is still believed; it is signed anew every day."""
    name, step = "statement", "set this machine's clock (NTP), then start the node again"
    if left_ms <= 0:
        return _failed(name, "by this machine's clock the node's key statement has expired", step, Code.TIME_OUTSIDE)
    if left_ms < STATEMENT_LEFT_MS_GOOD:
        seen = f"the node's key statement expires in {span(left_ms)}, and was not signed anew"
        return _warning(name, seen, step, Code.TIME_OUTSIDE)
    return _ok(name, f"valid for {span(left_ms)}")


def join(address: str, state: str, attempts: int, problem: str) -> Finding:
    """One typed address."""
    name = f"join {address}"
    if not problem:
        return _ok(name, state)
    why, _, step = problem.rstrip(".").partition(" Next: ")
    seen = f"{state} after {many(attempts, 'attempt')}: {why.rstrip('.')}"
    step = step or f"flotta-p2p doctor --to {address}; then compare the tokens of both sides"
    return _failed(name, seen, step, Code.NODE_UNREACHABLE)


def scheduler(name: str, state: str, unanswered: int, silent_ms: int | None, addresses: Sequence[str] = ()) -> Finding:
    """One of those that a client polls, through which it is reached; `silent_ms` None: never heard in this life of the
    node. `addresses`: where they are known.
    """
    if state != "silent":
        return _ok(f"scheduler {name}", state)
    heard = "since this node started" if silent_ms is None else f"for {span(silent_ms)}"
    at = f" from {', '.join(addresses)}" if addresses else ""
    seen = f"silent {heard}: no answer{at} to {many(unanswered, 'poll')}; this client is reached through it"
    ways = " or ".join(f"flotta-p2p doctor --to {address}" for address in addresses or ("ADDRESS",))
    step = f"{ways} looks at the way there; then ask its operator whether it runs"
    return _failed(f"scheduler {name}", seen, step, Code.NODE_UNREACHABLE)


def tasks(running: int) -> Finding:
    """Tasks against the slots in which they are computed."""
    waiting = max(0, running - TASK_SLOTS)
    seen = f"{running} accepted, {waiting} of them wait for one of {TASK_SLOTS} slots"
    if waiting > TASKS_WAITING_GOOD:
        return _warning("tasks", seen, "nothing; ask for fewer jobs at once if they are late", Code.BUSY)
    return _ok("tasks", seen)


def discovery_down(state: str, problems: Iterable[str]) -> Finding:
    """Its process does not run, or does not say that it is ready."""
    why = "; ".join(problems)
    seen = f"its process is {state}{': ' + why if why else ''}"
    return _failed("discovery", seen, "see the node's log; the node goes on with the peers that it knows")


def discovery(problems: Iterable[str]) -> Finding:
    """Of a process that runs."""
    if told := "; ".join(one.rstrip(".") for one in problems):
        return _warning("discovery", told, "see docs/operations.md, Firewall")
    return _ok("discovery", "its process runs")


def actors(silent: Iterable[str]) -> Finding:
    """Who of the node's actors did not answer."""
    names = ", ".join(sorted(silent))
    if names:
        return _failed("actors", f"{names} did not answer", "see the node's log", Code.TIMED_OUT)
    return _ok("actors", "all answer")


def worst(findings: Iterable[Finding]) -> Finding:
    """The first of those that are worst; there is at least one."""
    order: tuple[Verdict, ...] = ("failed", "warning", "ok")
    return min(findings, key=lambda one: order.index(one.verdict))


def _good_bytes(facts: Disk) -> int:
    return max(DISK_FREE_BYTES_GOOD, facts.all_bytes * DISK_FREE_PERCENT_GOOD // 100)


def _comfort(facts: Disk) -> str:
    return f"{size(_good_bytes(facts))} free is comfortable"


def _ok(name: str, sentence: str) -> Finding:
    return Finding(name=name, verdict="ok", sentence=sentence)


def _warning(name: str, sentence: str, next_step: str, code: Code | None = None) -> Finding:
    return Finding(name=name, verdict="warning", sentence=sentence, next_step=next_step, code=code)


def _failed(name: str, sentence: str, next_step: str, code: Code | None = None) -> Finding:
    return Finding(name=name, verdict="failed", sentence=sentence, next_step=next_step, code=code)
