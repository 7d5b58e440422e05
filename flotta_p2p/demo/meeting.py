"""The three nodes come up and meet: each step is seen in the reports of the nodes themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import combinations
from typing import Any, Final, TypeVar

from flotta_p2p.channels import ControlChannel
from flotta_p2p.demo.fleet import SOURCE, Fleet, Holder
from flotta_p2p.demo.narration import Narrator
from protocol.errors import Code, UnreachableError
from protocol.ids import parse_id
from protocol.plan.plan import Participant
from protocol.plan.tasks import SourceFile
from protocol.wire.control import AskPeers, AskStatus

START_LIMIT_S: Final = 30.0  # ten times what two busy processors need
MEET_LIMIT_S: Final = 30.0
_LOOK_S: Final = 0.03
_STAGES: Final = (
    "found each other",
    "proved that they hold the same token without sending it",
    "are peers",
)
T = TypeVar("T")


class Member:
    """A holder whose node answers, and the channel to it."""

    def __init__(self, holder: Holder, channel: ControlChannel) -> None:
        self.holder = holder
        self.name = holder.name
        self.channel = channel
        facts = self.status()
        self.id_text: str = facts["node"]
        self.node = parse_id(self.id_text)
        self.pid: int = facts["pid"]
        self.label = Participant(node=self.node, source=SOURCE).label
        self.source = SourceFile(name=SOURCE, path=str(holder.table), type="csv")

    def status(self) -> dict[str, Any]:
        values: dict[str, Any] = self.channel.request(AskStatus()).values
        return values

    def peers(self) -> dict[str, Any]:
        values: dict[str, Any] = self.channel.request(AskPeers()).values
        return values


def await_members(fleet: Fleet, channels: ExitStack, narrator: Narrator) -> list[Member]:
    """Every node of the fleet, once all answer; `channels` closes the channels to them.

    Raises ConfigError or UnreachableError naming one that does not answer.
    """
    members: dict[str, Member] = {}

    def all_answer() -> list[Member] | None:
        for holder in fleet.holders:
            if holder.name not in members and (channel := _connect(holder)) is not None:
                channels.callback(channel.close)
                member = members[holder.name] = Member(holder, channel)
                shape = f"{holder.rows} penguins, listens on {holder.address}, id {member.id_text[:15]}..."
                narrator.event(f"{holder.name:9} runs: {shape}")
        return [members[holder.name] for holder in fleet.holders] if len(members) == len(fleet.holders) else None

    def missing() -> UnreachableError:
        holder = next(one for one in fleet.holders if one.name not in members)
        said = fleet.last_words(holder)
        return _too_slow(f"the node {holder.name} did not start within {START_LIMIT_S:g} s (its log ends: {said})")

    return _await(fleet, all_answer, START_LIMIT_S, missing)


def await_meeting(fleet: Fleet, members: list[Member], narrator: Narrator) -> None:
    """Returns once each node has the two others as peers. Raises UnreachableError with what discovery complains of."""
    told = dict.fromkeys(combinations(range(len(members)), 2), 0)

    def all_met() -> bool | None:
        seen = [_stages(member) for member in members]
        for (one, other), before in told.items():
            now = min(seen[one].get(members[other].id_text, 0), seen[other].get(members[one].id_text, 0))
            if now > before:
                narrator.event(f"{members[one].name} and {members[other].name} {', '.join(_STAGES[before:now])}")
            told[one, other] = max(before, now)
        return all(stage == len(_STAGES) for stage in told.values()) or None

    def apart() -> UnreachableError:
        problems = [one for member in members for one in member.status()["discovery"].get("problems", [])]
        why = f": {problems[0]}" if problems else ""
        return _too_slow(f"the nodes did not find each other on 127.0.0.1 within {MEET_LIMIT_S:g} s{why}")

    _await(fleet, all_met, MEET_LIMIT_S, apart)


def _stages(member: Member) -> dict[str, int]:
    """How far this node is with each other one, by id: 1 found, 2 proved, 3 peer within reach."""
    report = member.peers()
    found = {stranger["node"]: 1 for stranger in report["strangers"]}
    return found | {peer["node"]: 3 if peer["presence"] == "present" else 2 for peer in report["peers"]}


def _connect(holder: Holder) -> ControlChannel | None:
    try:
        return ControlChannel(holder.workdir)
    except UnreachableError:
        return None


def _await(
    fleet: Fleet, condition: Callable[[], T | None], limit_s: float, too_late: Callable[[], UnreachableError]
) -> T:
    deadline_s = time.monotonic() + limit_s
    while (found := condition()) is None:
        fleet.check_running()
        if time.monotonic() > deadline_s:
            raise too_late()
        time.sleep(_LOOK_S)
    return found


def _too_slow(sentence: str) -> UnreachableError:
    return UnreachableError(
        Code.TIMED_OUT, sentence, next_step="try again; run `flotta-p2p demo --keep FOLDER` and read the node.log files"
    )
