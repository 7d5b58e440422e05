"""`python -m tools bench`: how fast and how large, measured on real nodes of this machine.

Machines differ and are noisy: read ratios of one run, not digits of two. Aims are those of the project's product
description.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from actors.adapters.clock import SystemClock
from actors.adapters.entropy import SystemEntropy
from flotta_p2p.demo.fleet import Fleet
from flotta_p2p.demo.interrupts import Interrupts
from flotta_p2p.demo.meeting import Member, await_meeting, await_members
from flotta_p2p.demo.narration import Narrator
from flotta_p2p.order_options import OrderOptions
from flotta_p2p.submission import JobClient, prepare_order
from protocol.plan.artifact import Artifact, Query, summary_artifact
from protocol.plan.operations import SummaryParameters
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey, new_token
from protocol.wire.jobs import JobStatus

Row = tuple[str, str, str]  # what, measured, aim
JOBS: Final = 10
REST_S: Final = 3.0  # until the children that read the sources at the start have gone home
PAUSE_S: Final = 1.0  # between two jobs
IMPORTS: Final = 9
DEMOS: Final = 3


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--only", choices=sorted(_PARTS), action="append", help="measure these parts alone")
    options = parser.parse_args(arguments)
    rows = [row for name, part in _PARTS.items() if not options.only or name in options.only for row in part()]
    if options.json:
        print(json.dumps([{"what": what, "measured": measured, "aim": aim} for what, measured, aim in rows], indent=2))
        return 0
    width = max(len(what) for what, _, _ in rows)
    for what, measured, aim in rows:
        print(f"{what:{width}}  {measured:28}  {aim}")
    return 0


def _imports() -> list[Row]:
    """Cold start of an interpreter with the package, less that of an empty one."""
    empty = statistics.median(_run_s([sys.executable, "-P", "-c", ""]) for _ in range(IMPORTS))
    package = statistics.median(_run_s([sys.executable, "-P", "-c", "import flotta_p2p"]) for _ in range(IMPORTS))
    return [("cold import flotta_p2p", f"{(package - empty) * 1000:.0f} ms", "< 150 ms")]


def _demo() -> list[Row]:
    times = [_run_s([sys.executable, "-P", "-m", "flotta_p2p", "demo", "--json"]) for _ in range(DEMOS)]
    return [("demo, three nodes from nothing to result and clean-up", _spread(times, "s"), "< 10 s")]


def _nodes() -> list[Row]:
    """Jobs on three running nodes, and the memory of one of them before its first job."""
    token = new_token(SystemEntropy().bytes(20))
    with _running(token) as members:
        time.sleep(REST_S)
        rest = _memory(members[0])
        artifact = _artifact(token)
        first = _job(members[0], artifact)
        later = [_job(members[0], artifact, after_s=PAUSE_S) for _ in range(JOBS)]
    totals = [job["result"] for job in later]
    rounds = [job["measured"] - job["prepared"] for job in later]
    return [
        ("submit to result, first job", f"{first['result'] * 1000:.0f} ms", "≤ 500 ms"),
        ("submit to result, later jobs", _spread(totals, "ms"), "≤ 500 ms"),
        ("  of it: order signed, planned, prepared", _spread([job["prepared"] for job in later], "ms"), ""),
        ("  of it: round of 3 holders, 1 KB (a child of its own each)", _spread(rounds, "ms"), "≤ 20 ms"),
        ("  of it: merge and fetch", _spread([job["result"] - job["measured"] for job in later], "ms"), ""),
        *rest,
    ]


@contextmanager
def _running(token: str) -> Iterator[list[Member]]:
    interrupts = Interrupts()
    with interrupts, Fleet(token, None, interrupts) as fleet, ExitStack() as channels:
        quiet = Narrator(quiet=True)
        members = await_members(fleet, channels, quiet)
        await_meeting(fleet, members, quiet)
        yield members


def _artifact(token: str) -> Artifact:
    parameters = SummaryParameters(statistics=("count", "mean", "variance"))
    return summary_artifact(ProjectKey.derive(token).project_id, Query(columns=("body_mass_g",)), parameters)


def _job(member: Member, artifact: Artifact, *, after_s: float = 0.0) -> dict[str, float]:
    """Seconds after the order was begun at which its tasks were prepared and measured, and the result in hand.

    Before it a pause of `after_s`, in which the nodes start their next spare children.
    """
    client = JobClient(member.channel, SystemClock(), time.sleep)
    key = SigningKey(SystemEntropy().bytes(32))
    time.sleep(after_s)
    began = time.perf_counter()
    at: dict[int, float] = {}

    def note(status: JobStatus) -> None:
        at.setdefault(status.tasks_done, time.perf_counter() - began)

    prepared = prepare_order(artifact, OrderOptions(holders_min=3), key, SystemClock(), SystemEntropy())
    status = client.submit(client.prove(prepared))
    status = client.wait(prepared.job_id, limit_s=60, progress=note)
    assert status.state == "succeeded", status.cause
    client.result(prepared.job_id, status.scheduler)
    total = time.perf_counter() - began
    reached = {done: min(when for seen, when in at.items() if seen >= done) for done in (1, 4)}
    return {"prepared": reached[1], "measured": reached[4], "result": total}


def _memory(member: Member) -> list[Row]:
    """Resident and proportional memory of every process of one node, at rest."""
    assert member.holder.launcher is not None
    rows: list[Row] = []
    resident_all = proportional_all = 0.0
    for pid in (member.holder.launcher.pid, *_children(member.holder.launcher.pid)):
        resident, proportional = _sizes_mb(pid)
        resident_all += resident
        proportional_all += proportional
        rows.append((f"  of it: {_program(pid)}", f"{resident:.0f} MB resident, {proportional:.0f} MB own share", ""))
    total = f"{resident_all:.0f} MB resident, {proportional_all:.0f} MB own share"
    return [("memory of a node at rest, all its processes", total, "≤ 80 MB"), *rows]


def _children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _program(pid: int) -> str:
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return arguments[arguments.index("-m") + 1]


def _sizes_mb(pid: int) -> tuple[float, float]:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return int(lines["Rss"].split()[0]) / 1024, int(lines["Pss"].split()[0]) / 1024


def _run_s(argv: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True, timeout=120)
    return time.perf_counter() - began


def _spread(seconds: list[float], unit: str) -> str:
    scale = 1000 if unit == "ms" else 1
    middle, low, high = (statistics.median(seconds) * scale, min(seconds) * scale, max(seconds) * scale)
    digits = 0 if unit == "ms" else 1
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f})"


_PARTS: Final[dict[str, Callable[[], list[Row]]]] = {"import": _imports, "nodes": _nodes, "demo": _demo}
