"""What a seed draws before anything runs: who takes part, what breaks, and what is asked for.

Faults stay within what the design claims to survive: any node may stop at any moment and comes back with its
committed store, clocks are off by less than CLOCK_TOLERANCE_MS between any two nodes, frames are lost, late, doubled,
out of order or replayed, but nobody's key is stolen.
"""

from __future__ import annotations

from random import Random
from typing import Final, Literal

from protocol.limits import CLOCK_TOLERANCE_MS, JOB_DEADLINE_MS, ORDER_LIFE_MS
from protocol.record import Record

NODES_MAX: Final = 300  # a run of so many takes minutes
JOBS_MAX: Final = 1_000
_CLOCK_OFFSET_MS_MAX: Final = CLOCK_TOLERANCE_MS // 2 - 10_000  # of one node, so that two differ by less than allowed


class NodePlan(Record, frozen=True):
    """One node. `projects` are numbers of the two projects; each of its sources is open to some of them."""

    start_ms: int
    projects: tuple[int, ...]
    sources: dict[str, tuple[int, ...]]
    clock_offset_ms: int
    meets: Literal["announced", "typed"]  # found by discovery, or only by addresses that its operator typed


class CrashPlan(Record, frozen=True):
    """A stop without warning. With `reboot` the whole machine starts anew, and its boot clock with it.

    `moment`: at that time, or at the next commit after it: just before, or after it and before its effects.
    """

    at_ms: int
    node: int
    moment: Literal["at once", "before a commit", "after a commit"]
    down_ms: int
    reboot: bool


class JobPlan(Record, frozen=True):
    """One submission. `cancel_after_ms` 0: never; `listed`: the order names its holders; `altered`: a forged order."""

    at_ms: int
    node: int
    project: int
    lease_ms: int
    deadline_ms: int
    life_ms: int
    cancel_after_ms: int
    listed: bool
    altered: bool


class Options(Record, frozen=True):
    seed: int
    chaos_ms: int  # how long things break
    loss: float
    duplicates: float
    replays: float  # per frame sent: one recorded earlier is sent again
    spikes: float  # frames that take spike_ms longer, past many later ones
    delay_ms_min: int
    delay_ms_max: int
    spike_ms: int
    commit_ms_max: int
    task_ms_max: int
    task_faults: float
    task_deaths: float
    nodes: tuple[NodePlan, ...]
    crashes: tuple[CrashPlan, ...]
    jobs: tuple[JobPlan, ...]


def draw_options(seed: int, nodes: int, jobs: int | None = None) -> Options:
    """The options of this seed; the same for the same arguments, whatever else happens."""
    rng = Random(f"options/{seed}/{nodes}")
    chaos_ms = rng.choice((20_000, 60_000, 120_000))
    plans = tuple(_draw_node(rng, number) for number in range(nodes))
    delay_ms_min = rng.choice((0, 1, 20))
    asked = tuple(_draw_job(rng, plans, chaos_ms) for _ in range(rng.randint(4, 30) if jobs is None else jobs))
    calm = rng.random() < 0.1  # some seeds break nothing: what fails then is no fault's consequence
    return Options(
        seed=seed,
        chaos_ms=chaos_ms,
        loss=0.0 if calm else rng.choice((0.0, 0.02, 0.1, 0.25)),
        duplicates=0.0 if calm else rng.choice((0.0, 0.05, 0.3)),
        replays=0.0 if calm else rng.choice((0.0, 0.05, 0.3)),
        spikes=0.0 if calm else rng.choice((0.0, 0.02, 0.1)),
        delay_ms_min=delay_ms_min,
        delay_ms_max=delay_ms_min + rng.choice((1, 10, 200)),
        spike_ms=rng.choice((500, 3_000, 15_000)),
        commit_ms_max=rng.choice((1, 5, 100)),
        task_ms_max=rng.choice((100, 2_000, 8_000)),
        task_faults=0.0 if calm else rng.choice((0.0, 0.02)),
        task_deaths=0.0 if calm else rng.choice((0.0, 0.05, 0.2)),
        nodes=plans,
        crashes=() if calm else _draw_crashes(rng, plans, asked, chaos_ms),
        jobs=asked,
    )


def _draw_node(rng: Random, number: int) -> NodePlan:
    """The first two nodes are always in the first project; another may be a stranger to it."""
    projects = rng.choices(((0,), (0, 1), (1,)), weights=(60, 25, 0 if number < 2 else 15))[0]
    names = ("data", "more")[: 1 if number == 0 else rng.choices((0, 1, 2), weights=(15, 60, 25))[0]]
    return NodePlan(
        start_ms=rng.randint(0, 3_000),
        projects=projects,
        sources={name: projects if rng.random() < 0.8 else projects[:1] for name in names},
        clock_offset_ms=rng.randint(-_CLOCK_OFFSET_MS_MAX, _CLOCK_OFFSET_MS_MAX),
        meets=rng.choices(("announced", "typed"), weights=(75, 25))[0],
    )


def _draw_crashes(
    rng: Random, plans: tuple[NodePlan, ...], jobs: tuple[JobPlan, ...], chaos_ms: int
) -> tuple[CrashPlan, ...]:
    """Half of them at any time, half soon after something delicate: a first meeting, or a cancel."""
    nodes = len(plans)
    delicate = [(plan.start_ms, number) for number, plan in enumerate(plans)]
    delicate += [(job.at_ms + job.cancel_after_ms, job.node) for job in jobs if job.cancel_after_ms]
    drawn = []
    for _ in range(rng.choice((0, 1, nodes, 4 * nodes))):
        at_ms, node = rng.randint(500, chaos_ms), rng.randrange(nodes)
        if rng.random() < 0.5:
            at_ms, node = rng.choice(delicate)
            at_ms += rng.randint(1, 2_000)
        drawn.append(
            CrashPlan(
                at_ms=at_ms,
                node=node,
                moment=rng.choice(("at once", "before a commit", "after a commit")),
                down_ms=rng.choice((0, 300, 3_000, 20_000)),
                reboot=rng.random() < 0.3,
            )
        )
    return tuple(sorted(drawn, key=lambda crash: (crash.at_ms, crash.node)))


def _draw_job(rng: Random, plans: tuple[NodePlan, ...], chaos_ms: int) -> JobPlan:
    node = rng.randrange(len(plans))
    return JobPlan(
        at_ms=rng.randint(1_000, chaos_ms),
        node=node,
        project=rng.choice(plans[node].projects),
        lease_ms=rng.choice((2_000, 5_000, 15_000)),
        deadline_ms=rng.choices((JOB_DEADLINE_MS, rng.randint(1_000, 20_000)), weights=(85, 15))[0],
        life_ms=rng.choices((ORDER_LIFE_MS, rng.randint(20_000, 90_000)), weights=(90, 10))[0],
        cancel_after_ms=rng.randint(1, 10_000) if rng.random() < 0.2 else 0,
        listed=rng.random() < 0.3,
        altered=rng.random() < 0.05,
    )


def describe(options: Options) -> list[str]:
    """The options as lines for people: what is printed before a run."""
    plain = {
        name: getattr(options, name)
        for name in options.__struct_fields__
        if name not in ("seed", "nodes", "crashes", "jobs")
    }
    lines = [
        f"seed {options.seed}, {len(options.nodes)} nodes, {len(options.jobs)} jobs, {len(options.crashes)} crashes"
    ]
    lines.append("  " + ", ".join(f"{name} {value:g}" for name, value in plain.items()))
    for number, node in enumerate(options.nodes):
        sources = ", ".join(f"{name}{list(projects)}" for name, projects in node.sources.items()) or "none"
        lines.append(
            f"  n{number}: starts {node.start_ms} ms, projects {list(node.projects)}, sources {sources}, "
            f"clock {node.clock_offset_ms:+d} ms, {node.meets}"
        )
    for crash in options.crashes:
        how = "reboots" if crash.reboot else "restarts"
        lines.append(f"  crash at {crash.at_ms} ms: n{crash.node} {crash.moment}, {how} after {crash.down_ms} ms")
    for number, job in enumerate(options.jobs):
        extras = [f"cancelled after {job.cancel_after_ms} ms"] * bool(job.cancel_after_ms)
        extras += ["listed holders"] * job.listed + ["forged"] * job.altered
        lines.append(
            f"  job {number} at {job.at_ms} ms: n{job.node}, project {job.project}, lease {job.lease_ms} ms, "
            f"deadline {job.deadline_ms} ms, order life {job.life_ms} ms" + "".join(f", {extra}" for extra in extras)
        )
    return lines
