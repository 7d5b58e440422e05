"""What a holder withholds: too small cohorts, and small cells of a histogram with complementary ones.

The rule for cells, with m the minimum cell: when any cell holds 1 to m - 1 rows, then all cells from 1 row up
to the smallest count of at least m are hidden; when that leaves no cell with rows in sight, all are. Whoever
knows this rule, the number of values and all shown cells still cannot tell any hidden cell: the rule looks at
counts alone, never at where they stand, so each way to deal the hidden counts out to the hidden cells would
have looked the same, and they are not all equal: the cell of at least m rows is among them. (When all cells
are hidden and equal, moving one row from one to another would look the same too.) Hiding just enough cells to
reach m rows, the usual rule, does not achieve that: five hidden cells with five rows among them hold one
each.

The groups of rows with the same values are such cells, with the minimum cohort as their minimum: what a
filter would refuse, a group refuses. A group of no rows is nowhere, and so how many groups are hidden is told
only where some are shown. In a shown group, and in the hidden ones together, a column splits the rows into
present and missing: when any such part is small, the column is hidden in all groups. See
docs/decisions/0019-groups.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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


def shown_groups(rows: Sequence[int], rules: DisclosureRules) -> tuple[bool, ...]:
    """Which groups may be seen, by their numbers of rows, each at least 1."""
    return tuple(count is not None for count in suppress(rows, group_rows_min(rules)))


def group_rows_min(rules: DisclosureRules) -> int:
    """The least rows, and present values, of a group that may be seen."""
    return max(rules.minimum_cohort, rules.minimum_cell)


def column_allowed_in_groups(splits: Iterable[tuple[int, int]], rules: DisclosureRules) -> bool:
    """Whether a column may be seen in groups.

    `splits`: its present and missing values in each shown group, and in all hidden ones together.
    """
    return not any(
        0 < present < group_rows_min(rules) or 0 < missing < rules.minimum_cell for present, missing in splits
    )
