"""What a holder withholds: too small cohorts, and small cells of a histogram with complementary ones.

The rule for cells, with m the minimum cell: when any cell holds 1 to m - 1 rows, then all cells from 1 row up
to the smallest count of at least m are hidden; when that leaves no cell with rows in sight, all are. Whoever
knows this rule, the number of values and all shown cells still cannot tell any hidden cell: the rule looks at
counts alone, never at where they stand, so each way to deal the hidden counts out to the hidden cells would
have looked the same, and they are not all equal: the cell of at least m rows is among them. (When all cells
are hidden and equal, moving one row from one to another would look the same too.) Hiding just enough cells to
reach m rows, the usual rule, does not achieve that: five hidden cells with five rows among them hold one
each.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.plan.tasks import DisclosureRules


def cohort_refusal(rows: int, rules: DisclosureRules) -> str:
    """Why nothing leaves for a selection of so many rows, without their number; empty when it may leave."""
    if rows >= rules.minimum_cohort:
        return ""
    return f"fewer than {rules.minimum_cohort} rows are selected"


def column_allowed(present: int, rules: DisclosureRules) -> bool:
    """Whether a column with so many present values may leave."""
    return present >= rules.minimum_cohort


def suppress(counts: Sequence[int], minimum_cell: int) -> tuple[int | None, ...]:
    """The counts with hidden ones as None.

    All cells of the histogram together: those below and above the bins too.
    """
    if not any(0 < count < minimum_cell for count in counts):
        return tuple(counts)
    complement = min((count for count in counts if count >= minimum_cell), default=0)
    hidden_max = max(complement, minimum_cell - 1)
    if all(count <= hidden_max for count in counts):
        return (None,) * len(counts)
    return tuple(None if 0 < count <= hidden_max else count for count in counts)
