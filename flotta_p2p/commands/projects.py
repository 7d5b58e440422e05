"""`project new`, `add`, `list` and `rotate`: the tokens that make a group of nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flotta_p2p.commands.options import FILE, Place, json_option, place_options
from flotta_p2p.commands.output import show, table

if TYPE_CHECKING:
    from protocol.errors import FlottaError
    from protocol.secret_text import SecretText


@click.group(no_args_is_help=True)
def project() -> None:
    """Projects: a name and a token that their members share.

    \b
    Examples:
      flotta-p2p project new heart
      flotta-p2p project add heart
      flotta-p2p project list
    """


@project.command("new")
@click.argument("name")
@place_options()
@json_option
def new(place: Place, name: str, as_json: bool) -> None:
    """Make a project with a new token, keep it in the work directory, and show the token once.

    \b
    Example:
      flotta-p2p project new heart
    """
    from flotta_p2p.commands.places import told_sentence

    token = _made_token()
    values = _keep(place, name, token)
    lines = (
        f"The project {name} ({values['id']}) is kept in {values['workdir']}. {told_sentence(values)}",
        f"Its token, shown this once: {token.reveal()}",
        "Give it to the other members by a way that you trust, never in an open mail. Each of them types",
        f"`flotta-p2p project add {name}` and pastes it at the prompt; it never stands on a command line.",
    )
    show({**values, "token": token.reveal()}, lines, as_json=as_json)


@project.command("add")
@click.argument("name")
@click.option("--token-file", type=FILE, help="Read the token from this file instead of prompt or pipe.")
@place_options()
@json_option
def add(place: Place, name: str, token_file: Path | None, as_json: bool) -> None:
    """Join a project: its token comes from a prompt, unseen, from a pipe, or from a file.

    \b
    Examples:
      flotta-p2p project add heart
      flotta-p2p project add heart --token-file heart.token
    """
    from flotta_p2p.commands.places import ask_token, token_from_file, told_sentence

    token = token_from_file(token_file) if token_file is not None else ask_token(f"the project {name}")
    values = _keep(place, name, token)
    line = f"The project {name} ({values['id']}) is kept in {values['workdir']}. {told_sentence(values)}"
    show(values, (line,), as_json=as_json)


@project.command("rotate")
@click.argument("name")
@click.option("--received", is_flag=True, help="Ask for the new token that another member made, instead of making one.")
@click.option("--token-file", type=FILE, help="Read that token from this file.")
@place_options()
@json_option
def rotate(place: Place, name: str, received: bool, token_file: Path | None, as_json: bool) -> None:
    """Put another token in the place of the project's former one, which opens nothing here from then on.

    Connections and running jobs of the former token end at once. It is how a member is put out who knows it: the others
    get the new token, and that one does not.

    \b
    Examples:
      flotta-p2p project rotate heart
      flotta-p2p project rotate heart --received
    """
    from flotta_p2p.commands.places import ask_token, token_from_file, told_sentence

    if token_file is not None:
        token = token_from_file(token_file)
    elif received:
        token = ask_token(f"the project {name}, the new one")
    else:
        token = _made_token()
    values = _replace(place, name, token)
    lines = [
        f"The project {name} has a new token and the id {values['id']}; the former one opens nothing here any more.",
        told_sentence(values),
    ]
    if not received and token_file is None:
        values["token"] = token.reveal()
        lines += [
            f"The new token, shown this once: {token.reveal()}",
            "Give it to the members who stay, by a way that you trust. Each of them types",
            f"`flotta-p2p project rotate {name} --received` and pastes it at the prompt. Until a member has done so,",
            "it and this node have the project no longer in common.",
        ]
    show(values, lines, as_json=as_json)


@project.command("list")
@place_options()
@json_option
def list_all(place: Place, as_json: bool) -> None:
    """The projects of the configuration, of the work directory, and of the node if it runs.

    \b
    Examples:
      flotta-p2p project list
      flotta-p2p project list -c site.yaml --json
    """
    from flotta_p2p.commands.places import known_projects, workdir_of
    from protocol.ids import format_project_id
    from protocol.tokens import ProjectKey

    running = _of_running_node(workdir_of(place))
    found = {
        name: format_project_id(ProjectKey.derive(token.reveal()).project_id)
        for name, token in known_projects(place).items()
    }
    found = {**(running or {}), **found}
    values = [
        {"name": name, "id": one, "in_node": None if running is None else one in running.values()}
        for name, one in sorted(found.items())
    ]
    words = {None: "no node runs", True: "yes", False: "not yet: start the node again"}
    rows = [(str(one["name"]), str(one["id"]), words[one["in_node"]]) for one in values]  # type: ignore[index]
    empty = ["No project is known. Next: flotta-p2p project new NAME, or flotta-p2p project add NAME"]
    show({"projects": values}, table(("name", "id", "in the node"), rows) if rows else empty, as_json=as_json)


def _made_token() -> SecretText:
    from actors.adapters.entropy import SystemEntropy
    from protocol.secret_text import SecretText
    from protocol.tokens import TOKEN_ENTROPY_BYTES, new_token

    return SecretText(new_token(SystemEntropy().bytes(TOKEN_ENTROPY_BYTES)))


def _keep(place: Place, name: str, token: SecretText) -> dict[str, Any]:
    """Stores the token and tells the node, if one runs. Raises ConfigError."""
    from actors.adapters.folder_lock import prepare_workdir
    from actors.adapters.token_files import add_project
    from flotta_p2p.commands.places import known_projects, tell_node, workdir_of
    from protocol.errors import Code, ConfigError
    from protocol.ids import format_project_id
    from protocol.tokens import ProjectKey

    workdir = workdir_of(place)
    if known_projects(place).get(name, token) != token:
        raise ConfigError(
            Code.PROJECT_NAME_TAKEN,
            f'the project "{name}" is known with another token',
            next_step="choose another name",
        )
    prepare_workdir(workdir)
    add_project(workdir, name, token)
    return {
        "name": name,
        "id": format_project_id(ProjectKey.derive(token.reveal()).project_id),
        "workdir": str(workdir),
        "node_told": tell_node(workdir),
    }


def _replace(place: Place, name: str, token: SecretText) -> dict[str, Any]:
    """Stores the new token and tells the node, if one runs. Raises ConfigError."""
    from actors.adapters.folder_lock import prepare_workdir
    from actors.adapters.token_files import list_projects, replace_token
    from flotta_p2p.commands.places import tell_node, workdir_of
    from protocol.errors import Code, ConfigError
    from protocol.ids import format_project_id
    from protocol.tokens import ProjectKey

    workdir = workdir_of(place)
    former = dict(list_projects(workdir)).get(name)
    _check_not_in_file(place, name, former)
    if former == token:
        raise ConfigError(
            Code.PROJECT_NAME_TAKEN,
            f'the project "{name}" has this token already',
            next_step="give the new token, not the former one",
        )
    prepare_workdir(workdir)
    replace_token(workdir, name, token)
    values: dict[str, Any] = {
        "name": name,
        "id": format_project_id(ProjectKey.derive(token.reveal()).project_id),
        "workdir": str(workdir),
        "node_told": tell_node(workdir),
    }
    assert former is not None  # else there was nothing to replace
    former_id = format_project_id(ProjectKey.derive(former.reveal()).project_id)
    if former_id in (_of_running_node(workdir) or {}).values():
        raise _stands_in_file(f"the token of {name} is replaced, but the running node still holds the former one")
    return values


def _check_not_in_file(place: Place, name: str, former: SecretText | None) -> None:
    import os

    from flotta_p2p.configuration.read import read_home

    if place.workdir is not None:
        return
    home = read_home(place.config, os.environ)
    if name in home.projects or (former is not None and former in home.source_tokens):
        raise _stands_in_file(f"the token of {name} stands in the configuration file itself")


def _stands_in_file(sentence: str) -> FlottaError:
    from protocol.errors import Code, ConfigError

    return ConfigError(
        Code.CONFIG_VALUE_WRONG,
        sentence,
        next_step="write the new token, or the project's name, in its place there, and start the node again",
    )


def _of_running_node(workdir: Path) -> dict[str, str] | None:
    from flotta_p2p.channels import running_status

    status = running_status(workdir)
    return None if status is None else {one["name"] or one["id"]: one["id"] for one in status["projects"]}
