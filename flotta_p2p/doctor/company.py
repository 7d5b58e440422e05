"""Those with whom the node works: peers, strangers, joins, sources, messages, jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from actors.adapters.clock import SystemClock
from flotta_p2p.doctor.finding import Finding, failed, of_health, ok, warning
from flotta_p2p.doctor.patient import Patient
from flotta_p2p.identity import source_files
from protocol import findings
from protocol.errors import Code, DataError
from protocol.limits import MIB, PEER_AWAY_MS
from protocol.plan.tasks import SourceFile
from protocol.words import many, span

STRANGERS_SHOWN_MAX: Final = 5
WAITING_GOOD: Final = 1_000  # messages without an answer: a peer that is away for long, or a disk that is slow
SOURCE_BYTES_READ_MAX: Final = 64 * MIB  # a larger table is left to the node: reading it takes seconds

_STANDINGS: Final = {
    "stranger": ("if it should be a peer, compare `flotta-p2p project list` on both sides", Code.STRANGER),
    "waiting": ("let it in: flotta-p2p peers accept {node}", Code.NODE_WAITING),
    "banned": ("lift the ban: flotta-p2p peers accept {node}", Code.NODE_BANNED),
}


def peers(patient: Patient) -> Iterator[Finding]:
    """Each peer: present or away, since when, what is in common."""
    if patient.has_left:
        yield warning(
            "peers", "none: the node has left its projects", "flotta-p2p rejoin brings it back", Code.NODE_LEFT
        )
        return
    if patient.peers is None:
        return
    for one in patient.peers["peers"]:
        projects = ", ".join(project["name"] or project["id"] for project in one["projects"]) or "none"
        sources = ", ".join(one["sources"]) or "none"
        name, common = f"peer {one['name']}", f"projects {projects}; sources {sources}"
        heard = "" if one["silent_ms"] is None else f", heard {span(one['silent_ms'])} ago"
        if one["presence"] == "present" and one["projects"]:
            yield ok(name, f"present{heard if one['silent_ms'] > PEER_AWAY_MS else ''}; {common}")
        elif one["presence"] == "quiet" and one["projects"]:
            yield ok(name, f"quiet: not watched, since this node has neighbours enough; {common}")
        elif one["presence"] == "left":
            yield warning(name, f"it has left its projects{heard}; {common}", "it greets when it is back")
        elif not one["projects"]:
            step = "compare `flotta-p2p project list` on both sides, and add the token that is missing"
            yield warning(name, f"{one['presence']}{heard}; no project in common any more", step, Code.PROJECT_UNKNOWN)
        else:
            seen = f"{one['presence']}{heard or ', not heard since this node started'}; {common}"
            yield warning(name, seen, _step_to(patient, one))
    if patient.peers["peers"] and not any(one["projects"] for one in patient.peers["peers"]):
        step = "compare `flotta-p2p project list` here and there: the token of this node is another one"
        yield failed("peers", "none of them shares a project with this node", step, Code.PROJECT_UNKNOWN)
    if not patient.peers["peers"]:
        yield warning("peers", "none: nobody with a common project was met", "flotta-p2p peers shows who is in sight")


def _step_to(patient: Patient, peer: dict[str, Any]) -> str:
    """What to do about a peer that is not there. A client opens connections to its schedulers alone."""
    assert patient.status is not None
    ways = {one["node"]: one["name"] for one in patient.status["schedulers"]}
    token = "whether it still holds this project's token (`flotta-p2p project list` on both sides)"
    if peer["node"] in ways:
        return f"this client depends on it: see scheduler {peer['name']} below"
    if ways:
        through = f"this client reaches it through {', '.join(ways.values())} alone: see first whether that answers"
        return f"{through}, then whether {peer['name']} runs, and {token}"
    where = ", ".join(peer["addresses"]) or "no address"
    return f"see whether it runs, whether both machines can open connections to each other ({where}), and {token}"


def strangers(patient: Patient) -> Iterator[Finding]:
    """Who was seen and is no peer, and why not."""
    seen = patient.peers["strangers"] if patient.peers is not None else ()
    for one in seen[:STRANGERS_SHOWN_MAX]:
        where = ", ".join(one["addresses"])
        step, code = _STANDINGS[one["standing"]]
        yield warning(f"{one['standing']} {one['name']}", f"at {where}: {one['why']}", step.format(**one), code)
    if len(seen) > STRANGERS_SHOWN_MAX:
        yield warning("strangers", f"{len(seen) - STRANGERS_SHOWN_MAX} more", "flotta-p2p peers")


def joins(patient: Patient) -> Iterator[Finding]:
    """The typed addresses, and what is wrong with each; of a node that has left none is dialled."""
    if patient.has_left:
        return
    for one in patient.peers["joins"] if patient.peers is not None else ():
        yield of_health(findings.join(one["address"], one["state"], one["attempts"], one["problem"]))


def schedulers(patient: Patient) -> Iterator[Finding]:
    """Of a client: whether those that it polls answer. Through them alone it is reached, and reaches others."""
    for one in patient.status["schedulers"] if patient.status is not None else ():
        known = patient.peers["peers"] if patient.peers is not None else ()
        addresses = [address for peer in known if peer["node"] == one["node"] for address in peer["addresses"]]
        found = findings.scheduler(one["name"], one["state"], one["unanswered"], one["silent_ms"], addresses)
        yield of_health(found)


def sources(patient: Patient) -> Iterator[Finding]:
    """Each table can be read, and has the columns that its policy opens."""
    if patient.status is not None:
        for one in patient.status["sources"]:
            found = findings.source(
                one["name"], one["state"], one["columns_all"], one["problem"], one["next_step"], one["code"]
            )
            yield of_health(found)
    elif patient.configuration is not None:
        for source in source_files(patient.configuration).values():
            yield _read(source)


def messages(patient: Patient) -> Iterator[Finding]:
    """What waits for an acknowledgement."""
    if patient.status is None:
        return
    waiting = sum(patient.status[part].get("messages_waiting", 0) for part in ("jobs", "work"))
    if waiting > WAITING_GOOD:
        yield warning("messages", f"{waiting} wait for peers", "see which peer is away: flotta-p2p peers", Code.BUSY)
    else:
        yield ok("messages", f"{waiting} wait for peers")


def jobs(patient: Patient) -> Iterator[Finding]:
    """How many of the newest jobs failed, by code, and how long ago."""
    if patient.status is None:
        return
    failed = [one for one in patient.jobs if one.state in ("failed", "expired")]
    if not failed:
        yield ok("jobs", f"none of the newest {len(patient.jobs)} failed" if patient.jobs else "none led yet")
        return
    codes = Counter(one.cause.code if one.cause is not None else one.state for one in failed)
    newest = max(one.ended_ms for one in failed)
    listed = ", ".join(f"{number} × {code}" for code, number in codes.most_common())
    seen = f"{len(failed)} of the newest {len(patient.jobs)} failed: {listed}; the last one {_ago(newest)}"
    code = codes.most_common(1)[0][0]
    yield warning("jobs", seen, "flotta-p2p jobs", Code(code) if code in set(Code) else None)


def _read(source: SourceFile) -> Finding:
    from flotta_p2p.federated.table_file import open_table

    name, path = f"source {source.name}", Path(source.path)
    if path.is_file() and path.stat().st_size > SOURCE_BYTES_READ_MAX:
        return warning(name, f"{path} has {path.stat().st_size // MIB} MiB; the node reads it when it starts")
    try:
        table = open_table(source)
        rows = table.count_rows()
    except DataError as error:
        return failed(name, error.sentence.rstrip("."), error.next_step.rstrip("."), error.code)
    rules = source.rules.columns
    absent = sorted(((rules.columns or frozenset()) | (rules.groupable or frozenset())) - set(table.columns))
    if absent:
        step = "correct the policy, or the header of the table"
        return warning(
            name, f"its policy names {', '.join(absent)}, which {path} does not have", step, Code.COLUMN_UNKNOWN
        )
    return ok(name, f"{path}, {many(rows, 'row')}, {many(table.width, 'column')}")


def _ago(wall_ms: int) -> str:
    return f"{span(SystemClock().now().wall_ms - wall_ms)} ago"
