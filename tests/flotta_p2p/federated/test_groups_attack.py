"""An adversary that knows the rule, all keys that there may be, and every byte that leaves a holder, learns no count
that is withheld: all tables that would have looked the same are tried, and they disagree.

It is given more than one answer tells: the number of all selected rows and of all present values, which it could ask
for without groups. All values are 1.0, so that sums say nothing that counts do not, and no more can be hidden in them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import polars as pl
import pytest

from flotta_p2p.federated.grouping import measure_rows
from flotta_p2p.federated.groups import prepare
from protocol.plan.tasks import DisclosureRules, GroupMeasure
from protocol.wire.codec import encode_record
from tests.flotta_p2p.federated.helpers import groups_of

Split = tuple[int, int]  # present and missing values of one group
Table = tuple[Split, ...]  # one for each key that there may be
SETTINGS = prepare(groups_of("key", "value", "count,mean,variance"))


def tables(keys: int, total_max: int, *, missing: bool) -> Iterator[Table]:
    """Every table of at most so many rows, so that none that would look the same is left out."""
    if not keys:
        yield ()
        return
    for rows in range(total_max + 1):
        for lacking in range(rows + 1 if missing else 1):
            for rest in tables(keys - 1, total_max - rows, missing=missing):
                yield ((rows - lacking, lacking), *rest)


def measure(table: Table, rules: DisclosureRules) -> GroupMeasure:
    cells = [(float(key), value) for key, split in enumerate(table) for value in _values(split)]
    frame = pl.DataFrame(cells, schema={"key": pl.Float64, "value": pl.Float64}, orient="row")
    return measure_rows(frame, SETTINGS, rules)


def _values(split: Split) -> list[float | None]:
    return [1.0] * split[0] + [None] * split[1]


def known_splits(measured: GroupMeasure, keys: int) -> list[int | Split | None]:
    """What is shown of each key: both numbers, the number of rows alone, or nothing."""
    shown: dict[int, int | Split] = {}
    for group in measured.groups:
        (key,) = group.key
        assert isinstance(key, float)
        column = group.columns.get("value")
        shown[int(key)] = group.rows if column is None else (column.present, column.missing)
    return [shown.get(key) for key in range(keys)]


@pytest.mark.parametrize(
    ("keys", "total_max", "missing", "cohort", "cell"),
    [(2, 20, False, 4, 3), (3, 15, False, 3, 3), (4, 11, False, 3, 1), (2, 12, True, 3, 3), (3, 8, True, 3, 3)],
)
def test_who_sees_all_that_leaves_and_knows_the_totals_learns_no_withheld_count(
    keys: int, total_max: int, missing: bool, cohort: int, cell: int
) -> None:
    rules = DisclosureRules(minimum_cohort=cohort, minimum_cell=cell)
    alike: dict[tuple[bytes, int, int], list[Table]] = defaultdict(list)
    seen: dict[tuple[bytes, int, int], GroupMeasure] = {}
    for table in tables(keys, total_max, missing=missing):
        rows, present = sum(map(sum, table)), sum(split[0] for split in table)
        measured = measure(table, rules)
        look = (encode_record(measured), rows, present)
        alike[look].append(table)
        seen[look] = measured
    hidden = 0
    for look, possible in alike.items():
        if look[1] < cohort or sum(1 for split in possible[0] if sum(split)) < 2:
            continue  # a question that is refused, and groups that are the whole table, which a summary speaks of
        for key, shown in enumerate(known_splits(seen[look], keys)):
            hidden += _check_withheld(shown, [table[key] for table in possible])
    assert hidden > 20, "the rule hid nothing, and so nothing was tried"


def _check_withheld(shown: int | Split | None, possible: Sequence[Split]) -> int:
    """How many counts are withheld; each has at least two values that it may have. A key that is nowhere and shown
    nowhere may be known to be nowhere.
    """
    if isinstance(shown, tuple):
        assert set(possible) == {shown}
        return 0
    if shown is not None:
        assert {sum(split) for split in possible} == {shown}
        assert len(set(possible)) > 1, possible
        return 1
    if any(map(sum, possible)):
        assert len({sum(split) for split in possible}) > 1, possible
    return 1


def test_no_small_number_and_no_key_of_a_hidden_group_is_in_the_bytes() -> None:
    rules = DisclosureRules(minimum_cohort=10, minimum_cell=5)
    rows = [("often", 1.0)] * 30 + [("Maria Rossi", 1.0)] * 3 + [("next", 1.0)] * 12
    frame = pl.DataFrame(rows, schema={"key": pl.String, "value": pl.Float64}, orient="row")
    data = encode_record(measure_rows(frame, SETTINGS, rules))
    assert b"often" in data
    assert b"Maria" not in data and b"next" not in data


def test_a_column_is_withheld_when_the_hidden_groups_together_have_few_values() -> None:
    """Whoever asks for the sums without groups too takes those of the shown groups away: one value would be left."""
    rules = DisclosureRules(minimum_cohort=3, minimum_cell=3)
    assert measure(((9, 0), (3, 0), (2, 0)), rules).columns_withheld == ()
    assert measure(((9, 0), (0, 3), (1, 1)), rules).columns_withheld == ("value",)
