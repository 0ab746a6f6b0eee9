"""What a process's clock remembers: the floor that outlives the power, and where it stood against boot time."""

from pathlib import Path

import pytest

from edge_agent.errors import ConfigError, UsageError
from edge_agent.host.persistent_clock import MAX_STEP_NS, PERSIST_EVERY_NS, KeptClock
from edge_agent.units import DAY_NS, HOUR_NS, SECOND_NS, ClockState, UtcNs
from tests.support.fakes import FakeKernel

BOOT, LATER_BOOT = b"a" * 16, b"b" * 16
SYNCHRONISED, FLOOR_ONLY = ClockState.SYNCHRONISED, ClockState.FLOOR_ONLY


class Gateway:
    """A kernel, and the file of one process; ``start`` is a new process of the same boot or of another one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "clock.json"
        self.kernel = FakeKernel()
        self.clock = self.start()

    def start(self, boot: bytes = BOOT, *, least: int = 0, doubts_steps: bool = True, keep: bool = True) -> KeptClock:
        self.clock = KeptClock(self.path, boot, self.kernel.system(least), doubts_steps=doubts_steps)
        if keep:
            self.clock.keep()
        return self.clock

    def floor(self) -> UtcNs:
        """The floor that the next process begins with."""
        return KeptClock(self.path, LATER_BOOT, self.kernel.system())._system.floor


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def test_floor_outlives_the_process(gateway: Gateway) -> None:
    """The time is written when it is right: at once, every ten minutes, and at the end; a new process begins there."""
    first = gateway.kernel.wall
    assert gateway.floor() == first
    gateway.kernel.advance(PERSIST_EVERY_NS - 1)
    gateway.clock.keep()
    assert gateway.floor() == first
    gateway.kernel.advance(1)
    gateway.clock.keep()
    assert gateway.floor() == gateway.kernel.wall
    gateway.kernel.advance(SECOND_NS)
    gateway.clock.keep(now=True)
    assert gateway.floor() == gateway.kernel.wall


def test_clock_that_starts_in_the_past_is_not_believed(gateway: Gateway) -> None:
    """After the power was gone the wall clock starts days back: the kernel's word does not help it over the floor."""
    floor = gateway.kernel.wall
    gateway.kernel.reboot(-3 * DAY_NS)
    clock = gateway.start(LATER_BOOT)
    assert clock.state() is FLOOR_ONLY
    assert clock.utc() == floor
    gateway.kernel.advance(SECOND_NS)
    assert clock.utc() == floor + SECOND_NS
    assert "known to be right" in clock.facts()["why"]


def test_time_that_is_not_known_is_not_kept(gateway: Gateway, tmp_path: Path) -> None:
    """A clock that nothing disciplines raises no floor, and says why it is not believed."""
    gateway.path.unlink()
    gateway.kernel.kernel_state = FLOOR_ONLY
    clock = gateway.start()
    clock.keep(now=True)
    assert not gateway.path.exists()
    assert clock.facts()["why"] == "no time source disciplines the wall clock"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"utc_ns": "soon"}', b"\xff\xff", b'{"utc_ns": 1, "boot_id": []}'])
def test_damaged_file_costs_the_memory_alone(gateway: Gateway, content: bytes) -> None:
    """A file that cannot be read is as good as none."""
    gateway.path.write_bytes(content)
    assert gateway.start(least=7, keep=False)._system.floor == 7
    assert gateway.start().state() is SYNCHRONISED


def test_disk_that_fails_does_not_stop_the_clock(gateway: Gateway) -> None:
    """A memory that cannot be written is a warning; the owner's word that cannot be written is refused."""
    gateway.path.unlink()
    gateway.path.with_name("clock.json.new").mkdir()
    assert gateway.start().state() is SYNCHRONISED
    with pytest.raises(ConfigError, match="cannot be written"):
        gateway.clock.confirm()


@pytest.mark.parametrize("sign", [1, -1], ids=["forward", "backward"])
def test_step_makes_the_deciding_clock_floor_only_until_it_comes_back(gateway: Gateway, sign: int) -> None:
    """A wall clock that was set by more than the skew decides nothing, however synchronised the kernel calls it."""
    gateway.kernel.step(sign * MAX_STEP_NS)
    assert gateway.clock.state() is SYNCHRONISED
    gateway.kernel.step(sign)
    assert gateway.clock.state() is FLOOR_ONLY
    assert "was set by" in gateway.clock.facts()["why"]
    gateway.kernel.step(-sign)
    assert gateway.clock.state() is SYNCHRONISED


def test_small_steps_add_up(gateway: Gateway) -> None:
    """Ten steps of half a minute are five minutes: each alone would pass."""
    for _ in range(10):
        gateway.kernel.step(MAX_STEP_NS // 2)
        gateway.kernel.advance(HOUR_NS)
        gateway.clock.keep()
    assert gateway.clock.state() is FLOOR_ONLY


def test_restart_of_the_process_forgets_no_step(gateway: Gateway) -> None:
    """Within one boot a process that starts anew doubts what the one before doubted; another boot begins anew."""
    gateway.kernel.step(8 * HOUR_NS)
    assert gateway.start().state() is FLOOR_ONLY
    assert gateway.start(LATER_BOOT).state() is SYNCHRONISED


def test_recording_goes_on_with_the_stepped_clock(gateway: Gateway) -> None:
    """The process that records takes the new time, in a new run."""
    clock = gateway.start(doubts_steps=False)
    gateway.kernel.step(8 * HOUR_NS)
    assert clock.state() is SYNCHRONISED


@pytest.mark.parametrize("doubts_steps", [True, False])
def test_step_does_not_become_the_floor(gateway: Gateway, doubts_steps: bool) -> None:
    """One bad answer of a time server costs no gateway its clock permanently."""
    clock = gateway.start(doubts_steps=doubts_steps)
    before = gateway.floor()
    gateway.kernel.step(75 * 365 * DAY_NS)
    gateway.kernel.advance(PERSIST_EVERY_NS)
    clock.keep(now=True)
    assert gateway.floor() == before


def test_deciding_clock_is_not_believed_before_it_was_looked_at(gateway: Gateway) -> None:
    """A step between the kernel's first word and the first ``keep`` would not be told: nothing is decided."""
    gateway.path.unlink()
    gateway.kernel.kernel_state = FLOOR_ONLY
    clock = gateway.start()
    gateway.kernel.kernel_state = SYNCHRONISED
    assert clock.state() is FLOOR_ONLY
    clock.keep()
    assert clock.state() is SYNCHRONISED


def test_owner_lowers_a_floor_that_lies_ahead(gateway: Gateway) -> None:
    """A gateway that once was in 2099 is floor-only indefinitely, until the owner says that the clock is right."""
    now = gateway.kernel.wall
    gateway.kernel.reboot(75 * 365 * DAY_NS)
    gateway.start(LATER_BOOT)
    far = gateway.kernel.wall
    gateway.kernel.wall = now
    clock = gateway.start(LATER_BOOT)
    assert clock.state() is FLOOR_ONLY
    assert clock.utc() >= far
    confirmed = clock.confirm()
    assert (confirmed.time, confirmed.floor_was, confirmed.floor) == (now, far, now)
    assert clock.state() is SYNCHRONISED
    assert clock.utc() == now
    assert gateway.start(LATER_BOOT).state() is SYNCHRONISED
    gateway.kernel.step(-2 * SECOND_NS)  # the floor is there as before, at the confirmed time
    assert clock.state() is FLOOR_ONLY


def test_owner_ends_the_doubt_about_a_step(gateway: Gateway) -> None:
    """After a step that was right the owner's word makes the clock count, from there on, also after a restart."""
    gateway.kernel.step(8 * HOUR_NS)
    confirmed = gateway.clock.confirm()
    assert confirmed.step_ns == 8 * HOUR_NS
    assert gateway.clock.state() is SYNCHRONISED
    assert gateway.start().state() is SYNCHRONISED
    gateway.kernel.step(2 * MAX_STEP_NS)
    assert gateway.clock.state() is FLOOR_ONLY


def test_confirming_never_raises_the_floor(gateway: Gateway) -> None:
    """The owner's word about a time to come does not lock the gateway out of the time that is."""
    before = gateway.floor()
    gateway.kernel.step(365 * DAY_NS)
    gateway.clock.confirm()
    assert gateway.floor() == before


def test_owners_word_alone_is_not_enough(gateway: Gateway) -> None:
    """Without a time source nothing is confirmed, and nothing has changed."""
    gateway.kernel.step(8 * HOUR_NS)
    gateway.kernel.kernel_state = FLOOR_ONLY
    kept = gateway.path.read_bytes()
    with pytest.raises(UsageError, match="no time source"):
        gateway.clock.confirm()
    assert gateway.path.read_bytes() == kept


@pytest.mark.parametrize("by", ["build time", "trust bundle"])
def test_floor_is_not_lowered_below_what_others_signed(gateway: Gateway, by: str) -> None:
    """No word of the owner brings back a time before the program was installed or its trust bundle was signed."""
    least = gateway.kernel.wall
    gateway.kernel.reboot(-DAY_NS)
    clock = gateway.start(LATER_BOOT, least=least if by == "build time" else 0)
    if by == "trust bundle":
        clock.raise_floor(UtcNs(least))
    with pytest.raises(UsageError, match="cannot be confirmed"):
        clock.confirm()
    assert clock.state() is FLOOR_ONLY


def test_trust_bundle_raises_the_floor_of_the_running_process(gateway: Gateway) -> None:
    """A clock that nothing disciplines is moved up to the moment at which the bundle was signed."""
    gateway.kernel.kernel_state = FLOOR_ONLY
    signed = UtcNs(gateway.kernel.wall + DAY_NS)
    gateway.clock.raise_floor(signed)
    assert gateway.clock.utc() == signed
    gateway.kernel.kernel_state = SYNCHRONISED
    assert gateway.clock.state() is FLOOR_ONLY


def test_clock_far_behind_the_trust_bundle_is_not_believed(gateway: Gateway) -> None:
    """If the memory is lost, a time source that is days behind what the bundle was signed at is wrong."""
    signed = gateway.kernel.wall
    gateway.path.unlink()
    gateway.kernel.reboot(-60 * DAY_NS)
    clock = gateway.start(LATER_BOOT, keep=False)
    clock.raise_floor(signed)
    clock.keep()
    assert (clock.state(), clock.utc()) == (FLOOR_ONLY, signed)
    with pytest.raises(UsageError, match="cannot be confirmed"):
        clock.confirm()


def test_skew_of_the_trust_bundle_costs_no_minute(gateway: Gateway) -> None:
    """A bundle from half a minute ahead leaves a synchronised clock believed; it counts once its time has come."""
    signed = UtcNs(gateway.kernel.wall + 30 * SECOND_NS)
    gateway.clock.raise_floor(signed)
    assert gateway.clock.state() is SYNCHRONISED
    gateway.kernel.advance(30 * SECOND_NS)
    gateway.clock.raise_floor(signed)
    assert gateway.clock.facts()["floor_least"] == gateway.clock.facts()["wall"]
