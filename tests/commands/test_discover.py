"""``edge-agent discover`` without an interface: which networks are searched."""

from ipaddress import IPv4Interface

import pytest

from edge_agent.commands.discover import choose_networks
from edge_agent.errors import UsageError

NETWORKS = {
    name: IPv4Interface(address)
    for name, address in {
        "lo": "127.0.0.1/8",
        "eth0": "192.168.1.7/24",
        "tun0": "8.8.8.8/24",
        "br0": "10.0.0.7/8",
    }.items()
}


def test_the_private_networks_are_searched() -> None:
    """A public network and the loopback are left alone, unless they are named."""
    assert list(choose_networks(NETWORKS, None)) == ["br0", "eth0"]
    assert list(choose_networks(NETWORKS, "tun0")) == ["tun0"]


def test_no_private_network_is_told_with_those_there_are() -> None:
    """Nothing is searched that nobody named."""
    with pytest.raises(UsageError) as refused:
        choose_networks({name: NETWORKS[name] for name in ("lo", "tun0")}, None)
    assert "tun0 (8.8.8.8/24)" in refused.value.hint
