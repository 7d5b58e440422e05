"""`up` and `status`: the node of this machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import click

from flotta_p2p.commands.options import CONFIG, Place, found_config, json_option, place_options
from flotta_p2p.commands.output import LEFT, code_mark, named, show
from protocol.words import exact_span, many, size, span


@click.command()
@CONFIG
@click.option(
    "--standalone", is_flag=True, help="Alone on this machine, for learning and tests; without -c with a table to ask."
)
@json_option
def up(config: Path | None, standalone: bool, as_json: bool) -> None:
    """Run a node in the foreground until Ctrl-C or SIGTERM. It writes its log to standard error.

    \b
    Examples:
      flotta-p2p up
      flotta-p2p up -c site.yaml
      flotta-p2p up --standalone
    """
    from flotta_p2p import standalone as learning
    from flotta_p2p.configuration.read import read_configuration
    from flotta_p2p.programs import launcher_argv

    file = learning.CONFIGURATION if standalone and config is None else found_config(config)
    configuration = read_configuration(file, os.environ, standalone=standalone)
    for note in configuration.notes:
        click.echo(note, err=True)
    if configuration.mode == "standalone":
        for line in learning.welcome(configuration.workdir, own_table=config is not None):
            click.echo(line, err=True)
    argv = launcher_argv(file, standalone=standalone, as_json=as_json)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # until the launcher can take them
    os.execv(argv[0], argv)


@click.command()
@place_options()
@json_option
def status(place: Place, as_json: bool) -> None:
    """How the node of this machine is.

    \b
    Examples:
      flotta-p2p status
      flotta-p2p status -c site.yaml --json
    """
    from flotta_p2p.commands.places import ask
    from protocol.wire.control import AskStatus

    values = ask(place, AskStatus())
    show(values, _status_lines(values), as_json=as_json)


def _status_lines(values: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{number} {presence}" for presence, number in values["peers"].items())
    facts = [
        ("node", f"{values['name']}, version {values['version']}, up {span(values['uptime_ms'])}, pid {values['pid']}"),
        ("mode", values["mode"]),
        ("id", values["node"]),
        ("listening", ", ".join(values["listening"]) or "on nothing: a client is reached through its schedulers"),
        ("folder", values["workdir"]),
        ("database", f"{values['database']}: {values['promise']}"),
        (
            "projects",
            ", ".join(f"{one['name'] or 'without a name'} ({one['id']})" for one in values["projects"]) or "none",
        ),
        ("peers", f"{counts}; {_others(values)}"),
        ("jobs", f"{values['jobs'].get('live', '?')} live, {values['jobs'].get('ended', '?')} ended"),
        ("results", _results(values["results"])),
        ("tasks", _work(values["work"])),
        ("health", _health(values["health"])),
        *(_unwell(one) for one in values["health"]["findings"] if one["verdict"] != "ok"),
        ("discovery", _discovery(values["discovery"])),
        ("door", _door(values["door"])),
        *((("way out", _way_out(values["way_out"])),) if values["way_out"] else ()),
    ]
    if values["left"]:
        facts.insert(0, ("left", LEFT))
    facts += [("scheduler", _scheduler(one)) for one in values["schedulers"]]
    facts += [("run", _run(one)) for one in values["runs"]]
    facts += [("source", _source(source)) for source in values["sources"] if source is not None]
    if values["silent"]:
        facts.append(("silent", f"{', '.join(values['silent'])}: did not answer; see the node's log"))
    return named(facts)


def _health(health: dict[str, Any]) -> str:
    if health["checked_ms"] is None:
        return "not looked at yet"
    verdicts = [one["verdict"] for one in health["findings"]]
    counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in ("failed", "warning") if verdict in verdicts]
    checked = f"{many(len(verdicts), 'check')}, {span(health['checked_ms'])} ago"
    return f"{', '.join(counts)}; {checked}" if counts else f"well; {checked}"


def _unwell(one: dict[str, Any]) -> tuple[str, str]:
    step = f"Next: {one['next_step']}" if one["next_step"] else ""
    text = f"{one['name']}, for {span(one['lasts_ms'])}: {one['sentence']}. {step}"
    return one["verdict"], text.strip() + code_mark(one["code"])


def _scheduler(one: dict[str, Any]) -> str:
    if one["state"] == "silent":
        heard = "never" if one["silent_ms"] is None else f"{span(one['silent_ms'])} ago"
        return f"{one['name']}: {one['unanswered']} polls without an answer, the last answer {heard}"
    return f"{one['name']}: {one['state']}"


def _run(one: dict[str, str]) -> str:
    return f"{one['run']}: {one['state']}{': ' if one['reason'] else ''}{one['reason']}, in {one['folder']}"


def _others(values: dict[str, Any]) -> str:
    counts = (("strangers", values["strangers"]), ("waiting", values["waiting"]), ("banned", values["bans"]))
    return ", ".join(f"{number} {word}" for word, number in counts if number or word == "strangers")


def _source(source: dict[str, Any]) -> str:
    if source.get("problem"):
        return f"{source['name']}: {source['state']}: {source['problem']}. Next: {source['next_step']}"
    columns = ", ".join(f"{name} ({kind})" for name, kind in source["columns"])
    more = source["columns_all"] - len(source["columns"])
    listed = f"; {columns}{f' and {more} more' if more else ''}" if columns else ""
    rows = f", {many(source['rows'], 'row')}" if source["rows"] is not None else ""
    return f"{source['name']}: {source['state']}{rows}{listed}"


def _results(results: dict[str, Any]) -> str:
    if not results:
        return "?"
    used = f"{size(results['used_bytes'])} of {size(results['quota_bytes'])}"
    reserved = f", {size(results['reserved_bytes'])} reserved for live jobs" if results["reserved_bytes"] else ""
    days = results["keep_days"]
    kept = "kept for ever" if days is None else f"kept for {exact_span(round(days * 86_400_000))}"
    doubt = "; the clock has jumped ahead, so nothing is removed by it for now" if results["clock_in_doubt"] else ""
    return f"{used}{reserved}, {kept}{doubt}"


def _work(work: dict[str, Any]) -> str:
    if not work:
        return "?"
    return (
        f"{work['tasks_running']} running, {work['orders_accepted']} orders accepted, "
        f"{work['bytes_released']} bytes let out"
    )


def _discovery(discovery: dict[str, Any]) -> str:
    zeroconf = "zeroconf on" if discovery.get("zeroconf") else "zeroconf off"
    problems = "".join(f"; {problem}" for problem in discovery.get("problems", ()))
    return f"{discovery.get('state', '?')}, {zeroconf}{problems}"


def _door(door: dict[str, Any]) -> str:
    counts = {**door.get("refused", {}), "unknown key": door.get("refused_connections", 0)}
    refused = ", ".join(f"{number} × {code}" for code, number in counts.items() if number)
    passed_on = f", {door['passed_on']} passed on for clients" if door.get("passed_on") else ""
    frames = f"{door.get('frames_in', '?')} frames in, {door.get('frames_out', '?')} out{passed_on}"
    return f"{frames}; refused: {refused or 'none'}"


def _way_out(way: dict[str, Any]) -> str:
    problems = "".join(
        f"; {one['address']}: {one['sentence']}. Next: {one['next_step']} {code_mark(one['code']).strip()}"
        for one in way["problems"]
    )
    return f"by {way['proxy']}; opened {way['opened']} times, failed {way['failed']} times{problems}"
