"""What `submit` and `sign` ask for: a question file, options that override it, or options alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from flotta_p2p.commands.options import (
    FILE,
    Command,
    add_options,
    duration_within,
    node_ids,
    read_small_text,
    words,
)
from protocol.limits import JOB_DEADLINE_MS_MAX, LEASE_MS_MAX, LEASE_MS_MIN, ORDER_LIFE_MS_MAX

if TYPE_CHECKING:
    from flotta_p2p.federated.question_file import QuestionFile
    from flotta_p2p.order_options import OrderOptions
    from protocol.plan.artifact import Query
    from protocol.plan.operations import GroupParameters, SummaryParameters

_STATISTICS: Final = "count,mean,variance"


@dataclass(frozen=True)
class Given:
    """The options as they were typed; None where nothing was."""

    file: Path | None
    project: str | None
    columns: tuple[str, ...]
    by: tuple[str, ...]
    where: str | None
    statistics: str | None
    bins: tuple[str, ...]
    holders: tuple[bytes, ...]
    holders_min: int | None
    lease: int | None
    deadline: int | None
    life: int | None


@dataclass(frozen=True)
class Question:
    """What is asked, of whom, and how. `query` selects the columns to summarise. `holders`: exactly these nodes;
    empty: every holder.
    """

    project: str | None
    query: Query
    parameters: SummaryParameters | GroupParameters
    holders: tuple[bytes, ...]
    options: OrderOptions


_OPTIONS: Final[tuple[Callable[..., Any], ...]] = (
    click.argument("file", type=FILE, required=False),
    click.option("--project", metavar="NAME", help="The project: its name at the node, or its id."),
    click.option("--columns", callback=words, metavar="A,B", help="The columns to summarise."),
    click.option("--by", callback=words, metavar="A,B", help="One result for each group: sex,site."),
    click.option("--where", metavar="TEXT", help="The rows: age >= 40 and sex == 'f'."),
    click.option("--statistics", metavar="A,B", help=f"Of count, mean, variance, histogram; else {_STATISTICS}."),
    click.option(
        "--bins", multiple=True, metavar="COLUMN:LOW:HIGH:COUNT", help="Histogram of a column; may be given again."
    ),
    click.option("--holders", callback=node_ids, metavar="ID,ID", help="Exactly these nodes; else all."),
    click.option("--holders-min", type=click.IntRange(min=1), help="Fail with fewer holders than this; else 1."),
    click.option(
        "--lease",
        callback=duration_within(LEASE_MS_MIN, LEASE_MS_MAX),
        metavar="TIME",
        help="How long a holder may be silent; else 15s.",
    ),
    click.option(
        "--deadline",
        callback=duration_within(LEASE_MS_MIN, JOB_DEADLINE_MS_MAX),
        metavar="TIME",
        help="The job ends by then, whatever happens; else 10m.",
    ),
    click.option(
        "--life",
        callback=duration_within(1, ORDER_LIFE_MS_MAX),
        metavar="TIME",
        help="The order may be started so long after it was signed; else 1h.",
    ),
)


def question_options(command: Command) -> Command:
    """Adds FILE and the options of a question, which the command takes as `given`."""
    names = tuple(Given.__dataclass_fields__)

    @functools.wraps(command)
    def wrapped(**typed: Any) -> Any:
        return command(given=Given(**{name: typed.pop(name) for name in names}), **typed)

    return cast(Command, add_options(_OPTIONS)(wrapped))


@contextmanager
def question_errors() -> Iterator[None]:
    """An error of the question always says what to do next."""
    from protocol.errors import WorkflowError

    try:
        yield
    except WorkflowError as error:
        error.next_step = error.next_step or "correct the question; `flotta-p2p submit --help` has examples"
        raise


def make_question(given: Given) -> Question:
    """Raises click.UsageError for what is missing and WorkflowError for what makes no sense."""
    with question_errors():
        return _question(given)


def _question(given: Given) -> Question:
    from flotta_p2p.order_options import OrderOptions
    from protocol.plan.artifact import Query
    from protocol.plan.filters import parse_filter
    from protocol.plan.operations import GroupParameters

    file = _read_file(given.file) if given.file is not None else None
    columns = given.columns or (file.query.columns if file else ())
    by = given.by or (file.parameters.by if file and isinstance(file.parameters, GroupParameters) else None)
    if not columns and not by:
        raise click.UsageError("name the columns with --columns A,B, or give a question file")
    where = parse_filter(given.where) if given.where is not None else (file.query.where if file else None)
    options = file.options if file else OrderOptions()
    return Question(
        project=given.project or (file.project if file else None),
        query=Query(columns=columns, where=where),
        parameters=_parameters(given, file, columns, by),
        holders=given.holders,
        options=OrderOptions(
            holders_min=given.holders_min or options.holders_min,
            lease_ms=_or(given.lease, options.lease_ms),
            deadline_ms=_or(given.deadline, options.deadline_ms),
            life_ms=_or(given.life, options.life_ms),
        ),
    )


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _read_file(path: Path) -> QuestionFile:
    from flotta_p2p.federated.question_file import read_question_file
    from protocol.limits import STATEMENT_BYTES_MAX

    text = read_small_text(path, STATEMENT_BYTES_MAX, "question file")
    return read_question_file(text, "json" if path.suffix.lower() == ".json" else "yaml")


def _parameters(
    given: Given, file: QuestionFile | None, columns: tuple[str, ...], by: tuple[str, ...] | None
) -> SummaryParameters | GroupParameters:
    """Bins alone ask for the histogram too; statistics alone leave out the file's bins when they name no histogram.

    Groups without columns are counted.
    """
    from flotta_p2p.federated.question_file import parameters_of, parse_bins
    from protocol.plan.operations import SummaryParameters

    asked = file.parameters if file else None
    statistics = given.statistics or (",".join(asked.statistics) if asked else _STATISTICS if columns else "count")
    bins = parse_bins(given.bins) or (asked.bins if isinstance(asked, SummaryParameters) else {})
    named = [word.strip() for word in statistics.split(",")]
    if given.statistics is None and bins and "histogram" not in named:
        statistics += ",histogram"
    if given.statistics is not None and not given.bins and "histogram" not in named:
        bins = {}
    return parameters_of(statistics, bins, by)
