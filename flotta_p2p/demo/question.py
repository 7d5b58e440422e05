"""The question of the demo, its answer beside the truth, and how many numbers it takes from each holder."""

from __future__ import annotations

from typing import Final

from protocol.plan.artifact import Artifact, Query, summary_artifact
from protocol.plan.filters import parse_filter
from protocol.plan.operations import Bins, SummaryParameters
from protocol.plan.tasks import SourceCoverage, Summary

MASS: Final = "body_mass_g"
BILL: Final = "bill_length_mm"
WHERE: Final = "sex is not None"
_BINS: Final = Bins(low=2500.0, high=6500.0, count=8)
_PARAMETERS: Final = SummaryParameters(statistics=("count", "mean", "variance", "histogram"), bins={MASS: _BINS})

IN_WORDS: Final = (
    f"how many penguins of known sex are there, what are mean and variance of their {MASS} and {BILL}, "
    f"and how is {MASS} distributed?"
)


def ask(project: bytes) -> Artifact:
    query = Query(columns=(MASS, BILL), where=parse_filter(WHERE))
    return summary_artifact(project, query, _PARAMETERS)


def numbers_left(coverage: SourceCoverage) -> int:
    """How many numbers a holder let out: its rows; of each column present, missing, sum and sum of squares; and the
    histogram's cells that it shows.
    """
    if coverage.rows is None:
        return 0
    columns = [name for name in (MASS, BILL) if name not in coverage.columns_withheld]
    cells = _BINS.count + 2 if MASS in columns else 0  # with those below and above all bins
    return 1 + 4 * len(columns) + cells - coverage.cells_withheld


def comparison(answer: Summary, truth: Summary) -> list[tuple[str, str, str]]:
    """Rows for a person: what, in the answer, in the truth."""
    rows = [("rows", str(answer.rows), str(truth.rows))]
    for name in (MASS, BILL):
        ours, theirs = answer.columns[name], truth.columns[name]
        rows.append((f"{name} mean", str(ours.mean), str(theirs.mean)))
        rows.append((f"{name} variance", str(ours.variance), str(theirs.variance)))
    ours, theirs = answer.columns[MASS], truth.columns[MASS]
    if ours.histogram is not None and theirs.histogram is not None:
        edges = ours.histogram.edges
        for at, counts in enumerate(zip(ours.histogram.counts, theirs.histogram.counts, strict=True)):
            rows.append((f"{MASS} {edges[at]:g} to {edges[at + 1]:g}", str(counts[0]), str(counts[1])))
    return rows
