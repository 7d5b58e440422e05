"""Which of this machine's addresses a node uses.

IPv4 only: the node's sockets, the announcements and the statement server are IPv4. IPv6 needs scope ids in
all of them.
"""

from __future__ import annotations

import ipaddress
from typing import Final

import ifaddr

from protocol.errors import Code, ConfigError
from protocol.limits import ADDRESSES_PER_NODE_MAX
from protocol.record import Record

EVERY_ADDRESS: Final = "0.0.0.0"

# RFC 1918, and RFC 3927 for machines on one cable without a DHCP server. Not `is_private`, which also counts
# the ranges for documentation and benchmarks, and not 100.64.0.0/10, which one shares with other customers of
# a provider.
PRIVATE_NETWORKS: Final = tuple(
    ipaddress.IPv4Network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")
)


class Interface(Record, frozen=True):
    """One IPv4 address of this machine and the name of the interface that carries it."""

    name: str
    address: str
    private: bool
    loopback: bool


def local_interfaces() -> tuple[Interface, ...]:
    """Every IPv4 address of this machine, loopback first. Asks the system anew at each call; any thread."""
    found = [
        _interface(adapter.nice_name, str(entry.ip))
        for adapter in ifaddr.get_adapters()
        for entry in adapter.ips
        if entry.is_IPv4
    ]
    return tuple(sorted(found, key=lambda one: (not one.loopback, one.name, one.address)))


def choose_interfaces(wanted: str | None) -> tuple[str, ...]:
    """The addresses to bind: without `wanted` the loopback and private ones, for `0.0.0.0` all, otherwise
    that one.

    Never `0.0.0.0` itself, so that start-up can print what is open. Raises ConfigError when this machine does
    not have the wanted address, and when more than `ADDRESSES_PER_NODE_MAX` are left: a key statement names
    no more.
    """
    return _choose(wanted, local_interfaces())


def _choose(wanted: str | None, have: tuple[Interface, ...]) -> tuple[str, ...]:
    if wanted is None:
        chosen = tuple(one.address for one in have if one.loopback or one.private)
    elif wanted == EVERY_ADDRESS:
        chosen = tuple(one.address for one in have)
    else:
        chosen = tuple(one.address for one in have if one.address == wanted)
    if not chosen:
        sentence = f"This machine does not have the IPv4 address {wanted or 'of a loopback or private network'}."
    elif len(chosen) > ADDRESSES_PER_NODE_MAX:
        sentence = f"A node uses {ADDRESSES_PER_NODE_MAX} addresses at most and this machine has {len(chosen)}."
    else:
        return chosen
    listed = ", ".join(f"{one.address} ({one.name})" for one in have) or "none"
    raise ConfigError(
        Code.CONFIG_VALUE_WRONG,
        sentence,
        next_step=f"set `interface` to one of the addresses it has: {listed}.",
    )


def _interface(name: str, address: str) -> Interface:
    parsed = ipaddress.IPv4Address(address)
    private = any(parsed in network for network in PRIVATE_NETWORKS)
    return Interface(name=name, address=address, private=private, loopback=parsed.is_loopback)
