"""What a task may run: the closed list of operations, their parameters, and what each lets out in plain words.

The program of an operation lives with the federated library; here stands only what every party must agree on.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec

from protocol.errors import Code, WorkflowError
from protocol.limits import (
    GROUP_COLUMNS_MAX,
    HISTOGRAM_BINS_MAX,
    KIB,
    MEASURE_BYTES_MAX,
    PROBE_BYTES_MAX,
    PROBE_TASKS_MAX,
    PRODUCT_BYTES_MAX,
)
from protocol.record import Record

Effect = Literal["pure", "idempotent", "once"]
Place = Literal["scheduler", "holder"]
Statistic = Literal["count", "mean", "variance", "histogram"]


class Nothing(Record, frozen=True):
    """The parameters of an operation that has none."""


class Bins(Record, frozen=True):
    """Equal bins from `low` to `high`; the last one includes `high`; values outside are counted as below and above."""

    low: float
    high: float
    count: int


class SummaryParameters(Record, frozen=True):
    """Which statistics of the selected columns; `bins` names the columns that get a histogram."""

    statistics: tuple[Statistic, ...]
    bins: dict[str, Bins] = {}


class GroupParameters(Record, frozen=True):
    """Which columns of the query group its rows, and which statistics of the others each group gets."""

    by: tuple[str, ...]
    statistics: tuple[Statistic, ...]


class ProbeParameters(Record, frozen=True):
    """How many tasks each participant gets, and how many bytes each of them makes."""

    tasks: int = 1
    bytes: int = 0


class Operation(Record, frozen=True):
    """`reads_table`: it works on rows and columns of a query; other operations take a moment, so that a node computes
    many of them in one child process. `takes`: whether its inputs are the products before it, or only what is signed
    of each (`tasks.fact_of`). `product_bytes_max`: a task that makes more fails, and a scheduler
    reserves so much for a result.
    """

    name: str
    place: Place
    effect: Effect
    parameters: type[msgspec.Struct]
    lets_out: str  # what leaves the holder, in words for the holder
    reads_table: bool = True
    takes: Literal["products", "facts"] = "products"
    product_bytes_max: int = MEASURE_BYTES_MAX

    @property
    def light(self) -> bool:
        """Whether its tasks may lie in their job's child one behind the other."""
        return not self.reads_table and self.effect == "pure"


OPERATIONS: Final[dict[str, Operation]] = {
    operation.name: operation
    for operation in (
        Operation(
            name="summary.prepare",
            place="scheduler",
            effect="pure",
            parameters=SummaryParameters,
            lets_out="nothing: it only spells out the order for every holder",
            reads_table=False,
        ),
        Operation(
            name="summary.measure",
            place="holder",
            effect="pure",
            parameters=Nothing,
            lets_out="for each selected column: the number of rows, of missing values, and as asked the sum, the sum "
            "of squares and the histogram; nothing from fewer rows than the minimum cohort, no histogram cell smaller "
            "than the minimum cell",
        ),
        Operation(
            name="summary.merge",
            place="scheduler",
            effect="pure",
            parameters=Nothing,
            lets_out="the pooled statistics and the coverage",
            reads_table=False,
        ),
        Operation(
            name="probe.prepare",
            place="scheduler",
            effect="pure",
            parameters=Nothing,
            lets_out="nothing: it makes an empty product",
            reads_table=False,
        ),
        Operation(
            name="probe.work",
            place="holder",
            effect="pure",
            parameters=ProbeParameters,
            lets_out="nothing of the source, which is not opened: bytes that follow from the order alone, as "
            "many as it asks for. It shows that the way from order to result works, and how fast it is",
            reads_table=False,
            product_bytes_max=PRODUCT_BYTES_MAX,
        ),
        Operation(
            name="probe.merge",
            place="scheduler",
            effect="pure",
            parameters=Nothing,
            lets_out="how many products there were, and of how many bytes",
            reads_table=False,
            takes="facts",
            product_bytes_max=1 * KIB,
        ),
        Operation(
            name="probe.gather",
            place="scheduler",
            effect="pure",
            parameters=Nothing,
            lets_out="the bytes that the participants made, one behind the other",
            reads_table=False,
            product_bytes_max=PRODUCT_BYTES_MAX,
        ),
        Operation(
            name="groups.prepare",
            place="scheduler",
            effect="pure",
            parameters=GroupParameters,
            lets_out="nothing: it only spells out the order for every holder",
            reads_table=False,
        ),
        Operation(
            name="groups.measure",
            place="holder",
            effect="pure",
            parameters=Nothing,
            lets_out="for each group of rows with the same values: these values, the number of rows, and for each "
            "other column the number of missing values and as asked the sum and the sum of squares; how many groups "
            "are withheld; nothing of groups smaller than the minimum cohort, nor of those that would give them away",
        ),
        Operation(
            name="groups.merge",
            place="scheduler",
            effect="pure",
            parameters=Nothing,
            lets_out="the pooled statistics of each group and the coverage",
            reads_table=False,
        ),
    )
}


def operation(name: str) -> Operation:
    """Raises WorkflowError(OPERATION_UNKNOWN) naming those that exist."""
    found = OPERATIONS.get(name)
    if found is None:
        raise WorkflowError(
            Code.OPERATION_UNKNOWN,
            f'unknown operation "{name[:64]}"',
            next_step=f"use one of {', '.join(OPERATIONS)}",
        )
    return found


def read_parameters(operation: Operation, raw: dict[str, object]) -> msgspec.Struct:
    """The typed parameters. Raises WorkflowError(PARAMETER_WRONG)."""
    try:
        parameters = msgspec.convert(raw, operation.parameters, strict=True)
    except msgspec.ValidationError as error:
        raise WorkflowError(Code.PARAMETER_WRONG, f"parameters of {operation.name}: {error}") from error
    if isinstance(parameters, SummaryParameters):
        _check_summary(parameters)
    elif isinstance(parameters, GroupParameters):
        _check_groups(parameters)
    elif isinstance(parameters, ProbeParameters):
        _check_probe(parameters)
    return parameters


def tasks_for_each(step_operation: str, raw: dict[str, object]) -> int:
    """How many tasks of this step each participant gets. Raises WorkflowError as `read_parameters`."""
    parameters = read_parameters(operation(step_operation), raw)
    return parameters.tasks if isinstance(parameters, ProbeParameters) else 1


def _check_probe(parameters: ProbeParameters) -> None:
    if not 1 <= parameters.tasks <= PROBE_TASKS_MAX:
        raise _wrong(f"a probe gives each participant 1 to {PROBE_TASKS_MAX} tasks, not {parameters.tasks}")
    if not 0 <= parameters.bytes <= PROBE_BYTES_MAX:
        raise _wrong(f"a task of a probe makes 0 to {PROBE_BYTES_MAX} bytes, not {parameters.bytes}")
    if parameters.tasks * parameters.bytes > PROBE_BYTES_MAX:
        raise _wrong(f"a probe makes at most {PROBE_BYTES_MAX} bytes at one participant: fewer tasks, or smaller ones")


def _check_statistics(statistics: tuple[Statistic, ...]) -> None:
    if not statistics or len(set(statistics)) != len(statistics):
        raise _wrong("name each wanted statistic once: count, mean, variance, histogram")


def _check_groups(parameters: GroupParameters) -> None:
    _check_statistics(parameters.statistics)
    if "histogram" in parameters.statistics:
        raise _wrong("a histogram cannot be asked for by group: leave out histogram and bins, or ask without groups")
    if not parameters.by or len(set(parameters.by)) != len(parameters.by):
        raise _wrong("name at least one column that groups, each once; for example: --by sex,site")
    if len(parameters.by) > GROUP_COLUMNS_MAX:
        raise _wrong(f"at most {GROUP_COLUMNS_MAX} columns group together, not {len(parameters.by)}")


def _check_summary(parameters: SummaryParameters) -> None:
    _check_statistics(parameters.statistics)
    if ("histogram" in parameters.statistics) != bool(parameters.bins):
        raise _wrong(
            "a histogram needs its bins, and bins need the statistic histogram; for example: --bins age:0:100:20"
        )
    for column, bins in parameters.bins.items():
        if not (math.isfinite(bins.low) and math.isfinite(bins.high) and bins.low < bins.high):
            raise _wrong(f"the bins of {column} need two finite ends, the lower first")
        if not math.isfinite(bins.high - bins.low):
            raise _wrong(f"the bins of {column} span too much")
        if not 1 <= bins.count <= HISTOGRAM_BINS_MAX:
            raise _wrong(f"a histogram has 1 to {HISTOGRAM_BINS_MAX} bins; {column} asks for {bins.count}")


def _wrong(sentence: str) -> WorkflowError:
    return WorkflowError(Code.PARAMETER_WRONG, sentence)
