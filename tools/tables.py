"""Tables of the manual, rendered from the code that they describe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from flotta_p2p.configuration.keys import Described, all_keys
from flotta_p2p.configuration.schema import Document
from flotta_p2p.configuration.shapes import ListOf, Value
from protocol.limits import KIB
from protocol.machines import enrolment, flame_run, invitations, keeper, membership, poller, scheduler, worker
from protocol.wire.registry import MESSAGES

MACHINES: Final[dict[str, Mapping[Any, Mapping[str, Any]]]] = {
    "enrolment": enrolment.TRANSITIONS,
    "flame_run": flame_run.TRANSITIONS,
    "invitations": invitations.TRANSITIONS,
    "keeper": keeper.TRANSITIONS,
    "membership": membership.TRANSITIONS,
    "poller": poller.TRANSITIONS,
    "scheduler": scheduler.TRANSITIONS,
    "worker": worker.TRANSITIONS,
}
PARTS: Final = ("", "node", "join", "datasources", "database", "settings")  # of the configuration file


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


def keys(part: str) -> str:
    """The keys of a part of the configuration file in Markdown; "" is its top level, apart from its parts."""
    rows = [_key_row(path, key) for path, key in all_keys(Document) if _part(path, key) == part]
    return _markdown(("key", "meaning", "default", "example"), rows)


def _part(path: str, key: Described) -> str | None:
    """Whose table lists this key; None for a part itself, which is a heading."""
    if "." in path or isinstance(key.shape, ListOf):
        return path.partition(".")[0].removesuffix("[]")
    return "" if isinstance(key.shape, Value) else None


def _key_row(path: str, key: Described) -> tuple[str, ...]:
    meaning = key.about.meaning + ("; must be given" if key.required else "")
    words = key.default_words
    default = words if key.about.default or words in ("", "none") else f"`{words}`"
    example = f"`{key.about.example}`" if key.about.example else ""
    return f"`{path}`", meaning, default, example


def _markdown(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
