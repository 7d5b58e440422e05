"""No-op tasks per second through the whole signed path, and the latency of a single one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from protocol.limits import JOB_TASKS_MAX, PROBE_TASKS_MAX
from tools.bench.nodes import Network, at_rest, running
from tools.bench.rows import PAUSE_S, Row, Scale, percentile, say, spread

AIM_PER_S = 1_000


def tasks(scale: Scale) -> Iterator[Row]:
    with running(1 + max(scale.workers)) as network:
        at_rest()
        yield from tasks_of(network, scale)


def tasks_of(network: Network, scale: Scale) -> Iterator[Row]:
    """Each task: order signed, planned, offered, verified, policy asked, committed, computed in a child, its outcome
    signed, sent, verified, committed. Seconds run from the order to the verified result in hand.
    """
    for workers in scale.workers:
        each = min(PROBE_TASKS_MAX, (JOB_TASKS_MAX - 2) // workers, scale.tasks // workers)
        chosen = network.members[1 : 1 + workers]
        network.probe(chosen)  # the way is warm
        jobs = max(1, scale.tasks // (each * workers))
        rates = [each * workers / network.probe(chosen, each).result_s for _ in range(jobs)]
        middle = statistics.median(rates)
        measured = f"{middle:.0f} per s ({min(rates):.0f} to {max(rates):.0f})"
        say(f"  {workers} workers: {measured}")
        what = f"no-op tasks, {workers} workers, jobs of {each * workers}"
        yield Row(what, measured, f"≥ {AIM_PER_S} per s", middle >= AIM_PER_S)


def latency(scale: Scale) -> Iterator[Row]:
    with running(2) as network:
        at_rest()
        yield from latency_of(network, scale)


def latency_of(network: Network, scale: Scale) -> Iterator[Row]:
    """Jobs of one task on one other node, as their submitter sees them: with a pause before each, in which the nodes
    start their next spare children, and without.
    """
    worker = network.members[1:2]
    network.probe(worker)
    for how, pause_s in (("after a pause", PAUSE_S), ("without a pause", 0.0)):
        probes = []
        for _ in range(scale.singles):
            time.sleep(pause_s)
            probes.append(network.probe(worker))
        totals = [probe.result_s for probe in probes]
        p50, p99 = percentile(totals, 0.5) * 1000, percentile(totals, 0.99) * 1000
        yield Row(f"a job of one no-op task, {how}, p50", f"{p50:.0f} ms", "≤ 500 ms", p50 <= 500)
        yield Row(f"a job of one no-op task, {how}, p99", f"{p99:.0f} ms", "≤ 500 ms", p99 <= 500)
        yield Row("  of it: the task at its worker and back", spread([probe.round_s for probe in probes], "ms"))
