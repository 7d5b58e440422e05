"""No-op tasks per second through the whole signed path, and the latency of a single one."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from protocol.limits import JOB_TASKS_MAX, PROBE_TASKS_MAX
from tools.bench.nodes import Network, at_rest, running
from tools.bench.rows import Row, Scale, percentile, say, spread

AIM_PER_S = 1_000


def tasks(scale: Scale) -> Iterator[Row]:
    """Each task: order signed, planned, offered, verified, policy asked, committed, computed in a child, its outcome
    signed, sent, verified, committed. Seconds run from the order to the verified result in hand.
    """
    with running(1 + max(scale.workers)) as network:
        at_rest()
        for workers in scale.workers:
            each = min(PROBE_TASKS_MAX, (JOB_TASKS_MAX - 2) // workers, scale.tasks // workers)
            rates = _rates(network, workers, each, max(1, scale.tasks // (each * workers)))
            best = statistics.median(rates)
            measured = f"{best:.0f} per s ({min(rates):.0f} to {max(rates):.0f})"
            say(f"  {workers} workers: {measured}")
            yield Row(
                f"no-op tasks, {workers} workers, jobs of {each * workers}",
                measured,
                f"≥ {AIM_PER_S} per s",
                best >= AIM_PER_S,
            )


def _rates(network: Network, workers: int, each: int, jobs: int) -> list[float]:
    chosen = network.members[1 : 1 + workers]
    network.probe(chosen, 1)  # the way is warm
    return [each * workers / network.probe(chosen, each).result_s for _ in range(jobs)]


def latency(scale: Scale) -> Iterator[Row]:
    """A job of one task on one other node, again and again without a pause, as its submitter sees it."""
    with running(2) as network:
        at_rest()
        worker = network.members[1:]
        network.probe(worker)
        probes = [network.probe(worker) for _ in range(scale.singles)]
    totals = [probe.result_s for probe in probes]
    p50, p99 = percentile(totals, 0.5) * 1000, percentile(totals, 0.99) * 1000
    yield Row("a job of one no-op task, p50", f"{p50:.0f} ms", "≤ 500 ms", p50 <= 500)
    yield Row("a job of one no-op task, p99", f"{p99:.0f} ms", "≤ 500 ms", p99 <= 500)
    yield Row("  of it: the task at its worker and back", spread([probe.round_s for probe in probes], "ms"))
