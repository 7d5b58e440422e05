"""What `status` and `peers` tell: plain values for --json, made from the snapshots of the actors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flotta_p2p import __version__
from protocol.findings import SOURCE
from protocol.ids import format_id, format_project_id
from protocol.machines.admission import AdmissionSnapshot
from protocol.machines.contract import Now
from protocol.machines.delivery import CourierSnapshot
from protocol.machines.enrolment import EnrolmentSnapshot
from protocol.machines.gate import GateSnapshot
from protocol.machines.health import HealthSnapshot
from protocol.machines.keeper import KeeperSnapshot
from protocol.machines.membership_view import MembershipSnapshot
from protocol.machines.poller import PollerSnapshot
from protocol.machines.scheduler import SchedulerSnapshot
from protocol.machines.stored_results import ResultsView
from protocol.machines.strangers import StrangerView
from protocol.machines.worker import WorkerSnapshot

KNOCKING: Final = "it seems to know a common token, but the handshake has not succeeded yet"
NOTHING_IN_COMMON: Final = "it holds no project token in common"
WAITING: Final = "it knows a common token; nobody has accepted it here"
BANNED: Final = "it is banned here"


@dataclass(frozen=True)
class Facts:
    """What does not change while a node runs, and where to look for the projects, which do."""

    node: bytes
    name: str
    mode: str
    addresses: tuple[str, ...]
    listening: tuple[str, ...]
    chosen_interface: str | None
    workdir: Path
    database: Path | None
    project_names: dict[bytes, str]
    sources: Callable[[], Mapping[str, frozenset[bytes]]]  # with the projects that each is open to now
    started_wall_ms: int


def describe(kind: str, facts: Facts, snapshots: dict[str, Any], way_out: dict[str, Any], now: Now) -> dict[str, Any]:
    """The values of a report. An actor that did not answer is named under `silent`; `way_out` is empty without a
    proxy.
    """
    peers = _peers(facts, snapshots.get("membership"), snapshots.get("enrolment"), now)
    admission: AdmissionSnapshot | None = snapshots.get("admission")
    peers |= {"bans": _bans(admission), "only_accepted": admission.listed if admission is not None else None}
    peers["left"] = admission.left if admission is not None else None
    if kind == "peers":
        return peers
    sources = facts.sources()
    return {
        "left": peers["left"],
        "name": facts.name,
        "node": format_id(facts.node),
        "mode": facts.mode,
        "version": __version__,
        "pid": os.getpid(),
        "uptime_ms": max(0, now.wall_ms - facts.started_wall_ms),
        "listening": list(facts.listening),
        "addresses": list(facts.addresses),
        "workdir": str(facts.workdir),
        "database": str(facts.database) if facts.database else "memory",
        "promise": "jobs survive a restart" if facts.database else "jobs do not survive a restart",
        "projects": [_project(facts, project) for project in _projects(facts, sources)],
        "sources": [
            {**values, "projects": sorted(_project_word(facts, one) for one in sources[values["name"]])}
            for name, values in snapshots.items()
            if name.startswith(SOURCE) and values
        ],
        "peers": {
            presence: sum(peer["presence"] == presence for peer in peers["peers"])
            for presence in ("present", "quiet", "away", "left", "admitted")
        },
        "strangers": sum(one["standing"] == "stranger" for one in peers["strangers"]),
        "waiting": sum(one["standing"] == "waiting" for one in peers["strangers"]),
        "bans": len(peers["bans"]),
        "health": _health(snapshots.get("health"), now),
        "schedulers": _schedulers(snapshots.get("poller"), now),
        "discovery": snapshots.get("discovery") or {},
        "way_out": way_out,
        "door": _door(snapshots.get("gate"), snapshots.get("transport")),
        "work": _work(snapshots.get("worker")),
        "jobs": _jobs(snapshots.get("scheduler")),
        "results": _results(snapshots.get("scheduler")),
        "runs": _runs(snapshots.get("keeper")),
        "silent": sorted(name for name, values in snapshots.items() if values is None),
    }


def _runs(snapshot: KeeperSnapshot | None) -> list[dict[str, str]]:
    """Runs of flame that the node executes."""
    return [
        {"run": one.alias, "id": one.run, "folder": one.folder, "state": one.state, "reason": one.reason}
        for one in (snapshot.runs if snapshot is not None else ())
    ]


def _projects(facts: Facts, sources: Mapping[str, frozenset[bytes]]) -> Iterable[bytes]:
    """Those with a name, and then those whose token stands under a source alone."""
    return dict.fromkeys((*facts.project_names, *sorted(frozenset().union(*sources.values()))))


def _project(facts: Facts, project: bytes) -> dict[str, str]:
    return {"name": facts.project_names.get(project, ""), "id": format_project_id(project)}


def _project_word(facts: Facts, project: bytes) -> str:
    return facts.project_names.get(project) or format_project_id(project)


def _peers(facts: Facts, courier: CourierSnapshot | None, door: EnrolmentSnapshot | None, now: Now) -> dict[str, Any]:
    if courier is None:
        return {"peers": [], "strangers": [], "joins": []}
    snapshot: MembershipSnapshot = courier.inner
    knocking = door.knocking if door is not None else ()
    return {
        "peers": [
            {
                "name": peer.name,
                "node": format_id(peer.node),
                "presence": peer.presence,
                "addresses": list(peer.addresses),
                "projects": [_project(facts, project) for project in peer.projects],
                "sources": sorted({source.name for source in peer.sources}),
                "silent_ms": (now.boot_ns - peer.heard_ns) // 1_000_000 if peer.heard_ns else None,
            }
            for peer in snapshot.peers
        ],
        "strangers": [
            {
                "name": one.name,
                "node": format_id(one.node),
                "addresses": list(one.addresses),
                "standing": one.standing,
                "why": _why(one, knocking),
            }
            for one in snapshot.strangers
        ],
        "joins": [
            {"address": join.address, "state": join.state, "attempts": join.attempts, "problem": join.problem}
            for join in snapshot.joins
        ],
    }


def _schedulers(snapshot: PollerSnapshot | None, now: Now) -> list[dict[str, Any]]:
    """Whom a client polls."""
    return [
        {
            "name": one.name,
            "node": format_id(one.node),
            "state": one.state,
            "unanswered": one.unanswered,
            "silent_ms": (now.boot_ns - one.answered_ns) // 1_000_000 if one.answered_ns else None,
        }
        for one in (snapshot.schedulers if snapshot is not None else ())
    ]


def _health(snapshot: HealthSnapshot | None, now: Now) -> dict[str, Any]:
    """What the node found when it looked at itself last; `checked_ms` ago, None: not yet."""
    if snapshot is None:
        return {"checked_ms": None, "findings": []}
    checked_ms = (now.boot_ns - snapshot.checked_ns) // 1_000_000 if snapshot.checked_ns else None
    return {
        "checked_ms": checked_ms,
        "findings": [
            {
                "name": one.finding.name,
                "verdict": one.finding.verdict,
                "sentence": one.finding.sentence,
                "next_step": one.finding.next_step,
                "code": one.finding.code or "",
                "since_ms": one.since_ms,
                "lasts_ms": (now.boot_ns - one.since_ns) // 1_000_000,
            }
            for one in snapshot.views
        ],
    }


def _why(stranger: StrangerView, knocking: tuple[bytes, ...]) -> str:
    if stranger.standing != "stranger":
        return WAITING if stranger.standing == "waiting" else BANNED
    return KNOCKING if stranger.node in knocking else NOTHING_IN_COMMON


def _bans(snapshot: AdmissionSnapshot | None) -> list[dict[str, Any]]:
    bans = snapshot.bans if snapshot is not None else ()
    return [{"node": format_id(ban.node), "since_ms": ban.since_ms, "reason": ban.reason} for ban in bans]


def _door(snapshot: GateSnapshot | None, wire: dict[str, int] | None) -> dict[str, Any]:
    if snapshot is None:
        return {}
    return {
        "frames_in": snapshot.frames_in,
        "frames_out": snapshot.frames_out,
        "sessions": snapshot.sessions,
        "passed_on": snapshot.passed_on,
        "refused": snapshot.refused,
        **(wire or {}),
        "clock_offsets_ms": {format_id(bytes.fromhex(n)): ms for n, ms in snapshot.clock_offsets_ms.items()},
    }


def _work(courier: CourierSnapshot | None) -> dict[str, Any]:
    if courier is None:
        return {}
    worker: WorkerSnapshot = courier.inner
    return {
        "tasks_running": worker.running,
        "tasks_started": worker.started,
        "orders_accepted": worker.orders,
        "bytes_released": worker.bytes_released,
        "messages_waiting": courier.waiting,
    }


def _jobs(courier: CourierSnapshot | None) -> dict[str, Any]:
    if courier is None:
        return {}
    scheduler: SchedulerSnapshot = courier.inner
    return {"live": len(scheduler.live), "ended": scheduler.ended, "messages_waiting": courier.waiting}


def _results(courier: CourierSnapshot | None) -> dict[str, Any]:
    """`keep_days` None: for ever."""
    if courier is None:
        return {}
    view: ResultsView = courier.inner.results
    return {
        "jobs": view.jobs,
        "used_bytes": view.used_bytes,
        "reserved_bytes": view.reserved_bytes,
        "quota_bytes": view.quota_bytes,
        "keep_days": None if view.keep_ms is None else view.keep_ms / 86_400_000,
        "clock_in_doubt": view.clock_in_doubt,
    }
