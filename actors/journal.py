"""The journal actor: tells the operator, in the node's log, what happens: peers, jobs, refusals."""

from __future__ import annotations

import logging
from typing import Any, Final

from actors.base import Context, SupervisedActor
from actors.ports import Clock
from protocol.findings import SOURCE, Finding
from protocol.ids import format_id, short_id, short_job_id
from protocol.limits import JOURNAL_PAUSE_MS
from protocol.machines.events import (
    Counted,
    EnrolmentFailed,
    HealthChanged,
    JobChanged,
    PeerAway,
    PeerLeft,
    PeerSeen,
    PeerWaiting,
)
from protocol.wire.jobs import ENDED, JobStatus

_log: Final = logging.getLogger("flotta-p2p")


class JournalActor(SupervisedActor):
    """Says each thing once, and what comes in floods at most every JOURNAL_PAUSE_MS, with how often it was."""

    def __init__(self, context: Context, *, clock: Clock) -> None:
        super().__init__(context)
        self._clock = clock
        self._present: dict[bytes, tuple[str, ...]] = {}  # limits.PEERS_MAX: node → names of its sources
        self._said_ns: dict[str, int] = {}  # one for each Code
        self._unsaid: dict[str, int] = {}  # one for each Code

    def handle(self, message: Any) -> None:
        match message:
            case PeerSeen():
                self._peer_seen(message)
            case PeerAway(node=node, name=name):
                self._present.pop(node, None)
                _log.warning("peer %s (%s) is away: nothing was heard of it", _clean(name), short_id(node))
            case PeerLeft(node=node, name=name):
                self._present.pop(node, None)
                _log.info("peer %s (%s) has left", _clean(name), short_id(node))
            case PeerWaiting(certified=one):
                step = f"flotta-p2p peers accept {format_id(one.node)}"
                self._refused("node-waiting", f"{one.statement.name} knows a common token and waits: {step}")
            case EnrolmentFailed(sentence=sentence):
                self._refused("enrolment-failed", sentence)
            case JobChanged(status=status) if status.state in ENDED:
                _job_ended(status)
            case Counted(code=code, sentence=sentence):
                self._refused(code, sentence)
            case HealthChanged(begun=begun, ended=ended):
                _health_changed(begun, ended)

    def _peer_seen(self, seen: PeerSeen) -> None:
        sources = tuple(sorted({source.name for source in seen.sources}))
        if self._present.get(seen.node) == sources:
            return
        self._present[seen.node] = sources
        offer = ", ".join(map(_clean, sources)) or "none"
        _log.info("peer %s (%s) is present; its sources: %s", _clean(seen.name), short_id(seen.node), offer)

    def _refused(self, code: str, sentence: str) -> None:
        now_ns = self._clock.now().boot_ns
        said_ns = self._said_ns.get(code)
        if said_ns is not None and now_ns - said_ns < JOURNAL_PAUSE_MS * 1_000_000:
            self._unsaid[code] = self._unsaid.get(code, 0) + 1
            return
        self._said_ns[code] = now_ns
        more = self._unsaid.pop(code, 0)
        _log.warning("refused, %s: %s%s", code, _clean(sentence), f" ({more} more since)" if more else "")


def _job_ended(status: JobStatus) -> None:
    cause = status.cause
    if cause is None:
        _log.info("job %s %s", short_job_id(status.job_id), status.state)
        return
    where = "" if cause.node_name in cause.sentence else f"at {_clean(cause.node_name)}: "
    _log.warning("job %s %s: %s%s", short_job_id(status.job_id), status.state, where, _clean(cause.sentence))


def _health_changed(begun: tuple[Finding, ...], ended: tuple[Finding, ...]) -> None:
    """Of a source its own actor has told already."""
    for one in (one for one in begun if not one.name.startswith(SOURCE)):
        level = logging.ERROR if one.verdict == "failed" else logging.WARNING
        _log.log(level, "health, %s: %s. Next: %s", one.name, _clean(one.sentence), _clean(one.next_step))
    for one in (one for one in ended if not one.name.startswith(SOURCE)):
        _log.info("health, %s: well again%s", one.name, f": {_clean(one.sentence)}" if one.verdict == "ok" else "")


def _clean(text: str) -> str:
    """Peers choose their names, and a log is read in terminals."""
    return "".join(character if character.isprintable() else "?" for character in text)
