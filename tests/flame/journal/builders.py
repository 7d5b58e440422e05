"""A journal with something in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flame.journal import Journal, JournalReader, Stored
from flame.values import decode, encode


def fill(folder: Path, sets: Iterable[dict[str, Any]], *, streams: tuple[str, ...] = ("a", "b")) -> None:
    """One `append` for each of the sets, at 10, 20, 30 … ns; memory and cursor `count` them."""
    with Journal.open(folder, streams) as journal:
        before = journal.recovered.memory.get("count", 0)
        for count, values in enumerate(sets, before + 1):
            journal.append(
                {name: encode(value) for name, value in values.items()},
                10 * count,
                memory={"count": encode(count)},
                cursors={"count": count},
            )


def values_of(reader: JournalReader, stream: str, first: int = 1, last: int | None = None) -> list[Any]:
    stored = list(reader.read(stream, first, last))
    assert [one.seq for one in stored] == list(range(max(first, 1), max(first, 1) + len(stored)))
    return [decode(one.data) for one in stored]


def value_of(stored: Stored | None) -> Any:
    assert stored is not None
    return decode(stored.data)


def segments_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seg"))


def forget_index(folder: Path) -> None:
    shutil.rmtree(folder / "index")
