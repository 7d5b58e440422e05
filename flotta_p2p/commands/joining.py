"""`join`, `leave` and `rejoin`: how the node of this machine comes into projects and goes out of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from flotta_p2p.commands.options import Place, json_option, place_options
from flotta_p2p.commands.output import show

if TYPE_CHECKING:
    from flotta_p2p.joining import Grant


@click.command(short_help="Come into a project by an invitation, or join a node.")
@click.argument("where", metavar="[INVITATION|ADDRESS]", required=False)
@click.option("--as", "name", metavar="NAME", help="This node's own name of the project; else the inviter's.")
@click.option("--forget", is_flag=True, help="Take a join address away again.")
@place_options()
@json_option
def join(place: Place, where: str | None, name: str | None, forget: bool, as_json: bool) -> None:
    """Come into a project by an invitation, or join at the address of a node.

    An invitation holds a secret, and every user of this machine can read command lines: leave it out, or write "-",
    and it is asked for, or read from a pipe.

    \b
    Examples:
      flotta-p2p join
      flotta-p2p join < invitation.txt
      flotta-p2p join lab.example.org:1456
      flotta-p2p join --forget lab.example.org:1456
    """
    from actors.adapters.folder_lock import prepare_workdir
    from flotta_p2p.commands.places import check_not_alone, workdir_of
    from protocol.invitation import PREFIX

    if not forget:
        check_not_alone(place, "join")

    text = _asked() if where in (None, "-") else str(where).strip()
    if not text:
        raise click.UsageError("nothing was given; paste the invitation, or name the address of a node")
    prepare_workdir(workdir_of(place))
    if text.startswith(PREFIX[:4]) or len(text) > 300:
        if forget:
            raise click.UsageError("an invitation is not kept; name the address to forget")
        values, lines = _by_invitation(place, text, name)
    elif name is not None:
        raise click.UsageError("--as names the project of an invitation, not of an address")
    else:
        values, lines = _forgotten(place, text) if forget else _at_address(place, text)
    show(values, lines, as_json=as_json)


@click.command(short_help="Take the node out of all its projects.")
@place_options()
@json_option
def leave(place: Place, as_json: bool) -> None:
    """Take the node out of all its projects, until `flotta-p2p rejoin`, also over restarts.

    Its peers hear it, tasks for others are stopped and say why, and nothing is announced, dialled or let in. Keys,
    tokens and data stay.

    \b
    Examples:
      flotta-p2p leave
      flotta-p2p leave -c site.yaml
    """
    _leave(place, True, as_json=as_json)


@click.command()
@place_options()
@json_option
def rejoin(place: Place, as_json: bool) -> None:
    """Bring a node that has left into its projects again.

    \b
    Example:
      flotta-p2p rejoin
    """
    _leave(place, False, as_json=as_json)


def _leave(place: Place, left: bool, *, as_json: bool) -> None:
    from actors.adapters.folder_lock import prepare_workdir
    from actors.adapters.joining_files import note_left
    from flotta_p2p.commands.places import tell_node, workdir_of

    workdir = workdir_of(place)
    prepare_workdir(workdir)
    changed = note_left(workdir, left)
    told = tell_node(workdir)
    state = "out of its projects" if left else "in its projects"
    line = f"The node of {workdir} is {state}{'' if changed else ', as it was before'}. "
    line += "The running node acts on it." if told else "No node runs there now; it reads it at its start."
    more = ("Bring it back with: flotta-p2p rejoin",) if left else ()
    values = {"left": left, "changed": changed, "workdir": str(workdir), "node_told": told}
    show(values, (line, *more), as_json=as_json)


def _asked() -> str:
    """From the person at the terminal, unseen, or from a pipe."""
    from protocol.limits import INVITATION_CHARS_MAX

    if sys.stdin.isatty():
        return str(click.prompt("Invitation, or address of a node", hide_input=True, err=True)).strip()
    return sys.stdin.read(2 * INVITATION_CHARS_MAX).strip()


def _by_invitation(place: Place, text: str, name: str | None) -> tuple[dict[str, Any], list[str]]:
    from actors.adapters.joining_files import keep_join
    from flotta_p2p.commands.places import key_folder_of, route_of, tell_node, told_sentence, workdir_of
    from flotta_p2p.identity import load_identity
    from flotta_p2p.joining import use_invitation
    from protocol.ids import format_id, format_project_id
    from protocol.invitation import parse_invitation
    from protocol.tokens import ProjectKey

    workdir = workdir_of(place)
    invitation = parse_invitation(text)
    with route_of(place) as route:
        grant = use_invitation(invitation, load_identity(key_folder_of(place)), route)
    keep_join(workdir, grant.join)
    kept_as = _keep_token(place, grant, name)
    values = {
        "name": kept_as,
        "id": format_project_id(ProjectKey.derive(grant.token.reveal()).project_id),
        "inviter": format_id(invitation.inviter.node),
        "address": grant.join.address,
        "workdir": str(workdir),
        "node_told": tell_node(workdir),
    }
    lines = [
        f"This node is in the project {kept_as} ({values['id']}) now; its token is kept in {workdir}.",
        f"It joins at {grant.join.address}, the node {values['inviter']}. {told_sentence(values)}",
    ]
    return values, lines


def _keep_token(place: Place, grant: Grant, name: str | None) -> str:
    """The name under which the project is known here from now on. Raises ConfigError(PROJECT_NAME_TAKEN)."""
    from actors.adapters.token_files import add_project
    from flotta_p2p.commands.places import known_projects, workdir_of
    from protocol.errors import Code, ConfigError

    known, wanted = known_projects(place), name or grant.name
    for one, token in known.items():
        if token == grant.token:
            return one
    if wanted in known:
        raise ConfigError(
            Code.PROJECT_NAME_TAKEN,
            f'this node knows another project as "{wanted}"',
            next_step="use the invitation again within ten minutes, with another name: flotta-p2p join --as NAME",
        )
    add_project(workdir_of(place), wanted, grant.token)
    return wanted


def _at_address(place: Place, text: str) -> tuple[dict[str, Any], list[str]]:
    from actors.adapters.joining_files import keep_join
    from flotta_p2p.commands.places import tell_node, told_sentence, workdir_of
    from protocol.machines.events import KeptJoin

    address, workdir = _address(text), workdir_of(place)
    keep_join(workdir, KeptJoin(address=address))
    values = {"address": address, "workdir": str(workdir), "node_told": tell_node(workdir)}
    return values, [f"The node joins at {address}. {told_sentence(values)} `flotta-p2p peers` shows how it goes."]


def _forgotten(place: Place, text: str) -> tuple[dict[str, Any], list[str]]:
    from actors.adapters.joining_files import forget_join
    from flotta_p2p.commands.places import tell_node, workdir_of

    address, workdir = _address(text), workdir_of(place)
    known = forget_join(workdir, address)
    values = {"address": address, "forgotten": known, "workdir": str(workdir), "node_told": tell_node(workdir)}
    line = f"{address} is no join address any more." if known else f"{address} was no join address of {workdir}."
    return values, [line]


def _address(text: str) -> str:
    """Raises AddressError."""
    from protocol.key_statement import parse_address
    from protocol.limits import NODE_PORT

    host, port = parse_address(text, default_port=NODE_PORT)
    return f"{host}:{port}"
