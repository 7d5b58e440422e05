"""How a node comes into a project by an invitation: the token is fetched, kept, and the inviter noted as a place to
join at. The node itself need not run.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.adapters.clock import SystemClock
from actors.adapters.route import Route
from flotta_p2p.channels import Door
from flotta_p2p.identity import Identity
from protocol.errors import Code, DeniedError, FlottaError, UnreachableError
from protocol.invitation import Invitation
from protocol.limits import CLOCK_TOLERANCE_MS
from protocol.machines.events import KeptJoin
from protocol.secret_text import SecretText
from protocol.tokens import check_token
from protocol.wire.door import Granted


@dataclass(frozen=True)
class Grant:
    """`name` is the inviter's name of the project; `join` says where the inviter is, in its own signed words."""

    token: SecretText
    name: str
    join: KeptJoin


def use_invitation(invitation: Invitation, identity: Identity, route: Route) -> Grant:
    """Knocks at the inviter's addresses, one after the other, and takes the token. The caller closes the route.

    Raises DeniedError: INVITATION_EXPIRED, INVITATION_USED, INVITATION_REVOKED, NODE_BANNED, PROOF_WRONG; ConfigError
    for a token that is none; UnreachableError when nobody opened; what a proxy was at fault for. Waits for two seconds
    at each address, and longer by a proxy.
    """
    if invitation.inviter.node == identity.node:
        raise DeniedError(
            Code.POLICY_DENIED,
            "this node made the invitation itself, and is in the project",
            next_step="use it on the machine that is to join",
        )
    if SystemClock().now().wall_ms > invitation.expires_ms + CLOCK_TOLERANCE_MS:
        raise DeniedError(
            Code.INVITATION_EXPIRED,
            "by this machine's clock the invitation has expired",
            next_step="check the clock, or ask for another invitation",
        )
    problem: FlottaError | None = None
    for address in invitation.addresses:
        try:
            return _granted_at(address, invitation, identity, route)
        except (UnreachableError, DeniedError) as error:
            if isinstance(error, DeniedError) and error.code != Code.PROXY_REFUSED:
                raise
            # A node has addresses in several networks; this one may not reach from here, or not by this proxy.
            problem = error if error.code != Code.NODE_UNREACHABLE else problem
    raise problem or UnreachableError(
        Code.NODE_UNREACHABLE,
        f"nobody opened at {', '.join(invitation.addresses)}: the inviter does not run, cannot be reached from here, "
        "or knows the invitation no longer",
        next_step="look there with `flotta-p2p status` and `flotta-p2p peers invitations`, and at firewalls between",
    )


def _granted_at(address: str, invitation: Invitation, identity: Identity, route: Route) -> Grant:
    door = Door(address, invitation.key, identity.key, route)
    try:
        inviter, granted = door.knock(invitation.inviter, "invited")
    finally:
        door.close()
    assert isinstance(granted, Granted)  # nothing else is let through over this connection
    check_token(granted.token)
    return Grant(
        token=SecretText(granted.token),
        name=granted.name,
        join=KeptJoin(address=address, statement=inviter.data),
    )
