"""What the checks say of a node that runs, told by reports of every kind; and that no check can break the others."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from actors.adapters.interfaces import Interface
from actors.adapters.machine import OpenFiles, disk_of
from flotta_p2p.doctor import company, examine, folder, machine, network, storage
from flotta_p2p.doctor.finding import Finding, ok
from flotta_p2p.doctor.patient import Patient
from protocol.errors import Code, ConfigError, UnreachableError
from protocol.limits import JOBS_KEPT_MAX, MIB
from protocol.wire.jobs import Cause
from tests.flotta_p2p.commands.test_output import status as job
from tests.flotta_p2p.doctor.patients import peer, running, with_jobs


def one(findings: Any) -> Finding:
    (finding,) = findings
    assert isinstance(finding, Finding)
    return finding


# --- clients ------------------------------------------------------------------------------------


def test_a_client_listens_on_nothing_and_that_is_well(tmp_path: Path) -> None:
    client = running(tmp_path, status={"listening": []})
    assert one(network.interfaces(client)).verdict == "ok"
    assert list(network.ports(client)) == []
    assert one(network.discovery(client)).verdict == "ok"


def test_a_standalone_node_on_loopback_is_well_and_nobody_is_told_to_open_it(tmp_path: Path) -> None:
    def seen(mode: str) -> Finding:
        return one(network.interfaces(running(tmp_path, {"listening": ["127.0.0.1:1456"], "mode": mode})))

    assert (seen("standalone").verdict, seen("standalone").next_step) == ("ok", "")
    assert seen("node").verdict == "warning" and "node.interface" in seen("node").next_step
    alone = one(network.discovery(running(tmp_path, {"listening": ["127.0.0.1:1456"], "mode": "standalone"})))
    assert alone.verdict == "ok" and "join.url" not in alone.seen


def scheduler(state: str, **more: Any) -> dict[str, Any]:
    return {"name": "North", "node": "id", "state": state, "unanswered": 0, "silent_ms": 500, **more}


def test_a_scheduler_that_answers_no_polls_is_wrong_and_since_when(tmp_path: Path) -> None:
    silent = scheduler("silent", unanswered=7, silent_ms=3 * 60_000)
    finding = one(company.schedulers(running(tmp_path, status={"schedulers": [silent]})))
    assert (finding.verdict, finding.code) == ("failed", Code.NODE_UNREACHABLE)
    assert "7 polls" in finding.seen and "silent for 3 min" in finding.seen
    assert one(company.schedulers(running(tmp_path, status={"schedulers": [scheduler("answered")]}))).verdict == "ok"


def test_a_client_whose_scheduler_is_silent_is_sent_to_that_address_and_not_to_direct_connections(
    tmp_path: Path,
) -> None:
    north = peer("North", "away", silent_ms=180_000)
    behind = peer("South", "away", addresses=[], silent_ms=180_000)
    silent = scheduler("silent", unanswered=7, node=north["node"])
    client = running(tmp_path, {"schedulers": [silent]}, {"peers": [north, behind]})
    finding = one(company.schedulers(client))
    assert "192.168.1.20:1456" in finding.seen
    assert finding.next_step.startswith("flotta-p2p doctor --to 192.168.1.20:1456 ")
    to_north, to_south = company.peers(client)
    assert "see scheduler North" in to_north.next_step
    assert "through North alone" in to_south.next_step
    assert not any("to each other" in each.next_step for each in (to_north, to_south))


# --- retention and quota -----------------------------------------------------------------------


def with_results(folder: Path, **changes: Any) -> dict[str, Finding]:
    results = {
        "jobs": 1,
        "used_bytes": 0,
        "reserved_bytes": 0,
        "quota_bytes": 100 * MIB,
        "keep_days": 90.0,
        "clock_in_doubt": False,
    }
    return {found.check: found for found in storage.retention(running(folder, status={"results": results | changes}))}


@pytest.mark.parametrize(
    ("used_mib", "reserved_mib", "verdict"), [(89, 0, "ok"), (90, 0, "warning"), (45, 45, "warning"), (99, 1, "failed")]
)
def test_the_quota_is_noted_from_nine_tenths_on_and_wrong_where_jobs_are_refused(
    used_mib: int, reserved_mib: int, verdict: str, tmp_path: Path
) -> None:
    found = with_results(tmp_path, used_bytes=used_mib * MIB, reserved_bytes=reserved_mib * MIB)["quota"]
    assert (found.verdict, found.code) == (verdict, Code.QUOTA_REACHED if verdict == "failed" else None)
    assert ("job remove" in found.next_step) == (verdict != "ok")


def test_too_many_jobs_and_a_clock_that_is_not_believed_are_noted(tmp_path: Path) -> None:
    assert set(with_results(tmp_path)) == {"quota"}
    found = with_results(tmp_path, jobs=JOBS_KEPT_MAX * 9 // 10, clock_in_doubt=True)
    assert [found[name].verdict for name in ("jobs kept", "retention")] == ["warning", "warning"]
    assert "NTP" in found["retention"].next_step


# --- the way out -------------------------------------------------------------------------------


def test_the_way_out_is_wrong_when_the_proxy_is_and_noted_when_one_address_is(tmp_path: Path) -> None:
    def seen(*problems: tuple[str, Code]) -> list[tuple[str, str]]:
        told = [
            {"address": address, "code": code.value, "sentence": "it fails", "next_step": "mend it"}
            for address, code in problems
        ]
        values = {"proxy": "http://proxy:3128", "ways": 1, "opened": 2, "failed": len(told), "problems": told}
        return [(each.check, each.verdict) for each in network.way_out(running(tmp_path, {"way_out": values}))]

    assert seen() == [("way out", "ok")]
    assert seen(("lab:1456", Code.PROXY_REFUSED)) == [("way out", "ok"), ("way to lab:1456", "warning")]
    assert seen(("lab:1456", Code.NODE_UNREACHABLE), ("x:1", Code.PROXY_UNREACHABLE)) == [("way out", "failed")]
    assert list(network.way_out(running(tmp_path))) == []


# --- the company -------------------------------------------------------------------------------


def test_a_peer_that_is_away_is_noted_with_since_when_and_where(tmp_path: Path) -> None:
    away = peer("South", "away", silent_ms=3 * 60_000)
    finding = one(company.peers(running(tmp_path, peers={"peers": [away]})))
    assert (finding.check, finding.verdict) == ("peer South", "warning")
    assert "heard 3 min ago" in finding.seen
    assert "192.168.1.20:1456" in finding.next_step


def test_a_peer_not_heard_since_the_start_is_said_to_be_so(tmp_path: Path) -> None:
    finding = one(company.peers(running(tmp_path, peers={"peers": [peer("South", "admitted", silent_ms=None)]})))
    assert "not heard since this node started" in finding.seen


def test_a_peer_without_a_common_project_is_noted_and_if_none_has_one_something_is_wrong(tmp_path: Path) -> None:
    foreign = peer("South", projects=[])
    noted, wrong = company.peers(running(tmp_path, peers={"peers": [foreign]}))
    assert (noted.code, noted.verdict) == (Code.PROJECT_UNKNOWN, "warning")
    assert (wrong.code, wrong.verdict) == (Code.PROJECT_UNKNOWN, "failed")
    company_kept = list(company.peers(running(tmp_path, peers={"peers": [foreign, peer("East")]})))
    assert [finding.verdict for finding in company_kept] == ["warning", "ok"]


def test_strangers_are_told_with_the_reason_and_not_without_end(tmp_path: Path) -> None:
    many = [
        {"name": f"n{i}", "addresses": ["10.0.0.1:1456"], "standing": "stranger", "why": "it holds no token"}
        for i in range(9)
    ]
    findings = list(company.strangers(running(tmp_path, peers={"strangers": many})))
    assert len(findings) == company.STRANGERS_SHOWN_MAX + 1
    assert "it holds no token" in findings[0].seen
    assert findings[-1].seen == "4 more"


def test_a_node_that_has_left_on_purpose_is_noted_once_and_nothing_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "accepts", lambda host, port, limit_s: "")
    join = {"address": "lab:1456", "state": "asking", "attempts": 4, "problem": "this node has left its projects"}
    discovery = {"state": "left", "zeroconf": False, "problems": []}
    told = {"left": True, "listening": ["127.0.0.1:1456"], "discovery": discovery}
    left = running(tmp_path, status=told, peers={"joins": [join]})
    finding = one(company.peers(left))
    assert (finding.verdict, finding.code) == ("warning", Code.NODE_LEFT) and "rejoin" in finding.next_step
    assert one(network.ports(left)).verdict == "ok"
    assert list(network.discovery(left)) == list(company.joins(left)) == []


def test_a_join_with_a_problem_is_wrong(tmp_path: Path) -> None:
    join = {
        "address": "lab:1456",
        "state": "asking",
        "attempts": 4,
        "problem": "Nobody answers. Next: check the firewall.",
    }
    finding = one(company.joins(running(tmp_path, peers={"joins": [join]})))
    assert (finding.verdict, finding.code) == ("failed", Code.NODE_UNREACHABLE)
    assert finding.seen == "asking after 4 attempts: Nobody answers"
    assert finding.next_step == "check the firewall"


def test_failures_of_jobs_are_counted_by_code(tmp_path: Path) -> None:
    lost = Cause("holder-lost", "silent", b"n" * 32, "North", "north", "")
    jobs = (job("failed", lost), job("failed", lost), job("succeeded"), job("running"))
    finding = one(company.jobs(with_jobs(running(tmp_path), *jobs)))
    assert finding.seen.startswith("2 of the newest 4 failed: 2 × holder-lost; the last one ")
    assert finding.code is Code.HOLDER_LOST


def test_many_waiting_messages_are_noted(tmp_path: Path) -> None:
    status = {"jobs": {"messages_waiting": 900}, "work": {"messages_waiting": 200}}
    assert one(company.messages(running(tmp_path, status))).verdict == "warning"
    assert one(company.messages(running(tmp_path))).verdict == "ok"


def test_a_source_that_the_node_cannot_read_is_wrong(tmp_path: Path) -> None:
    source = {"name": "north", "state": "gone", "columns_all": 0, "code": "source-missing"}
    status = {"sources": [{**source, "problem": "it is missing.", "next_step": "put it back"}]}
    finding = one(company.sources(running(tmp_path, status)))
    assert (finding.verdict, finding.code, finding.seen) == ("failed", Code.SOURCE_MISSING, "it is missing")


# --- the clock ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offsets_ms", "verdict", "words"),
    [
        ({"A": 200}, "ok", "at most 0.2 s off"),
        ({"A": 40_000}, "warning", "A by 40 s (ahead)"),
        ({"A": -300_000}, "failed", "A by 300 s (behind)"),
        ({}, "ok", "no peer is present"),
    ],
)
def test_the_clock_is_compared_with_those_of_the_peers(
    tmp_path: Path, offsets_ms: dict[str, int], verdict: str, words: str
) -> None:
    finding = one(machine.clock(clocks(tmp_path, offsets_ms)))
    assert finding.verdict == verdict
    assert words in finding.seen


def test_a_clock_that_differs_from_most_is_probably_the_wrong_one(tmp_path: Path) -> None:
    most = one(machine.clock(clocks(tmp_path, {"A": 300_000, "B": 300_000, "C": 0})))
    assert most.next_step == "set this machine's clock (NTP)"
    lone = one(machine.clock(clocks(tmp_path, {"A": 300_000, "B": 0, "C": 0})))
    assert lone.next_step.startswith("compare both clocks")


def clocks(tmp_path: Path, offsets_ms: dict[str, int]) -> Patient:
    offsets = {f"id of {name}": ms for name, ms in offsets_ms.items()}
    peers = [peer(name) for name in offsets_ms]
    return running(tmp_path, {"door": {"clock_offsets_ms": offsets}}, {"peers": peers})


# --- the machine and the network ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "limit", "verdict"), [(50, 20_000, "ok"), (50, 128, "warning"), (900, 1_024, "failed")]
)
def test_open_files_are_measured_against_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: int, limit: int, verdict: str
) -> None:
    monkeypatch.setattr(machine, "open_files_of", lambda pid: OpenFiles(used, limit))
    assert one(machine.open_files(running(tmp_path, {"pid": 1}))).verdict == verdict


def test_little_memory_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_available_bytes", lambda: 100 << 20)
    assert one(machine.memory(running(tmp_path))).verdict == "warning"


def test_a_library_that_is_too_old_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert one(machine.versions()).verdict == "ok"
    monkeypatch.setitem(machine.LIBRARIES_MIN, "SQLite", "99.1.0")
    finding = one(machine.versions())
    assert finding.verdict == "failed"
    assert "SQLite" in finding.seen and "at least 99.1.0" in finding.seen


def test_versions_are_compared_by_number() -> None:
    assert machine._older("3.9.1", "3.51.3")
    assert not machine._older("3.51.3", "3.51.3")
    assert not machine._older("27.3.0+local", "27.2")


def test_an_address_that_the_machine_lost_is_wrong(tmp_path: Path) -> None:
    finding = one(network.interfaces(running(tmp_path, {"listening": ["203.0.113.9:1456"]})))
    assert finding.verdict == "failed"
    assert "203.0.113.9" in finding.seen


def test_a_discovery_process_that_is_down_is_wrong_and_its_problems_are_told(tmp_path: Path) -> None:
    def said(state: str, *problems: str) -> Finding:
        discovery = {"state": state, "zeroconf": True, "problems": list(problems)}
        return one(network.discovery(running(tmp_path, {"discovery": discovery, "listening": ["127.0.0.1:1456"]})))

    assert said("down", "it ended").verdict == "failed"
    assert said("ready", "port 1457 is taken").verdict == "warning"
    assert "loopback alone" in said("ready").seen


def test_addresses_without_multicast_are_noted_as_long_as_discovery_is_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cable = Interface(name="eth9", address="192.168.1.5", private=True, loopback=False)
    monkeypatch.setattr(network, "local_interfaces", lambda: (cable,))
    monkeypatch.setattr(network, "multicast_interfaces", lambda names: set())
    said = {"state": "ready", "zeroconf": True, "problems": []}
    status = {"discovery": said, "listening": ["192.168.1.5:1456"]}
    finding = one(network.discovery(running(tmp_path, status)))
    assert (finding.verdict, "join.url" in finding.next_step) == ("warning", True)
    monkeypatch.setattr(network, "multicast_interfaces", lambda names: names)
    assert one(network.discovery(running(tmp_path, status))).seen == "on eth9; 0 strangers heard"


def test_storage_of_another_machine_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    real = disk_of(tmp_path)
    monkeypatch.setattr(folder, "disk_of", lambda path: replace(real, kind="nfs4"))
    finding = one(folder.work_directory(running(tmp_path)))
    assert finding.verdict == "failed"
    assert "local disk" in finding.next_step


def test_a_node_that_holds_the_folder_and_does_not_answer_is_wrong(tmp_path: Path) -> None:
    silence = UnreachableError(Code.TIMED_OUT, "the node did not answer within 4 s")
    patient = Patient(tmp_path, None, holder=running(tmp_path).holder, silence=silence)
    finding = one(folder.node(patient))
    assert (finding.verdict, finding.code) == ("failed", Code.TIMED_OUT)
    assert "process 1 holds the work directory" in finding.seen


# --- running the checks ------------------------------------------------------------------------


def named(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_a_check_that_hangs_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    until = threading.Event()

    def hanging_disk(patient: Patient) -> list[Finding]:
        until.wait(10)
        return []

    monkeypatch.setattr(examine, "CHECKS", (hanging_disk, lambda patient: [ok("next", "reached")]))
    monkeypatch.setattr(examine, "CHECK_LIMIT_S", 0.3)
    monkeypatch.setattr(machine, "versions", list)
    try:
        found = named(examine.examine(None, tmp_path, {}))
    finally:
        until.set()
    assert found["hanging disk"].code is Code.TIMED_OUT
    assert found["next"].verdict == "ok"


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (KeyError("x"), Code.INTERNAL, "a mistake in flotta-p2p itself: KeyError: 'x'"),
        (PermissionError(13, "Permission denied", "./work"), Code.FOLDER_UNUSABLE, "Permission denied"),
        (ConfigError(Code.PORT_TAKEN, "the port is taken"), Code.PORT_TAKEN, "the port is taken"),
    ],
)
def test_a_check_that_fails_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, code: Code, words: str
) -> None:
    def broken(patient: Patient) -> list[Finding]:
        raise fault

    monkeypatch.setattr(examine, "CHECKS", (broken, lambda patient: [ok("next", "reached")]))
    found = named(examine.examine(None, tmp_path, {}))
    assert (found["broken"].verdict, found["broken"].code) == ("failed", code)
    assert words in found["broken"].seen
    assert found["next"].verdict == "ok"
