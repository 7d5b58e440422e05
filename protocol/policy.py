"""A holder's own rules, as one pure function. Remote input can only narrow what they allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from protocol.errors import Code
from protocol.ids import format_id, node_id
from protocol.plan.filters import columns_of
from protocol.plan.order import VerifiedOrder
from protocol.plan.plan import Task
from protocol.record import Record


class SourcePolicy(Record, frozen=True):
    """The rules of one source: the projects that may reach it, and optionally fewer submitters and columns."""

    projects: frozenset[bytes]
    submitters: Literal["any"] | frozenset[bytes] = "any"  # person ids
    columns: frozenset[str] | None = None  # None: every column


class NodePolicy(Record, frozen=True):
    sources: dict[str, SourcePolicy]

    def opened_to(self, projects: Mapping[str, frozenset[bytes]] | None) -> NodePolicy:
        """The same rules with these projects for each source; None: as before."""
        if projects is None:
            return self
        return NodePolicy(
            sources={
                name: msgspec.structs.replace(source, projects=projects.get(name, frozenset()))
                for name, source in self.sources.items()
            }
        )


class Allow(Record, frozen=True):
    pass


class Deny(Record, frozen=True):
    code: Code
    reason: str
    next_step: str = ""


def decide(policy: NodePolicy, order: VerifiedOrder, task: Task) -> Allow | Deny:
    """Default deny: a task on a source is allowed only where the source lists the project, the submitter and every
    column.
    """
    if not task.source:
        return Allow()
    source = policy.sources.get(task.source)
    if source is None or order.artifact.project not in source.projects:
        return Deny(
            code=Code.SOURCE_UNKNOWN,
            reason=f'no data source "{task.source}" is open to the order\'s project',
            next_step="ask the holder which sources list the project's token",
        )
    submitter = node_id(order.submitter)
    if source.submitters != "any" and submitter not in source.submitters:
        return Deny(
            code=Code.POLICY_DENIED,
            reason=f'the source "{task.source}" is not open to the submitter {format_id(submitter)}',
            next_step="ask the holder to add this person under policy.submitters",
        )
    query = order.artifact.query
    wanted = dict.fromkeys((*query.columns, *columns_of(query.where)))
    closed = [name for name in wanted if source.columns is not None and name not in source.columns]
    if closed:
        return Deny(
            code=Code.POLICY_DENIED,
            reason=f'the source "{task.source}" does not open the column {closed[0]!r}',
            next_step="leave the column out or ask the holder to add it under policy.columns",
        )
    return Allow()
