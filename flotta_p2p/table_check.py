"""A table as its holder's command line sees it, read by the child process that would read it for a job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from actors.adapters.clock import SystemClock
from actors.adapters.single_child import ask_child
from flotta_p2p.programs import CHILD_PROGRAMS
from protocol.columns import Column, ColumnRules, is_nameable
from protocol.errors import Code, DataError
from protocol.limits import CHILD_MESSAGE_BYTES_MAX, INSPECT_LIMIT_MS, NAME_CHARS_MAX
from protocol.plan.tasks import CheckRequest, ChildAnswer, ColumnReport, Fault, SourceFile, TableReport
from protocol.wire.codec import decode_record, encode_record

_OTHER_SEPARATORS: Final = ",;|"
_TSV_SUFFIXES: Final = (".tsv", ".tab")


@dataclass(frozen=True)
class Problem:
    """Something that speaks against a table. `stops`: no job can read it."""

    sentence: str
    next_step: str
    code: Code | None = None
    stops: bool = False


def file_type(path: Path) -> Literal["csv", "tsv"]:
    """By the end of the name; a table of any other name is taken for a CSV file."""
    return "tsv" if path.suffix.lower() in _TSV_SUFFIXES else "csv"


def check_table(source: SourceFile) -> TableReport:
    """Reads the whole table. Raises DataError with what is wrong, each with its next step.

    Takes up to INSPECT_LIMIT_MS. In the main thread.
    """
    request = encode_record(CheckRequest(source=source))
    data = ask_child(CHILD_PROGRAMS["task"], request, limit_ms=INSPECT_LIMIT_MS, clock=SystemClock())
    answer = decode_record(data, ChildAnswer, bytes_max=CHILD_MESSAGE_BYTES_MAX)
    if isinstance(answer, Fault):
        raise DataError(Code(answer.code), answer.sentence, next_step=answer.next_step)
    return decode_record(answer.data, TableReport, bytes_max=CHILD_MESSAGE_BYTES_MAX)


def published(report: TableReport, rules: ColumnRules) -> tuple[Column, ...]:
    """What members of the project see of the table."""
    return rules.published((column.name, column.type) for column in report.columns)


def problems(report: TableReport, rules: ColumnRules) -> Iterator[Problem]:
    """What the holder should know of a table that can be read, under the rules of its source."""
    names = [column.name for column in report.columns]
    for name in filter(is_nameable, rules.missing_in(names)):
        sentence = f'policy.hidden or policy.numeric_only names the column "{name}", which the table does not have'
        step = "correct the name in the policy; until then nothing of the source is opened"
        yield Problem(sentence, step, Code.SOURCE_POLICY_UNFIT, stops=True)
    named = (rules.columns or frozenset()) | (rules.groupable or frozenset())
    for name in sorted(named.difference(names)):
        step = "correct the name in the policy, or the header of the table"
        yield Problem(f'the policy names the column "{name}", which the table does not have', step)
    yield from _one_column(report)
    if report.unnameable:
        count = "1 column has" if report.unnameable == 1 else f"{report.unnameable} columns have"
        sentence = f"{count} no name that a query can use"
        yield Problem(sentence, f"give each a name of 1 to {NAME_CHARS_MAX} printable characters, if it shall be used")
    yield from (_mixed(column, report.rows) for column in report.columns if _is_mixed(column, report.rows))


def _one_column(report: TableReport) -> Iterator[Problem]:
    """A table of one column whose name holds a separator was most likely written with that one."""
    names = [column.name for column in report.columns]
    if len(names) != 1 or report.unnameable or not any(mark in names[0] for mark in _OTHER_SEPARATORS):
        return
    sentence = f'it has the one column "{names[0]}", so its fields are separated in another way'
    yield Problem(sentence, "save it as CSV with commas, or with tabs under a name that ends with .tsv")


def _is_mixed(column: ColumnReport, rows: int) -> bool:
    """Text in a column most of whose values are numbers is most likely a mistake."""
    return column.type == "text" and 2 * column.others < rows - column.missing


def _mixed(column: ColumnReport, rows: int) -> Problem:
    present = rows - column.missing
    numbers = f"{present - column.others:,} of its {present:,} values are numbers"
    where = f"the first other one stands in line {column.others_line}"
    sentence = f'the column "{column.name}" is read as text: {numbers}, and {where}'
    step = "write a missing value as NA or leave it empty, and numbers with a point and without units"
    return Problem(sentence, step, Code.COLUMN_NOT_NUMERIC)
