"""Pool the groups of all holders, by their keys.

What a holder sent is judged first: one that makes no sense is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter

from flotta_p2p.federated.merging import altered, check_column, is_reason, pool_column, require_once
from protocol.errors import Code, DataError, RemoteProtocolError
from protocol.limits import GROUP_KEY_CHARS_MAX, GROUPS_MAX, MEASURE_BYTES_MAX
from protocol.plan.tasks import (
    Group,
    GroupCoverage,
    GroupedSummary,
    GroupMeasure,
    GroupSettings,
    GroupsOfSource,
    GroupSummary,
    Key,
)
from protocol.wire.codec import decode_record

_KINDS: dict[type, str] = {float: "numbers", bool: "true and false", str: "text"}

LabelledGroups = tuple[str, GroupMeasure]


def read_group_measure(label: str, data: bytes) -> GroupMeasure:
    """A holder's product. Raises DataError(RESULT_ALTERED) naming the holder."""
    try:
        return decode_record(data, GroupMeasure, bytes_max=MEASURE_BYTES_MAX)
    except RemoteProtocolError as error:
        raise altered(label, error.sentence) from error


def key_order(key: tuple[Key, ...]) -> tuple[tuple[bool, Key], ...]:
    """Sorts keys of the same types: numbers by size, texts by code points, missing values last."""
    return tuple((value is None, False if value is None else value) for value in key)


def pool_groups(settings: GroupSettings, measures: Sequence[LabelledGroups]) -> GroupedSummary:
    """The pooled groups, the same for any order of `measures`.

    Raises DataError: RESULT_ALTERED naming the holder, COLUMN_TYPES_DIFFER naming two.
    """
    ordered = sorted(measures, key=itemgetter(0))
    for label, measure in ordered:
        _check_measure(label, measure, settings)
    require_once(label for label, _ in ordered)
    _check_kinds(ordered, settings.by)
    found: dict[tuple[Key, ...], list[Group]] = {}
    for _, measure in ordered:
        for group in measure.groups:
            found.setdefault(group.key, []).append(group)
    groups = tuple(_pool_group(key, found[key], settings) for key in sorted(found, key=key_order))
    sources = tuple(_source_coverage(label, measure, settings) for label, measure in ordered)
    rows = sum(group.rows for group in groups)
    return GroupedSummary(
        by=settings.by,
        rows=rows,
        groups=groups,
        coverage=GroupCoverage(
            sources=len(sources),
            sources_counted=sum(not one.withheld for one in sources),
            rows=rows,
            groups_withheld=sum(one.groups_withheld for one in sources),
            by_source=sources,
        ),
    )


def _pool_group(key: tuple[Key, ...], found: Sequence[Group], settings: GroupSettings) -> GroupSummary:
    return GroupSummary(
        key=key,
        rows=sum(group.rows for group in found),
        sources=len(found),
        columns={
            name: pool_column(name, settings.each, [group.columns.get(name) for group in found])
            for name in settings.each.columns
        },
    )


def _source_coverage(label: str, measure: GroupMeasure, settings: GroupSettings) -> GroupsOfSource:
    return GroupsOfSource(
        source=label,
        rows=sum(group.rows for group in measure.groups),
        groups=len(measure.groups),
        groups_withheld=measure.groups_withheld,
        columns_withheld=settings.each.columns if measure.withheld else measure.columns_withheld,
        withheld=measure.withheld,
    )


# --- judging what came --------------------------------------------------------------------------


def _check_measure(label: str, measure: GroupMeasure, settings: GroupSettings) -> None:
    if not measure.groups:
        if measure.groups_withheld or measure.columns_withheld or not is_reason(measure.withheld):
            raise altered(label, "it shows no group and does not simply say why")
        return
    if measure.withheld or measure.groups_withheld < 0 or len(measure.groups) + measure.groups_withheld > GROUPS_MAX:
        raise altered(label, "its number of groups makes no sense")
    _check_keys(label, measure.groups, len(settings.by))
    shown = tuple(name for name in settings.each.columns if name not in measure.columns_withheld)
    if measure.columns_withheld != tuple(name for name in settings.each.columns if name not in shown):
        raise altered(label, "the columns that it withholds are not those of the query")
    for group in measure.groups:
        if group.rows < 1 or set(group.columns) != set(shown):
            raise altered(label, "a group of it has other rows or columns than it can have")
        for name, column in group.columns.items():
            check_column(f'{label}, column "{name}"', name, column, group.rows, settings.each)


def _check_keys(label: str, groups: Sequence[Group], columns: int) -> None:
    keys = [group.key for group in groups]
    for key in keys:
        if len(key) != columns or not all(map(_is_key, key)):
            raise altered(label, "what names a group of it is no key")
    for values in zip(*keys, strict=True):
        if len({type(value) for value in values if value is not None}) > 1:
            raise altered(label, "the keys of its groups have several types")
    if any(key_order(key) >= key_order(following) for key, following in pairwise(keys)):
        raise altered(label, "its groups are not in order, each once")


def _is_key(value: Key) -> bool:
    match value:
        case str():
            return 0 < len(value) <= GROUP_KEY_CHARS_MAX
        case float():
            return math.isfinite(value) and (value != 0.0 or math.copysign(1.0, value) > 0)
        case _:
            return True


def _check_kinds(ordered: Sequence[LabelledGroups], by: Sequence[str]) -> None:
    """1, "1" and true are never the same group, and a column that means both at two holders needs their owners."""
    for at, name in enumerate(by):
        first: dict[str, str] = {}
        for label, measure in ordered:
            for value in (group.key[at] for group in measure.groups):
                if value is not None:
                    first.setdefault(_KINDS[type(value)], label)
        if len(first) > 1:
            said = " and ".join(f"{kind} at {label}" for kind, label in first.items())
            raise DataError(
                Code.COLUMN_TYPES_DIFFER,
                f'the column "{name}" holds {said}: their groups cannot be the same ones',
                next_step="the holders agree on one way to write its values, or the question names holders that do",
            )
