"""What the operator reads in the log."""

from __future__ import annotations

import logging

import pytest

from actors.adapters.clock import SystemClock
from actors.base import ActorHandle, Context
from actors.journal import JournalActor
from protocol import findings
from protocol.findings import Disk
from protocol.limits import JOURNAL_PAUSE_MS
from protocol.machines.contract import Now
from protocol.machines.events import Counted, HealthChanged, PeerAway, PeerSeen
from protocol.wire.peers import SourceOffer

NODE = bytes(32)


class HandClock(SystemClock):
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at_ms = 1_000_000

    def now(self) -> Now:
        return Now(boot_ns=self.at_ms * 1_000_000, wall_ms=self.at_ms)


def journal_with(clock: HandClock) -> JournalActor:
    """The actor's object alone: its thread adds nothing to what it says."""
    return JournalActor(Context(ActorHandle("journal"), 1, ActorHandle("parent")), clock=clock)


def test_a_peer_is_told_once_and_again_when_its_offer_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="flotta-p2p")
    journal = journal_with(HandClock())
    offer = (SourceOffer(name="heart", project=bytes(16)),)
    for sources in ((), (), offer):
        journal.handle(PeerSeen(node=NODE, name="north", sources=sources))
    journal.handle(PeerAway(node=NODE, name="north"))
    said = [record.getMessage() for record in caplog.records]
    assert [line.rpartition(" ")[2] for line in said[:2]] == ["none", "heart"]
    assert len(said) == 3 and "away" in said[2]


def test_a_flood_of_refusals_is_one_line_now_and_one_with_their_number_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = HandClock()
    journal = journal_with(clock)
    for _ in range(1_000):
        journal.handle(Counted(code="replayed", sentence="again\x1b[31m"))
    clock.at_ms += JOURNAL_PAUSE_MS
    journal.handle(Counted(code="replayed", sentence="again"))
    said = [record.getMessage() for record in caplog.records]
    assert said == ["refused, replayed: again?[31m", "refused, replayed: again (999 more since)"]


def test_health_is_a_line_when_something_begins_and_a_line_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="flotta-p2p")
    journal = journal_with(HandClock())
    full = findings.disk("/srv/node", Disk(free_bytes=0, all_bytes=1 << 40, free_files=1, read_only=False))
    gone = findings.source("heart", "gone", 0, "no such file", "put it back", "source-missing")
    journal.handle(HealthChanged(unwell=(full, gone), begun=(full, gone), ended=()))
    well = findings.disk("/srv/node", Disk(free_bytes=1 << 40, all_bytes=1 << 40, free_files=1 << 20, read_only=False))
    journal.handle(HealthChanged(unwell=(), begun=(), ended=(well,)))
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in said] == ["ERROR", "INFO"], "the actor of a source tells of it itself"
    assert said[0][1].startswith("health, disk: the disk of /srv/node has 0 KiB free")
    assert "Next: make room" in said[0][1]
    assert said[1][1] == "health, disk: well again: 1024.0 GiB free of 1024.0 GiB for /srv/node"
