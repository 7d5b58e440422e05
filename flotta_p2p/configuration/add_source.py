"""Adds a data source to a configuration file: a block of text, so that comments and layout of the rest stay."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import yaml

from actors.adapters.private_files import make_private_folder, sync_folder
from flotta_p2p.configuration.read import read_configuration
from flotta_p2p.configuration.schema import Configuration
from protocol.errors import Code, ConfigError

_KEY: Final = "datasources"
_BY_HAND: Final = f"write {_KEY} as a list with one dash for each source, or add the source by hand"
_BARE: Final = re.compile(r"[A-Za-z0-9/][A-Za-z0-9_./-]*", re.ASCII)
_NULLS: Final = ("null", "Null", "NULL")
_MODE: Final = 0o600  # of a new file: it may hold tokens


@dataclass(frozen=True)
class NewSource:
    """`projects` are names of projects that the node knows."""

    name: str
    type: Literal["csv", "tsv"]
    path: Path
    projects: Sequence[str]


def add_source(file: Path, source: NewSource, environ: Mapping[str, str]) -> Configuration:
    """The new configuration, on disk when this returns; a missing file is made. The old one stays whole until then.

    Raises ConfigError when the file is or would become no valid configuration, when its `datasources` are written in
    brackets, or when it cannot be written; then nothing has changed.
    """
    file = Path(os.path.realpath(file))  # a link stays a link
    try:
        return _add(file, source, environ)
    except OSError as error:
        raise ConfigError(
            Code.FOLDER_UNUSABLE,
            f"the configuration file {file} cannot be written: {error.strerror}",
            next_step="give this user the right to write the file and in its folder",
        ) from error


def _add(file: Path, source: NewSource, environ: Mapping[str, str]) -> Configuration:
    former = read_configuration(file, environ).datasources if file.exists() else ()
    if any(one.name == source.name for one in former):
        raise ConfigError(
            Code.CONFIG_VALUE_WRONG,
            f'the file {file} has a source "{source.name}" already',
            next_step="choose another name, or change that source in the file",
        )
    text = _read(file)
    with _written(file, _with_block(text, source, file)) as written:
        try:
            found = read_configuration(written, environ)
        except ConfigError as error:
            sentence = error.sentence.replace(str(written), str(file))
            step = error.next_step
            if str(written) in step:  # the file that does not read is not that of the operator
                step = "nothing was written: name the source or its project otherwise"
            raise ConfigError(error.code, sentence, next_step=step) from error
        if found.datasources[:-1] != former or found.datasources[-1].name != source.name:
            raise _not_added(file, "its layout is not understood")
        if _read(file) != text:
            raise _not_added(file, "somebody changed it just now", "try again")
        written.replace(file)
    sync_folder(file.parent)
    return found


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")  # bytes: its line ends stay
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def _written(file: Path, text: str) -> Iterator[Path]:
    """The text in a file beside `file`, whole on disk, with its mode; removed unless it was given another name."""
    make_private_folder(file.parent)
    mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else _MODE
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".new", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            os.fchmod(opened.fileno(), mode)
            opened.write(text.encode())
            opened.flush()
            os.fsync(opened.fileno())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


# --- text -----------------------------------------------------------------------------------------


def _with_block(text: str, source: NewSource, file: Path) -> str:
    """`text` with one source more, after the last one."""
    end = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith("\n"):
        text += end
    lines = text.splitlines(keepends=True)
    place = _place(text, file)
    block = [f"{line}{end}" for line in _block(source, place.indent)]
    if place.heading is None:
        lines[place.line : place.line] = block
    else:  # the key stands there without sources, or not at all
        former = lines[place.line : place.line + 1]
        heading = f"{place.heading}{_KEY}:{_comment(former)}{end}"
        space = [end] if lines and not former else []
        lines[place.line : place.line + 1] = [*space, heading, *block]
    return "".join(lines)


@dataclass(frozen=True)
class _Place:
    """Before which line the block goes, and how far in. With `heading`, blanks before it, the key is written at that
    line first.
    """

    line: int
    indent: int
    heading: str | None = None


def _place(text: str, file: Path) -> _Place:
    """Where the sources end, or may begin."""
    root = yaml.compose(text, Loader=yaml.CSafeLoader)  # the text has been read as a configuration: it is sound
    keys = root if isinstance(root, yaml.MappingNode) else None
    entries = keys.value if keys is not None else []
    margin = entries[0][0].start_mark.column if entries else 0
    if keys is not None and keys.flow_style and entries:
        raise _not_added(file, "it is written in brackets")
    for key, value in entries:
        if key.value != _KEY:
            continue
        line = key.start_mark.line
        if isinstance(value, yaml.CollectionNode) and not value.flow_style:
            return _Place(_end(value), value.start_mark.column)
        is_empty = isinstance(value, yaml.ScalarNode) or (not value.value and value.end_mark.line == line)
        if not is_empty:
            raise _not_added(file, f"its {_KEY} are written in brackets")
        return _Place(line, margin + 2, heading=" " * margin)
    return _Place(len(text.splitlines()), margin + 2, heading=" " * margin)


def _end(node: yaml.Node) -> int:
    """The line after the last line of a node's text. Marks of blocks run on to whatever follows; those of leaves and of
    brackets do not.
    """
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    mark = node.end_mark
    return mark.line + (1 if mark.column else 0)


def _comment(lines: list[str]) -> str:
    """The comment at the end of a line that holds a key and an empty list or nothing."""
    _, mark, comment = "".join(lines).rstrip("\r\n").partition("#")
    return f"  #{comment}" if mark else ""


def _block(source: NewSource, indent: int) -> list[str]:
    margin = " " * indent
    return [
        f"{margin}- name: {_scalar(source.name)}",
        f"{margin}  type: {source.type}",
        f"{margin}  path: {_scalar(str(source.path))}",
        f"{margin}  token: [{', '.join(map(_scalar, source.projects))}]",
    ]


def _scalar(text: str) -> str:
    """A value of the file that reads as `text`, dollar signs included."""
    if _BARE.fullmatch(text) and text not in _NULLS:
        return text
    return json.dumps(text.replace("${", "$${"), ensure_ascii=False)


def _not_added(file: Path, why: str, next_step: str = _BY_HAND) -> ConfigError:
    return ConfigError(Code.CONFIG_MALFORMED, f"the source cannot be added to {file}: {why}", next_step=next_step)
