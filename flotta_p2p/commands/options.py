"""Options that commands share, and values of one form: durations, ids of nodes, small files."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from flotta_p2p.commands.output import Interrupted
from flotta_p2p.commands.suggestions import completed
from protocol.errors import AddressError, FlottaError
from protocol.ids import parse_id

if TYPE_CHECKING:
    from protocol.proxies.proxy import Proxy

Command = TypeVar("Command", bound=Callable[..., Any])
FILE: Final = click.Path(path_type=Path, dir_okay=False)
FOLDER: Final = click.Path(path_type=Path, file_okay=False)
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DURATION: Final = re.compile(r"(\d{1,12}(?:\.\d{1,3})?)(ms|s|m|h|d)", re.ASCII)


def duration(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """`500ms`, `15s`, `10m`, `2h`, `1d` as whole milliseconds."""
    if value is None:
        return None
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is no duration; write a number and a unit: 500ms, 15s, 10m, 2h, 1d")
    return round(float(match[1]) * _UNITS_MS[match[2]])


def duration_within(least_ms: int, most_ms: int) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """As `duration`, from `least_ms` to `most_ms`."""

    def within(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
        found = duration(context, option, value)
        if found is not None and not least_ms <= found <= most_ms:
            raise click.BadParameter(f"{value!r} is not between {_in_words(least_ms)} and {_in_words(most_ms)}")
        return found

    return within


def _in_words(milliseconds: int) -> str:
    unit, size = next((unit, size) for unit, size in reversed(_UNITS_MS.items()) if milliseconds % size == 0)
    return f"{milliseconds // size}{unit}"


def node_ids(context: click.Context, option: click.Parameter, value: str | None) -> tuple[bytes, ...]:
    """Ids of nodes, separated by commas."""
    try:
        return tuple(parse_id(word) for word in (value or "").split(",") if word.strip())
    except AddressError as error:
        raise click.BadParameter(f"{error.sentence}; `flotta-p2p peers` shows the ids") from error


def words(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Words separated by commas; a comma within a word is written as `\\,`."""
    if value is None:
        return ()
    found = tuple(word.strip().replace("\\,", ",") for word in re.split(r"(?<!\\),", value))
    if not all(found):
        raise click.BadParameter(f"{value!r} names nothing between two commas")
    return found


def typed_proxy(context: click.Context, option: click.Parameter, value: str | None) -> Proxy | None:
    """A proxy. Its password comes from a variable: what is typed as an option is seen in lists of processes."""
    if value is None:
        return None
    password = value.partition("://")[2].rpartition("@")[0].partition(":")[2]
    if password and not _VARIABLE.fullmatch(password):
        raise click.BadParameter("a password is never typed as an option; write '${NAME}', with the quotes, for it")
    unset = [name for name in _VARIABLE.findall(value) if name not in os.environ]
    if unset:
        raise click.BadParameter(f"the environment variable {unset[0]} is not set")
    from protocol.errors import ConfigError
    from protocol.proxies.proxy import parse_proxy

    try:
        return parse_proxy(_VARIABLE.sub(lambda match: os.environ[match[1]], value))
    except ConfigError as error:
        raise click.BadParameter(f"{error.sentence}; {error.next_step}") from error


@dataclass(frozen=True)
class Place:
    """Where a command finds its node, its projects and the person's key."""

    config: Path | None = None
    workdir: Path | None = None
    to: str | None = None
    proxy: Proxy | None = None
    token_file: Path | None = None
    project: str | None = None  # whose token opens the door of `to`
    key: Path | None = None


CONFIG: Final = click.option(
    "-c", "--config", type=FILE, help="The node's configuration file; without it that of `data add`, or the defaults."
)
_NODE: Final = (
    CONFIG,
    click.option("--workdir", type=FOLDER, help="The node's work directory, instead of the configuration's."),
)
_TOKEN: Final = click.option(
    "--token-file", type=FILE, help="File with the project's token; else $FLOTTA_TOKEN, a known project, a prompt."
)
_TO: Final = click.option("--to", metavar="ADDRESS", help="Ask a node elsewhere, at host:port, instead of this one's.")
_PROXY: Final = click.option(
    "--proxy",
    callback=typed_proxy,
    metavar="URL",
    help="The way to ADDRESS: socks5://host:port or http://host:port; else the configuration's settings.proxy.",
)
_PROJECT: Final = click.option(
    "--project", metavar="NAME", help="With --to: the project whose token opens the door, by its name or id here."
)
_KEY: Final = click.option(
    "--key", type=FILE, envvar="FLOTTA_KEY", help="The person's key file; else $FLOTTA_KEY, else the default key."
)


def found_config(given: Path | None) -> Path | None:
    """The file that was named, else the default one, if it exists."""
    from flotta_p2p.user_folders import default_config

    if given is not None:
        return given
    default = default_config()
    try:
        return default if default.exists() else None
    except OSError:  # a home that this user may not enter
        return None


def place_options(
    *, token: bool = False, to: bool = False, key: bool = False, way: bool = False, project: bool = False
) -> Callable[[Command], Command]:
    """Adds the options of a Place, which the command takes as `place`. `to`: the way to a node elsewhere, and who asks
    there; `way`: the way alone; `project`: for a command that names its project for nothing but the door.
    """
    wanted = (
        ("to", _TO, to or way),
        ("proxy", _PROXY, to or way),
        ("token_file", _TOKEN, token or to),
        ("project", _PROJECT, project),
        ("key", _KEY, key or to),
    )
    options = (*_NODE, *(option for _, option, is_wanted in wanted if is_wanted))
    names = ("config", "workdir", *(name for name, _, is_wanted in wanted if is_wanted))

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(**given: Any) -> Any:
            place = Place(**{name: given.pop(name) for name in names})
            if place.workdir is None:
                place = replace(place, config=found_config(place.config))
            try:
                return command(place=place, **given)
            except (FlottaError, Interrupted) as error:
                error.next_step = completed(error.next_step)
                raise

        return cast(Command, add_options(options)(wrapped))

    return decorate


def add_options(options: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """Adds options so that the help lists them in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


json_option: Final = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


def read_small_file(path: Path, bytes_max: int, what: str) -> bytes:
    """The content of a file named on the command line; click.UsageError when it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise click.UsageError(f"the {what} {path} cannot be read: {error.strerror}") from error
    if len(data) > bytes_max:
        raise click.UsageError(f"the {what} {path} is larger than {bytes_max} bytes")
    return data


def read_small_text(path: Path, bytes_max: int, what: str) -> str:
    """As `read_small_file`, for UTF-8 text."""
    try:
        return read_small_file(path, bytes_max, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the {what} {path} is not UTF-8 text") from error
