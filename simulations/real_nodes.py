"""Many real nodes on loopback, and jobs submitted to them: `python -m simulations.real_nodes --nodes 8 --jobs 20`.

Everything is real here (processes, sockets, databases, zeroconf on 127.0.0.1); only the machine is the same.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from contextlib import ExitStack

from actors.adapters.clock import SystemClock
from actors.adapters.entropy import SystemEntropy
from flotta_p2p.demo.fleet import Fleet
from flotta_p2p.demo.interrupts import Interrupts
from flotta_p2p.demo.meeting import Member, await_meeting, await_members
from flotta_p2p.demo.narration import Narrator
from flotta_p2p.order_options import OrderOptions
from flotta_p2p.submission import JobClient, prepare_order
from flotta_p2p.tables.shares import penguin_shares
from protocol.ids import short_job_id
from protocol.plan.artifact import Artifact, Query, summary_artifact
from protocol.plan.operations import SummaryParameters
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey, new_token

JOB_LIMIT_S = 120.0


def run(arguments: list[str]) -> int:
    """0 when every job succeeded and spoke of every row."""
    parser = argparse.ArgumentParser(
        prog="python -m simulations.real_nodes",
        description="Start many real nodes on loopback and submit jobs to them.",
        epilog="example: python -m simulations.real_nodes --nodes 8 --jobs 20",
    )
    parser.add_argument("--nodes", type=int, default=6, help="how many nodes (2 to 30, default 6)")
    parser.add_argument("--jobs", type=int, default=10, help="how many jobs, each to another node (default 10)")
    options = parser.parse_args(arguments)
    if not 2 <= options.nodes <= 30 or options.jobs < 1:
        parser.error("--nodes is 2 to 30, --jobs at least 1")
    token = new_token(SystemEntropy().bytes(20))
    shares = _shares(options.nodes)
    rows = sum(text.count("\n") - 1 for text in shares.values())
    narrator = Narrator(quiet=False)
    interrupts = Interrupts()
    with interrupts, Fleet(token, None, interrupts, shares) as fleet, ExitStack() as channels:
        members = await_members(fleet, channels, narrator)
        await_meeting(fleet, members, narrator)
        return _submit_all(members, _artifact(token), options.jobs, rows, narrator)


def _submit_all(members: list[Member], artifact: Artifact, count: int, rows: int, narrator: Narrator) -> int:
    key = SigningKey(SystemEntropy().bytes(32))
    times, failed = [], 0
    for number in range(count):
        member = members[number % len(members)]
        began = time.perf_counter()
        client = JobClient(member.channel, SystemClock(), time.sleep)
        options = OrderOptions(holders_min=len(members))
        prepared = prepare_order(artifact, options, key, SystemClock(), SystemEntropy())
        status = client.submit(client.prove(prepared))
        status = client.wait(prepared.job_id, limit_s=JOB_LIMIT_S)
        seen = client.result(prepared.job_id, status.scheduler)[0].rows if status.state == "succeeded" else 0
        times.append(time.perf_counter() - began)
        failed += seen != rows
        cause = f": {status.cause.sentence}" if status.cause is not None else f", {seen} of {rows} rows"
        narrator.event(f"job {short_job_id(prepared.job_id)} led by {member.name} {status.state}{cause}")
    narrator.say(f"{count - failed} of {count} jobs succeeded; median {statistics.median(times):.2f} s")
    return 1 if failed else 0


def _shares(count: int) -> dict[str, str]:
    """The penguins dealt out to so many nodes."""
    texts = [text.splitlines() for text in penguin_shares().values()]
    header, lines = texts[0][0], [line for text in texts for line in text[1:]]
    return {f"node-{number + 1}": "\n".join([header, *lines[number::count]]) + "\n" for number in range(count)}


def _artifact(token: str) -> Artifact:
    parameters = SummaryParameters(statistics=("count", "mean"))
    return summary_artifact(ProjectKey.derive(token).project_id, Query(columns=("body_mass_g",)), parameters)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
