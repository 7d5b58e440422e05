"""`python -m tools transitions [--check]`: tables of states, messages and keys, written from the code into docs/.

A document holds, for each of its tables, one pair of lines `<!-- NAME:begin -->` and `<!-- NAME:end -->`; what stands
between them is made here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from tools import tables

DOCS: Final = Path(__file__).parent.parent / "docs"


def machines() -> str:
    """The tables of all machines, each under its name."""
    return "\n\n".join(
        f"### {name.capitalize().replace('_', ' ')}\n\n{tables.transitions(name)}" for name in tables.MACHINES
    )


PARTS: Final[tuple[tuple[str, str, Callable[[], str]], ...]] = (
    ("architecture.md", "transitions", machines),
    ("protocol.md", "messages", tables.messages),
    *(("configuration.md", f"keys-{part or 'top'}", partial(tables.keys, part)) for part in tables.PARTS),
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
