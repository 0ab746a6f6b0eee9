"""From the installed package to a delivered clip by a phone: page and desk under systemd, a browser on this side."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.demo.home import LAT, LON
from tests.machine.story import Story
from tests.machine.town import CAMERA_PORT
from tests.machine.typist import Typist
from tests.machine.virtual import HERE, THERE, MachineError
from tests.support.finger import (
    MOST_TAPS,
    MOST_TYPED,
    PASSPHRASE,
    find_pairing_link,
    go_to_yes,
    open_browser,
    tell_first_byte,
)
from tests.support.phone import Phone

_SERVICES = ("edge-agent-page", "edge-agent-desk")
_LIMIT_S = 300.0
_ASKED, _AGAIN = ("owner's passphrase: ", PASSPHRASE), ("the same once more: ", PASSPHRASE)


def tell_phone_day(story: Story, pictures: Path) -> None:
    """Install on a plain Debian, turn page and desk on, and do the rest by a phone; pictures of each step are kept.

    Raises:
        MachineError: More was typed or tapped than the goal allows, or a service is not shut in.
    """
    story.boot()
    with story.step("apt install"):
        story.typist.type(f"sudo apt install ./dist/{story.package.name}")
    with _open_phone() as phone, open_browser(THERE, pictures) as finger:
        story.typist = Typist(story.machine)  # what is typed counts from here
        with story.step("three commands, three files"):
            link = _set_up(story, phone)
        with story.step("by the phone: pair, join, terms, yes; the first signature at the terminal"):
            jti = go_to_yes(
                finger, phone, story.town.city, link,
                lambda: story.typist.type("sudo edge-agent consent sign", ('Type "yes"', "yes"), _ASKED),
                lambda gateway: _ask(story, gateway),
            )  # fmt: skip
            story.town.open_delivered(jti, _LIMIT_S)
        story.look_at_the_sandbox(*_SERVICES)
        story.note("first byte of the page", tell_first_byte(link.partition("pair")[0]))
        for service in _SERVICES:
            story.note(f"PSS of {service}", f"{_read_pss_mb(story, service):.0f} MB")
        _count(story, finger.taps)


def _ask(story: Story, gateway: str) -> str:
    """Ask once root has put the signed terms into the file: until then the file's count, which allow nothing."""
    begun = time.monotonic()
    story.wait("the terms are in the file", "cat /etc/edge-agent/consent.yaml", "agencies: []", 60, absent=True)
    story.note("terms signed at the desk are in the file after, s", round(time.monotonic() - begun, 1))
    time.sleep(16)  # ten seconds of footage, of which the terms are in force
    return story.town.send(gateway, "front-door")


def _count(story: Story, taps: int) -> None:
    edits = sum(" nano " in command for command in story.typist.typed)
    typed = story.typist.commands - edits
    story.note("delivered by the phone", f"{typed} typed commands, {edits} edited files, {taps} taps")
    if typed > MOST_TYPED or taps > MOST_TAPS:
        raise MachineError(f"the goal: at most {MOST_TYPED} commands and {MOST_TAPS} taps")


def _set_up(story: Story, phone: Phone) -> str:
    """Type and edit; return the pairing link."""
    typist = story.typist
    shown = typist.type("sudo edge-agent init", _ASKED, _AGAIN, ("for the phones of your home", "y"))
    camera = f"{{id: front-door, name: Front door, url: rtsp://{HERE}:{CAMERA_PORT}/cam}}"
    typist.edit(
        "/etc/edge-agent/edge-agent.yaml",
        {
            "  # location: {lat: 32.29876, lon: -90.18481}": f"  location: {{lat: {LAT}, lon: {LON}}}",
            "  size: 32GiB": "  size: 256MiB",
            "\ncameras:\n": f"\ncameras:\n  - {camera}\n",
            "  services: []": "  services: [phone]",
        },
    )
    typist.edit("/etc/edge-agent/consent.yaml", {"\ncameras: {}\n": "\ncameras:\n  front-door: {}\n"})
    typist.edit("/etc/edge-agent/notify.yaml", {"# phone: ntfys://ntfy.example.net/topic": f"phone: {phone.url}"})
    typist.type("sudo systemctl enable --now edge-agent.target")
    story.wait("it records", "edge-agent status", "front-door.main (Front door): recording", 180)
    story.expect_active(*_SERVICES)
    story.wait_clock()
    return find_pairing_link(shown, THERE)


@contextmanager
def _open_phone() -> Iterator[Phone]:
    phone = Phone(HERE)
    try:
        yield phone
    finally:
        phone.close()


def _read_pss_mb(story: Story, service: str) -> float:
    """Return the proportional set size of a service's main process (proc(5), smaps_rollup)."""
    pid = f"$(systemctl show -p MainPID --value {service})"
    return int(story.machine.ssh(f"grep ^Pss: /proc/{pid}/smaps_rollup").split()[1]) / 1024
