"""What is withheld cannot be worked out from what is not."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotta_p2p.federated.disclosure import cohort_refusal, column_allowed, suppress
from protocol.plan.tasks import DisclosureRules

tables = st.lists(st.integers(0, 12) | st.integers(0, 1_000), min_size=3, max_size=12)


@pytest.mark.parametrize(
    ("cells", "minimum_cell", "total_max"), [(3, 2, 9), (3, 5, 18), (4, 3, 11), (5, 2, 8), (5, 3, 9)]
)
def test_whoever_knows_the_rule_and_all_that_leaves_cannot_tell_a_hidden_cell(
    cells: int, minimum_cell: int, total_max: int
) -> None:
    """Brute force: all tables that would have looked the same disagree on every hidden cell."""
    alike: dict[tuple[int, tuple[int | None, ...]], list[tuple[int, ...]]] = defaultdict(list)
    for counts in product(range(total_max + 1), repeat=cells):
        if sum(counts) <= total_max:
            alike[sum(counts), suppress(counts, minimum_cell)].append(counts)
    assert any(None in shown for _, shown in alike)
    for (_, shown), possible in alike.items():
        for at, cell in enumerate(shown):
            if cell is None:
                assert len({counts[at] for counts in possible}) > 1, (shown, possible)


@given(tables, st.integers(1, 10))
def test_no_small_cell_is_shown_and_the_hidden_ones_are_many_enough(counts: list[int], minimum_cell: int) -> None:
    shown = suppress(counts, minimum_cell)
    assert all(cell is None or cell == count for cell, count in zip(shown, counts, strict=True))
    assert not any(cell is not None and 0 < cell < minimum_cell for cell in shown)
    if None in shown:
        hidden = [count for cell, count in zip(shown, counts, strict=True) if cell is None]
        assert len(hidden) >= 2
        assert sum(hidden) >= min(minimum_cell, sum(counts))


@given(tables, st.integers(1, 10))
def test_nothing_is_hidden_without_a_small_cell(counts: list[int], minimum_cell: int) -> None:
    large = [0 if count < minimum_cell else count for count in counts]
    assert suppress(large, minimum_cell) == tuple(large)


@given(st.permutations([0, 0, 1, 3, 4, 5, 7, 7, 20]))
def test_where_a_cell_stands_does_not_matter(counts: list[int]) -> None:
    assert suppress(counts, 5) == tuple(None if 0 < count <= 5 else count for count in counts)


def test_a_cohort_below_the_minimum_is_refused_without_its_number() -> None:
    rules = DisclosureRules(minimum_cohort=10, minimum_cell=5)
    assert cohort_refusal(10, rules) == ""
    assert cohort_refusal(9, rules) == cohort_refusal(0, rules) == "fewer than 10 rows are selected"
    assert column_allowed(10, rules)
    assert not column_allowed(9, rules)
