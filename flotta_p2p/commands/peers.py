"""`peers`: whom the node works with, and whom its operator lets in or keeps out."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from flotta_p2p.commands.options import Place, duration_within, json_option, place_options
from flotta_p2p.commands.output import LEFT, show, table
from protocol.limits import INVITATION_LIFE_MS, INVITATION_LIFE_MS_MAX, INVITATION_LIFE_MS_MIN, REASON_CHARS_MAX
from protocol.words import span


@click.group(invoke_without_command=True, short_help="Whom the node works with, and whom you let in or keep out.")
@place_options()
@json_option
@click.pass_context
def peers(context: click.Context, place: Place, as_json: bool) -> None:
    """Whom the node works with, sees and joins; and whom you let in or keep out. Alone: `peers list`.

    \b
    Examples:
      flotta-p2p peers
      flotta-p2p peers invite --project heart
      flotta-p2p peers ban MFZWI3D-… --reason "lost laptop"
    """
    if context.invoked_subcommand is None:
        _list(place, as_json=as_json)
    elif any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in context.params):
        raise click.UsageError(f"write the options behind the word {context.invoked_subcommand}")


@peers.command("list")
@place_options()
@json_option
def list_all(place: Place, as_json: bool) -> None:
    """Peers, those who wait for you, strangers, bans, and the addresses to join at.

    \b
    Examples:
      flotta-p2p peers list
      flotta-p2p peers list --json
    """
    _list(place, as_json=as_json)


@peers.command("invite")
@click.option("--project", metavar="NAME", help="The project; may be left out where there is one.")
@click.option(
    "--valid",
    "valid_ms",
    metavar="TIME",
    default=f"{INVITATION_LIFE_MS // 3_600_000}h",
    show_default=True,
    callback=duration_within(INVITATION_LIFE_MS_MIN, INVITATION_LIFE_MS_MAX),
    help="How long it is open, from 1m to 30d.",
)
@click.option("--revoke", metavar="ID", help="Close this invitation instead; the beginning of its id is enough.")
@place_options()
@json_option
def invite(place: Place, project: str | None, valid_ms: int, revoke: str | None, as_json: bool) -> None:
    """Make an invitation: one line that lets one node into a project, once.

    Give it to the operator of that node by a way that you trust: whoever has it first comes in. There it is used with
    `flotta-p2p join`.

    \b
    Examples:
      flotta-p2p peers invite
      flotta-p2p peers invite --project heart --valid 2h
      flotta-p2p peers invite --revoke i3fa9
    """
    if revoke is not None:
        _revoke(place, revoke, as_json=as_json)
        return
    from actors.adapters.entropy import SystemEntropy
    from flotta_p2p.commands.places import check_not_alone, link_to
    from protocol.ids import format_invitation_id
    from protocol.invitation import NONCE_BYTES
    from protocol.wire.control import Invite

    check_not_alone(place, "invite")
    with link_to(place) as link:
        name = project or link.only_project()
        ask = Invite(
            project=link.project_id(name),
            name=link.project_name(name),
            valid_ms=valid_ms,
            nonce=SystemEntropy().bytes(NONCE_BYTES),
        )
        made = link.channel.request(ask)
    values = {
        "invitation": made.text,
        "id": format_invitation_id(made.invitation),
        "project": ask.name,
        "expires_ms": made.expires_ms,
        "addresses": list(made.addresses),
    }
    show(values, _invitation_lines(values, valid_ms), as_json=as_json)


@peers.command("invitations")
@place_options()
@json_option
def invitations(place: Place, as_json: bool) -> None:
    """The invitations of this node: open, used, expired, revoked.

    \b
    Example:
      flotta-p2p peers invitations
    """
    from actors.adapters.clock import SystemClock
    from flotta_p2p.commands.places import ask
    from protocol.wire.control import AskInvitations

    values = ask(place, AskInvitations())
    now_ms = SystemClock().now().wall_ms
    rows = [
        (
            one["id"][:9],
            one["project"],
            one["state"],
            span(one["expires_ms"] - now_ms) if one["state"] == "open" else "",
            one["used_by"] or "",
        )
        for one in values["invitations"]
    ]
    empty = ["No invitation is known. Next: flotta-p2p peers invite"]
    lines = table(("id", "project", "state", "open for", "used by"), rows) if rows else empty
    show(values, lines, as_json=as_json)


@peers.command("accept")
@click.argument("node")
@place_options()
@json_option
def accept(place: Place, node: str, as_json: bool) -> None:
    """Let a node in that knows a common token, although no list names it, and lift its ban if it has one.

    \b
    Example:
      flotta-p2p peers accept MFZWI3D-…
    """
    from flotta_p2p.commands.places import ask, check_not_alone
    from protocol.ids import parse_id
    from protocol.wire.control import AcceptPeer

    check_not_alone(place, "accept")
    values = ask(place, AcceptPeer(node=parse_id(node)))
    lifted = " Its ban is lifted." if values["ban_lifted"] else ""
    show(values, (f"The node {values['node']} is let in when it proves a common token.{lifted}",), as_json=as_json)


@peers.command("ban")
@click.argument("node")
@click.option("--reason", default="", help="For you and for whoever runs this node after you.")
@place_options()
@json_option
def ban(place: Place, node: str, reason: str, as_json: bool) -> None:
    """Keep a node out, at once and over restarts, whatever it proves.

    Its frames and connections are refused, its tasks here are stopped, and jobs led here in which it takes part fail.
    It is a ban of a key: whoever knows the token can come back with another one, until `flotta-p2p project rotate`.

    \b
    Example:
      flotta-p2p peers ban MFZWI3D-… --reason "lost laptop"
    """
    from flotta_p2p.commands.places import ask
    from protocol.ids import parse_id
    from protocol.wire.control import BanPeer

    if len(reason) > REASON_CHARS_MAX or not reason.isprintable():
        raise click.UsageError(f"a reason is one line of at most {REASON_CHARS_MAX} characters")
    values = ask(place, BanPeer(node=parse_id(node), reason=reason))
    lines = (
        f"The node {values['node']} is banned. Lift it with: flotta-p2p peers accept {values['node']}",
        "Whoever knows a project's token can come back with a new key; flotta-p2p project rotate NAME keeps them out.",
    )
    show(values, lines, as_json=as_json)


def _invitation_lines(values: dict[str, Any], valid_ms: int) -> tuple[str, ...]:
    return (
        values["invitation"],
        "",
        f"It lets one node into the project {values['project']}, once, within {span(valid_ms)}.",
        "There: flotta-p2p join, and paste it at the prompt.",
        f"That machine must reach this one at {' or '.join(values['addresses'])}.",
    )


def _revoke(place: Place, beginning: str, *, as_json: bool) -> None:
    from flotta_p2p.commands.places import link_to
    from protocol.wire.control import AskInvitations, RevokeInvitation

    with link_to(place) as link:
        known = [one["id"] for one in link.channel.request(AskInvitations()).values["invitations"]]
        found = [one for one in known if one.startswith(beginning.strip().lower())]
        if len(found) != 1:
            how_many = "more than one invitation" if found else "no invitation"
            raise click.UsageError(f"{how_many} begins with {beginning!r}; see flotta-p2p peers invitations")
        values = link.channel.request(RevokeInvitation(invitation=bytes.fromhex(found[0][1:]))).values
    show(values, (f"The invitation {found[0][:9]} is closed.",), as_json=as_json)


def _list(place: Place, *, as_json: bool) -> None:
    from flotta_p2p.commands.places import ask
    from protocol.wire.control import AskPeers

    values = ask(place, AskPeers())
    show(values, _lines(values), as_json=as_json)


def _lines(values: dict[str, Any]) -> list[str]:
    waiting = [one for one in values["strangers"] if one["standing"] == "waiting"]
    strangers = [one for one in values["strangers"] if one["standing"] == "stranger"]
    left = [f"Left: {LEFT}", ""] if values["left"] else []
    return [
        *left,
        *_peers(values["peers"]),
        *_waiting(waiting),
        *_strangers(strangers),
        *_bans(values),
        *_joins(values),
    ]


def _peers(listed: list[dict[str, Any]]) -> list[str]:
    if not listed:
        return ["No peers yet: nobody with a common project was met."]
    rows = [
        (
            one["name"],
            one["presence"],
            ",".join(project["name"] or project["id"] for project in one["projects"]) or "none",
            ",".join(one["sources"]) or "none",
            ",".join(one["addresses"]) or "a client",
        )
        for one in listed
    ]
    head, *body = table(("peer", "presence", "projects", "sources", "addresses"), rows)
    return [head, *(line for row, one in zip(body, listed, strict=True) for line in (row, f"  {one['node']}"))]


def _waiting(listed: list[dict[str, Any]]) -> list[str]:
    if not listed:
        return []
    lines = ["", "Waiting for you: they know a common token, and nobody has accepted them here:"]
    for one in listed:
        where = ",".join(one["addresses"])
        lines += [f"{one['name']}  {where}", f"  flotta-p2p peers accept {one['node']}"]
    return lines


def _strangers(listed: list[dict[str, Any]]) -> list[str]:
    if not listed:
        return []
    rows = [(one["name"], ",".join(one["addresses"])) for one in listed]
    lines = ["", "Strangers, shown, not trusted:"]
    for line, one in zip(table(("stranger", "addresses"), rows)[1:], listed, strict=True):
        lines += [line, f"  {one['node']}", f"  {one['why']}"]
    return lines


def _bans(values: dict[str, Any]) -> list[str]:
    if not values["bans"]:
        return []
    named = {one["node"]: f"{one['name']}  " for one in values["strangers"]}
    lines = ["", "Banned:"]
    for one in values["bans"]:
        lines.append(f"  {named.get(one['node'], '')}{one['node']}{'  ' + one['reason'] if one['reason'] else ''}")
    return lines


def _joins(values: dict[str, Any]) -> list[str]:
    if not values["joins"]:
        return []
    return [
        "",
        "Joining:",
        *(
            f"  {one['address']}  {one['state']}"
            + (f" after {one['attempts']} attempts: {one['problem']}" if one["problem"] else "")
            for one in values["joins"]
        ),
    ]
