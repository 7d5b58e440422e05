"""A node file of the bench under two names: as `kept_ask.py` it declares what `ask.py` does, with a journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from flame import Node, Output

PREFIX: Final = "kept_"


class Declare(Protocol):
    def __call__(self, name: str, kind: object = None, /) -> Output[Any]: ...


def name(file: str, kind: str) -> str:
    """Of the class: `Ask`, or `KeptAsk`."""
    return f"Kept{kind}" if _is_kept(file) else kind


def output(file: str, node: Node) -> Declare:
    """Declares an output: runtime, or permanent."""
    return node.outputs.permanent if _is_kept(file) else node.outputs.runtime


def _is_kept(file: str) -> bool:
    return Path(file).name.startswith(PREFIX)
