"""`python -m simulations sweep` and `planted`: what they run, say and leave behind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest

from simulations import planted, sweep
from simulations.__main__ import main
from simulations.options import draw_long_node_count, draw_node_count
from simulations.plants import PLANTS
from simulations.running import Case, Ran, kind_of, run_case


def ran(case: Case, broken: str = "") -> Ran:
    hours_ms = (case.hours or 1) * 3_600_000
    return Ran(case, broken, digest="d", virtual_ms=hours_ms, events=10, frames=5, jobs=2, cpu_s=0.1)


def test_a_sweep_over_processes_reports_what_it_ran(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    assert main(["sweep", "--seeds", "2", "--first", "101", "--workers", "2", "--report", str(file)]) == 0
    report = json.loads(file.read_text())
    assert report["failures"] == []
    assert report["counts"]["seeds"] == 2 and report["counts"]["violations"] == 0
    assert {"part", "promise", "counts", "failures", "notes"} == report.keys()
    assert "2 seeds and 0 long runs" in capsys.readouterr().out


def test_a_failing_seed_is_named_with_the_command_that_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_all(cases: Iterable[Case], workers: int) -> Iterator[Ran]:
        return (ran(case, "Violation: no" if case.seed == 3 else "") for case in cases)

    monkeypatch.setattr(sweep, "run_all", run_all)
    said: list[str] = []
    file = tmp_path / "report.json"
    assert not sweep.sweep(1, 5, 0, 1, file, said.append)
    command = f"python -m simulations run --seed 3 --nodes {draw_node_count(3)}"
    assert json.loads(file.read_text())["failures"] == [f"{command}: Violation: no"]
    assert any(line.endswith(command) for line in said)


def test_long_runs_fill_up_the_hours_that_the_seeds_have_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Case] = []

    def run_all(cases: Iterable[Case], workers: int) -> Iterator[Ran]:
        for case in cases:
            asked.append(case)
            yield ran(case)

    monkeypatch.setattr(sweep, "run_all", run_all)
    said: list[str] = []
    assert sweep.sweep(1, 3, 13, 1, None, said.append)
    assert [case.hours for case in asked] == [0, 0, 0, 4, 4, 2]
    assert [case.nodes for case in asked[3:]] == [draw_long_node_count(seed) for seed in (1, 2, 3)]
    assert "13.0 simulated hours" in said[-1]


def test_an_interrupted_sweep_keeps_what_it_has_done_and_did_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_all(cases: Iterable[Case], workers: int) -> Iterator[Ran]:
        yield ran(next(iter(cases)))
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "run_all", run_all)
    file = tmp_path / "report.json"
    assert not sweep.sweep(1, 5, 0, 1, file, lambda line: None)
    report = json.loads(file.read_text())
    assert report["counts"]["seeds"] == 1
    assert any("interrupted" in failure for failure in report["failures"])


def test_a_sweep_goes_on_where_another_was_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Case] = []

    def run_all(cases: Iterable[Case], workers: int) -> Iterator[Ran]:
        for case in cases:
            asked.append(case)
            yield ran(case)

    monkeypatch.setattr(sweep, "run_all", run_all)
    tally = sweep.Tally(lambda line: None)
    for case in (*(Case(seed, 3) for seed in (1, 2, 3)), Case(1, 3, hours=4), Case(2, 3, hours=4)):
        tally.add(ran(case, "Violation: no" if case.seed == 2 and case.hours else ""))
    kept, file = tmp_path / "seeds.json", tmp_path / "report.json"
    ended = sweep.EndedSweep(report=tally.report(1, whole=False), commit="c0ffee", began="yesterday")
    kept.write_bytes(msgspec.json.encode(ended))
    assert not sweep.sweep(1, 5, 18, 2, file, lambda line: None, kept)
    assert [(case.seed, case.hours) for case in asked] == [(6, 0), (7, 0), (5, 4), (6, 1)]  # 4, and 3, may have begun
    report = json.loads(file.read_text())
    assert (report["counts"]["seeds"], report["counts"]["simulated hours"]) == (5, 18)
    assert [line.rpartition(": ")[2] for line in report["failures"]] == ["no"]
    assert "c0ffee" in report["notes"][-1]


def test_a_plant_that_is_not_found_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planted, "run_case", ran)
    file = tmp_path / "report.json"
    assert not planted.planted(1, 2, file, lambda line: None)
    assert len(json.loads(file.read_text())["failures"]) == len(PLANTS)


def test_a_seed_that_fails_without_the_plant_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planted, "run_case", lambda case: ran(case, "Violation: always"))
    assert planted.find("old-fence", 1, 3) is None


def test_a_plant_is_found_by_the_first_seed_that_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planted, "run_case", lambda case: ran(case, "x" if case.plant and case.seed == 2 else ""))
    found = planted.find("old-fence", 1, 3)
    assert found is not None and found.case.seed == 2


def test_the_same_rule_is_the_same_kind_whoever_broke_it() -> None:
    one = kind_of("Violation: the fence of executed 32a07237f707 at n2 fell from 17000 to 15000")
    other = kind_of("Violation: the fence of executed 77a072370000 at n12 fell from 9 to 4")
    assert one == other != kind_of("Violation: the fence of attempt 77a072370000 at n12 fell from 9 to 4")


def test_a_long_run_holds_and_repeats_itself() -> None:
    one, other = (run_case(Case(1, 2, hours=1)) for _ in range(2))
    assert one.broken == "" and one.digest == other.digest
    assert one.virtual_hours >= 1
