"""What a holder hides is not there: with it and without it in the file, every answer is the same, faults included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotta_p2p.federated import child, groups
from flotta_p2p.federated.summary import prepare
from flotta_p2p.federated.tables import inspect
from protocol.columns import Column, ColumnRules
from protocol.errors import Code, DataError
from protocol.plan.artifact import Artifact, artifact_bytes
from protocol.plan.tasks import ChildAnswer, DisclosureRules, Fault, SourceFile, TaskRequest
from protocol.wire.codec import decode_record, encode_record
from tests.flotta_p2p.federated.helpers import artifact_of, csv_text, groups_of, source_of

HIDDEN = "hiv_status"
ROWS = [(str(20 + at % 7), "fm"[at % 2], "yes" if at % 3 else "no", str(at)) for at in range(24)]
HEADER = ("age", "sex", HIDDEN, "dose")
QUESTIONS: tuple[Artifact, ...] = (
    artifact_of("age", "count,mean"),
    artifact_of(HIDDEN, "count"),
    artifact_of("hiv_statu", "count"),
    artifact_of(f"age,{HIDDEN},zzz", "count"),
    artifact_of("sex", "mean"),
    artifact_of(HIDDEN, "histogram", f"{HIDDEN}:0:1:2"),
    artifact_of("age", "mean,variance,histogram", "age:0:100:5", where="dose > 3"),
    artifact_of("age", "count", where=f"{HIDDEN} == 'yes'"),
    artifact_of("age", "count", where=f"not ({HIDDEN} is None) and dose > 1"),
    artifact_of("age", "count", where="sex > 3"),
    groups_of("sex", "age", "mean"),
    groups_of(HIDDEN, "age", "mean"),
    groups_of(f"sex,{HIDDEN}"),
    groups_of("sex", HIDDEN),
    groups_of("sex", "age", "mean", where=f"{HIDDEN} in ['yes', 'no']"),
    groups_of("zzz"),
)


def answer_of(artifact: Artifact, source: SourceFile) -> bytes:
    """What leaves the source for this question, bytes of product or fault."""
    grouped = artifact.steps[1].operation == "groups.measure"
    settings = encode_record(groups.prepare(artifact) if grouped else prepare(artifact))
    request = TaskRequest(
        operation=artifact.steps[1].operation,
        artifact=artifact_bytes(artifact),
        source=source,
        inputs=(settings,),
        labels=("n/s",),
    )
    return child.answer(encode_record(request))


def without(rows: list[tuple[str, ...]], at: int) -> list[tuple[str, ...]]:
    return [row[:at] + row[at + 1 :] for row in rows]


def rules(*hidden: str, **more: Any) -> DisclosureRules:
    return DisclosureRules(minimum_cohort=2, minimum_cell=1, columns=ColumnRules(hidden=frozenset(hidden), **more))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hidden")


@pytest.mark.parametrize(
    "spoilt", ["", "short row", "long row", "blank line", "duplicate", "mixed", "huge", "quoted", "missing"]
)
def test_no_question_and_no_fault_tells_a_hidden_column_from_one_that_is_not_there(tmp_path: Path, spoilt: str) -> None:
    texts = pair_of_tables(spoilt)
    sources = []
    for number, hidden in enumerate(((HIDDEN,), ())):
        place = tmp_path / str(number)
        place.mkdir()
        sources.append(source_of(place, texts[number], rules=rules(*hidden)))
        if spoilt == "missing":
            Path(sources[-1].path).unlink()
    for artifact in QUESTIONS:
        with_it, bare = (answer_of(artifact, source) for source in sources)
        assert with_it == bare, artifact
        found = decode_record(with_it, ChildAnswer, bytes_max=1_000_000)
        if isinstance(found, Fault):
            assert HIDDEN not in found.next_step and found.code != Code.INTERNAL
            assert HIDDEN not in found.sentence or HIDDEN in str(artifact)


def pair_of_tables(spoilt: str) -> tuple[str, str]:
    """A table with the hidden column in it, and the same one without it; both spoilt alike."""
    header, rows = HEADER, list(ROWS)
    if spoilt == "duplicate":
        header = ("age", "sex", HIDDEN, "age")
    if spoilt in ("mixed", "huge"):
        rows[3] = ("many" if spoilt == "mixed" else "1e300", *rows[3][1:])
    ends = {
        "short row": ("1,f\n", "1\n"),
        "long row": (f"{'1,' * 9}1\n", f"{'1,' * 8}1\n"),
        "blank line": ("\n1,f,yes,2\n", "\n1,f,2\n"),
    }.get(spoilt, ("", ""))
    bare = without([header, *rows], 2)
    texts = (csv_text(header, rows) + ends[0], csv_text(bare[0], bare[1:]) + ends[1])
    return (texts[0].replace("age", '"age"'), texts[1].replace("age", '"age"')) if spoilt == "quoted" else texts


@given(st.permutations(HEADER), st.sampled_from(QUESTIONS), st.sampled_from(["hidden", "numeric", "closed"]))
def test_it_holds_wherever_the_column_stands_and_whatever_rule_closes_it(
    tmp_path_factory: pytest.TempPathFactory, header: list[str], artifact: Artifact, how: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    order = [HEADER.index(name) for name in header]
    rows = [tuple(row[at] for at in order) for row in ROWS]
    bare_rows = without([tuple(header), *rows], header.index(HIDDEN))
    closed = {
        "hidden": rules(HIDDEN),
        "numeric": rules(numeric_only=frozenset({HIDDEN})),  # it holds text, and so nothing that may be used
        "closed": rules(columns=frozenset(HEADER) - {HIDDEN}),
    }
    with_it = answer_of(artifact, source_of(folder, csv_text(header, rows), rules=closed[how]))
    assert with_it == answer_of(artifact, source_of(folder, csv_text(bare_rows[0], bare_rows[1:]), rules=rules()))


@pytest.mark.parametrize("key", ["hidden", "numeric_only"])
def test_a_table_that_lacks_a_guarded_column_is_not_opened_and_its_name_is_not_told(folder: Path, key: str) -> None:
    guarding = rules(HIDDEN) if key == "hidden" else rules(numeric_only=frozenset({HIDDEN}))
    source = source_of(folder, csv_text(("age", "HIV_status"), [("1", "x")] * 9), rules=guarding)
    for artifact in QUESTIONS:
        fault = decode_record(answer_of(artifact, source), ChildAnswer, bytes_max=100_000)
        assert isinstance(fault, Fault) and fault.code == Code.SOURCE_POLICY_UNFIT
        assert "status" not in (fault.sentence + fault.next_step).lower()


def test_a_table_with_other_columns_than_it_was_opened_with_is_refused(folder: Path) -> None:
    source = source_of(folder, csv_text(HEADER, ROWS), rules=rules(HIDDEN))
    opened = msgspec.structs.replace(source, schema=inspect(source).schema)
    assert inspect(opened) == inspect(source)
    source_of(folder, csv_text((*HEADER, "more"), [(*row, "1") for row in ROWS]))
    with pytest.raises(DataError) as caught:
        inspect(opened)
    assert caught.value.code == Code.SOURCE_SCHEMA_CHANGED and "more" not in caught.value.sentence
    answered = decode_record(answer_of(QUESTIONS[0], opened), ChildAnswer, bytes_max=100_000)
    assert isinstance(answered, Fault) and answered.code == Code.SOURCE_SCHEMA_CHANGED
    source_of(folder, csv_text(HEADER[::-1], [row[::-1] for row in ROWS]))
    assert inspect(opened).rows == len(ROWS)  # the same columns in another order are the same


def test_columns_that_are_closed_anyway_may_come_and_go(folder: Path) -> None:
    source = source_of(folder, csv_text(HEADER, ROWS), rules=rules(columns=frozenset({"age", "sex"})))
    opened = msgspec.structs.replace(source, schema=inspect(source).schema)
    source_of(folder, csv_text(HEADER[:2], [row[:2] for row in ROWS]))
    assert inspect(opened).rows == len(ROWS)


def test_a_name_that_stands_twice_is_told_only_where_its_column_may_be_seen(folder: Path) -> None:
    text = csv_text(("age", "surname", "surname"), [("1", "x", "y")] * 9)
    for one, told in ((rules(), True), (rules(numeric_only="all"), False)):
        with pytest.raises(DataError) as caught:
            inspect(source_of(folder, text, rules=one))
        assert (caught.value.code, "surname" in caught.value.sentence) == (Code.COLUMN_DUPLICATE, told)
    assert inspect(source_of(folder, text, rules=rules("surname"))).columns == (Column(name="age", type="number"),)
