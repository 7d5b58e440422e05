"""A holder's own rules, as one pure function. Remote input can only narrow what they allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from protocol.columns import ColumnRules
from protocol.errors import Code
from protocol.ids import format_id, node_id
from protocol.plan.artifact import Artifact, grouping_columns
from protocol.plan.filters import Compare, IsIn, columns_of, leaves
from protocol.plan.order import VerifiedOrder
from protocol.plan.plan import Task
from protocol.record import Record


class SourcePolicy(Record, frozen=True):
    """The rules of one source: the projects that may reach it, and optionally fewer submitters and uses of columns."""

    projects: frozenset[bytes]
    submitters: Literal["any"] | frozenset[bytes] = "any"  # person ids
    columns: ColumnRules = ColumnRules()


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
    """Default deny: a task on a source is allowed only where the source lists the project and the submitter, and opens
    every column for what is done with it.

    A hidden column is not decided here: a refusal that is not given for a column that does not exist would tell that
    there is one. The child process that reads the table knows neither of them.
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
    return _decide_columns(task.source, source.columns, order.artifact)


def _decide_columns(source: str, rules: ColumnRules, artifact: Artifact) -> Allow | Deny:
    query = artifact.query
    wanted = dict.fromkeys((*query.columns, *columns_of(query.where)))
    closed = next((name for name in wanted if rules.columns is not None and name not in rules.columns), None)
    if closed is not None:
        step = "leave the column out or ask the holder to add it under policy.columns"
        return _denied(source, f"does not open the column {closed!r}", step)
    ungrouped = next((name for name in grouping_columns(artifact) if not rules.may_group(name)), None)
    if ungrouped is not None:
        step = "group by another column or ask the holder to add it under policy.groupable"
        return _denied(source, f"does not let the column {ungrouped!r} group rows", step)
    compared = next((name for name in _compared_with_words(artifact) if rules.is_numeric_only(name)), None)
    if compared is not None:
        what = f"opens the column {compared!r} as numbers alone, and the filter compares it with something else"
        return _denied(source, what, "compare it with a number, or leave it out of the filter")
    return Allow()


def _compared_with_words(artifact: Artifact) -> list[str]:
    """The columns that a filter compares with text, or with true and false."""
    found = []
    for leaf in leaves(artifact.query.where):
        match leaf:
            case Compare(column=column, value=str() | bool()):
                found.append(column)
            case IsIn(column=column, values=values) if any(isinstance(value, str | bool) for value in values):
                found.append(column)
    return found


def _denied(source: str, what: str, next_step: str) -> Deny:
    return Deny(code=Code.POLICY_DENIED, reason=f'the source "{source}" {what}', next_step=next_step)
