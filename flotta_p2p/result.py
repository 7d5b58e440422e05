"""The result of a job as its submitter reads it: a summary, or one of each group. What no data can have is refused."""

from __future__ import annotations

import math

from protocol.errors import Code, RemoteProtocolError
from protocol.limits import MEASURE_BYTES_MAX, NAME_CHARS_MAX
from protocol.plan.tasks import ColumnSummary, GroupedSummary, Summary
from protocol.wire.codec import decode, decode_record

Result = Summary | GroupedSummary


def read_result(product: bytes) -> Result:
    """The product of a job's last task: groups name the columns that group. Raises RemoteProtocolError for anything
    that no merge makes, whoever signed it.
    """
    plain = decode(product, bytes_max=MEASURE_BYTES_MAX)
    if isinstance(plain, dict) and "by" in plain:
        grouped = decode_record(product, GroupedSummary, bytes_max=MEASURE_BYTES_MAX)
        _check_groups(grouped)
        return grouped
    summary = decode_record(product, Summary, bytes_max=MEASURE_BYTES_MAX)
    _check_columns(summary.columns)
    return summary


def _check_groups(grouped: GroupedSummary) -> None:
    names = grouped.groups[0].columns.keys() if grouped.groups else ()
    for group in grouped.groups:
        finite = all(math.isfinite(value) for value in group.key if isinstance(value, float))
        if len(group.key) != len(grouped.by) or group.columns.keys() != names or not finite:
            raise RemoteProtocolError(Code.RESULT_ALTERED, "the result has a group that is unlike the others")
        _check_columns(group.columns)


def _check_columns(columns: dict[str, ColumnSummary]) -> None:
    for name, column in columns.items():
        if not _makes_sense(column):
            sentence = f"the result says of the column {name[:NAME_CHARS_MAX]!r} what no data can have"
            raise RemoteProtocolError(Code.RESULT_ALTERED, sentence)


def _makes_sense(column: ColumnSummary) -> bool:
    numbers = [number for number in (column.mean, column.variance) if number is not None]
    bins = column.histogram
    if bins is not None:
        numbers.extend(bins.edges)
        if len(bins.edges) != len(bins.counts) + 1 or min(bins.counts, default=0) < 0:
            return False
    return all(map(math.isfinite, numbers)) and (column.variance or 0.0) >= 0.0
