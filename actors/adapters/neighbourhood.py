"""Announcing this node on the LAN and seeing the others, by zeroconf on explicit interfaces.

What strangers announce is bounded everywhere: names waiting to be read, names remembered, questions in
flight, reports a second. There is no probing for a free name before the announcement: it would take 1.2 s,
and a random suffix of 64 bits is free. The browser's questions ask for multicast answers: of several
processes that share port 5353 of a machine only one gets a unicast.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from zeroconf import DNSQuestionType, IPVersion, ServiceStateChange, Zeroconf
from zeroconf import Error as ZeroconfError
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from actors.adapters.interfaces import Interface, local_interfaces
from actors.adapters.statements import NODE_PORT_MAX, from_txt, to_txt
from actors.discovery import INSTANCE_BYTES_MAX, Announce, Found, Lost
from protocol.errors import Code, RemoteProtocolError
from protocol.limits import (
    ADDRESSES_PER_NODE_MAX,
    DISCOVERY_EVENTS_PER_S_MAX,
    DISCOVERY_LOOKUP_MS,
    DISCOVERY_LOOKUPS_MAX,
    STRANGERS_MAX,
)
from protocol.rate import TokenBucket

SERVICE_TYPE: Final = "_flotta-p2p._tcp.local."
RECORD_TTL_S: Final = 1_200  # a node that died in silence is listed so long; zeroconf takes no less than 1,125 s


class Neighbourhood:
    """One announcement and one browser. All methods run on one event loop; `watch` must run for reports to
    come.

    `report` is awaited for each `Found` and `Lost`; while it blocks, news pile up to `STRANGERS_MAX` names
    and no further. Of the names remembered the oldest is forgotten first, without being reported as lost: so
    a flood cannot hide who comes later. `malformed` counts announcements that make no sense, `dropped` those
    beyond the limits.
    """

    def __init__(self, report: Callable[[Found | Lost], Awaitable[None]]) -> None:
        self.malformed = 0
        self.dropped = 0
        self._report = report
        self._own_name = ""
        self._device = ""
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._known: OrderedDict[str, Found] = OrderedDict()
        self._pending: OrderedDict[str, ServiceStateChange] = OrderedDict()
        self._news = asyncio.Event()
        self._lookups: set[asyncio.Task[None]] = set()

    async def show(self, announce: Announce) -> list[str]:
        """Announce this from now on and browse. Returns a sentence for each interface without multicast.

        Raises OSError when multicast works nowhere, and is then closed.
        """
        # Asked first, because one address that has just gone away would make zeroconf fail for all of them.
        present = [each for each in local_interfaces() if each.address in announce.interfaces]
        try:
            device = _only_device(present)
            if self._zeroconf is not None and device != self._device:
                await self.close()
            if self._zeroconf is None:
                self._own_name = f"{announce.instance_prefix}-{secrets.token_hex(8)}.{SERVICE_TYPE}"
                await self._open(device)
            return await self._publish(announce, [each.address for each in present])
        except ZeroconfError as error:
            await self.close()
            raise OSError(f"zeroconf: {error or type(error).__name__}") from None
        except OSError:
            await self.close()
            raise

    async def close(self) -> None:
        """Say goodbye on the network and stop. Takes 250 ms."""
        for task in self._lookups:
            task.cancel()
        self._pending.clear()
        self._known.clear()
        if self._browser is not None:
            await self._browser.async_cancel()
        closing, self._zeroconf, self._browser = self._zeroconf, None, None
        if closing is not None:
            await closing.async_close()

    async def watch(self) -> None:
        """Turn the news of the browser into reports, for ever, at most `DISCOVERY_EVENTS_PER_S_MAX` a
        second."""
        clock = asyncio.get_running_loop().time
        bucket = TokenBucket(per_s=DISCOVERY_EVENTS_PER_S_MAX, burst=DISCOVERY_EVENTS_PER_S_MAX, now_s=clock())
        while True:
            await self._news.wait()
            while not bucket.take(clock()):
                await asyncio.sleep(bucket.wait_s(clock()))
            if self._pending:
                await self._read(*self._pending.popitem(last=False))
            else:
                self._news.clear()

    async def _open(self, device: str) -> None:
        """Start to browse, on no interface yet: adding them afterwards spares the good ones when one fails.

        zeroconf listens on 0.0.0.0, so it also hears, and answers, where other programs of this machine
        joined the group. Bound to the one device that is ours it does not. IP_MULTICAST_ALL would not do:
        with SO_REUSEPORT the kernel then hands packets for another program of the same user to us.
        """
        opened = AsyncZeroconf(interfaces=[], ip_version=IPVersion.V4Only)
        self._zeroconf, self._device = opened, device
        await opened.zeroconf.async_wait_for_start()
        if device and sys.platform == "linux":
            for reader in opened.zeroconf.engine.readers:
                with contextlib.suppress(PermissionError):  # before Linux 5.7 it takes root
                    reader.transport.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0"
                    )
        # Before our own announcement, so that who answers it is already heard.
        self._browser = AsyncServiceBrowser(
            opened.zeroconf, SERVICE_TYPE, handlers=[self._on_change], question_type=DNSQuestionType.QM
        )

    async def _publish(self, announce: Announce, present: list[str]) -> list[str]:
        assert self._zeroconf is not None
        info = AsyncServiceInfo(
            SERVICE_TYPE,
            self._own_name,
            port=announce.port,
            addresses=[socket.inet_aton(address) for address in _reachable(present)],
            properties=to_txt(announce.statement),
            other_ttl=RECORD_TTL_S,
        )
        info.set_server_if_missing()
        registered = self._zeroconf.zeroconf.registry.async_get_info_name(info.key) is not None
        if registered:  # first, because on a new interface zeroconf announces what it has
            await self._zeroconf.async_update_service(info)
        await self._zeroconf.async_update_interfaces(present)
        senders = {str(sender.sock_name[0]) for sender in self._zeroconf.zeroconf.engine.senders}
        if not senders:
            raise OSError(f"none of {', '.join(announce.interfaces)} takes part in multicast")
        if not registered:
            await self._zeroconf.async_register_service(info, cooperating_responders=True)
        silent = [each for each in announce.interfaces if each not in senders]
        return [f"Multicast does not work on {address}: nodes there must be given by address." for address in silent]

    def _on_change(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """Called by the browser, with these names of the parameters."""
        if name == self._own_name:
            return
        if name not in self._pending and len(self._pending) >= STRANGERS_MAX:
            self.dropped += 1
            return
        self._pending[name] = state_change
        self._news.set()

    async def _read(self, name: str, change: ServiceStateChange) -> None:
        """Report what zeroconf's cache says about a name; ask the network when it does not say enough."""
        if change is ServiceStateChange.Removed:
            gone = self._known.pop(name, None)
            if gone is not None:
                await self._report(Lost(instance=gone.instance))
            return
        if self._zeroconf is None:
            return
        try:
            info = AsyncServiceInfo(SERVICE_TYPE, name)
        except ZeroconfError:
            self.malformed += 1
            return
        if info.load_from_cache(self._zeroconf.zeroconf):
            await self._tell(name, info)
        elif len(self._lookups) < DISCOVERY_LOOKUPS_MAX:
            task = asyncio.create_task(self._look_up(name, info, self._zeroconf.zeroconf))
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)
        else:
            self.dropped += 1

    async def _look_up(self, name: str, info: AsyncServiceInfo, zeroconf: Zeroconf) -> None:
        if await info.async_request(zeroconf, DISCOVERY_LOOKUP_MS, question_type=DNSQuestionType.QM):
            await self._tell(name, info)
        else:
            self.malformed += 1

    async def _tell(self, name: str, info: AsyncServiceInfo) -> None:
        try:
            found = _found(name, info)
        except RemoteProtocolError:
            self.malformed += 1
            return
        if self._known.get(name) == found:
            return
        self._known[name] = found
        self._known.move_to_end(name)
        if len(self._known) > STRANGERS_MAX:
            self._known.popitem(last=False)
        await self._report(found)


def _only_device(interfaces: list[Interface]) -> str:
    """The network device that carries all of these addresses, or nothing when there are several."""
    devices = {interface.name.partition(":")[0] for interface in interfaces}  # eth0:1 is a label of eth0
    return devices.pop() if len(devices) == 1 else ""


def _reachable(interfaces: list[str]) -> list[str]:
    """What to announce: nobody else reaches our loopback, unless we have nothing else and they are on this
    machine."""
    outward = [address for address in interfaces if not ipaddress.IPv4Address(address).is_loopback]
    return outward or interfaces


def _found(name: str, info: AsyncServiceInfo) -> Found:
    """The record behind an announcement. Raises RemoteProtocolError when it makes no sense."""
    instance = name[: -len(SERVICE_TYPE) - 1]
    if not 0 < len(instance.encode()) <= INSTANCE_BYTES_MAX or not instance.isprintable():
        raise RemoteProtocolError(Code.BODY_MALFORMED, "instance name")
    if info.port is None or not 0 < info.port <= NODE_PORT_MAX:
        raise RemoteProtocolError(Code.BODY_MALFORMED, "port")
    addresses = sorted({text for text in info.parsed_addresses(IPVersion.V4Only) if _is_of_one_machine(text)})
    if not 0 < len(addresses) <= ADDRESSES_PER_NODE_MAX:
        raise RemoteProtocolError(Code.BODY_MALFORMED, "addresses")
    return Found(instance=instance, statement=from_txt(info.properties), addresses=tuple(addresses), port=info.port)


def _is_of_one_machine(address: str) -> bool:
    parsed = ipaddress.IPv4Address(address)
    return not (parsed.is_multicast or parsed.is_unspecified or parsed.is_reserved)
