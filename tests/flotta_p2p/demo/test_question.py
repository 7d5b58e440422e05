"""What the demo claims about its question: the comparison can fail, and the numbers that left are counted rightly."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from flotta_p2p.demo.question import MASS, ask, comparison, numbers_left
from flotta_p2p.federated.pooled import pooled_summary
from flotta_p2p.federated.summary import measure, merge, prepare
from flotta_p2p.tables.shares import penguin_shares
from protocol.plan.tasks import Measure, SourceFile, Summary

ARTIFACT = ask(b"p" * 16)
Sources = list[tuple[str, SourceFile]]


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    made = []
    for name, text in penguin_shares().items():
        path = tmp_path / f"{name}.csv"
        path.write_text(text)
        made.append((name, SourceFile(name="penguins", path=str(path), type="csv")))
    return made


def measures_of(sources: Sources) -> list[tuple[str, Measure]]:
    settings = prepare(ARTIFACT)
    return [(label, measure(ARTIFACT, source, settings)) for label, source in sources]


def answer_of(sources: Sources) -> Summary:
    return merge(ARTIFACT, measures_of(sources))


def test_the_answer_equals_the_pooled_truth(sources: Sources) -> None:
    answer, truth = answer_of(sources), pooled_summary(ARTIFACT, sources)
    assert answer == truth
    assert all(ours == theirs for _, ours, theirs in comparison(answer, truth))


def test_a_share_that_is_wrong_by_one_gram_makes_the_truth_another(sources: Sources) -> None:
    answer = answer_of(sources)
    table = Path(sources[1][1].path)
    first = next(line for line in table.read_text().splitlines() if line.endswith(",male,2007"))
    cells = first.split(",")
    cells[5] = str(int(cells[5]) + 1)
    table.write_text(table.read_text().replace(first, ",".join(cells), 1))
    truth = pooled_summary(ARTIFACT, sources)
    assert answer != truth
    assert f"{MASS} mean" in {name for name, ours, theirs in comparison(answer, truth) if ours != theirs}


def test_the_numbers_that_left_are_those_of_the_measures(sources: Sources) -> None:
    coverage = {one.source: one for one in answer_of(sources).coverage.by_source}
    for label, measured in measures_of(sources):
        assert numbers_left(coverage[label]) == count_numbers(msgspec.to_builtins(measured)), label


def count_numbers(value: object) -> int:
    """An exact sum, a tuple of doubles under `total` or `squares`, is one number."""
    if isinstance(value, dict):
        sums = [key for key in ("total", "squares") if value.get(key) is not None]
        return len(sums) + sum(count_numbers(inner) for key, inner in value.items() if key not in sums)
    if isinstance(value, list | tuple):
        return sum(map(count_numbers, value))
    return int(isinstance(value, int | float))
