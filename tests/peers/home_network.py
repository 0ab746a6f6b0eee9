"""A home network of one gateway, for tests: a network namespace with one interface, where the page tells its names.

Run it as ``unshare --net python -m tests.peers.home_network QUESTION…``, a question being ``TYPE/NAME``. It asks each
of the group, by a resolver that is not the responder's, and prints the answers as JSON. With ``--late`` the address
comes after the page has begun; with ``--squatter`` another device claims the names of the services before.
"""

import json
import subprocess
import sys

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
from zeroconf import IPVersion, ServiceInfo, Zeroconf

from edge_agent.page import multicast_dns
from edge_agent.page.settings import PageSettings

ADDRESS, ADDRESS6, SQUATTER = "10.77.0.1", "fd00::77", "10.77.0.66"
PAGE, DESK, ROUTERS = "edge-agent-0a1b2c.local", "desk-3e7701.local", "gateway.lan"
SETTINGS = PageSettings(
    8443, ("127.0.0.1", ADDRESS, ADDRESS6), (PAGE, ROUTERS), "/run/edge-agent", f"https://{DESK}:8444/"
)
TRIES = {PAGE: 20, DESK: 20, ROUTERS: 3}


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, timeout=10)


def _ask(question: str) -> list[str]:
    """Ask once a second, from a port that is not 5353, as one who asks a single time does (RFC 6762, 6.7)."""
    kind, _, name = question.partition("/")
    for _ in range(TRIES[name]):
        asked = dns.message.make_query(name, kind)
        try:
            answer = dns.query.udp(asked, "224.0.0.251", port=5353, timeout=1.0)
        except dns.exception.Timeout:
            continue
        wanted = dns.rdatatype.from_text(kind)
        return sorted(each.to_text() for found in answer.answer if found.rdtype == wanted for each in found)
    return []


def _squat() -> Zeroconf:
    _ip(f"address add {SQUATTER}/24 dev home")
    squatter = Zeroconf(interfaces=[SQUATTER], ip_version=IPVersion.V4Only)
    for name in (PAGE, DESK):
        label = f"{name.removesuffix('.local')}._https._tcp.local."
        squatter.register_service(
            ServiceInfo("_https._tcp.local.", label, port=1, server="other.local.", parsed_addresses=[SQUATTER])
        )
    return squatter


def main(questions: list[str]) -> None:
    """Make the network, tell the names in it, and ask."""
    is_late = "--late" in questions
    _ip("link set lo up")
    _ip("link add home type veth peer name phone")
    _ip("link set phone up")
    _ip("link set home up")
    _ip(f"-6 address add {ADDRESS6}/64 dev home nodad")
    multicast_dns.LOOK_S = 0.2
    announcer = multicast_dns.Announcer(SETTINGS)
    if is_late:
        announcer.start()
    _ip(f"address add {ADDRESS}/24 dev home")
    _ip("route add 224.0.0.0/4 dev home")
    squatter = _squat() if "--squatter" in questions else None
    if not is_late:
        announcer.start()
    answers = {each: _ask(each) for each in questions if not each.startswith("--")}
    announcer.stop()
    if squatter is not None:
        squatter.close()
    print(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1:])
