"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from protocol import findings
from protocol.errors import Code, FlottaError

Verdict = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """`check` names the check, `seen` is one sentence without its end, `next_step` says what to do, where there is
    something to do. `note`: worth knowing, nothing is broken.
    """

    check: str
    verdict: Verdict
    seen: str
    next_step: str = ""
    code: Code | None = None


def ok(check: str, seen: str) -> Finding:
    return Finding(check, "ok", seen)


def note(check: str, seen: str, next_step: str = "", code: Code | None = None) -> Finding:
    return Finding(check, "note", seen, next_step, code)


def wrong(check: str, seen: str, next_step: str, code: Code | None = None) -> Finding:
    return Finding(check, "wrong", seen, next_step, code)


def of_error(check: str, error: FlottaError) -> Finding:
    """The error that the node would give."""
    return Finding(check, "wrong", error.sentence.rstrip("."), error.next_step.rstrip("."), error.code)


_VERDICTS: Final[dict[findings.Verdict, Verdict]] = {"ok": "ok", "warning": "note", "failed": "wrong"}


def of_health(found: findings.Finding) -> Finding:
    """What a running node would find by itself."""
    return Finding(found.name, _VERDICTS[found.verdict], found.sentence, found.next_step, found.code)
