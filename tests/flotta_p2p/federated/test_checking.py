"""A table as its holder sees it: every column, what is wrong and in which line, and never a cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from flotta_p2p.federated.checking import check_table
from flotta_p2p.table_check import Problem, problems
from protocol.columns import ColumnRules
from protocol.errors import Code
from protocol.plan.tasks import TableReport
from tests.flotta_p2p.federated.helpers import quoted, source_of


def report_of(folder: Path, text: str) -> TableReport:
    return check_table(source_of(folder, text))


def found(report: TableReport, rules: ColumnRules | None = None) -> list[Problem]:
    return list(problems(report, rules or ColumnRules()))


def test_a_report_counts_rows_and_missing_values_of_each_column(tmp_path: Path) -> None:
    report = report_of(tmp_path, "age,sex,smoker\n1,f,true\nNA,,false\n3,m,null\n")
    assert report.rows == 3
    assert [(one.name, one.type, one.missing) for one in report.columns] == [
        ("age", "number", 1),
        ("sex", "text", 1),
        ("smoker", "boolean", 1),
    ]
    assert found(report) == []


@pytest.mark.parametrize("form", [str, quoted], ids=["plain", "quoted"])
def test_numbers_among_which_words_stand_are_told_with_the_line_and_without_the_word(
    tmp_path: Path, form: object
) -> None:
    text = "age,dose\n1,2.5\n2,NA\n3,Rossi\n4,5\n5,6\n"
    (problem,) = found(report_of(tmp_path, quoted(text) if form is quoted else text))
    assert problem.code == Code.COLUMN_NOT_NUMERIC and not problem.stops
    assert "3 of its 4 values are numbers, and the first other one stands in line 4" in problem.sentence
    assert "Rossi" not in problem.sentence + problem.next_step


def test_the_line_is_right_where_fields_hold_line_ends(tmp_path: Path) -> None:
    text = 'note,dose\n"a\nb",1\n"c\nd",2\n"e",x\n"f",3\n'
    (problem,) = found(report_of(tmp_path, text))
    assert "stands in line 6" in problem.sentence


def test_a_column_of_words_is_no_problem(tmp_path: Path) -> None:
    assert found(report_of(tmp_path, "site\nnorth\nsouth\n7\n")) == []


@pytest.mark.parametrize("header", ["age;sex", "age|sex"])
def test_a_table_whose_fields_another_mark_separates_is_noted(tmp_path: Path, header: str) -> None:
    (problem,) = found(report_of(tmp_path, f"{header}\n1,\n".replace(",", header[3])))
    assert f'the one column "{header}"' in problem.sentence and "commas" in problem.next_step and not problem.stops


def test_columns_that_no_query_can_name_are_counted(tmp_path: Path) -> None:
    (problem,) = found(report_of(tmp_path, f"age,,{'x' * 65}\n1,2,3\n"))
    assert "2 columns have no name" in problem.sentence
    (problem,) = found(report_of(tmp_path, "age,\n1,2\n"))
    assert "1 column has no name" in problem.sentence


def test_names_of_the_policy_that_the_table_does_not_have_are_told_to_the_holder(tmp_path: Path) -> None:
    report = report_of(tmp_path, "age,sex\n1,f\n")
    rules = ColumnRules(
        columns=frozenset({"age", "dose"}), hidden=frozenset({"name"}), numeric_only=frozenset({"age", "weight"})
    )
    named = [(problem.sentence.split('"')[1], problem.stops) for problem in found(report, rules)]
    assert named == [("name", True), ("weight", True), ("dose", False)]


def test_ten_thousand_columns_are_refused_by_their_number(tmp_path: Path) -> None:
    from protocol.errors import DataError

    with pytest.raises(DataError) as caught:
        report_of(tmp_path, ",".join(f"c{at}" for at in range(10_000)) + "\n")
    assert caught.value.code == Code.SOURCE_TOO_LARGE and "4,096 columns" in caught.value.sentence


def test_as_many_columns_as_possible_are_read_in_one_look(tmp_path: Path) -> None:
    names = [f"c{at}" for at in range(4_096)]
    report = report_of(tmp_path, "\n".join([",".join(names), ",".join("1" * 4_096), ",".join("x" * 4_096)]) + "\n")
    assert (report.rows, len(report.columns), report.columns[-1].others_line) == (2, 4_096, 3)
