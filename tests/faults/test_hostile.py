"""Hostile neighbours, in small counts; `python -m tests.faults.hostile` runs the large ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.hostile import main, replays
from tests.faults.hostile_attack import attack
from tests.faults.hostile_identity import spoof
from tests.faults.hostile_zap import matrix
from tests.faults.outcome import Found

pytestmark = pytest.mark.system


def test_jobs_go_on_while_hostile_clients_of_every_kind_are_let_loose() -> None:
    some = ("unknown client key", "door key, garbage", "peer, every type")
    found = attack(300, quiet_s=1.0, say=print, with_endless=False, curve_attacks=some, raw_limit_s=8.0)
    assert found.failures == []
    assert found.counts["jobs checked"] >= 2


def test_strangers_who_take_every_descriptor_do_not_end_the_node() -> None:
    found = attack(
        3_000,
        quiet_s=1.0,
        say=print,
        with_endless=False,
        curve_attacks=(),
        descriptors_max=300,
        raw_limit_s=5.0,
    )
    assert found.failures == []
    assert int(found.figures["most at once, main port"]) > 300


def test_nobody_is_let_in_whatever_is_wrong_with_the_asker_or_the_handler() -> None:
    found = matrix(10, asked_s=0.5)
    assert found.failures == [] and found.counts["ZAP cells"] == 12


def test_nobody_is_believed_who_claims_to_be_another() -> None:
    found = spoof()
    assert found.failures == [] and found.counts["spoofs"] > 100


def test_frames_that_come_again_have_no_second_effect() -> None:
    found = replays(frames=3_000, over_sockets=500, jobs=2, seed=7)
    assert found.failures == []


@pytest.mark.parametrize("failures", [[], ["it broke"]])
def test_the_report_is_written_whatever_happened(
    failures: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.faults.hostile.run", lambda options, say: Found(failures=failures))
    file = tmp_path / "report.json"
    assert main(["--report", str(file)]) == len(failures)
    told = json.loads(file.read_text())
    assert told["failures"] == failures
