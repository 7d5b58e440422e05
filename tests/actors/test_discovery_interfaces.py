"""Which addresses a node binds."""

from __future__ import annotations

import pytest

from actors.adapters.interfaces import Interface, _choose, _interface, choose_interfaces, local_interfaces
from protocol.errors import Code, ConfigError
from protocol.limits import ADDRESSES_PER_NODE_MAX

HAVE = (
    _interface("lo", "127.0.0.1"),
    _interface("eth0", "192.168.1.7"),
    _interface("eth1", "203.0.113.5"),
    _interface("wg0", "10.8.0.2"),
)


def test_without_a_wish_loopback_and_private_addresses_are_used() -> None:
    assert _choose(None, HAVE) == ("127.0.0.1", "192.168.1.7", "10.8.0.2")


def test_every_address_is_named_when_every_address_is_wanted() -> None:
    assert _choose("0.0.0.0", HAVE) == ("127.0.0.1", "192.168.1.7", "203.0.113.5", "10.8.0.2")


def test_a_wanted_address_is_used_alone_public_or_not() -> None:
    assert _choose("203.0.113.5", HAVE) == ("203.0.113.5",)


@pytest.mark.parametrize("wanted", ["192.168.1.8", "eth0", "::1", "", "0.0.0.0/0"])
def test_an_address_that_this_machine_lacks_is_refused_naming_those_it_has(wanted: str) -> None:
    with pytest.raises(ConfigError) as refused:
        _choose(wanted, HAVE)
    assert refused.value.code == Code.CONFIG_VALUE_WRONG
    for interface in HAVE:
        assert interface.address in refused.value.next_step


def test_a_machine_without_private_addresses_is_told_so() -> None:
    with pytest.raises(ConfigError, match=r"loopback or private.*203\.0\.113\.5"):
        _choose(None, (_interface("eth1", "203.0.113.5"),))


def test_more_addresses_than_a_key_statement_names_are_refused_not_cut() -> None:
    many = tuple(_interface(f"eth{n}", f"10.0.{n}.1") for n in range(ADDRESSES_PER_NODE_MAX + 1))
    assert len(_choose(None, many[1:])) == ADDRESSES_PER_NODE_MAX
    with pytest.raises(ConfigError, match="at most"):
        _choose(None, many)


@pytest.mark.parametrize(
    ("address", "private", "loopback"),
    [
        ("127.0.0.1", False, True),
        ("10.255.255.255", True, False),
        ("172.16.0.1", True, False),
        ("172.32.0.1", False, False),
        ("192.168.0.1", True, False),
        ("169.254.3.4", True, False),
        ("100.64.0.1", False, False),
        ("192.0.2.2", False, False),
        ("8.8.8.8", False, False),
    ],
)
def test_private_means_the_private_networks_and_link_local(address: str, private: bool, loopback: bool) -> None:
    assert _interface("x", address) == Interface(name="x", address=address, private=private, loopback=loopback)


def test_this_machine_has_a_loopback_address_and_uses_it() -> None:
    assert any(interface.loopback and interface.address == "127.0.0.1" for interface in local_interfaces())
    assert "127.0.0.1" in choose_interfaces(None)
    assert choose_interfaces("127.0.0.1") == ("127.0.0.1",)
