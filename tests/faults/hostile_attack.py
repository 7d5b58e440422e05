"""The attack: real jobs go on between real nodes while all kinds of hostile clients are let loose on one of them."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from protocol.limits import MIB, WIRE_GROWTH_BYTES_MAX
from tests.faults.hostile_target import Figures, JobStream, Target, target
from tests.faults.hostile_tcp import CONTROL_SHAPES, MAIN_SHAPES, STATEMENT_SHAPES, Swarm, let_loose
from tests.faults.hostile_zmtp import HOST, MEMBERS, PEERS, STRANGERS, Attacker, endless
from tests.faults.outcome import Found

GROWTH_BYTES_MAX: Final = 64 * MIB
SETTLE_S: Final = 5.0  # after which descriptors are as before
CONTROL_AT_ONCE: Final = 80  # more than the node serves
LIMIT_S: Final = 120.0
ALL: Final = (*STRANGERS, *MEMBERS, *PEERS)


class Watch:
    """Looks at the node ten times a second in a thread of its own; remembers the most that it held."""

    def __init__(self, it: Target) -> None:
        self._target = it
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")
        self.most = it.figures()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.1):
            now = self._target.figures()
            self.most = Figures(
                resident_bytes=max(now.resident_bytes, self.most.resident_bytes),
                descriptors=max(now.descriptors, self.most.descriptors),
                threads=max(now.threads, self.most.threads),
            )


def raw_clients(it: Target, connections: int, at_once: int) -> list[Swarm]:
    return [
        Swarm((HOST, it.port), MAIN_SHAPES, connections, at_once),
        Swarm((HOST, it.port + 1), STATEMENT_SHAPES, connections // 5, 200),
        Swarm(it.control_path, CONTROL_SHAPES, connections // 5, CONTROL_AT_ONCE),
    ]


def attack(
    connections: int,
    *,
    quiet_s: float,
    say: Callable[[str], None],
    with_endless: bool = True,
    curve_attacks: tuple[str, ...] = ALL,
    descriptors_max: int | None = None,
    raw_limit_s: float = LIMIT_S,
) -> Found:
    """`connections`: of the raw clients to the main port; a tenth as many of each CURVE client. `raw_limit_s`: the raw
    clients that have not come by then do not come.
    """
    found = Found()
    with tempfile.TemporaryDirectory() as folder, target(Path(folder), descriptors_max=descriptors_max) as it:
        with JobStream(it) as before:
            time.sleep(quiet_s)
        base, refused = it.figures(), it.refused()
        say(f"before: {len(before.took_s)} jobs, {base}")
        with JobStream(it) as during, Watch(it) as watch:
            _raw(it, connections, raw_limit_s, found, say)
            _curve(it, curve_attacks, max(10, connections // 10), found, say)
            strangers = watch.most
            if with_endless:
                endless(Attacker(it.port, it.token))
        _judge(it, found, base, strangers, watch.most)
        for stream in (before, during):
            found.counts["jobs checked"] += len(stream.took_s)
            for failure in stream.failures:
                found.fail(failure)
        found.hold(during.took_s, "no job was done during the attack")
        ratio = percentile(during.took_s, 99) / percentile(before.took_s, 99)
        found.figures["p99 of jobs before, s"] = f"{percentile(before.took_s, 99):.2f}"
        found.figures["p99 of jobs during, s"] = f"{percentile(during.took_s, 99):.2f} ({ratio:.1f} times)"
        counted = {name: number - refused.get(name, 0) for name, number in it.refused().items()}
        found.figures["refused, as status tells"] = ", ".join(f"{n} {name}" for name, n in counted.items() if n)
        found.hold(not curve_attacks or counted["dropped"], f"refused frames are not counted: {counted}")
        found.hold(
            "unknown client key" not in curve_attacks or counted["refused_connections"], f"keys are not: {counted}"
        )
        found.hold(not with_endless or counted["connections_shed"], "a message without an end was not ended")
        JobStream(it).one_job()
    return found


def _raw(it: Target, connections: int, limit_s: float, found: Found, say: Callable[[str], None]) -> None:
    swarms = raw_clients(it, connections, at_once=max(100, connections // 2))
    for _ in let_loose(swarms, limit_s):
        if swarms[0].over and swarms[1].over:
            break  # silent clients of the control socket stay until others come
    for name, swarm in zip(("main port", "statement port", "control socket"), swarms, strict=True):
        found.counts[f"raw connections, {name}"] += swarm.opened
        found.figures[f"most at once, {name}"] = str(swarm.most_open)
    say(f"raw clients: {[(swarm.opened, swarm.hung_up_on, swarm.refused) for swarm in swarms]}, now {it.figures()}")


def _curve(it: Target, names: tuple[str, ...], connections: int, found: Found, say: Callable[[str], None]) -> None:
    if not names:
        return
    attacker = Attacker(it.port, it.token)
    enrolled = False
    for name in names:
        if name in PEERS and not enrolled:
            attacker.enrol()
            enrolled = True
        {**STRANGERS, **MEMBERS, **PEERS}[name](attacker, connections)
        found.counts["CURVE attacks"] += 1
        say(f"{name}: now {it.figures()}")


def _judge(it: Target, found: Found, base: Figures, during: Figures, most: Figures) -> None:
    growth = during.resident_bytes - base.resident_bytes
    found.hold(growth < GROWTH_BYTES_MAX, f"the node grew by {growth // MIB} MiB")
    found.figures["growth, MiB"] = str(growth // MIB)
    at_most = WIRE_GROWTH_BYTES_MAX + GROWTH_BYTES_MAX
    growth = most.resident_bytes - base.resident_bytes
    found.hold(growth < at_most, f"the node grew by {growth // MIB} MiB under a message without an end")
    found.figures["growth under a message without an end, MiB"] = str(growth // MIB)
    found.figures["descriptors before and at most"] = f"{base.descriptors} and {most.descriptors}"
    deadline_s = time.monotonic() + SETTLE_S
    spare = 6  # of the children that compute, and one more peer
    while it.figures().descriptors > base.descriptors + spare and time.monotonic() < deadline_s:
        time.sleep(0.05)
    after = it.figures()
    found.hold(after.descriptors <= base.descriptors + spare, f"{after.descriptors} descriptors, before {base}")
    found.hold(after.threads <= base.threads, f"{after.threads} threads, before {base.threads}")
    found.hold(it.node.node_pid == it.pid, "the node was started again")
    for line in it.restarts():
        found.fail(f"the log tells: {line}")


def percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values) or [0.001]
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
