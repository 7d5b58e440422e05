"""`python -m tools transitions [--check]`: tables of states and messages, written from the code into docs/.

Each document holds one pair of lines `<!-- NAME:begin -->` and `<!-- NAME:end -->`; what stands between them is made
here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from protocol.limits import KIB
from protocol.machines import enrolment, membership, scheduling, worker
from protocol.wire.registry import MESSAGES

DOCS: Final = Path(__file__).parent.parent / "docs"
MACHINES: Final[dict[str, Mapping[Any, Mapping[str, Any]]]] = {
    "enrolment": enrolment.TRANSITIONS,
    "membership": membership.TRANSITIONS,
    "scheduling": scheduling.TRANSITIONS,
    "worker": worker.TRANSITIONS,
}


def transitions(machine: str) -> str:
    """The transition table of a machine in Markdown. Raises KeyError for a machine without one."""
    table = MACHINES[machine]
    return _table(
        ("state", "event", "next"),
        ((before, event, after) for before, row in table.items() for event, after in row.items()),
    )


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
    return _table(("number", "message", "from", "to", "over", "body at most", "delivery"), rows)


def machines() -> str:
    """The tables of all machines, each under its name."""
    return "\n\n".join(f"### {name.capitalize()}\n\n{transitions(name)}" for name in MACHINES)


PARTS: Final[tuple[tuple[str, str, Callable[[], str]], ...]] = (
    ("architecture.md", "transitions", machines),
    ("protocol.md", "messages", messages),
)


def rendered(text: str, name: str, content: str) -> str | None:
    """`text` with `content` between the marks of `name`; None when it has not exactly one pair of them."""
    marks = re.compile(rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
    if len(marks.findall(text)) != 1:
        return None
    return marks.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def main(arguments: list[str], docs: Path = DOCS) -> int:
    """0 when the documents are (now) as the code says, 1 when `--check` finds a stale one or a mark is missing."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m tools transitions [--check]", file=sys.stderr)
        return 2
    return max([_settle(docs / file, name, make(), check=bool(arguments)) for file, name, make in PARTS])


def _settle(path: Path, name: str, content: str, *, check: bool) -> int:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    wanted = rendered(text, name, content)
    if wanted is None:
        print(f"{path} needs one line <!-- {name}:begin --> and one line <!-- {name}:end --> after it", file=sys.stderr)
        return 1
    if wanted == text:
        return 0
    if check:
        print(f"{path} is stale. Next: python -m tools transitions", file=sys.stderr)
        return 1
    path.write_text(wanted, encoding="utf-8")
    return 0


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rows))
