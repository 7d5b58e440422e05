"""`doctor`: what is wrong with a node, and what to do; `explain`: what the code of an error means."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from flotta_p2p.commands.options import Place, json_option, place_options
from flotta_p2p.commands.output import show, show_marked, table
from flotta_p2p.commands.suggestions import completed
from protocol.words import many

if TYPE_CHECKING:
    from flotta_p2p.doctor.finding import Finding

_COLOURS: Final = {"ok": "green", "warning": "yellow", "failed": "red"}
_MARK_CHARS: Final = 9  # the widest verdict and two spaces
_CHECK_CHARS: Final = 14  # the usual names of checks; a longer one pushes its sentence to the right
_TEXT_AT: Final = _MARK_CHARS + _CHECK_CHARS + 2
_ROOM_CHARS_MIN: Final = 40  # of a sentence, however narrow the terminal


@click.command()
@place_options(way=True)
@json_option
def doctor(place: Place, as_json: bool) -> int:
    """Check a node, whether it runs or not. Changes nothing. Exit code 9 when something is wrong.

    With --to: check the way from this machine to a node elsewhere instead, before anything is enrolled, and write the
    request for whoever owns the firewall.

    \b
    Examples:
      flotta-p2p doctor
      flotta-p2p doctor -c site.yaml
      flotta-p2p doctor --workdir /srv/flotta --json
      flotta-p2p doctor --to node.example.org:443
      flotta-p2p doctor --to node.example.org --proxy socks5://proxy.example.org:1080
      flotta-p2p doctor --to node.example.org --proxy 'http://me:${PASSWORD}@proxy:3128'
    """
    import os

    from flotta_p2p.doctor.examine import examine

    if place.to is not None:
        return _way_out(place, place.to, as_json)
    if place.proxy is not None:
        raise click.UsageError("--proxy belongs to --to ADDRESS")
    findings = examine(place.config, place.workdir, os.environ)
    return report(findings, {}, (), as_json)


def _way_out(place: Place, address: str, as_json: bool) -> int:
    from flotta_p2p.commands.places import proxy_of
    from flotta_p2p.doctor.way_out import examine_way_out

    found = examine_way_out(address, proxy_of(place))
    if found.request is None:
        return report(found.findings, {"request": None}, (), as_json)
    return report(found.findings, {"request": found.request.values()}, found.request.lines(), as_json)


def report(findings: list[Finding], more: dict[str, Any], lines: Sequence[str], as_json: bool) -> int:
    """Shows findings, then `more` (with --json) or `lines`; the exit code."""
    from flotta_p2p import exit_codes

    verdict = "failed" if any(one.verdict == "failed" for one in findings) else "ok"
    if as_json:
        show({"verdict": verdict, "findings": [_values(one) for one in findings], **more}, (), as_json=True)
    else:
        for one in findings:
            mark = one.verdict.upper() if one.verdict == "failed" else one.verdict
            show_marked(mark.ljust(_MARK_CHARS), _COLOURS[one.verdict], _text(one))
        show_marked("", "", "")
        show_marked("", "", _summary(findings))
        show({}, ("", *lines) if lines else (), as_json=False)
    return exit_codes.UNWELL if verdict == "failed" else exit_codes.OK


@click.command()
@click.argument("code", metavar="[CODE]", required=False)
@json_option
def explain(code: str | None, as_json: bool) -> None:
    """What the code at the end of an error means, and what to do. Without CODE: all codes.

    \b
    Examples:
      flotta-p2p explain port-taken
      flotta-p2p explain
    """
    from flotta_p2p.error_pages import meanings, page

    if code is None:
        known = meanings()
        show({"codes": known}, table(("code", "meaning"), list(known.items())), as_json=as_json)
        return
    text = page(code)
    show({"code": code, "page": text}, text.splitlines(), as_json=as_json)


def _values(one: Finding) -> dict[str, str]:
    return {
        "check": one.check,
        "verdict": one.verdict,
        "seen": one.seen,
        "next_step": completed(one.next_step),
        "code": one.code.value if one.code is not None else "",
    }


def _text(one: Finding) -> str:
    """The check and what it saw; each further fault and the next step on a line of its own."""
    code = f" [{one.code}]" if one.code is not None and one.verdict == "failed" else ""
    paragraphs = f"{one.seen}{code}".splitlines() + ([f"Next: {completed(one.next_step)}"] if one.next_step else [])
    lines = [line for paragraph in paragraphs for line in _wrapped(paragraph)]
    return f"{one.check:<{_CHECK_CHARS}}  " + ("\n" + " " * _TEXT_AT).join(lines)


def _wrapped(text: str) -> list[str]:
    """As wide as the terminal, if it is one. Paths and ids are never broken: people copy them."""
    if not sys.stdout.isatty():
        return [text]
    room = max(_ROOM_CHARS_MIN, shutil.get_terminal_size().columns - _TEXT_AT)
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)


def _summary(findings: list[Finding]) -> str:
    bad = [one for one in findings if one.verdict == "failed"]
    warnings = sum(one.verdict == "warning" for one in findings)
    rest = f"{many(warnings, 'warning')}, {len(findings) - len(bad) - warnings} ok"
    if not bad:
        return f"Nothing is wrong: {rest}."
    names = ", ".join(dict.fromkeys(one.check for one in bad))
    code = next((one.code for one in bad if one.code is not None), None)
    more = f" More about one: flotta-p2p explain {code}" if code is not None else ""
    return f"{len(bad)} failed ({names}), {rest}.{more}"
