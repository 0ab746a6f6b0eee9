"""What a changed configuration touches: cameras whose recording depends on it, and no others."""

from pathlib import Path

import pytest

from edge_agent.custody.credentials import Login
from edge_agent.errors import UsageError
from edge_agent.recording.reload import Changes, find_changes
from edge_agent.settings.gateway import parse_config

BASE = """
gateway: {state_dir: state}
home_broker: {host: 127.0.0.1}
cameras:
  - {id: door, name: Door, url: "rtsp://127.0.0.1/a", credentials: cam}
  - {id: yard, url: "rtsp://127.0.0.1/b", record: on_event, triggers: [{kind: mqtt, topic: t}]}
"""
LOGINS = {"cam": Login(username="a", password="b")}


def change(before: str, after: str, logins=LOGINS) -> Changes:
    assert not before or before in BASE
    old, new = (parse_config(text, "test", Path("/x")) for text in (BASE, BASE.replace(before, after, 1)))
    return find_changes(old, LOGINS, new, logins)


CASES: dict[str, tuple[str, str, set[str], set[str]]] = {
    "nothing": ("", "", set(), set()),
    "a name": ("name: Door", "name: Front door", set(), set()),
    "when it is told as down": ("name: Door", "down_after: 1h", set(), set()),
    "an address": ("127.0.0.1/a", "127.0.0.1/c", {"door"}, {"door"}),
    "the size of all rings": ("home_broker", "buffer: {size: 1GiB}\nhome_broker", {"door", "yard"}, {"door", "yard"}),
    "the home's broker": ("host: 127.0.0.1", "host: 127.0.0.2", {"yard"}, {"yard"}),
    "one is switched off": ("id: door", "id: door, enabled: false", {"door"}, set()),
    "one more": ("cameras:\n", "cameras:\n  - {id: new, url: 'rtsp://a/b'}\n", set(), {"new"}),
    "the zone, without hours": ("state_dir: state", "state_dir: state, time_zone: Asia/Tokyo", set(), set()),
}


@pytest.mark.parametrize(("before", "after", "stop", "start"), CASES.values(), ids=CASES)
def test_a_change_touches_what_depends_on_it(before, after, stop, start):
    """Every other camera records on."""
    changes = change(before, after)
    assert (set(changes.stop), set(changes.start)) == (stop, start)
    assert changes.untouched == {"door", "yard"} - stop


def test_a_changed_password_touches_its_cameras():
    """The next session of an old login would fail otherwise, at some time nobody knows."""
    assert change("", "", {"cam": Login(username="a", password="c")}).stop == {"door"}


def test_what_takes_a_restart_is_said():
    """Folders and locks belong to the process as a whole."""
    with pytest.raises(UsageError, match="state_dir"):
        change("state_dir: state", "state_dir: elsewhere")
