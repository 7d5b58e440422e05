"""The pages about errors, one for each code: docs/errors of the repository; installed, `errors` beside this."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Final

import click

from protocol.errors import Code

_HERE: Final = Path(__file__).parent
_INSTALLED: Final = _HERE / "errors"
_REPOSITORY: Final = _HERE.parent / "docs" / "errors"
_LINK: Final = re.compile(r"\[([^\]]+)\]\([^)]+\)")
_FENCED: Final = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(code: str) -> str:
    """The text of the page about `code`, for a terminal. Raises click.UsageError for what is no code."""
    wanted = code.strip().strip("[].").lower()
    if wanted not in set(Code):
        near = difflib.get_close_matches(wanted, [one.value for one in Code], n=1)
        step = f"did you mean {near[0]}?" if near else "it stands in brackets at the end of an error"
        raise click.UsageError(f"{code[:64]!r} is no code of an error; {step}")
    shown = _FENCED.sub(lambda fenced: re.sub("^", "    ", fenced[1].rstrip(), flags=re.MULTILINE), _read(wanted))
    return _LINK.sub(r"\1", shown)


def meanings() -> dict[str, str]:
    """Each code with its meaning, the first sentence of its page."""
    return {code.value: _read(code.value).split("\n\n")[1] for code in Code}


def _read(code: str) -> str:
    folder = _INSTALLED if _INSTALLED.exists() else _REPOSITORY
    return (folder / f"{code}.md").read_text(encoding="utf-8")
