"""Exception, exit, interrupt, lack of memory, hang: in every handler of every actor.

`python -m tests.faults.handlers` does it in real nodes of its own process.

After a crash the actor is started again, and the node answers the operator and runs a job. After a hang the node stops
with a reason that names the actor: a thread cannot be ended, so its launcher starts the node again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from flotta_p2p.demo.fleet import free_ports
from protocol.errors import FlottaError
from protocol.machines.contract import Received
from simulations.report import Report
from tests.faults.handler_list import Handler, handlers_of
from tests.faults.injection import KINDS, Injected, Moment, injecting
from tests.faults.world import World, recover, world
from tests.flotta_p2p.nodes import RunningNode, running

RECOVERY_S: Final = 2.0  # the promise, on a machine that does nothing else
HIT_LIMIT_S: Final = 5.0
HANG_MS: Final = 1_500  # instead of 10 s, so that a hang in each handler can be waited for
HANG_LIMIT_S: Final = 30.0


@dataclass
class Tally:
    """What was injected and what came of it."""

    crashes: int = 0
    by_message: int = 0  # of these, in the handling of a message that came by itself
    crashed: set[str] = field(default_factory=set)  # handlers
    hung: set[str] = field(default_factory=set)
    recoveries_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.crashes += other.crashes
        self.by_message += other.by_message
        self.crashed |= other.crashed
        self.hung |= other.hung
        self.recoveries_s += other.recoveries_s
        self.failures += other.failures


def crash(made: World, handler: Handler, moment: Moment, kind: type[BaseException], tally: Tally) -> None:
    """One fault in one handler: by a message that comes by itself where one does, else by one that is made up."""
    made.faults.arm(handler, moment, kind)
    helper = threading.Thread(target=_quietly, args=(made.actions.get(made.causes.get(handler, "")),))
    helper.start()
    try:
        by_itself = handler in made.causes and made.faults.hit.wait(HIT_LIMIT_S)
        if not by_itself:
            made.faults.arm(handler, "before", kind)  # nothing can be done with an empty message
            made.faults.tree[handler.actor].tell(made_up(handler))
        assert made.faults.hit.wait(HIT_LIMIT_S), "it was not reached"
        tally.recoveries_s.append(recover(made.anna, made.faults.hit_s))
        tally.crashes += 1
        tally.by_message += by_itself
        tally.crashed.add(str(handler))
        assert made.anna.fatal == [], f"the node ended: {made.anna.fatal}"
    except AssertionError as error:
        tally.failures.append(f"{kind.__name__} {moment} {handler}: {error}")
    finally:
        made.faults.disarm()
        helper.join()


def _quietly(action: Callable[[], Any] | None) -> None:
    """A fault may spoil what the action asks for; only what follows is judged."""
    if action is not None:
        with suppress(FlottaError, AssertionError):
            action()


def made_up(handler: Handler) -> Any:
    """A message of that type without contents: the fault comes before anybody looks into it."""
    if handler.body is not None:
        return Received(message=_empty(handler.body), sender=b"", message_id=b"")
    return _empty(handler.message)


def _empty(message: type[Any]) -> Any:
    required = [field.name for field in msgspec.structs.fields(message) if field.required]
    return message(**dict.fromkeys(required, b""))


def crash_all(
    made: World, handlers: Sequence[Handler], kinds: int, tally: Tally, moments: Sequence[Moment] = ("before", "after")
) -> None:
    """In every handler, at each moment, `kinds` of the KINDS. Where no message comes by itself nothing can be done
    first: there the moment is "before".
    """
    made.observe(handlers)
    for number, handler in enumerate(handlers):
        began_s = time.monotonic()
        for place, moment in enumerate(moments if handler in made.causes else ("before",)):
            for turn in range(kinds):
                crash(made, handler, moment, KINDS[(number + place + turn) % len(KINDS)], tally)
        print(f"crash {handler} ({made.causes.get(handler, '-')}): {time.monotonic() - began_s:.1f} s", flush=True)


# --- hangs ---------------------------------------------------------------------------------------


def hang_all(folder: Path, handlers: Sequence[Handler], at_once: int, tally: Tally) -> None:
    """So many nodes at a time, each with one handler that never returns: each ends by itself, naming the actor."""
    for start in range(0, len(handlers), at_once):
        group = handlers[start : start + at_once]
        began_s = time.monotonic()
        with injecting(hang_ms=HANG_MS, stop_ms=500) as injected, ExitStack() as stack:
            ports = free_ports(len(group))
            nodes = [
                stack.enter_context(running(folder / f"hang-{start + n}", name="Anna", port=port))
                for n, port in enumerate(ports)
            ]
            stack.callback(_release, injected)  # before the nodes are stopped
            for handler, faults in zip(group, injected, strict=True):
                faults.arm(handler, "before", None)
                faults.tree[handler.actor].tell(made_up(handler))
            for handler, node in zip(group, nodes, strict=True):
                _expect_end(handler, node, began_s, tally)
        print(f"hang {' '.join(map(str, group))}: {time.monotonic() - began_s:.1f} s", flush=True)


def _release(injected: Sequence[Injected]) -> None:
    for one in injected:
        one.release.set()


def _expect_end(handler: Handler, node: RunningNode, began_s: float, tally: Tally) -> None:
    while not node.fatal and time.monotonic() - began_s < HANG_LIMIT_S:
        time.sleep(0.01)
    if node.fatal and handler.actor in str(node.fatal[0]):
        tally.hung.add(str(handler))
    else:
        tally.failures.append(f"hang in {handler}: the node ended with {node.fatal or 'nothing'}")


# --- the proof -----------------------------------------------------------------------------------


def all_handlers(folder: Path) -> list[Handler]:
    """Of a node with one source."""
    with injecting() as injected, running(folder, name="Anna", port=free_ports(1)[0]):
        return handlers_of(injected[0].classes)


def counts_of(handlers: Sequence[Handler], tally: Tally, elapsed_s: float) -> dict[str, int | str]:
    recoveries_s = sorted(tally.recoveries_s) or [0.0]
    late = sum(recovery_s > RECOVERY_S for recovery_s in recoveries_s)
    return {
        "actors": len({handler.actor for handler in handlers}),
        "handlers": len(handlers),
        "handlers that crashed": len(tally.crashed),
        "handlers that hung": len(tally.hung),
        "crashes": tally.crashes,
        "of these in a message that came by itself": tally.by_message,
        "seconds to recover, median": f"{recoveries_s[len(recoveries_s) // 2]:.2f}",
        "seconds to recover, 99 of 100": f"{recoveries_s[len(recoveries_s) * 99 // 100]:.2f}",
        "seconds to recover, at most": f"{recoveries_s[-1]:.2f}",
        f"recoveries that took more than {RECOVERY_S:g} s": late,
        "seconds": f"{elapsed_s:.0f}",
    }


def live_through(folder: Path, handlers: Sequence[Handler], kinds: int, at_once: int) -> Tally:
    """Crashes and hangs of these handlers, in nodes of this process. `at_once` 0: no hangs."""
    tally = Tally()
    folder.mkdir()
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    with world(folder) as made:
        crash_all(made, handlers, kinds, tally)
    if at_once:
        hang_all(folder, handlers, at_once, tally)
    return tally


def shares_of(folder: Path, handlers: Sequence[Handler], kinds: int, at_once: int, workers: int) -> Tally:
    """The handlers dealt out to so many processes."""
    total = Tally()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        shares = [
            pool.submit(live_through, folder / str(n), handlers[n::workers], kinds, at_once) for n in range(workers)
        ]
        for share in shares:
            total.add(share.result())
    return total


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.handlers")
    parser.add_argument("--kinds", type=int, default=1, help=f"of {len(KINDS)} kinds of crash, at each moment")
    parser.add_argument("--at-once", type=int, default=6, help="nodes that hang at the same time; 0: none")
    parser.add_argument("--only", default="", help="handlers whose name begins so")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args(arguments)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flotta-faults-") as name:
        os.environ["XDG_RUNTIME_DIR"] = name
        handlers = [one for one in all_handlers(Path(name) / "list") if str(one).startswith(options.only)]
        tally = shares_of(Path(name), handlers, options.kinds, options.at_once, options.workers)
    report = Report(
        part="handlers",
        promise="Whatever a handler of an actor raises, the actor is started again and the node answers and runs a "
        "job; a handler that never returns ends the node with a reason that names the actor.",
        counts=counts_of(handlers, tally, time.monotonic() - began_s),
        failures=tuple(tally.failures),
        notes=(
            "Restarts are unlimited here; that too many in a minute end the node is shown in tests/actors.",
            f"A hang is noticed after {HANG_MS / 1000:g} s here, after 10 s in the product.",
            "A handler that no action of these tests reaches gets an empty message, and fails before it is read.",
            "The root supervisor is left out: its crash is the end of the node.",
        ),
    )
    return report.tell(options.report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
