"""From options to things: the work directory, the person's key, the project's token, the channel to a node.

Errors are those of protocol/errors.py, each with its next step. Called in the main thread.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from actors.adapters.clock import SystemClock
from actors.adapters.entropy import SystemEntropy
from actors.adapters.key_files import create_signing_key, load_signing_key
from actors.adapters.route import Route
from actors.adapters.token_files import list_projects
from actors.adapters.tunnel import route_by
from flotta_p2p.channels import Channel, ControlChannel, DoorChannel
from flotta_p2p.commands.options import Place, read_small_text
from flotta_p2p.configuration.read import read_home
from flotta_p2p.configuration.schema import key_folder
from flotta_p2p.submission import JobClient
from flotta_p2p.user_folders import default_key_file, default_workdir
from protocol import standalone
from protocol.errors import AddressError, Code, ConfigError, DeniedError, UnreachableError
from protocol.ids import format_project_id, parse_project_id
from protocol.limits import TOKEN_CHARS_MAX
from protocol.proxies.proxy import Proxy
from protocol.secret_text import SecretText
from protocol.signing import SigningKey
from protocol.standalone import Deed
from protocol.tokens import ProjectKey, check_token
from protocol.wire.control import AskStatus, ReloadProjects, Report

TOKEN_VARIABLE: Final = "FLOTTA_TOKEN"


def workdir_of(place: Place) -> Path:
    """The work directory of the node that is meant. Raises ConfigError for a faulty configuration."""
    return place.workdir or read_home(place.config, os.environ).workdir


def key_folder_of(place: Place) -> Path:
    """The folder of that node's key files. Raises ConfigError."""
    return key_folder(place.workdir) if place.workdir is not None else read_home(place.config, os.environ).keys


def known_projects(place: Place) -> dict[str, SecretText]:
    """The projects of the configuration and of the work directory, by name."""
    if place.workdir is not None:
        return dict(list_projects(place.workdir))
    home = read_home(place.config, os.environ)
    return dict(list_projects(home.workdir)) | dict(home.projects)


def person_key(file: Path | None) -> SigningKey:
    """Raises ConfigError: no key yet, a file that does not hold one, one that others may read."""
    path = file or default_key_file()
    if file is None and not path.exists():
        raise ConfigError(
            Code.KEY_FILE_MALFORMED, "you have no key yet, and an order is signed", next_step="flotta-p2p key new"
        )
    return SigningKey(load_signing_key(path))


def signing_key(file: Path | None) -> SigningKey:
    """As `person_key`, but the first signature makes the key where there is none at its usual place."""
    path = default_key_file()
    if file is None and not path.exists():
        create_signing_key(path, SystemEntropy())
        click.echo(f"your key is made: {path}; keep a copy of it in a safe place", err=True)
    return person_key(file)


def ask_token(what: str) -> SecretText:
    """From the person at the terminal, unseen, or from a pipe. Raises ConfigError for what is no token."""
    if sys.stdin.isatty():
        text = str(click.prompt(f"Token of {what}", hide_input=True, err=True))
    else:
        text = sys.stdin.read(TOKEN_CHARS_MAX + 2)
    return checked_token(text)


def token_from_file(path: Path) -> SecretText:
    return checked_token(read_small_text(path, 4 * TOKEN_CHARS_MAX, "token file"))


def checked_token(text: str) -> SecretText:
    """A line's token. Raises ConfigError(TOKEN_MALFORMED | TOKEN_WEAK)."""
    token = text.strip("\r\n")
    check_token(token)
    return SecretText(token)


def find_token(place: Place, project: str | None) -> SecretText:
    """The project's token: --token-file, $FLOTTA_TOKEN, the known project of that name, or the person's own words.

    Raises DeniedError(PROOF_WRONG) when a token is given and another one is known here by the name `project`.
    """
    if place.token_file is not None:
        return _as_named(place, project, token_from_file(place.token_file))
    if TOKEN_VARIABLE in os.environ:
        return _as_named(place, project, checked_token(os.environ[TOKEN_VARIABLE]))
    known = known_projects(place) if project is not None else {}
    if project is not None and (found := _known_token(known, project)) is not None:
        return found
    if sys.stdin.isatty():
        return ask_token(f"the project {project}" if project is not None else "the project")
    step = f"give its token with --token-file FILE or in {TOKEN_VARIABLE}"
    if project is None or not known:
        raise ConfigError(Code.TOKEN_MALFORMED, "the project's token is needed here", next_step=step)
    names = ", ".join(sorted(known))
    raise DeniedError(
        Code.PROJECT_UNKNOWN,
        f'no project "{project}" is known here; known are {names}',
        next_step=f"name one, or {step}",
    )


def _known_token(known: Mapping[str, SecretText], project: str) -> SecretText | None:
    """By name, else by id."""
    wanted = project_id_in(project) if project not in known else None
    ids = {ProjectKey.derive(token.reveal()).project_id: token for token in known.values()} if wanted else {}
    return known.get(project) or ids.get(wanted or b"")


def _as_named(place: Place, project: str | None, token: SecretText) -> SecretText:
    """The token, unless the projects that are known here say that the name is not its own. A name that they do not
    know may be one of the node that is asked.
    """
    known: Mapping[str, SecretText] = {}
    with suppress(ConfigError):  # who brings a token needs no node here, nor one whose configuration is sound
        known = known_projects(place) if project is not None else {}
    own = next((name for name, one in known.items() if one == token), None)
    if project is None or project_id_in(project) is not None or own == project:
        return token
    if project in known or own is not None:
        raise DeniedError(
            Code.PROOF_WRONG,
            f"the token that was given is {f'that of {own}' if own is not None else 'another one'}, "
            f'not that of the project "{project}"',
            next_step="leave out the name or the token, or name the project by its id",
        )
    return token


def project_key(place: Place, project: str | None) -> ProjectKey:
    """Raises DeniedError(PROOF_WRONG) when `project` is an id and the token is another project's."""
    key = ProjectKey.derive(find_token(place, project).reveal())
    wanted = project_id_in(project)
    if wanted is not None and wanted != key.project_id:
        raise DeniedError(
            Code.PROOF_WRONG,
            f"the token is that of the project {format_project_id(key.project_id)}",
            next_step="give the token of the project that you name",
        )
    return key


def project_id_in(text: str | None) -> bytes | None:
    """The id, when the text is one rather than a name."""
    try:
        return parse_project_id(text) if text is not None else None
    except AddressError:
        return None


@dataclass(frozen=True)
class Link:
    """A way to a scheduling node. `project` is the one that the token at the door belongs to."""

    channel: Channel
    client: JobClient
    project: bytes | None

    def project_id(self, name: str | None) -> bytes:
        """The id of the project that the person names. Raises DeniedError(PROJECT_UNKNOWN)."""
        if self.project is not None:
            return self.project
        if name is None:
            raise click.UsageError("name the project with --project")
        found = project_id_in(name)
        if found is not None:
            return found
        known = self._held()
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise DeniedError(
                Code.PROJECT_UNKNOWN,
                f'this node has no project "{name}"; it has {names}',
                next_step="flotta-p2p project add, or name one of these",
            )
        return known[name]

    def named_projects(self, name: str | None) -> dict[str, bytes]:
        """The one that the person names, else every project of the node; at a door the one of the token."""
        if name is None and self.project is None:
            return self._held()
        project = self.project_id(name)
        return {name or format_project_id(project): project}

    def _held(self) -> dict[str, bytes]:
        """The projects of this machine's node: name, or the id of one without, → id."""
        report: Report = self.channel.request(AskStatus())
        return {one["name"] or one["id"]: parse_project_id(one["id"]) for one in report.values["projects"]}

    def project_name(self, project: str) -> str:
        """The node's name of a project that is named by its name or its id."""
        found = project_id_in(project)
        if found is None:
            return project
        names = {one["id"]: one["name"] for one in self.channel.request(AskStatus()).values["projects"]}
        return str(names.get(format_project_id(found)) or "project")

    def only_project(self) -> str:
        """The name of the node's project, where there is one. Raises click.UsageError."""
        names = [one["name"] or one["id"] for one in self.channel.request(AskStatus()).values["projects"]]
        if len(names) != 1:
            known = ", ".join(sorted(names)) or "none"
            raise click.UsageError(f"name the project with --project; this node has {known}")
        return str(names[0])


def check_not_alone(place: Place, deed: Deed) -> None:
    """Before anything else happens: raises DeniedError(NODE_ALONE) where the node that is meant is standalone, by its
    configuration, by its folder, or as it runs.
    """
    if place.workdir is None:
        home = read_home(place.config, os.environ)
        workdir, alone = home.workdir, home.mode == "standalone"
    else:
        workdir, alone = place.workdir, place.workdir.absolute() == default_workdir(standalone=True)
    if alone or _runs_alone(workdir):
        raise standalone.refusal(deed)


def _runs_alone(workdir: Path) -> bool:
    try:
        channel = ControlChannel(workdir)
    except UnreachableError as error:
        if error.code == Code.NODE_NOT_RUNNING:
            return False
        raise
    try:
        return bool(channel.request(AskStatus()).values["mode"] == "standalone")
    finally:
        channel.close()


def tell_node(workdir: Path) -> bool:
    """Whether a node runs there and has read tokens and join addresses anew. Raises DeniedError when it refuses."""
    try:
        channel = ControlChannel(workdir)
    except UnreachableError as error:
        if error.code == Code.NODE_NOT_RUNNING:
            return False
        raise
    try:
        channel.request(ReloadProjects())
        return True
    finally:
        channel.close()


def told_sentence(values: Mapping[str, Any]) -> str:
    return "The running node knows it." if values["node_told"] else "No node runs there now; it reads it at its start."


def ask(place: Place, message: Any) -> dict[str, Any]:
    """What the node answers with a report."""
    with link_to(place) as link:
        values: dict[str, Any] = link.channel.request(message).values
        return values


@contextmanager
def link_to(place: Place, project: str | None = None) -> Iterator[Link]:
    """Through the door with --to, else over the control socket of this machine's node."""
    channel: Channel
    with ExitStack() as stack:
        if place.to is None and place.project is not None:
            raise click.UsageError("--project goes with --to: this machine's node is asked for all its projects")
        if place.to is None:
            channel, held = ControlChannel(workdir_of(place)), None
        else:
            key = project_key(place, project or place.project)
            person = person_key(place.key)
            route = stack.enter_context(route_of(place))
            channel, held = DoorChannel(place.to, key, person, route), key.project_id
        stack.callback(channel.close)
        yield Link(channel, JobClient(channel, SystemClock(), time.sleep), held)


@contextmanager
def route_of(place: Place) -> Iterator[Route]:
    """The way from this machine to an address, for one command."""
    route = route_by(proxy_of(place), lambda error: None)  # without it the requests run into their limits
    try:
        yield route
    finally:
        route.close()


def proxy_of(place: Place) -> Proxy | None:
    """That of the option, else of the configuration that is named. Raises ConfigError."""
    if place.proxy is not None or place.config is None:
        return place.proxy
    return read_home(place.config, os.environ).proxy
