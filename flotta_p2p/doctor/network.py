"""Addresses, ports, the key statement, and discovery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from actors.adapters.clock import SystemClock
from actors.adapters.interfaces import Interface, local_interfaces
from actors.adapters.machine import MULTICAST_PORT, accepts, free_for_multicast, free_to_bind, multicast_interfaces
from actors.adapters.statements import fetch_statement
from flotta_p2p.doctor.finding import Finding, failed, of_error, of_health, ok, warning
from flotta_p2p.doctor.patient import Patient
from flotta_p2p.identity import choose_listening, read_identity
from protocol import findings
from protocol.errors import Code, ConfigError, FlottaError
from protocol.ids import format_id
from protocol.key_statement import parse_address, verify_key_statement
from protocol.limits import NODE_PORT
from protocol.proxies.handshake import FAULTS_OF_THE_PROXY
from protocol.words import many

CONNECT_LIMIT_S: Final = 1.0  # to an address of this machine
_CHOOSE: Final = "set node.interface to an address that others can reach"


def interfaces(patient: Patient) -> Iterator[Finding]:
    """Which addresses the node uses, or would use, and who can reach them."""
    name = "addresses"
    if patient.status is None and patient.configuration is None:
        yield warning(name, "not looked at: the configuration does not read")
        return
    try:
        hosts = [host for host, _ in _listening(patient)]
    except ConfigError as error:
        yield of_error(name, error)
        return
    if not hosts:
        yield ok(name, "none: a client listens on nothing")
        return
    have = {one.address: one for one in local_interfaces()}
    gone = [host for host in hosts if host not in have]
    shown = ", ".join(f"{host} ({_kind(have[host])})" for host in hosts if host in have)
    if gone:
        seen = f"the node listens on {', '.join(gone)}, which this machine no longer has"
        yield failed(name, seen, "start the node again: it looks for its addresses when it starts")
    elif patient.is_standalone:
        yield ok(name, f"{shown}: only programs of this machine reach it, since it is standalone")
    elif all(have[host].loopback for host in hosts):
        yield warning(name, f"{shown}: only programs of this machine can reach the node", _CHOOSE)
    elif new := _unused(patient, hosts, have):
        step = "start the node again, if it should be reached there"
        yield warning(name, f"{shown}; this machine has got {', '.join(new)} since the node started", step)
    elif any(not have[host].private and not have[host].loopback for host in hosts):
        yield warning(name, f"{shown}: not only this network can knock there", "let a firewall admit those who should")
    else:
        yield ok(name, shown)


def ports(patient: Patient) -> Iterator[Finding]:
    """Of a running node: both ports answer, with its own statement. Else: both are free."""
    if patient.status is None and patient.configuration is None:
        return
    try:
        listening = _listening(patient)
    except ConfigError:
        return  # the addresses have told it
    if not listening:
        return
    if patient.status is not None:
        yield from _answers(patient, listening)
    elif patient.holder is None:
        yield _free(listening)


def discovery(patient: Patient) -> Iterator[Finding]:
    """The process runs, hears, and has an interface to hear on."""
    name, status = "discovery", patient.status
    if patient.has_left:
        return
    on = status["discovery"].get("zeroconf") if status else patient.configuration and patient.configuration.discovery
    hosts = _hosts(patient)
    if not hosts:
        on = False  # a client
    have = [one for one in local_interfaces() if one.address in hosts]
    able = multicast_interfaces({one.name for one in have if not one.loopback})
    if status is not None:
        values = status["discovery"]
        if values.get("state") != "ready":
            yield of_health(findings.discovery_down(values.get("state", "silent"), values.get("problems", ())))
            return
        if values["problems"]:
            yield of_health(findings.discovery(values["problems"]))
            return
    if not on:
        alone = "a standalone node looks for nobody"
        yield ok(name, f"not used: {alone if patient.is_standalone else 'nodes are found by join.url alone'}")
    elif have and all(one.loopback for one in have):
        yield ok(name, "only nodes of this machine are found by themselves, since it listens on loopback alone")
    elif not able:
        step = "name the other nodes in join.url, or set node.interface"
        yield warning(name, "none of the node's addresses can do multicast, so nobody is found by itself", step)
    elif status is None and (why := free_for_multicast()):
        step = f"end the program that keeps UDP {MULTICAST_PORT} for itself, or set settings.discovery to false"
        yield warning(name, f"UDP {MULTICAST_PORT} cannot be shared: {why}", step, Code.PORT_TAKEN)
    else:
        heard = "" if patient.peers is None else f"; {many(len(patient.peers['strangers']), 'stranger')} heard"
        yield ok(name, f"on {', '.join(sorted(able))}{heard}")


def way_out(patient: Patient) -> Iterator[Finding]:
    """The proxy, of a node that goes out by one. An address that it cannot open may be one of several of a peer."""
    name, told = "way out", patient.configuration
    if patient.status is None:
        if told is not None and told.settings.proxy is not None:
            step = "flotta-p2p doctor --to ADDRESS tries it"
            yield warning(name, f"by {told.settings.proxy}, while the node runs", step)
        return
    values = patient.status["way_out"]
    if not values:
        return
    broken = next((one for one in values["problems"] if one["code"] in FAULTS_OF_THE_PROXY), None)
    if broken is not None:
        yield failed(name, broken["sentence"], broken["next_step"], Code(broken["code"]))
        return
    yield ok(name, f"by {values['proxy']}; opened {values['opened']} times")
    for one in values["problems"]:
        yield warning(f"way to {one['address']}", one["sentence"], one["next_step"])


def _answers(patient: Patient, listening: list[tuple[str, int]]) -> Iterator[Finding]:
    assert patient.status is not None
    name = "ports"
    shut = [
        (f"{host}:{port}", why) for host, port in listening if (why := accepts(host, port, limit_s=CONNECT_LIMIT_S))
    ]
    if shut:
        seen = "; ".join(f"nobody answers at {address} ({why})" for address, why in shut)
        yield failed(name, seen, "look for a firewall of this machine, or start the node again", Code.NODE_UNREACHABLE)
        return
    if patient.has_left:
        yield ok(name, f"{', '.join(f'{host}:{port}' for host, port in listening)} answer, and let nobody in")
        return
    for host, port in listening:
        fault = _statement_fault(patient, host, port)
        if fault is not None:
            yield fault
            return
    yield ok(name, f"{', '.join(f'{host}:{port}' for host, port in listening)} and the port after each answer")


def _statement_fault(patient: Patient, host: str, port: int) -> Finding | None:
    """What is wrong with the key statement that is served there."""
    assert patient.status is not None
    name, own = "statement", patient.status["node"]
    try:
        served = verify_key_statement(fetch_statement(host, port).statement, SystemClock().now().wall_ms)
    except FlottaError as error:
        seen = error.sentence.rstrip(".")
        step = f"free port {port + 1}, which shows the node's key to those who were given its address"
        return failed(name, seen, step, error.code)
    if format_id(served.node) != own:
        seen = f"the node {format_id(served.node)} answers at {host}:{port + 1}, not this one"
        return failed(name, seen, f"stop it, or give this node another node.port than {port}", Code.PORT_TAKEN)
    try:
        key = read_identity(patient.keys).curve.public
    except ConfigError:
        return None  # the check of the keys has told it
    if served.statement.curve_key != key:
        return failed(
            name, "the statement certifies another transport key than that of the folder", "start the node again"
        )
    return None


def _free(listening: list[tuple[str, int]]) -> Finding:
    name = "ports"
    for host, port in listening:
        for one, what in ((port, "for the node"), (port + 1, "for its key statement")):
            if why := free_to_bind(host, one):
                step = "stop the program that has it, or choose another node.port"
                return failed(name, f"port {one} on {host}, {what}, cannot be had: {why}", step, Code.PORT_TAKEN)
    return ok(name, f"{', '.join(f'{host}:{port}' for host, port in listening)} and the port after each are free")


def _listening(patient: Patient) -> list[tuple[str, int]]:
    """Where the node listens, or would. Raises ConfigError."""
    if patient.status is not None:
        return [parse_address(one, default_port=NODE_PORT) for one in patient.status["listening"]]
    assert patient.configuration is not None
    chosen = choose_listening(patient.configuration)
    return [(host, chosen.port) for host in chosen.hosts]


def _hosts(patient: Patient) -> set[str]:
    if patient.status is None and patient.configuration is None:
        return set()
    try:
        return {host for host, _ in _listening(patient)}
    except ConfigError:
        return set()


def _unused(patient: Patient, hosts: list[str], have: dict[str, Interface]) -> list[str]:
    """Private addresses that came after a node started that was to use them all."""
    told = patient.configuration
    if patient.status is None or told is None or told.node.interface is not None:
        return []
    return [one.address for one in have.values() if one.private and one.address not in hosts]


def _kind(one: Interface) -> str:
    return f"{one.name}, {'loopback' if one.loopback else 'private' if one.private else 'public'}"
