"""A run while it goes on, for people: a table on a terminal, lines elsewhere, nothing with --json."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from actors.flame_executor import RunProgress
from flame.control import Beat, InputCount
from flame.run.run_progress import NodeProgress
from flame.run.run_record import NodeResult, RunResult
from flotta_p2p.commands.flame import run_display
from flotta_p2p.commands.flame.run_display import counters, displayed, result_rows
from protocol.machines.flame_events import NodeEnd, NodeView, RunView

BEAT = Beat({"trace": InputCount(1_000, 2, 3), "gain": InputCount(1)}, {"beat": 7}, "plot/beat")


def view(name: str, state: str, end: NodeEnd | None = None, problem: str = "", restarts: int = 0) -> NodeView:
    return NodeView(name=name, state=state, end=end, code=None, signal=None, problem=problem, restarts=restarts)


def progress(phase: str, *nodes: NodeView, reason: str = "") -> RunProgress:
    return RunProgress(view=RunView(phase=phase, end=None, reason=reason, nodes=nodes, late=0), beats={"lock": BEAT})


def test_counters_are_sums_over_inputs_and_outputs() -> None:
    assert counters(NodeProgress("running", inputs=BEAT.inputs, sent=BEAT.sent)) == ("1,001", "7", "2", "3")
    result = RunResult("j", "j1", "failed", "", {"lock": NodeResult("failed", 1, None, "x", 2, BEAT.inputs)}, 1, 2)
    assert result_rows(result) == [("lock", "failed", "1,001", "0", "2", "3", "2")]


def test_elsewhere_each_change_that_matters_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with displayed("j1", as_json=False) as show:
        show(progress("starting", view("lock", "starting")))
        show(progress("running", view("lock", "running")))
        show(progress("running", view("lock", "running")))
        show(progress("running", view("lock", "safing", "killed", "signal 9")))
        show(progress("running", view("lock", "pausing", "killed", "signal 9")))
        show(progress("running", view("lock", "running", restarts=1)))
        show(progress("stopping", view("lock", "stopping", restarts=1), reason="enough\x1b[2J"))
        show(progress("ended", view("lock", "ended", "stopped", restarts=1)))
    assert capsys.readouterr().err.splitlines() == [
        "j1 starting",
        "j1 running",
        "j1 lock: signal 9; its safe program runs",
        "j1 lock: signal 9; it is started anew",
        "j1 lock: running again",
        "j1 stopping: enough�[2J",
        "j1 lock: stopped",
    ]


@pytest.mark.parametrize("state", ["running", "pausing", "ended"])
def test_only_what_runs_waits_for_its_first_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    monkeypatch.setattr(run_display, "_FIRST_TOLD_S", 0.0)
    at = view("lock", state, None if state == "running" else "failed", "exit code 1")
    waiting = RunProgress(
        view=progress("running", at).view, beats={"lock": Beat(awaits={"gain": "fit/centre", "trace": "scope/trace"})}
    )
    with displayed("j1", as_json=False) as show:
        for _ in range(3):
            show(waiting)
    told = "j1 lock: waits for its first value of fit/centre or scope/trace"
    assert capsys.readouterr().err.splitlines().count(told) == (state == "running")


def test_with_json_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with displayed("j1", as_json=True) as show:
        show(progress("running", view("lock", "running")))
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_table_with_who_holds_up_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", screen)
    with displayed("j1", as_json=False) as show:
        show(progress("running", view("lock", "running"), view("scope", "ended", "succeeded")))
    table = Console(file=io.StringIO(), width=120, record=True)
    table.print(run_display._table("j1", progress("running", view("[lock]", "running"), view("lock", "running"))))
    text = table.export_text()
    assert "j1 running" in text and "[lock]" in text and "plot/beat" in text and "Ctrl-C stops it in order" in text
    assert "1,001" in text and "\x1b" in screen.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_that_goes_away_stops_the_display_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

        def isatty(self) -> bool:
            return is_terminal

    monkeypatch.setattr(sys, "stderr", Gone())
    with displayed("j1", as_json=False) as show:
        show(progress("running", view("lock", "running")))
        show(progress("stopping", view("lock", "running")))
