"""What a standalone node refuses, since it is for learning and tests: whatever would connect it with other nodes."""

from __future__ import annotations

from typing import Final, Literal

from protocol.errors import Code, DeniedError

Deed = Literal["join", "invite", "accept", "be joined"]

_WHY: Final[dict[Deed, str]] = {
    "join": "it joins nobody",
    "invite": "nobody can join it",
    "accept": "it has no peers",
    "be joined": "nobody can join it",
}
_STEP: Final = (
    "run another node in mode node or client, with a file and a work directory of its own: flotta-p2p up -c OTHER.yaml"
)


def refusal(deed: Deed) -> DeniedError:
    """Why a standalone node does not do it."""
    return DeniedError(
        Code.NODE_ALONE,
        f"a standalone node is for learning and tests, and {_WHY[deed]}",
        next_step=_STEP,
    )
