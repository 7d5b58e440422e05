"""Tables of the manual, rendered from the code that they describe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from protocol.limits import KIB
from protocol.machines import enrolment, membership, poller, scheduler, worker
from protocol.wire.registry import MESSAGES

MACHINES: Final[dict[str, Mapping[Any, Mapping[str, Any]]]] = {
    "enrolment": enrolment.TRANSITIONS,
    "membership": membership.TRANSITIONS,
    "poller": poller.TRANSITIONS,
    "scheduler": scheduler.TRANSITIONS,
    "worker": worker.TRANSITIONS,
}


def transitions(machine: str) -> str:
    """The transition table of a machine in Markdown. Raises KeyError for a machine without one."""
    table = MACHINES[machine]
    rows = ((before, event, after) for before, row in table.items() for event, after in row.items())
    return _markdown(("state", "event", "next"), rows)


def messages() -> str:
    """Every message of the peer wire in Markdown."""
    rows = (
        (
            str(one.number),
            one.record.__name__,
            one.sender,
            one.receiver,
            ", ".join(sorted(one.connections)),
            f"{one.body_bytes_max // KIB} KiB",
            ("durable" if one.durable else "once") + (", any clock" if one.time_free else ""),
        )
        for one in MESSAGES
    )
    return _markdown(("number", "message", "from", "to", "over", "body at most", "delivery"), rows)


def _markdown(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
