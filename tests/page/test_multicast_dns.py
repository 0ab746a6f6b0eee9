"""A phone that never heard of the gateway finds the page and the desk by their names."""

import json
import os
import subprocess
import sys

import pytest

from tests.peers.home_network import ADDRESS, ADDRESS6, DESK, PAGE, ROUTERS

OWN_NETWORK = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--user", "--map-root-user"]


def has_networks() -> bool:
    """Tell whether this machine lets us make a network of our own, with an interface: some containers do not."""
    made = [*OWN_NETWORK, "ip", "link", "add", "home", "type", "veth", "peer", "name", "phone"]
    try:
        return subprocess.run(made, capture_output=True, timeout=20, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False
    except OSError:
        return True  # what is missing is named by the mark below


pytestmark = [
    pytest.mark.peer,
    pytest.mark.needs("ip", "unshare"),
    pytest.mark.xfail(not has_networks(), reason="this machine makes no network namespace", run=False),
]


def ask(*words: str) -> dict[str, list[str]]:
    program = [sys.executable, "-m", "tests.peers.home_network", *words]
    run = subprocess.run([*OWN_NETWORK, *program], capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stderr
    answers: dict[str, list[str]] = json.loads(run.stdout)
    return answers


WAYS = {
    "address is there": [],
    "address comes later": ["--late"],
    "another device claims the services": ["--squatter"],
}


@pytest.mark.parametrize("words", WAYS.values(), ids=WAYS.keys())
def test_names_lead_to_the_addresses_that_are_listened_at(words: list[str]):
    """Both names, at the addresses of the home in both families, and not at the machine's own."""
    answers = ask(*words, f"A/{PAGE}", f"A/{DESK}", f"AAAA/{DESK}")
    assert answers == {f"A/{PAGE}": [ADDRESS], f"A/{DESK}": [ADDRESS], f"AAAA/{DESK}": [ADDRESS6]}


def test_only_names_of_multicast_dns_are_told():
    """What does not end in ``.local`` is the router's to tell (RFC 6762, 3)."""
    answers = ask(f"A/{PAGE}", f"A/{ROUTERS}")
    assert answers == {f"A/{PAGE}": [ADDRESS], f"A/{ROUTERS}": []}
