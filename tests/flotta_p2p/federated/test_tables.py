"""What can be read, what a cell means, and what is wrong with a file, said without its path or content."""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotta_p2p.federated.table_file import TableFile, open_table
from flotta_p2p.federated.tables import inspect, read_columns
from protocol.columns import Column
from protocol.errors import Code, DataError
from protocol.limits import COLUMNS_MAX, SOURCE_BYTES_MAX
from protocol.plan.tasks import SourceFile
from tests.flotta_p2p.federated.helpers import csv_text, quoted, source_of
from tests.users import without_privileges

SECRET = "Maria Rossi"


def fault_of(source: SourceFile, *columns: str) -> DataError:
    with pytest.raises(DataError) as caught:
        read_columns(open_table(source), columns or ("age",))
    error = caught.value
    assert source.path not in str(error)
    assert SECRET not in str(error)
    assert f'"{source.name}"' in error.sentence
    assert error.next_step
    return error


def cells(source: SourceFile, name: str) -> list[object]:
    return read_columns(open_table(source), [name])[name].to_list()


# --- cells --------------------------------------------------------------------------------------


MISSING = ["", "NA", "na", "NaN", "nan", "N/A", "null", "NULL", "  NA ", '""', '"NA"']


@pytest.mark.parametrize("word", MISSING)
def test_a_missing_value_is_written_in_one_of_these_ways(tmp_path: Path, word: str) -> None:
    assert cells(source_of(tmp_path, f"age,sex\n1,f\n{word},m\n"), "age") == [1.0, None]


@pytest.mark.parametrize("quote", [str, quoted])
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2.5", "+3", ".5", "1e3", "1E-3", "NA"], "number"),
        (["true", "False", "TRUE", ""], "boolean"),
        (["1", "true"], "text"),
        (["1", "inf"], "text"),
        (["1", "1e999"], "text"),
        (["1", "1_000"], "text"),
        (["1", "0x10"], "text"),
        (["1", "١"], "text"),
        (["NA", ""], "number"),
    ],
)
def test_the_whole_file_decides_the_type(tmp_path: Path, values: list[str], kind: str, quote: object) -> None:
    rows = [["0" if kind == "number" else values[0], "x"]] * 2_000 + [[value, "x"] for value in values]
    text = csv_text(("a", "b"), rows)
    source = source_of(tmp_path, quoted(text) if quote is quoted else text)
    assert inspect(source).columns == (Column(name="a", type=kind), Column(name="b", type="text"))  # type: ignore[arg-type]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_are_read_as_the_nearest_double(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    forms = [form for value in values for form in (f"{value!r}", f"{value:.25e}", f"{value:.3f}")]
    folder = tmp_path_factory.mktemp("numbers")
    found = cells(source_of(folder, csv_text(("a", "b"), [(form, 0) for form in forms])), "a")
    assert found == [float(form) for form in forms]


@pytest.mark.parametrize("more", ["", "2.5,1\n", "NA,1\n"])
@pytest.mark.parametrize("quote", [str, quoted])
def test_there_is_no_negative_zero(tmp_path: Path, quote: Callable[[str], str], more: str) -> None:
    for zero in ("-0.0", "-0", "-1e-400"):
        value, *_ = cells(source_of(tmp_path, quote(f"age,b\n{zero},1\n{more}")), "age")
        assert isinstance(value, float)
        assert (value, math.copysign(1.0, value)) == (0.0, 1.0)


@given(
    st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=6)] * 2),
        max_size=12,
    )
)
def test_quoted_and_plain_files_hold_the_same_cells(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    plain = [tuple(cell.translate({44: None, 34: None}) for cell in row) for row in rows]
    text = "".join(f"{a},{b}\n" for a, b in [("a", "b"), *plain])
    folder = tmp_path_factory.mktemp("cells")
    one, two = source_of(folder, text), source_of(folder, '"a","b"\n' + text[4:], name="quoted")
    names = ("a", "b")
    assert read_columns(open_table(one), names).equals(read_columns(open_table(two), names))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfage,sex\n40,f\n50,m\n",
        b"age,sex\r\n40,f\r\n50,m\r\n",
        b"age,sex\r40,f\r50,m\r",
        b"age,sex\n40,f\n50,m",
        b"age,sex\n40,f\n50,m\n\n\r\n",
        b" age , sex \n 40 , f \n 50 , m \n",
        b'"age","sex"\n"40","f"\n50,"m"\n\n',
        b'age,"sex\nof birth",sex\n40,"a\nb",f\n50,"c ""d""",m\n',
    ],
)
def test_usual_kinds_of_files_are_read_alike(tmp_path: Path, content: bytes) -> None:
    source = source_of(tmp_path, content)
    assert cells(source, "age") == [40.0, 50.0]
    assert cells(source, "sex") == ["f", "m"]


def test_a_table_with_tabs_is_read(tmp_path: Path) -> None:
    source = source_of(tmp_path, "age\tname\n40\ta, b\n\t\n", kind="tsv")
    assert cells(source, "age") == [40.0, None]
    assert cells(source, "name") == ["a, b", None]


def test_a_header_that_begins_like_a_compressed_file_is_a_header(tmp_path: Path) -> None:
    assert cells(source_of(tmp_path, "x^2,y\n1,2\n"), "y") == [2.0]


def test_a_header_alone_is_a_table_of_no_rows(tmp_path: Path) -> None:
    source = source_of(tmp_path, "age,sex\n")
    assert cells(source, "age") == []
    assert [column.name for column in inspect(source).columns] == ["age", "sex"]


def test_a_path_is_no_pattern(tmp_path: Path) -> None:
    source_of(tmp_path, "age,b\n1,2\n", name="a1")
    source = source_of(tmp_path, "age,b\n7,8\n", name="a[1]")
    assert cells(source, "age") == [7.0]


def test_columns_that_no_query_can_name_are_not_listed(tmp_path: Path) -> None:
    source = source_of(tmp_path, f",age,{'x' * 65},\n1,2,3,4\n")
    assert [column.name for column in inspect(source).columns] == ["age"]


# --- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (b"", Code.SOURCE_EMPTY, "first line"),
        (b"\xef\xbb\xbf", Code.SOURCE_EMPTY, "first line"),
        (b"\n\nage\n", Code.SOURCE_EMPTY, "first line"),
        (b"age,name\n1,Maria Rossi\n2\n", Code.SOURCE_RAGGED, "1 field too few in line 3"),
        (b"age,name\n1,Maria Rossi,3,4\n", Code.SOURCE_RAGGED, "2 fields too many in line 2"),
        (b'age,name\n"1","Maria Rossi"\n"2"\n', Code.SOURCE_RAGGED, "1 field too few in line 3"),
        (b'age,name\n1,"' + b"x" * 200_000 + b'"\n', Code.SOURCE_RAGGED, "field of more than 131,072 characters"),
        (b"age,name\n1,Maria Rossi\n\n2,b\n", Code.SOURCE_RAGGED, "blank line 3"),
        (b'age,name\n1,"Maria Rossi"\n\n2,b\n', Code.SOURCE_RAGGED, "blank line 3"),
        (b"age\n1\n\n2\n", Code.SOURCE_RAGGED, "blank line 3"),
        (b'age,name\n1,"Maria Rossi\n2,b\n', Code.SOURCE_RAGGED, "quotes"),
        (b'age,name\n1,"Maria Rossi"x\n', Code.SOURCE_RAGGED, "quotes"),
        (b'"age,name\n1,2\n', Code.SOURCE_RAGGED, "quotes"),
        (b"age,name\n1,Maria Rossi\n2,caf\xe9\n", Code.SOURCE_ENCODING, "line 3"),
        (b"age,name\n1,caf\xc3", Code.SOURCE_ENCODING, "line 2"),
        ("age,name\n1,Maria Rossi\n".encode("utf-16"), Code.SOURCE_ENCODING, "line 1"),
        (b"age,name\n1,Maria Rossi\n2,a\0b\n", Code.SOURCE_ENCODING, "NUL byte in line 3"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", Code.SOURCE_ENCODING, "line 1"),
        (b"age,age\n1,2\n", Code.COLUMN_DUPLICATE, '"age"'),
        (b"Age,name\n1,2\n", Code.COLUMN_UNKNOWN, '"age"'),
    ],
)
def test_a_broken_table_is_refused_with_its_cause(tmp_path: Path, content: bytes, code: Code, says: str) -> None:
    error = fault_of(source_of(tmp_path, content))
    assert (error.code, says in error.sentence) == (code, True), error


def test_the_line_of_a_wrong_byte_is_right_beyond_the_first_chunk(tmp_path: Path) -> None:
    content = b"age,name\n" + b"1,a\n" * 500_000 + b"2,\xff\n"
    assert "line 500002" in fault_of(source_of(tmp_path, content)).sentence


def test_an_unknown_column_names_the_nearest_ones(tmp_path: Path) -> None:
    source = source_of(tmp_path, "body_mass_g,sex\n1,f\n")
    assert fault_of(source, "Body_mass").next_step == "did you mean body_mass_g?"
    assert fault_of(source, "zzz").next_step == "its columns are body_mass_g, sex"


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    source = SourceFile(name="patients", path=str(tmp_path / "none.csv"), type="csv")
    assert fault_of(source).code == Code.SOURCE_MISSING


def test_a_folder_or_a_pipe_is_no_table(tmp_path: Path) -> None:
    folder = SourceFile(name="patients", path=str(tmp_path), type="csv")
    assert "folder" in fault_of(folder).sentence
    os.mkfifo(tmp_path / "pipe.csv")
    pipe = SourceFile(name="patients", path=str(tmp_path / "pipe.csv"), type="csv")
    assert fault_of(pipe).code == Code.SOURCE_UNREADABLE


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    source = source_of(tmp_path, "age\n1\n")
    Path(source.path).chmod(0)
    with without_privileges():
        error = fault_of(source)
    assert (error.code, "permission" in error.sentence) == (Code.SOURCE_UNREADABLE, True)


def test_a_table_beyond_the_limits_is_refused_at_once(tmp_path: Path) -> None:
    source = source_of(tmp_path, "age\n")
    os.truncate(source.path, SOURCE_BYTES_MAX + 1)
    assert fault_of(source).code == Code.SOURCE_TOO_LARGE
    wide = source_of(tmp_path, ",".join(f"c{at}" for at in range(COLUMNS_MAX + 1)) + "\n")
    assert fault_of(wide).code == Code.SOURCE_TOO_LARGE


def test_a_file_that_changes_while_it_is_read_gives_no_result(tmp_path: Path) -> None:
    source = source_of(tmp_path, "age,sex\n1,f\n")
    table = open_table(source)
    with Path(source.path).open("a") as file:
        file.write("2,m\n")
    with pytest.raises(DataError) as caught:
        read_columns(table, ["age"])
    assert caught.value.code == Code.SOURCE_CHANGED


def changed(table: TableFile) -> DataError:
    with pytest.raises(DataError) as caught:
        read_columns(table, ["age"])
    assert caught.value.code == Code.SOURCE_CHANGED
    return caught.value


@pytest.mark.parametrize("in_place", [True, False])
def test_a_file_that_becomes_another_of_the_same_size_and_time_gives_no_result(tmp_path: Path, in_place: bool) -> None:
    source = source_of(tmp_path, "age,sex\n1,f\n")
    table = open_table(source)
    status = Path(source.path).stat()
    other = Path(source.path) if in_place else tmp_path / "other"
    other.write_text("age,sex\n9,f\n")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(source.path)
    changed(table)


def test_a_change_right_after_the_file_was_written_and_opened_is_noticed(tmp_path: Path) -> None:
    """The kernel's clock stands still between two ticks: a stamp as young as that is waited for."""
    for at in range(10):
        source = source_of(tmp_path, f"age\n{at}\n")
        table = open_table(source)
        Path(source.path).write_text(f"age\n{9 - at}\n")
        changed(table)


@pytest.mark.parametrize("text", ["age,sex\n1,f\n", '"age",sex\n1,f\n'])
@pytest.mark.parametrize("more", ["2", "\n\n3,f\n", '3,"m'])
def test_a_line_that_is_still_being_written_is_a_change_and_no_fault_of_the_table(
    tmp_path: Path, text: str, more: str
) -> None:
    source = source_of(tmp_path, text)
    table = open_table(source)
    with Path(source.path).open("a") as file:
        file.write(more)
    changed(table)


def test_a_file_that_is_replaced_again_and_again_never_gives_rows_of_two_of_them(tmp_path: Path) -> None:
    rows = 20_000
    source = source_of(tmp_path, "age\n" + "0\n" * rows)
    stop = threading.Event()

    def replace() -> None:
        for turn in itertools.count(1):
            new = tmp_path / "new"
            new.write_text("age\n" + f"{turn % 2}\n" * rows)
            new.rename(source.path)
            if stop.wait(0.03):
                return

    writer = threading.Thread(target=replace)
    writer.start()
    codes = set()
    try:
        for _ in range(40):
            try:
                assert len(set(cells(source, "age"))) == 1
            except DataError as error:
                codes.add(error.code)
    finally:
        stop.set()
        writer.join()
    assert codes <= {Code.SOURCE_CHANGED}


@given(st.binary(max_size=200) | st.text('ab1,."\n\r \t\0é', max_size=60).map(str.encode))
def test_any_bytes_are_a_table_or_one_fault(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    source = source_of(tmp_path_factory.mktemp("any"), content)
    try:
        names = [column.name for column in inspect(source).columns]
        table = open_table(source)
        if names:
            read_columns(table, names)
    except DataError as error:
        assert source.path not in str(error)
