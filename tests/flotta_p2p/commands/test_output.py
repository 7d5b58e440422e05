"""Tables, histograms, sentences: what people see is exact, complete and cannot move their cursor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from flotta_p2p.commands.output import clean, show_error, table
from flotta_p2p.commands.results import job_sentence, job_values, jobs_lines, result_lines, result_values
from protocol.plan.tasks import ColumnSummary, Coverage, Histogram, SourceCoverage, Summary
from protocol.wire.jobs import Cause, JobState, JobStatus

NAMES = {"A/north": "North", "B/south": "South"}


def status(state: JobState, cause: Cause | None = None, cancelling: bool = False) -> JobStatus:
    return JobStatus(
        job_id=b"j" * 32,
        project=b"p" * 16,
        submitter=b"s" * 32,
        state=state,
        epoch=1,
        submitted_ms=1_000,
        ended_ms=2_500 if state in ("succeeded", "failed", "cancelled", "expired") else 0,
        tasks_done=2,
        tasks_all=5,
        cancelling=cancelling,
        scheduler=b"n" * 32,
        holder_names=NAMES,
        durable=True,
        cause=cause,
    )


def summary() -> Summary:
    age = ColumnSummary(
        present=30,
        missing=2,
        sources=1,
        mean=0.1 + 0.2,
        variance=2.0,
        histogram=Histogram(edges=(0.0, 1.0, 2.0), counts=(20, 0), below=0, above=10, cells_withheld=3),
    )
    lone = ColumnSummary(present=0, missing=0, sources=0)
    return Summary(
        rows=32,
        columns={"age": age, "bmi": lone},
        coverage=Coverage(
            sources=2,
            sources_counted=1,
            rows=32,
            cells_withheld=3,
            by_source=(
                SourceCoverage(source="A/north", rows=32, cells_withheld=3, columns_withheld=("bmi",)),
                SourceCoverage(
                    source="B/south",
                    rows=None,
                    cells_withheld=0,
                    columns_withheld=("age", "bmi"),
                    withheld="fewer than 10 rows are selected",
                ),
            ),
        ),
    )


def test_results_show_the_numbers_exactly_as_computed() -> None:
    text = "\n".join(result_lines(summary(), NAMES))
    assert "0.30000000000000004" in text
    assert "1.4142135623730951" in text
    values = result_values(b"j" * 32, summary(), NAMES)
    assert json.loads(json.dumps(values))["columns"]["age"]["mean"] == 0.1 + 0.2


def test_a_column_that_every_source_withheld_is_no_zero_in_the_table_nor_in_json() -> None:
    lines = list(result_lines(summary(), NAMES))
    assert next(line for line in lines if line.startswith("bmi")).split() == ["bmi", *["withheld"] * 5]
    columns = result_values(b"j" * 32, summary(), NAMES)["columns"]
    assert (columns["bmi"]["present"], columns["bmi"]["missing"], columns["bmi"]["withheld"]) == (None, None, True)
    assert (columns["age"]["present"], columns["age"]["missing"], columns["age"]["withheld"]) == (30, 2, False)


def test_rows_that_no_source_let_out_are_null_in_json() -> None:
    nothing = replace(summary(), rows=0, coverage=replace(summary().coverage, sources_counted=0, rows=0))
    values = result_values(b"j" * 32, nothing, NAMES)
    assert values["rows"] is None and values["coverage"]["rows"] is None


def test_results_say_who_took_part_and_what_was_withheld_and_why() -> None:
    *_, coverage, _, last = result_lines(summary(), NAMES)
    assert coverage.split() == ["South/south", "withheld", "0"]
    assert last.startswith("North/north withheld bmi (too few values for its minimum cohort); ")
    assert "South/south withheld everything (fewer than 10 rows are selected); 3 histogram cells" in last


def test_histograms_have_a_bar_for_each_bin_and_name_what_lies_outside() -> None:
    lines = list(result_lines(summary(), NAMES))
    at = next(index for index, line in enumerate(lines) if line.startswith("age: "))
    assert "0 below, 10 above; 3 cells of holders are withheld" in lines[at]
    assert lines[at + 2].split() == ["[0.0,", "1.0)", "20", "█" * 30]
    assert lines[at + 3].split() == ["[1.0,", "2.0]", "0"]


def test_a_failed_job_names_node_source_cause_and_next_step_in_one_sentence() -> None:
    cause = Cause("column-unknown", "there is no column x", b"n" * 32, "North", "north", "did you mean y?")
    line = job_sentence(status("failed", cause))
    assert line.startswith("job jnjvgu2tk failed at node North, source north: there is no column x. Next: did you mean")
    values = job_values(status("failed", cause))
    assert values["cause"]["code"] == "column-unknown"
    assert json.dumps(values)


def test_every_state_has_its_sentence() -> None:
    assert "is running: 2 of 5 tasks done. Next: flotta-p2p job wait" in job_sentence(status("running"))
    assert "is running and being cancelled" in job_sentence(status("running", cancelling=True))
    assert "succeeded after 1.5 s" in job_sentence(status("succeeded"))
    assert "was cancelled after 1.5 s" in job_sentence(status("cancelled"))
    assert "expired after 1.5 s" in job_sentence(status("expired"))


def test_jobs_are_a_table_and_none_is_said() -> None:
    assert jobs_lines(())[0].startswith("No jobs.")
    assert jobs_lines((status("running"),))[1].split()[:3] == ["jnjvgu2tk", "running", "2/5"]


def test_tables_are_aligned_numbers_to_the_right() -> None:
    assert table(("name", "rows"), [("a", "5"), ("long name", "1000")], right=frozenset({1})) == [
        "name       rows",
        "a             5",
        "long name  1000",
    ]


def test_text_of_others_cannot_move_the_cursor() -> None:
    assert clean("a\x1b[2Jb\rc\u202ed") == "a�[2Jb�c�d"
    assert "\x1b" not in table(("x",), [("\x1b[31m",)])[1]


def test_an_error_names_its_job_once(capsys: pytest.CaptureFixture[str]) -> None:
    show_error("x", "it is lost", job="jabc")
    show_error("x", "nobody knows jabc", job="jabc")
    assert capsys.readouterr().err.splitlines() == [
        "flotta-p2p: job jabc: it is lost.",
        "flotta-p2p: nobody knows jabc.",
    ]


@pytest.mark.parametrize("as_json", [("--json",), ()])
def test_a_full_disk_below_standard_output_is_told_in_one_sentence(as_json: tuple[str, ...], tmp_path: Path) -> None:
    line = [sys.executable, "-P", "-m", "flotta_p2p", "key", "new", "--key", str(tmp_path / "my.key"), *as_json]
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert ran.returncode == 7
    assert ran.stderr.startswith("flotta-p2p: standard output cannot be written: ")
    assert ran.stderr.count("\n") == 1


def test_all_that_is_withheld_is_not_called_zero_rows() -> None:
    nobody = Summary(
        rows=0,
        columns={"age": ColumnSummary(present=0, missing=0, sources=0)},
        coverage=Coverage(sources=1, sources_counted=0, rows=0, cells_withheld=0, by_source=()),
    )
    assert next(iter(result_lines(nobody, {}))).startswith("No rows: ")
