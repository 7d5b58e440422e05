"""Numbers as people read them."""

from __future__ import annotations


def many(count: int, word: str) -> str:
    """`1 peer`, `2 peers`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """Bytes in the largest unit of which there is one: `12 KiB`, `1.5 GiB`."""
    for unit, step in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{-(-count // 1024)} KiB"


def span(milliseconds: int) -> str:
    """A length of time in its largest unit that fits twice: `90 s`, `5 min`, `3 h`, `2 d`."""
    seconds = max(0, milliseconds) // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def exact_span(milliseconds: int) -> str:
    """As somebody may have written it in a configuration: `90 days`, `1 day`, `1.5 hours`."""
    size, unit = (86_400_000, "day") if milliseconds >= 86_400_000 else (3_600_000, "hour")
    count = f"{milliseconds / size:.5g}"
    return f"{count} {unit}{'' if count == '1' else 's'}"
