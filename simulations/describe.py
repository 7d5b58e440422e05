"""The options of a run as lines for people: what is printed before it."""

from __future__ import annotations

from collections.abc import Iterator

from simulations.options import Options

_LISTS = ("nodes", "jobs", "crashes", "falls", "pauses", "full_disks", "clock_steps", "cuts", "waves", "bans")


def describe(options: Options) -> list[str]:
    """One line for each plan, in order of time within its kind."""
    plain = {name: getattr(options, name) for name in options.__struct_fields__ if name not in ("seed", *_LISTS)}
    counts = ", ".join(
        f"{len(getattr(options, name))} {name.replace('_', ' ')}" for name in _LISTS if getattr(options, name)
    )
    lines = [f"seed {options.seed}, {counts}", "  " + ", ".join(f"{name} {value:g}" for name, value in plain.items())]
    return [*lines, *_nodes(options), *_faults(options), *_jobs(options)]


def _nodes(options: Options) -> Iterator[str]:
    for number, node in enumerate(options.nodes):
        sources = ", ".join(f"{name}{list(projects)}" for name, projects in node.sources.items()) or "none"
        yield (
            f"  n{number}: starts {node.start_ms} ms, projects {list(node.projects)}, sources {sources}, "
            f"clock {node.clock_offset_ms:+d} ms, drift {node.drift_ppm:+d} ppm, {node.meets}"
        )


def _faults(options: Options) -> Iterator[str]:
    for wave in options.waves:
        yield f"  wave at {wave.at_ms} ms for {wave.length_ms} ms"
    for crash in options.crashes:
        how = "reboots" if crash.reboot else "restarts"
        yield f"  crash at {crash.at_ms} ms: n{crash.node} {crash.moment}, {how} after {crash.down_ms} ms"
    for fall in options.falls:
        yield f"  fall at {fall.at_ms} ms: {fall.machine} of n{fall.node}"
    for pause in options.pauses:
        yield f"  pause at {pause.at_ms} ms: n{pause.node} for {pause.length_ms} ms"
    for full in options.full_disks:
        yield f"  full disk at {full.at_ms} ms: n{full.node} for {full.length_ms} ms, refuses {full.share:g}"
    for ban in options.bans:
        yield f"  ban at {ban.at_ms} ms: n{ban.node} bans n{ban.other} for {ban.length_ms} ms"
    for step in options.clock_steps:
        wild = ", wild" if step.wild else ""
        yield f"  clock at {step.at_ms} ms: n{step.node} jumps to {step.offset_ms:+d} ms{wild}"
    for cut in options.cuts:
        left, right = (" ".join(f"n{number}" for number in side) for side in (cut.left, cut.right))
        flaps = f", on and off every {cut.period_ms} ms" if cut.period_ms else ""
        arrow = "<->" if cut.both_ways else "->"
        yield f"  cut at {cut.at_ms} ms: {left} {arrow} {right} for {cut.length_ms} ms{flaps}"


def _jobs(options: Options) -> Iterator[str]:
    for number, job in enumerate(options.jobs):
        extras = [f"cancelled after {job.cancel_after_ms} ms"] * bool(job.cancel_after_ms)
        extras += ["listed holders"] * job.listed + ["forged"] * job.altered
        yield (
            f"  job {number} at {job.at_ms} ms: n{job.node}, project {job.project}, lease {job.lease_ms} ms, "
            f"deadline {job.deadline_ms} ms, order life {job.life_ms} ms" + "".join(f", {extra}" for extra in extras)
        )
