"""The wire: one thread owns every ZeroMQ socket of the node, and asks `zap` who may connect."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

import zmq

from actors.adapters.curve_sockets import CurveKeys, harden, seed_routing_ids, set_keys
from actors.adapters.memory_watch import MemoryWatch
from actors.adapters.route import DIRECT, Route, Way
from actors.adapters.self_test import SelfTest
from actors.adapters.zap import DOMAIN, Allowed, answer_zap, asker_address, is_door, refusal, refuses
from actors.failpoints import Point, reached
from actors.ports import Clock
from protocol.errors import Code, ConfigError, DeniedError, FlottaError
from protocol.limits import (
    DIALS_BURST,
    DIALS_PER_S,
    DOOR_DIALS_BURST,
    DOOR_DIALS_PER_S,
    DOOR_ROTATE_MS,
    DOOR_SESSIONS_MAX,
    HANDSHAKE_LIMIT_MS,
    LINK_FRAMES_WAITING_MAX,
    PEER_ROTATE_MS,
    PEERS_MAX,
    REBIND_LIMIT_MS,
    SELF_TEST_LIMIT_MS,
    WIRE_COMMANDS_MAX,
    ZAP_HELD_MAX,
    ZAP_HOLD_MS,
)
from protocol.machines.events import Arrived
from protocol.rate import FairShare
from protocol.record import Record
from protocol.wire.relay import is_passed_on

_log = logging.getLogger(__name__)

_ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
_TICK_MS: Final = 100  # resolution of address rotation; nothing else waits for it
_READ_BATCH: Final = 256  # frames taken from one socket before the others get their turn
_SOCKETS_MAX: Final = PEERS_MAX + DOOR_SESSIONS_MAX + 16  # libzmq's own default, 1,023, has no room for all peers


class Dial(Record, frozen=True):
    """Keep a connection to `name` (a node id, or a door session) at one of `addresses`."""

    name: bytes
    server_curve: bytes
    own: CurveKeys
    addresses: tuple[str, ...]
    door: bool


class Close(Record, frozen=True):
    name: bytes


class Carry(Record, frozen=True):
    """Send a sealed frame over the dialled connection `name`, or back to a session that knocked."""

    name: bytes
    raw: bytes


class Stop(Record, frozen=True):
    pass


Command = Allowed | Dial | Close | Carry | Stop
SESSION_IN: Final = b"in:"  # prefix of sessions that knocked here


class _Link:
    """One DEALER: at one address at a time; the next one is tried while the handshake does not complete."""

    def __init__(self, dial: Dial, route: Route, socket: zmq.Socket[bytes], now_ms: int) -> None:
        self.dial = dial
        self.route = route
        self.socket = socket
        self.turn = -1
        self.way: Way | None = None  # to the present address
        self.since_ms = now_ms
        self.waiting: deque[bytes] = deque()  # limits.LINK_FRAMES_WAITING_MAX

    def rotate(self, now_ms: int) -> None:
        """Leaves the present address, if any, for the next one. Others choose the addresses: none is a fault here."""
        addresses = self.dial.addresses
        if self.way is None or len(addresses) > 1:
            self.turn += 1
            self.leave()
            with contextlib.suppress(zmq.ZMQError, FlottaError):
                self.way = self.route.way(addresses[self.turn % len(addresses)])
                self.socket.connect(self.way.endpoint)
        self.since_ms = now_ms

    def leave(self) -> None:
        if self.way is not None:
            with contextlib.suppress(zmq.ZMQError):
                self.socket.disconnect(self.way.endpoint)
            self.way.close()
            self.way = None


class ZmqWire:
    """Sockets, ZAP and the thread that owns them.

    `open` binds and starts; afterwards any thread may call `post`. `deliver` gets every frame, `ready` is called once
    the self-test has passed, `fail` with the reason when the thread ends without having been asked to; all three in
    the wire's thread.
    """

    def __init__(
        self,
        keys: CurveKeys,
        clock: Clock,
        deliver: Callable[[Arrived], None],
        fail: Callable[[FlottaError], None],
        ready: Callable[[], None],
        route: Route = DIRECT,
    ) -> None:
        self._keys = keys
        self._route = route
        self._clock = clock
        self._deliver = deliver
        self._fail = fail
        self._ready = ready
        self._commands: deque[Command] = deque()  # limits.WIRE_COMMANDS_MAX
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._allowed = Allowed(nodes={}, doors={})
        self._held: deque[tuple[int, list[bytes]]] = deque()  # limits.ZAP_HELD_MAX: until when, request; oldest first
        self._links: dict[bytes, _Link] = {}  # limits.PEERS_MAX and limits.DOOR_SESSIONS_MAX
        self._by_socket: dict[zmq.Socket[bytes], _Link] = {}
        self._ways_back: dict[bytes, bytes] = {}  # limits.PEERS_MAX: node → routing id of the connection it opened here
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, _SOCKETS_MAX)
        self._zap: zmq.Socket[bytes] | None = None
        self._router: zmq.Socket[bytes] | None = None
        self._poller = zmq.Poller()
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
        self._self_test: SelfTest | None = None
        self._bound: tuple[str, ...] = ()
        self._fair_share = FairShare()
        self._dials = FairShare(per_s=DIALS_PER_S, burst=DIALS_BURST)
        self._doors = FairShare(per_s=DOOR_DIALS_PER_S, burst=DOOR_DIALS_BURST)
        self._memory = MemoryWatch()
        self._looked_ms = 0  # when the memory was looked at
        self._left_to_bind: list[tuple[str, int]] = []  # listeners that are about to be made anew
        self._unbound_ms = 0  # since when
        self.dropped = 0  # frames that found no room; the outbox repeats what matters
        self.refused = 0  # connections with an unknown key
        self.shed = 0  # times that all connections were made anew

    # --- any thread ------------------------------------------------------------------------------

    def open(self, hosts: tuple[str, ...], port: int) -> tuple[str, ...]:
        """Binds to every host and starts the thread. Returns the bound `host:port`. Raises ConfigError(PORT_TAKEN).

        Without hosts, as a client, it listens on nothing and only dials.
        """
        seed_routing_ids()
        self._zap = zap = self._context.socket(zmq.ROUTER)
        zap.setsockopt(zmq.LINGER, 0)
        zap.bind(_ZAP_ENDPOINT)  # before any server socket: without a handler everybody would be let in
        self._poller.register(zap, zmq.POLLIN)
        if hosts:
            self._router = router = self._make_router()
            self._bound = tuple(_bind(router, host, port) for host in hosts)
            self._poller.register(router, zmq.POLLIN)
        self._poller.register(self._wake_out, zmq.POLLIN)
        self._thread.start()
        return self._bound

    def _make_router(self) -> zmq.Socket[bytes]:
        router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        harden(router)
        for option, value in ((zmq.ROUTER_MANDATORY, 1), (zmq.ROUTER_HANDOVER, 0), (zmq.CURVE_SERVER, 1)):
            router.setsockopt(option, value)
        router.setsockopt(zmq.ZAP_DOMAIN, DOMAIN.encode())
        router.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        set_keys(router, self._keys)
        return router

    def post(self, command: Command) -> bool:
        """Leaves a command for the wire's thread. False, and counted, when too many wait."""
        if len(self._commands) >= WIRE_COMMANDS_MAX and isinstance(command, Carry):
            self.dropped += 1
            return False
        self._commands.append(command)
        try:
            self._wake_in.send(b"\0")
        except BlockingIOError:
            pass  # it is awake already
        except OSError:
            return False  # closed
        return True

    def counts(self) -> dict[str, int]:
        return {"dropped": self.dropped, "refused_connections": self.refused, "connections_shed": self.shed}

    def close(self) -> None:
        """Stops the thread and closes everything. Waits for at most two seconds."""
        self.post(Stop())
        if self._thread.ident is not None:
            self._thread.join(timeout=2)
        else:
            self._close_sockets()  # it was never opened, or not to the end

    # --- the wire's thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._bound:
                self._self_test = SelfTest(self._context, self._keys.public, self._bound[0], self._now_ms())
                self._poller.register(self._self_test.monitor, zmq.POLLIN)
            else:
                self._ready()  # nobody can come in
            while self._turn():
                pass
        except FlottaError as error:
            self._fail(error)
        except Exception as error:  # the outermost frame of this thread
            _log.exception("the wire stopped")
            self._fail(DeniedError(Code.ACTOR_FAILED, f"the wire stopped: {error!r}"))
        finally:
            self._close_sockets()

    def _turn(self) -> bool:
        for ready, _ in self._poller.poll(_TICK_MS):
            if ready is self._zap:
                self._answer_zap(self._zap)
            elif ready is self._router:
                self._read_router(self._router)
            elif ready in self._by_socket:
                self._serve_link(self._by_socket[ready])
            elif self._self_test is not None and ready is self._self_test.monitor:
                self._judge_self_test(self._self_test)
            else:
                self._drain_wake()
        self._check_self_test()
        running = self._obey()
        self._tick()
        return running

    def _now_ms(self) -> int:
        return self._clock.now().boot_ns // 1_000_000

    def _drain_wake(self) -> None:
        try:
            while self._wake_out.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _obey(self) -> bool:
        while self._commands:
            command = self._commands.popleft()
            match command:
                case Carry(name=name, raw=raw):
                    self._carry(name, raw)
                case Allowed():
                    self._allowed = command
                    self._answer_held(self._now_ms())
                case Dial():
                    self._dial(command)
                case Close(name=name):
                    self._hang_up(name)
                case Stop():
                    return False
        return True

    # --- ZAP -------------------------------------------------------------------------------------

    def _answer_zap(self, zap: zmq.Socket[bytes]) -> None:
        for _ in range(_READ_BATCH):
            try:
                parts = zap.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            reply = self._permission(parts)
            if reply is None:
                continue
            test = self._self_test
            if test is not None and parts[-1] == test.public_key:
                test.was_asked = True
            elif refuses(reply) and len(self._held) < ZAP_HELD_MAX:
                self._held.append((self._now_ms() + ZAP_HOLD_MS, parts))
                continue
            else:
                self.refused += refuses(reply)
            zap.send_multipart(reply)

    def _permission(self, parts: list[bytes]) -> list[bytes] | None:
        reply = answer_zap(parts, self._allowed)
        if reply is None or refuses(reply):
            return reply
        return reply if self._may_dial(reply[-2], asker_address(parts)) else refusal(reply)

    def _may_dial(self, user: bytes, address: bytes) -> bool:
        """A peer has its share. All who know a project have one door, and there each address has its own."""
        now_s = self._clock.now().boot_ns / 1e9
        if not is_door(user):
            return self._dials.admits(user, 0, now_s)
        return self._dials.admits(user + b"@" + address, 0, now_s) and self._doors.admits(user, 0, now_s)

    def _answer_held(self, now_ms: int) -> None:
        """Of two nodes that have just proved themselves one dials before the other has stored it as its peer. Refused,
        it would try again only after HANDSHAKE_LIMIT_MS: libzmq does not tell a DEALER of status 300.
        """
        assert self._zap is not None
        for _ in range(len(self._held)):
            until_ms, parts = self._held.popleft()
            reply = self._permission(parts)
            assert reply is not None  # it had one when it was held
            if refuses(reply) and now_ms < until_ms:
                self._held.append((until_ms, parts))
            else:
                self.refused += refuses(reply)
                self._zap.send_multipart(reply)

    def _judge_self_test(self, test: SelfTest) -> None:
        verdict = test.verdict()
        if verdict is None:
            return
        if verdict is False:
            raise ConfigError(  # no restart mends it
                Code.DOOR_OPEN_TO_STRANGERS,
                "the self-test connected with an unknown key and was let in: this node will not run",
                next_step="report this as a bug; the ZeroMQ library of this machine does not ask for permission",
            )
        self._end_self_test(test)
        self._ready()

    def _check_self_test(self) -> None:
        test = self._self_test
        if test is not None and self._now_ms() - test.started_ms > SELF_TEST_LIMIT_MS:
            raise DeniedError(
                Code.DOOR_OPEN_TO_STRANGERS,
                "the self-test of the door got no answer: whether strangers are refused is unknown",
                next_step="check that this machine can connect to its own address (firewall?)",
            )

    def _end_self_test(self, test: SelfTest) -> None:
        self._poller.unregister(test.monitor)
        test.close()
        self._self_test = None

    # --- inward ----------------------------------------------------------------------------------

    def _read_router(self, router: zmq.Socket[bytes]) -> None:
        for _ in range(_READ_BATCH):
            try:
                frames = router.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            arrived = _arrived(frames)
            if arrived is not None and self._admits(arrived):
                if arrived.node:
                    self._ways_back[arrived.node] = frames[0].bytes
                self._deliver(arrived)
            else:
                self.dropped += 1

    def _admits(self, arrived: Arrived) -> bool:
        now_s = self._clock.now().boot_ns / 1e9
        return self._fair_share.admits(arrived.node or arrived.project, len(arrived.raw), now_s)

    def _serve_link(self, link: _Link) -> None:
        for _ in range(_READ_BATCH):
            try:
                parts = link.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                break
            if len(parts) == 1 and link.dial.door:
                self._deliver(Arrived(raw=parts[0], session=link.dial.name, dialled=True))
            elif len(parts) == 1:
                self._deliver(Arrived(raw=parts[0], node=link.dial.name))
        self._flush(link)

    # --- outward ---------------------------------------------------------------------------------

    def _carry(self, name: bytes, raw: bytes) -> None:
        if name.startswith(SESSION_IN):
            self._answer_session(name, raw)
            return
        link = self._links.get(name)
        if link is None:
            self._send_back(self._ways_back.get(name, b""), raw)  # to a client of ours
            return
        # What is passed on for others takes no place of our own frames at a peer that reads too slowly.
        if len(link.waiting) >= (1 if is_passed_on(raw) else LINK_FRAMES_WAITING_MAX):
            self.dropped += 1
            return
        link.waiting.append(raw)
        self._flush(link)

    def _answer_session(self, name: bytes, raw: bytes) -> None:
        self._send_back(name[len(SESSION_IN) + 16 :], raw)

    def _send_back(self, routing_id: bytes, raw: bytes) -> None:
        """Over a connection that was opened here. Who has gone, or reads too slowly, asks again or is sent it again."""
        try:
            if self._router is None or not routing_id:
                self.dropped += 1
            else:
                self._router.send_multipart([routing_id, raw], zmq.DONTWAIT)
        except zmq.ZMQError:
            self.dropped += 1

    def _flush(self, link: _Link) -> None:
        """Sends what waits. With ZMQ_IMMEDIATE a DEALER takes a frame only once the CURVE handshake is complete."""
        while link.waiting:
            reached(Point.SEND_BEFORE)
            try:
                link.socket.send(link.waiting[0], zmq.DONTWAIT)
            except zmq.Again:
                break
            reached(Point.SEND_AFTER)
            link.since_ms = self._now_ms()
            link.waiting.popleft()
        self._poller.register(link.socket, zmq.POLLIN | (zmq.POLLOUT if link.waiting else 0))

    def _dial(self, dial: Dial) -> None:
        before = self._links.get(dial.name)
        if before is not None and before.dial == dial:
            return
        self._hang_up(dial.name)
        if not dial.addresses:
            return
        if dial.door:
            self._make_room_at_the_door()
        try:
            dealer: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        except zmq.ZMQError as error:  # no descriptor is left: whoever needs the connection asks for it again
            _log.warning("no socket for another connection: %s", error)
            return
        harden(dealer)
        dealer.setsockopt(zmq.IMMEDIATE, 1)
        dealer.setsockopt(zmq.CURVE_SERVERKEY, dial.server_curve)
        dealer.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_LIMIT_MS + self._route.opening_ms)
        set_keys(dealer, dial.own)
        link = _Link(dial, self._route, dealer, self._now_ms())
        if before is not None:
            link.waiting = before.waiting
        self._links[dial.name] = link
        self._by_socket[dealer] = link
        link.rotate(self._now_ms())
        self._flush(link)

    def _make_room_at_the_door(self) -> None:
        """Sessions that nobody hung up, since the actor that opened them crashed, give way, the oldest first."""
        doors = [name for name, link in self._links.items() if link.dial.door]
        for name in doors[: max(0, len(doors) + 1 - DOOR_SESSIONS_MAX)]:
            self._hang_up(name)

    def _hang_up(self, name: bytes) -> None:
        link = self._links.pop(name, None)
        if link is not None:
            self._poller.unregister(link.socket)
            del self._by_socket[link.socket]
            link.leave()
            link.socket.close(0)

    def _tick(self) -> None:
        """Frames that wait longer than the handshake takes mean a wrong address: the next one is tried."""
        now_ms = self._now_ms()
        if self._held and self._held[0][0] <= now_ms:
            self._answer_held(now_ms)
        if self._left_to_bind:
            self._bind_again(now_ms)
        elif now_ms - self._looked_ms >= _TICK_MS:
            self._looked_ms = now_ms
            if self._memory.has_grown():
                self._shed(now_ms)
        for link in self._links.values():
            patience = (DOOR_ROTATE_MS if link.dial.door else PEER_ROTATE_MS) + self._route.patience_ms
            if link.waiting and now_ms - link.since_ms > patience:
                link.rotate(now_ms)

    def _shed(self, now_ms: int) -> None:
        """Ends the connections of all who dialled, and with them what libzmq keeps of messages without an end: it
        neither bounds their parts nor tells whose they are. Peers dial again; what was lost is repeated.
        """
        assert self._router is not None
        _log.warning(
            "somebody who knows a project's token sends messages without an end: all connections are made anew"
        )
        self.shed += 1
        self._unbound_ms = now_ms
        for address in self._bound:
            self._router.unbind(f"tcp://{address}")
            host, _, port = address.rpartition(":")
            self._left_to_bind.append((host, int(port)))

    def _bind_again(self, now_ms: int) -> None:
        """libzmq closes a listener in another thread: until it has, the port is taken."""
        assert self._router is not None
        try:
            while self._left_to_bind:
                _bind(self._router, *self._left_to_bind[-1])
                self._left_to_bind.pop()
        except ConfigError:
            if now_ms - self._unbound_ms > REBIND_LIMIT_MS:
                raise

    def _close_sockets(self) -> None:
        if self._self_test is not None:
            self._self_test.close()
        for name in list(self._links):
            self._hang_up(name)
        for sock in (self._router, self._zap):  # the handler last: nobody may connect while no one decides
            if sock is not None:
                sock.close(0)
        self._wake_in.close()
        self._wake_out.close()
        self._context.term()


def _bind(router: zmq.Socket[bytes], host: str, port: int) -> str:
    try:
        router.bind(f"tcp://{host}:{port}")
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise ConfigError(
                Code.PORT_TAKEN,
                f"port {port} on {host} is in use by another program",
                next_step="stop it, or choose another node.port in the configuration",
            ) from error
        raise ConfigError(
            Code.PORT_TAKEN,
            f"this machine cannot listen on {host}:{port} ({error.strerror})",
            next_step="check node.interface and node.port in the configuration",
        ) from error
    return f"{host}:{port}"


def _arrived(frames: list[zmq.Frame]) -> Arrived | None:
    """Who sent it is told by ZAP's User-Id alone; routing ids chosen by the other side are refused, since they can be
    another's.
    """
    if len(frames) != 2:
        return None
    routing_id = frames[0].bytes
    if len(routing_id) != 5 or routing_id[0] != 0:
        return None
    kind, _, hexed = str(frames[1].get("User-Id")).partition(":")  # as `answer_zap` wrote it
    identity = bytes.fromhex(hexed)
    if kind == "node":
        return Arrived(raw=frames[1].bytes, node=identity)
    if kind == "door":
        return Arrived(raw=frames[1].bytes, session=SESSION_IN + identity + routing_id, project=identity)
    return None
