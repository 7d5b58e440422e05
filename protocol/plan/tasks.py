"""What goes between a node and the child process that computes a task, and what a task produces."""

from __future__ import annotations

from typing import Final, Literal

from protocol.columns import Column, ColumnRules, Kind
from protocol.limits import CELL_ROWS_MIN, COHORT_ROWS_MIN, INLINE_BYTES_MAX
from protocol.plan.operations import Statistic
from protocol.plan.products import Carried, Digest
from protocol.record import Record


class DisclosureRules(Record, frozen=True):
    """A holder's rules for what may leave one source."""

    minimum_cohort: int = COHORT_ROWS_MIN
    minimum_cell: int = CELL_ROWS_MIN
    columns: ColumnRules = ColumnRules()


class SourceFile(Record, frozen=True):
    """Where a source lies on this machine, and what it may give. Never leaves it."""

    name: str
    path: str
    type: Literal["csv", "tsv"]
    rules: DisclosureRules = DisclosureRules()
    schema: bytes = b""  # columns.schema_digest of the columns with which it was opened; empty: any will do


class TaskRequest(Record, frozen=True, tag="task"):
    """Compute one operation. `inputs` are the products of the tasks before it, with `labels` saying whose they are. The
    chunks of a large one are there by now, and the child asks for them.
    """

    operation: str
    artifact: bytes
    source: SourceFile | None
    inputs: tuple[Carried, ...]
    labels: tuple[str, ...]
    inline_bytes: int = INLINE_BYTES_MAX  # a larger product is told in pieces


class InspectRequest(Record, frozen=True, tag="inspect"):
    """Read a source: what others see of it, or what is wrong with it. Product: Inspection."""

    source: SourceFile


class CheckRequest(Record, frozen=True, tag="check"):
    """Read a table for its holder, whatever the rules of the source. Product: TableReport."""

    source: SourceFile


class Product(Record, frozen=True, tag="product"):
    """The bytes that a task made. With `pieces`, a large product: so many pieces of it were told before, and `data` is
    empty.
    """

    data: bytes
    pieces: int = 0


class Piece(Record, frozen=True, tag="piece"):
    """The next chunk of a large product. The child waits for PieceTaken when PIECES_AHEAD_MAX are on their way."""

    data: bytes


class PieceWanted(Record, frozen=True, tag="piece-wanted"):
    """The child needs a chunk of one of its inputs. Answer: PieceGiven."""

    digest: Digest


class PieceTaken(Record, frozen=True, tag="piece-taken"):
    pass


class PieceGiven(Record, frozen=True, tag="piece-given"):
    data: bytes


class Fault(Record, frozen=True, tag="fault"):
    """Why there is no product: an error of protocol/errors.py as values."""

    code: str
    sentence: str
    next_step: str = ""


ChildRequest = TaskRequest | InspectRequest | CheckRequest
ChildAnswer = Product | Fault
ChildSays = ChildAnswer | Piece | PieceWanted
NodeSays = ChildRequest | PieceTaken | PieceGiven


# --- products of looks at a table -----------------------------------------------------------------


class Inspection(Record, frozen=True):
    """What the node knows of a source that can be read. `columns` are those that others see."""

    columns: tuple[Column, ...]
    rows: int
    schema: bytes  # as in SourceFile


class ColumnReport(Record, frozen=True):
    """One column for its holder. `others`: present values of a text column that are no numbers, the first of them in
    the line `others_line`.
    """

    name: str
    type: Kind
    missing: int
    others: int = 0
    others_line: int = 0


class TableReport(Record, frozen=True):
    """A whole table for its holder: no cell of it is told."""

    rows: int
    columns: tuple[ColumnReport, ...]
    unnameable: int  # columns that no query can name


# --- products of the summary operations -----------------------------------------------------------


class Settings(Record, frozen=True):
    """Product of summary.prepare: the order spelled out. Every holder computes it again and compares."""

    columns: tuple[str, ...]
    statistics: tuple[Statistic, ...]
    edges: dict[str, tuple[float, ...]]


class Cells(Record, frozen=True):
    """A histogram of one holder: counts per bin, and of values below and above all bins; None where withheld."""

    counts: tuple[int | None, ...]
    below: int | None
    above: int | None


class ColumnMeasure(Record, frozen=True):
    """One column at one holder. Sums are exact: expansions of non-overlapping doubles whose sum is the true sum."""

    present: int
    missing: int
    total: tuple[float, ...] | None = None
    squares: tuple[float, ...] | None = None
    cells: Cells | None = None


class Measure(Record, frozen=True):
    """Product of summary.measure at one source. With `withheld`, a rule of the holder kept everything back."""

    rows: int | None
    columns: dict[str, ColumnMeasure | None]  # None: too few present values
    withheld: str = ""


class Histogram(Record, frozen=True):
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    below: int
    above: int
    cells_withheld: int  # (source, cell) pairs that are missing from the counts


class ColumnSummary(Record, frozen=True):
    """The pooled column. Statistics that nobody asked for or that are undefined (variance of one value) are None."""

    present: int
    missing: int
    sources: int
    mean: float | None = None
    variance: float | None = None
    histogram: Histogram | None = None


class SourceCoverage(Record, frozen=True):
    source: str  # label of the participant
    rows: int | None
    cells_withheld: int
    columns_withheld: tuple[str, ...]
    withheld: str = ""


class Coverage(Record, frozen=True):
    """How much of the data the result speaks of. A node with two sources counts twice."""

    sources: int
    sources_counted: int
    rows: int
    cells_withheld: int
    by_source: tuple[SourceCoverage, ...]


class Summary(Record, frozen=True):
    """Product of summary.merge: the result of the job."""

    rows: int
    columns: dict[str, ColumnSummary]
    coverage: Coverage


# --- products of the operations on groups -----------------------------------------------------------

Key = str | float | bool | None  # a value of a column that groups; None: missing


class GroupSettings(Record, frozen=True):
    """Product of groups.prepare: the columns that group, and what is measured of each group."""

    by: tuple[str, ...]
    each: Settings


class Group(Record, frozen=True):
    """One group at one holder."""

    key: tuple[Key, ...]  # of the columns that group, in their order
    rows: int
    columns: dict[str, ColumnMeasure]


class GroupMeasure(Record, frozen=True):
    """Product of groups.measure at one source. The number of all its rows is not in it."""

    groups: tuple[Group, ...]  # by rising key
    groups_withheld: int
    columns_withheld: tuple[str, ...]  # in every group
    withheld: str = ""  # why nothing else leaves


class GroupSummary(Record, frozen=True):
    """The pooled group. A column counts the sources that let it out, which may be fewer than those of the rows."""

    key: tuple[Key, ...]
    rows: int
    sources: int
    columns: dict[str, ColumnSummary]


class GroupsOfSource(Record, frozen=True):
    """What one source let out: `rows` are those of its shown groups."""

    source: str  # label of the participant
    rows: int
    groups: int
    groups_withheld: int
    columns_withheld: tuple[str, ...]
    withheld: str = ""


class GroupCoverage(Record, frozen=True):
    """How much of the data the groups speak of. A group withheld at two sources counts twice."""

    sources: int
    sources_counted: int
    rows: int
    groups_withheld: int
    by_source: tuple[GroupsOfSource, ...]


class GroupedSummary(Record, frozen=True):
    """Product of groups.merge: the result of the job. `rows` are those of all groups in it."""

    by: tuple[str, ...]
    rows: int
    groups: tuple[GroupSummary, ...]
    coverage: GroupCoverage


# --- the probe ------------------------------------------------------------------------------------

FACT_BYTES: Final = 40


def fact_of(digest: bytes, size_bytes: int) -> bytes:
    """What a worker signed of a product, FACT_BYTES long: SHA-256, then the size, eight bytes, the highest first. It is
    the input of operations that do not need the product itself.
    """
    return digest + size_bytes.to_bytes(8)


class ProbeCount(Record, frozen=True):
    """Product of probe.merge: the result of a probe."""

    products: int
    bytes: int
