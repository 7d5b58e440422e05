"""A result is believed when its signature holds, and shown when it is one that a merge can make."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from flotta_p2p.result import read_result
from protocol.errors import Code, RemoteProtocolError
from protocol.plan.tasks import ColumnSummary, Coverage, Histogram, Summary
from protocol.wire.codec import encode_record
from tests.fuzz.samples import GROUPED

HISTOGRAM = Histogram(edges=(0.0, 1.0, 2.0), counts=(3, 1), below=0, above=0, cells_withheld=0)
COLUMN = ColumnSummary(present=4, missing=0, sources=1, mean=1.0, variance=0.0, histogram=HISTOGRAM)
COVERAGE = Coverage(sources=1, sources_counted=1, rows=4, cells_withheld=0, by_source=())


def summary(**changed: Any) -> Summary:
    return Summary(rows=4, columns={"x": msgspec.structs.replace(COLUMN, **changed)}, coverage=COVERAGE)


@pytest.mark.parametrize("changed", [{}, {"histogram": None}, {"mean": None, "variance": None}])
def test_a_result_that_a_merge_makes_is_read(changed: dict[str, Any]) -> None:
    assert read_result(encode_record(summary(**changed))) == summary(**changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"mean": float("nan")},
        {"mean": float("inf")},
        {"variance": -1.0},
        {"variance": float("nan")},
        {"histogram": msgspec.structs.replace(HISTOGRAM, counts=(3,))},
        {"histogram": msgspec.structs.replace(HISTOGRAM, counts=(3, -1))},
        {"histogram": msgspec.structs.replace(HISTOGRAM, edges=(0.0, float("inf"), 2.0))},
    ],
)
def test_any_other_result_is_refused_naming_the_column(changed: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError, match="'x'") as caught:
        read_result(encode_record(summary(**changed)))
    assert caught.value.code == Code.RESULT_ALTERED


@pytest.mark.parametrize(
    "changed",
    [
        {"key": ("f",)},
        {"key": ("f", float("nan"))},
        {"columns": {}},
        {"columns": {"dose": ColumnSummary(present=1, missing=0, sources=1, mean=float("inf"))}},
    ],
)
def test_a_group_that_is_unlike_the_others_or_holds_what_no_data_can_have_is_refused(changed: dict[str, Any]) -> None:
    assert read_result(encode_record(GROUPED)) == GROUPED
    first, second, *rest = GROUPED.groups
    groups = (first, msgspec.structs.replace(second, **changed), *rest)
    with pytest.raises(RemoteProtocolError) as caught:
        read_result(encode_record(msgspec.structs.replace(GROUPED, groups=groups)))
    assert caught.value.code == Code.RESULT_ALTERED


def test_what_is_no_summary_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        read_result(b"\x80")
