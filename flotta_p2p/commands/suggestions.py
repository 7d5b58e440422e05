"""Commands that a message tells to type next, completed with the options by which the person said where: what is
suggested must do what is meant when it is copied.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Final

import click
from click.core import ParameterSource

_PLACES: Final = ("config", "workdir", "to", "proxy", "token_file", "project", "key")
_FOR_THE_DOOR: Final = ("proxy", "token_file", "project")  # of no use to a command that takes no --to
_COMMAND: Final = re.compile(r"flotta-p2p((?: [a-z][a-z-]*)+)([^`;,]*)")
# A step on another machine, by somebody else, or on both: nobody's options here belong into it.
_ELSEWHERE: Final = re.compile(r"\bthere\b|both sides|\boperator\b|\bholder runs\b|another machine")


def completed(text: str) -> str:
    """`text` with the options -c, --workdir, --to and those of the door, as they were typed for the command that runs
    now, behind each command that takes them. Unchanged where no command runs.
    """
    context = click.get_current_context(silent=True)
    if context is None or "flotta-p2p" not in text or _ELSEWHERE.search(text):
        return text
    typed = dict(_typed(context))
    root = context.find_root().command
    return _COMMAND.sub(lambda match: _completed(match, root, typed), text) if typed else text


def completed_line(line: str) -> str:
    """As `completed`, of what stands behind "Next: "."""
    before, mark, step = line.partition("Next: ")
    return before + mark + completed(step) if mark else line


def _typed(context: click.Context) -> Iterator[tuple[str, str]]:
    options = {option.name: option.opts[0] for option in context.command.params}
    for name in _PLACES:
        value = context.params.get(name)
        hidden = getattr(value, "password", None) is not None  # of a proxy
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE and not hidden:
            yield name, f"{options[name]} {shlex.quote(str(value))}"


def _completed(match: re.Match[str], command: click.Command, typed: dict[str, str]) -> str:
    words = match[1].split()
    known = 0
    while known < len(words) and isinstance(command, click.Group) and words[known] in command.commands:
        command = command.commands[words[known]]
        known += 1
    takes = {option.name: option.opts for option in command.params} if known else {}
    at_a_door = "to" in takes and "to" in typed
    more = [
        option
        for name, option in typed.items()
        if name in takes and (at_a_door or name not in _FOR_THE_DOOR) and not _has(match[2], takes[name])
    ]
    return " ".join(("flotta-p2p", *words[:known], *more, *words[known:])) + match[2]


def _has(rest: str, options: list[str]) -> bool:
    return any(word in options for word in rest.split())
