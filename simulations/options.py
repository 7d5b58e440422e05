"""What a seed draws before anything runs: who takes part, what breaks, and what is asked for.

Faults stay within what the design claims to survive. Its bounds, as they are kept here:
- Any node stops at any moment, and comes back with all that it had acknowledged as committed; what was written and not
  yet synced may be lost from some commit on. No disk lies about a sync, none rots.
- Any machine of a node falls alone; more than RESTARTS_MAX falls in a minute stop the node, which is started again.
- A process pauses for less than the life of a frame; its boot clock goes on.
- Boot clocks drift by at most DRIFT_PPM_MAX and never jump. Wall clocks of two nodes differ by less than
  CLOCK_TOLERANCE_MS, steps included. In few seeds one is wildly wrong for a while: orders are refused then, as the
  manual says, and nothing worse happens.
- Frames are lost, late, doubled, out of order or replayed; cuts are one-way, both ways, or flap. No key is stolen.
"""

from __future__ import annotations

from random import Random
from typing import Final, Literal

import msgspec

from protocol.limits import JOB_DEADLINE_MS, ORDER_LIFE_MS
from protocol.record import Record
from simulations.clocks import DRIFT_PPM_MAX, OFFSET_MS_MAX, StepPlan, draw_steps
from simulations.faults import (
    BanPlan,
    CrashPlan,
    FallPlan,
    FullDiskPlan,
    PausePlan,
    WavePlan,
    draw_bans,
    draw_crashes,
    draw_falls,
    draw_full_disks,
    draw_pauses,
)
from simulations.partitions import CutPlan, draw_cuts

NODES_MAX: Final = 300  # a run of so many takes minutes
JOBS_MAX: Final = 1_000
HOUR_MS: Final = 3_600_000


class NodePlan(Record, frozen=True):
    """One node. `projects` are numbers of the two projects; each of its sources is open to some of them."""

    start_ms: int
    projects: tuple[int, ...]
    sources: dict[str, tuple[int, ...]]
    clock_offset_ms: int
    drift_ppm: int
    meets: Literal["announced", "typed"]  # found by discovery, or only by addresses that its operator typed
    schedulers: tuple[int, ...] = ()  # the nodes that a client joined; empty for a node that can be dialled

    @property
    def is_client(self) -> bool:
        return bool(self.schedulers)


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
    """All of one run, as data: `draw_options` makes it from a seed, the shrinker takes parts of it away."""

    seed: int
    chaos_ms: int  # how long things break
    loss: float
    duplicates: float
    replays: float  # per frame sent: one recorded earlier is sent again
    spikes: float  # frames that take spike_ms longer, past many later ones
    delay_ms_min: int
    delay_ms_max: int
    spike_ms: int
    commit_ms_max: int  # how long a sync of the store takes
    task_ms_max: int
    task_faults: float
    task_deaths: float
    nodes: tuple[NodePlan, ...]
    jobs: tuple[JobPlan, ...]
    crashes: tuple[CrashPlan, ...] = ()
    falls: tuple[FallPlan, ...] = ()
    pauses: tuple[PausePlan, ...] = ()
    full_disks: tuple[FullDiskPlan, ...] = ()
    clock_steps: tuple[StepPlan, ...] = ()
    cuts: tuple[CutPlan, ...] = ()
    waves: tuple[WavePlan, ...] = ()
    bans: tuple[BanPlan, ...] = ()


def draw_node_count(seed: int) -> int:
    """For a sweep: 2 to 6, small worlds more often."""
    return Random(f"nodes/{seed}").choices((2, 3, 4, 5, 6), weights=(25, 30, 25, 10, 10))[0]


WAVE_MS_MAX: Final = 180_000


def draw_long_node_count(seed: int) -> int:
    """For long runs, which heartbeats dominate: their number grows with the square of the nodes."""
    return Random(f"long nodes/{seed}").choices((2, 3, 4, 5, 6), weights=(50, 30, 12, 5, 3))[0]


def draw_options(seed: int, nodes: int, jobs: int | None = None) -> Options:
    """The options of this seed; the same for the same arguments, whatever else happens."""
    rng = Random(f"options/{seed}/{nodes}")
    chaos_ms = rng.choice((20_000, 60_000, 120_000))
    plans = _with_clients(seed, tuple(_draw_node(rng, number) for number in range(nodes)))
    asked = tuple(_draw_job(rng, plans, chaos_ms) for _ in range(rng.randint(4, 30) if jobs is None else jobs))
    if rng.random() < 0.1:  # some seeds break nothing: what fails then is no fault's consequence
        return _draw_network(rng, seed, chaos_ms, plans, asked, calm=True)
    delicate = [(plan.start_ms, number) for number, plan in enumerate(plans)]
    delicate += [(job.at_ms + job.cancel_after_ms, job.node) for job in asked if job.cancel_after_ms]
    return _draw_network(
        rng,
        seed,
        chaos_ms,
        plans,
        asked,
        crashes=draw_crashes(rng, nodes, delicate, 500, chaos_ms),
        falls=draw_falls(rng, nodes, 500, chaos_ms),
        pauses=draw_pauses(rng, nodes, 500, chaos_ms),
        full_disks=draw_full_disks(rng, nodes, 500, chaos_ms),
        clock_steps=draw_steps(rng, nodes, chaos_ms),
        cuts=draw_cuts(rng, nodes, 500, chaos_ms),
        bans=draw_bans(Random(f"bans/{seed}/{nodes}"), nodes, 500, chaos_ms) if nodes > 1 else (),
    )


def draw_long(seed: int, nodes: int, hours: int) -> Options:
    """So many virtual hours with a job every few minutes; faults come in waves, with calm between them."""
    rng = Random(f"long/{seed}/{nodes}")
    chaos_ms = hours * HOUR_MS
    plans = _with_clients(seed, tuple(_draw_node(rng, number) for number in range(nodes)))
    asked = tuple(_draw_job(rng, plans, chaos_ms) for _ in range(hours * rng.randint(10, 30)))
    waves: list[WavePlan] = []
    at_ms = rng.randint(60_000, 1_200_000)
    while at_ms < chaos_ms - WAVE_MS_MAX:  # the last one ends before the calm, in which everything must come to rest
        waves.append(WavePlan(at_ms=at_ms, length_ms=rng.choice((20_000, 60_000, WAVE_MS_MAX))))
        at_ms = waves[-1].at_ms + waves[-1].length_ms + rng.randint(120_000, 1_800_000)
    crashes: list[CrashPlan] = []
    falls: list[FallPlan] = []
    pauses: list[PausePlan] = []
    fulls: list[FullDiskPlan] = []
    cuts: list[CutPlan] = []
    for wave in waves:
        asked += tuple(_draw_job(rng, plans, wave.length_ms, wave.at_ms) for _ in range(rng.randint(1, 6)))
        window = (wave.at_ms, wave.at_ms + wave.length_ms)
        crashes += draw_crashes(rng, nodes, (), *window)
        falls += draw_falls(rng, nodes, *window)
        pauses += draw_pauses(rng, nodes, *window)
        fulls += draw_full_disks(rng, nodes, *window)
        cuts += draw_cuts(rng, nodes, *window)
    return _draw_network(
        rng,
        seed,
        chaos_ms,
        plans,
        asked,
        crashes=tuple(crashes),
        falls=tuple(falls),
        pauses=tuple(pauses),
        full_disks=tuple(fulls),
        clock_steps=draw_steps(rng, nodes, chaos_ms),
        cuts=tuple(cuts),
        waves=tuple(waves),
    )


def _draw_network(
    rng: Random,
    seed: int,
    chaos_ms: int,
    plans: tuple[NodePlan, ...],
    jobs: tuple[JobPlan, ...],
    *,
    calm: bool = False,
    **faults: tuple[Record, ...],
) -> Options:
    """How good network, disks and children are, around what was drawn before."""
    delay_ms_min = rng.choice((0, 1, 20))
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
        jobs=jobs,
        **faults,  # type: ignore[arg-type]  # each list under the name of its field
    )


def _draw_node(rng: Random, number: int) -> NodePlan:
    """The first two nodes are always in the first project; another may be a stranger to it."""
    projects = rng.choices(((0,), (0, 1), (1,)), weights=(60, 25, 0 if number < 2 else 15))[0]
    names = ("data", "more")[: 1 if number == 0 else rng.choices((0, 1, 2), weights=(15, 60, 25))[0]]
    return NodePlan(
        start_ms=rng.randint(0, 3_000),
        projects=projects,
        sources={name: projects if rng.random() < 0.8 else projects[:1] for name in names},
        clock_offset_ms=rng.randint(-OFFSET_MS_MAX, OFFSET_MS_MAX),
        drift_ppm=rng.randint(-DRIFT_PPM_MAX, DRIFT_PPM_MAX),
        meets=rng.choices(("announced", "typed"), weights=(75, 25))[0],
    )


def _with_clients(seed: int, plans: tuple[NodePlan, ...]) -> tuple[NodePlan, ...]:
    """In half of the worlds some nodes are clients; the first one never is. Each has one scheduler for each of its
    projects, if there is a node for it.
    """
    rng = Random(f"clients/{seed}/{len(plans)}")
    if rng.random() < 0.5:
        return plans
    chosen = {number for number in range(1, len(plans)) if rng.random() < 0.4}
    nodes = [number for number in range(len(plans)) if number not in chosen]
    drawn = list(plans)
    for number in chosen:
        able = [[one for one in nodes if project in plans[one].projects] for project in plans[number].projects]
        schedulers = tuple(dict.fromkeys(rng.choice(some) for some in able if some))
        drawn[number] = msgspec.structs.replace(plans[number], schedulers=schedulers)
    return tuple(drawn)


def _draw_job(rng: Random, plans: tuple[NodePlan, ...], length_ms: int, start_ms: int = 0) -> JobPlan:
    node = rng.randrange(len(plans))
    return JobPlan(
        at_ms=start_ms + rng.randint(1_000, length_ms),
        node=node,
        project=rng.choice(plans[node].projects),
        lease_ms=rng.choice((2_000, 5_000, 15_000)),
        deadline_ms=rng.choices((JOB_DEADLINE_MS, rng.randint(1_000, 20_000)), weights=(85, 15))[0],
        life_ms=rng.choices((ORDER_LIFE_MS, rng.randint(20_000, 90_000)), weights=(90, 10))[0],
        cancel_after_ms=rng.randint(1, 10_000) if rng.random() < 0.2 else 0,
        listed=rng.random() < 0.3,
        altered=rng.random() < 0.05,
    )
