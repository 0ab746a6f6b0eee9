"""The page's own parts: words, days and hours, codes, devices, what may be listened at."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.reasons import REASONS
from edge_agent.errors import ConfigError, EdgeAgentError, UsageError
from edge_agent.ledger.kinds import SHAPES
from edge_agent.page.devices import MAX_DEVICES, Devices
from edge_agent.page.pairing import LIFE_S, Pairing
from edge_agent.page.recordings import read_days
from edge_agent.page.settings import PageSettings, encode_settings, is_home_address, load_settings, settings_path
from edge_agent.page.words import GAPS, KINDS, REQUEST_STATES, say_distance, say_length
from edge_agent.units import UtcNs
from edge_agent.uplink.store.requests import RequestState

ZONE = ZoneInfo("America/Chicago")


def test_every_reason_of_a_gap_has_a_residents_word():
    """A new reason of the recorder is found here."""
    assert set(REASONS) <= set(GAPS)


def test_every_kind_of_ledger_entry_has_a_residents_title():
    """The ledger's kinds are a closed list; padding is never shown."""
    assert {each.kind for each in SHAPES} <= set(KINDS)


def test_every_state_of_a_request_has_a_residents_word():
    """And no other."""
    assert {each.value for each in RequestState} <= set(REQUEST_STATES)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (45, "45 s"), (65, "1 min 5 s"), (600, "10 min"), (601, "10 min"), (4800, "1 h 20 min"),
     (86400, "1 day"), (183600, "2 days 3 h")],
)  # fmt: skip
def test_lengths_are_said_in_two_units(seconds, said):
    """Seconds matter below ten minutes."""
    assert say_length(seconds) == said


def test_distance_is_rounded_to_what_matters():
    """At the house, metres, kilometres; nothing where the house has no place."""
    assert say_distance(None) == ""
    assert say_distance({"metres": 20, "direction": ""}) == "at your house"
    assert say_distance({"metres": 1250, "direction": "east"}) == "about 1.2 km east of your house"


def hour(start: str, footage_s: int, **gaps_s: int) -> dict:
    return {"start": start, "footage_s": footage_s, "gaps_s": gaps_s}


def test_hour_that_clocks_show_twice_is_one_cell():
    """1 November 2026, 01:00 to 02:00 in Chicago lasts two hours."""
    hours = [hour("2026-11-01T06:00:00Z", 3600), hour("2026-11-01T07:00:00Z", 1800, unreachable=1800)]
    answer = {"hours": hours, "oldest": "2026-11-01T06:00:00Z", "newest": "2026-11-01T08:00:00Z"}
    (day,) = read_days(answer, ZONE)
    assert day.hours[1].footage_s == 5400
    assert day.gaps == ("01:00–02:00: the camera could not be reached, 30 min",)


def test_time_without_footage_and_without_a_reason_is_said_too():
    """A hole that nothing explains is never "no gap"."""
    hours = [hour("2026-11-28T18:00:00Z", 3600), hour("2026-11-28T21:00:00Z", 600)]
    answer = {"hours": hours, "oldest": "2026-11-28T18:00:00Z", "newest": "2026-11-28T21:10:00Z"}
    (day,) = read_days(answer, ZONE)
    assert day.gaps == ("13:00–15:00: nothing was recorded, and nothing says why, 2 h",)


def test_ring_without_footage_has_no_day():
    """A new camera."""
    assert read_days({"hours": [], "oldest": None, "newest": None}, ZONE) == []


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_code_ends_after_ten_minutes():
    """And not before."""
    watch = Watch()
    pairing = Pairing(watch)
    code = pairing.offer()
    watch.now = LIFE_S - 1
    assert pairing.redeem(code, "a")
    code = pairing.offer()
    watch.now += LIFE_S
    assert not pairing.redeem(code, "a")


@given(st.lists(st.text(max_size=20), max_size=20))
def test_no_guess_is_the_code(guesses):
    """Nothing that is not the code, and nothing before one was asked for, lets anybody in."""
    watch = Watch()
    pairing = Pairing(watch)
    assert not any(pairing.redeem(each, "a") for each in ["", *guesses])
    code = pairing.offer()
    for each in guesses:
        watch.now += 61
        if each.upper() != code:
            assert not pairing.redeem(each, "a")


def test_pauses_grow_to_a_minute_for_each_address_alone():
    """A guesser at one phone keeps no other phone out."""
    watch = Watch()
    pairing = Pairing(watch)
    code = pairing.offer()
    waits = []
    for _ in range(9):
        pairing.redeem("0" * 12, "a")
        waits.append(pairing.wait_s("a"))
        watch.now += pairing.wait_s("a")
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pairing.wait_s("b") == 0
    assert pairing.redeem(code, "b")


def test_devices_survive_a_restart_and_only_their_digest_does(tmp_path):
    """The secret is in the cookie alone."""
    path = tmp_path / "devices.json"
    _, secret = Devices(path, lambda: UtcNs(0), print).add("  a   phone ")
    assert secret not in path.read_text()
    found = Devices(path, lambda: UtcNs(10**18), print).note_visit(secret)
    assert (found.name, found.seen_on) == ("a phone", "2001-09-09")


@pytest.mark.parametrize("name", ["", " ", "a\u202eb", "a\x00b", "x" * 51])
def test_name_of_a_device_is_one_visible_line(tmp_path, name):
    """It goes into the ledger."""
    with pytest.raises(UsageError):
        Devices(tmp_path / "d.json", lambda: UtcNs(0), print).add(name)


def test_devices_are_bounded_and_named_once(tmp_path):
    """At most so many, and no two of one name: the ledger must tell them apart."""
    devices = Devices(tmp_path / "d.json", lambda: UtcNs(0), print)
    for number in range(MAX_DEVICES):
        devices.add(f"phone {number}")
    with pytest.raises(UsageError, match="at most"):
        devices.add("another")
    devices.remove(devices.list()[0].id)
    assert devices.add("phone 1")[0].name == "phone 1 2"


def test_list_of_devices_that_cannot_be_read_lets_nobody_in(tmp_path):
    """A torn file is an error and no empty list."""
    (tmp_path / "d.json").write_text('{"devices": [{"id": "x"')
    with pytest.raises(EdgeAgentError, match="devices cannot be read"):
        Devices(tmp_path / "d.json", lambda: UtcNs(0), print)


@pytest.mark.parametrize(
    ("address", "is_home"),
    {
        "192.168.1.5": True, "10.1.2.3": True, "172.31.0.1": True, "100.64.0.1": True, "fd00::1": True,
        "127.0.0.1": True, "8.8.8.8": False, "172.32.0.1": False, "0.0.0.0": False, "::": False,
        "2001:db8::1": False, "fe80::1": False, "home.local": False, "": False, "192.168.1.0/24": False,
    }.items(),
)  # fmt: skip
def test_page_listens_at_addresses_of_a_home_only(tmp_path, address, is_home):
    """Not at all addresses, not at a public one: refused when it is turned on, and again when it starts."""
    assert is_home_address(address) is is_home
    settings_path(tmp_path).write_bytes(encode_settings(PageSettings(8443, (address,), ("a.test",), "/run")))
    if is_home:
        assert load_settings(tmp_path).hosts == {
            f"[{address}]:8443" if ":" in address else f"{address}:8443",
            "a.test:8443",
        }
    else:
        with pytest.raises(ConfigError, match="addresses of a home only"):
            load_settings(tmp_path)
