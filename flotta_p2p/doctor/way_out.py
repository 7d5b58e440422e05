"""`doctor --to ADDRESS`: the way from this machine to a node, before anything is enrolled.

It needs neither configuration nor token, and leaves nothing behind here or there: the node counts one connection with
an unknown key. Every step has a limit.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from actors.adapters.clock import SystemClock
from actors.adapters.probing import CONNECT_LIMIT_S, HEAR_LIMIT_S, hear, knock_as_stranger, source_address
from actors.adapters.resolving import resolve
from actors.adapters.route import Route, fetch_by
from actors.adapters.statements import statement_port
from actors.adapters.tunnel import route_by
from flotta_p2p.doctor.finding import Finding, failed, of_error, ok, warning
from flotta_p2p.doctor.firewall_request import FirewallRequest
from protocol.errors import AddressError, Code, ConfigError, FlottaError, RemoteProtocolError
from protocol.ids import format_id
from protocol.key_statement import Certified, parse_address, verify_key_statement
from protocol.limits import CLOCK_OFFSET_MS_GOOD, CLOCK_TOLERANCE_MS, NODE_PORT
from protocol.proxies.handshake import FAULTS_OF_THE_PROXY
from protocol.proxies.proxy import Proxy
from protocol.strange_answers import what_answers
from protocol.zmtp import read_socket_greeting

NAME_LIMIT_S: Final = 5.0
_UNREACHABLE: Final = Code.NODE_UNREACHABLE
_FIREWALL: Final = "send the request below to whoever owns the firewall"


@dataclass(frozen=True)
class WayOut:
    """`request` None: the address or the proxy does not read, so there is nothing to ask for."""

    findings: list[Finding]
    request: FirewallRequest | None


def examine_way_out(address: str, proxy: Proxy | None) -> WayOut:
    """Raises nothing; takes half a minute at most."""
    try:
        host, port = parse_address(address, default_port=NODE_PORT)
        asked = statement_port(port)
    except AddressError as error:
        return WayOut([of_error("address", error)], None)
    try:
        route = route_by(proxy, lambda error: None)
    except ConfigError as error:
        return WayOut([of_error("proxy", error)], None)
    look = _Look(host, port, proxy, route)
    try:
        findings = list(look.findings())
    finally:
        route.close()
    return WayOut(findings, FirewallRequest(look.source, host, look.addresses, port, asked, proxy))


class _Look:
    """The steps, each of which needs what the ones before it found."""

    def __init__(self, host: str, port: int, proxy: Proxy | None, route: Route) -> None:
        self._host = host
        self._port = port
        self._proxy = proxy
        self._route = route
        self.source = ""
        self.addresses: tuple[str, ...] = ()  # of the destination, when this machine resolves its name

    def findings(self) -> Iterator[Finding]:
        first_hop = self._proxy.host if self._proxy is not None else self._host
        name, addresses = self._resolved(first_hop)
        yield name
        if not addresses:
            return
        if self._proxy is None:
            self.addresses = addresses
        route = self._routed(addresses[0])
        yield route
        if route.verdict == "failed":
            return
        port = self._answering()
        if self._proxy is not None:
            blamed = port.code in FAULTS_OF_THE_PROXY
            yield self._of_proxy(port) if blamed else ok("proxy", f"{self._proxy} takes this machine's requests")
            if blamed:
                return
        yield port
        statement, certified = self._stated()
        yield from statement
        if port.verdict == "ok" and certified is not None:
            yield self._door(certified)

    # --- name and route --------------------------------------------------------------------------

    def _resolved(self, host: str) -> tuple[Finding, tuple[str, ...]]:
        name, code = "name", _UNREACHABLE if self._proxy is None else Code.PROXY_UNREACHABLE
        try:
            found = resolve(host, self._port, NAME_LIMIT_S)
        except TimeoutError:
            step = "check this machine's name server, or write the numeric address"
            return failed(
                name, f"the name server gave no answer about {host} within {NAME_LIMIT_S:g} s", step, code
            ), ()
        except (OSError, ValueError) as error:
            cause = getattr(error, "strerror", None) or str(error)
            step = "check the spelling and this machine's name server, or write the numeric address"
            return failed(name, f"{host} is not known here ({cause})", step, code), ()
        addresses = tuple(dict.fromkeys(str(one[0]) for family, one in found if family == socket.AF_INET))
        if not addresses:
            return failed(name, f"{host} has no IPv4 address", "give it one: flotta-p2p speaks IPv4 only", code), ()
        shown = host if addresses == (host,) else f"{host} is {', '.join(addresses)}"
        rest = f"; the proxy resolves {self._host}" if self._proxy is not None else ""
        return ok(name, f"{shown}{rest}"), addresses

    def _routed(self, address: str) -> Finding:
        try:
            self.source = source_address(address, self._port)
        except OSError as error:
            step = "connect this machine to a network, or check its routes (ip route)"
            return failed("route", f"no way to {address}: {error.strerror}", step, _UNREACHABLE)
        return ok("route", f"to {address} from {self.source}")

    # --- what answers ----------------------------------------------------------------------------

    def _answering(self) -> Finding:
        name, where = f"port {self._port}", f"{self._host}:{self._port}"
        try:
            said = hear(self._route, self._host, self._port)
        except FlottaError as error:
            return of_error(name, error)
        except ConnectionRefusedError:
            step = f"check that the node runs and the port; if both are right, a firewall refuses: {_FIREWALL}"
            return failed(name, f"{where} refuses connections", step, _UNREACHABLE)
        except TimeoutError:
            step = f"check the address; a firewall may drop the packets: {_FIREWALL}"
            return failed(name, f"{where} gives no answer within {CONNECT_LIMIT_S:g} s", step, _UNREACHABLE)
        except OSError as error:
            seen = f"{where} cannot be reached: {error.strerror or error}"
            return failed(name, seen, _FIREWALL, _UNREACHABLE)
        if said is None:
            seen = f"{where} takes the connection and says nothing within {2 * HEAR_LIMIT_S:g} s: no node, or held up"
            return failed(name, seen, f"check host and port; inspection may hold it back: {_FIREWALL}", _UNREACHABLE)
        return self._judged(name, said)

    @staticmethod
    def _judged(name: str, said: bytes) -> Finding:
        greeting = read_socket_greeting(said)
        if greeting is None:
            step = "check host and port; ask the node's operator what `flotta-p2p status` shows under listening"
            return failed(name, what_answers(said), step, _UNREACHABLE)
        if greeting.mechanism != "CURVE":
            seen = f"a ZeroMQ socket of another program answers (mechanism {greeting.mechanism or 'none'})"
            return failed(name, seen, "check host and port", _UNREACHABLE)
        return ok(name, "answers, and speaks ZeroMQ with CURVE")

    @staticmethod
    def _of_proxy(port: Finding) -> Finding:
        return Finding("proxy", port.verdict, port.seen, port.next_step, port.code)

    # --- statement, clock, door ------------------------------------------------------------------

    def _stated(self) -> tuple[list[Finding], Certified | None]:
        name = f"port {statement_port(self._port)}"
        clock = SystemClock()
        before_ms, began_s = clock.now().wall_ms, time.monotonic()
        try:
            answer = fetch_by(self._route, self._host, self._port)
        except FlottaError as error:
            finding = of_error(name, error)
            step = finding.next_step.partition(": flotta-p2p doctor")[0]  # which is what runs
            step += "; without it a node can join by an address that it found itself, but not by a typed one"
            return [Finding(name, finding.verdict, finding.seen, step, finding.code)], None
        half_ms = int((time.monotonic() - began_s) * 500)
        findings = [self._clock(answer.wall_ms - before_ms - half_ms, half_ms)]
        try:
            certified = verify_key_statement(answer.statement, before_ms)
        except RemoteProtocolError as error:
            seen = f"what is shown there is no valid key statement: {error.sentence}"
            step = "compare the versions of flotta-p2p on both sides; if it has expired, compare the clocks"
            return [*findings, failed(name, seen, step, error.code)], None
        statement = certified.statement
        until = datetime.fromtimestamp(statement.not_after_ms / 1000, UTC)
        seen = f"shows the key of {statement.name}, good until {until:%Y-%m-%d}, id {format_id(certified.node)}"
        return [ok(name, seen), *findings], certified

    def _clock(self, offset_ms: int, doubt_ms: int) -> Finding:
        """What the node says of its own clock is not signed: it is good for a hint."""
        name, seconds = "clock", abs(offset_ms) / 1000
        seen = f"the node's clock is {seconds:.1f} s {'ahead of' if offset_ms > 0 else 'behind'} this machine's"
        seen += f", to within {max(doubt_ms, 100) / 1000:.1f} s"
        step = "compare both clocks with NTP and set the one that is wrong"
        if abs(offset_ms) > CLOCK_TOLERANCE_MS:
            beyond = f"; beyond {CLOCK_TOLERANCE_MS // 1000} s messages are refused"
            return failed(name, seen + beyond, step, Code.TIME_OUTSIDE)
        if abs(offset_ms) > CLOCK_OFFSET_MS_GOOD:
            return warning(name, seen, step, Code.TIME_OUTSIDE)
        return ok(name, seen)

    def _door(self, certified: Certified) -> Finding:
        name = "door"
        try:
            reception = knock_as_stranger(self._route, self._host, self._port, certified.statement.curve_key)
        except FlottaError as error:
            return of_error(name, error)
        except OSError as error:
            return failed(name, f"the handshake broke off: {error.strerror or error}", _FIREWALL, _UNREACHABLE)
        match reception:
            case "refused":
                return ok(name, "holds the key that it shows, and refuses a stranger, as it must")
            case "admitted":
                step = "tell its operator not to run it; its own self-test should have stopped it"
                return failed(name, "lets in a key that nobody knows", step, Code.DOOR_OPEN_TO_STRANGERS)
            case "not its key":
                seen = f"what answers at port {self._port} does not hold the key that is shown"
                step = "another program or node has that port, or the connection is altered on its way (inspection)"
                return failed(name, seen, f"{step}; ask the node's operator, then {_FIREWALL}", _UNREACHABLE)
            case "silent":
                seen = "the handshake gets no answer"
                return failed(name, seen, f"inspection may hold it back: {_FIREWALL}", _UNREACHABLE)
