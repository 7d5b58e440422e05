"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass

from protocol import findings
from protocol.errors import Code, FlottaError


@dataclass(frozen=True)
class Finding:
    """`check` names the check, `seen` is one sentence without its end, `next_step` says what to do, where there is
    something to do. `warning`: worth knowing, nothing is broken.
    """

    check: str
    verdict: findings.Verdict
    seen: str
    next_step: str = ""
    code: Code | None = None


def ok(check: str, seen: str) -> Finding:
    return Finding(check, "ok", seen)


def warning(check: str, seen: str, next_step: str = "", code: Code | None = None) -> Finding:
    return Finding(check, "warning", seen, next_step, code)


def failed(check: str, seen: str, next_step: str, code: Code | None = None) -> Finding:
    return Finding(check, "failed", seen, next_step, code)


def of_error(check: str, error: FlottaError) -> Finding:
    """The error that the node would give."""
    return Finding(check, "failed", error.sentence.rstrip("."), error.next_step.rstrip("."), error.code)


def of_health(found: findings.Finding) -> Finding:
    """What a running node would find by itself."""
    return Finding(found.name, found.verdict, found.sentence, found.next_step, found.code)
