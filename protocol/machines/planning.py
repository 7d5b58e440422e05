"""Who takes part in a job: the holders that the scheduler knows, and what each of them offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from protocol.errors import Code, DeniedError
from protocol.ids import format_id, short_id
from protocol.limits import SOURCES_MAX
from protocol.plan.order import VerifiedOrder
from protocol.plan.plan import Participant
from protocol.record import Record
from protocol.wire.peers import ListedSource, SourceOffer


class Holder(Record, frozen=True):
    """What the scheduler knows of one node with sources."""

    name: str
    sources: tuple[SourceOffer, ...]
    via: bytes = b""  # of a client: the scheduler of its own that passes its frames on


class Holders:
    """This node and its peers, each with its latest offer. A peer that is away stays; its lease decides."""

    def __init__(self, own_id: bytes, own_name: str, own_sources: Mapping[str, frozenset[bytes]]) -> None:
        self._own_id, self._own_name = own_id, own_name
        self._known: dict[bytes, Holder] = {}  # limits.PEERS_MAX
        self.own(own_sources)

    def own(self, sources: Mapping[str, frozenset[bytes]] | None) -> None:
        """This node's sources; None: as before."""
        if sources is None:
            return
        assert len(sources) <= SOURCES_MAX
        offers = (SourceOffer(name=name, project=one) for name, all_ in sorted(sources.items()) for one in sorted(all_))
        self._known[self._own_id] = Holder(name=self._own_name, sources=tuple(offers))

    def seen(self, node: bytes, name: str, sources: tuple[SourceOffer, ...], via: bytes = b"") -> None:
        self._known[node] = Holder(name=name, sources=sources, via=via)

    def gone(self, node: bytes) -> None:
        """It offers nothing any more; jobs that it is in still name it."""
        holder = self._known.get(node)
        if holder is not None:
            self.seen(node, holder.name, (), holder.via)

    def keep_only(self, admits: Callable[[bytes], bool]) -> None:
        for node in [node for node in self._known if node != self._own_id and not admits(node)]:
            del self._known[node]

    def name(self, node: bytes) -> str:
        """For people: the name that the node gives itself, and the beginning of its id."""
        holder = self._known.get(node)
        return f"{holder.name if holder else 'node'} ({short_id(node)})"

    def way_name(self, node: bytes) -> str:
        """As `name`, of the peer through which the node is reached; empty where it is reached directly."""
        holder = self._known.get(node)
        return self.name(holder.via) if holder is not None and holder.via else ""

    def names(self, participants: tuple[Participant, ...]) -> dict[str, str]:
        """Label of each participant → the name of its node."""
        return {one.label: self._known[one.node].name for one in participants}

    def missing(self, project: bytes, nodes: Iterable[bytes]) -> tuple[bytes, ...]:
        """Those of these nodes that are not known to offer a source of the project."""
        holding = {node for node, one in self._known.items() if any(offer.project == project for offer in one.sources)}
        return tuple(node for node in nodes if node not in holding)

    def sources_of(self, project: bytes) -> tuple[ListedSource, ...]:
        """Every known source of a project, in order of the holders' names."""
        found = (
            ListedSource(node=node, name=holder.name, source=offer.name)
            for node, holder in self._known.items()
            for offer in holder.sources
            if offer.project == project
        )
        return tuple(sorted(found, key=lambda one: (one.name, one.node, one.source)))

    def offered(self) -> dict[str, int]:
        """Node id → how many sources it offers."""
        return {format_id(node): len(holder.sources) for node, holder in self._known.items()}

    def choose(self, verified: VerifiedOrder) -> tuple[Participant, ...]:
        """Every known source of the project, or those of the listed nodes. Raises DeniedError(HOLDERS_MISSING)."""
        project, rule = verified.artifact.project, verified.order.participants
        participants = sorted(
            Participant(node=node, source=offer.name)
            for node, holder in self._known.items()
            for offer in holder.sources
            if offer.project == project and (rule.rule == "all" or node in rule.nodes)
        )
        holders = {one.node for one in participants}
        missing = [node for node in rule.nodes if node not in holders]
        if missing:
            raise DeniedError(
                Code.HOLDERS_MISSING,
                f"the node {format_id(missing[0])} offers no source of this project here",
                next_step="see `flotta-p2p peers`, and wait until it is present",
            )
        if len(holders) < rule.holders_min:
            raise DeniedError(
                Code.HOLDERS_MISSING,
                f"{len(holders)} holders of this project are known here, the order asks for {rule.holders_min} or more",
                next_step="see `flotta-p2p peers`; a holder lists the project's token under its data source",
            )
        return tuple(participants)
