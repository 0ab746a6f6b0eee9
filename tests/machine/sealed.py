"""On Debian's own kernel, by QEMU: a disk that forgets, keys sealed to a TPM, wrong clocks, the TPM lost.

Emulated, a boot takes minutes: each is used for several steps.
"""

import random
import shutil
import time
from pathlib import Path

from tests.machine.forgetful import ForgetfulDisk
from tests.machine.story import PASSPHRASE, Story
from tests.machine.virtual import MachineError, Qemu

_UNITS = "edge-agent-recorder edge-agent-releaser"


_SEED = 14


def tell_forgetful(story: Story, machine: Qemu, cuts: int) -> None:
    """Cut the power of a disk that loses, reorders or tears what was not flushed; ``cuts`` times."""
    story.use(machine)
    disk, machine.nbd = ForgetfulDisk(machine.disk, random.Random(_SEED)), machine.disk.with_suffix(".nbd")
    with disk.serve(machine.nbd):
        with story.step("Debian's own kernel boots the same disk, behind a cache that a power cut empties"):
            story.note("boot_s (QEMU)", round(machine.start(), 1))
            story.wait_recording()
        story.look_at_the_sandbox()
        story.cut(cuts, " of a disk that forgets", disk.wait_cut, disk.stop_with_held)
        machine.switch_off()
        story.note("the last session", disk.wait_cut())
    machine.nbd = None


def tell_sealed(story: Story, home: Qemu, tpm: Path, *, with_wrong_clocks: bool) -> None:
    """Take the disk that the story installed, and seal its keys; four boots, two of them with a wrong clock or none.

    Args:
        story: What it has told until now.
        home: Boots the disk.
        tpm: The folder of its own TPM.
        with_wrong_clocks: Boot with wrong hardware clocks; each costs an emulated machine ten minutes.
    """
    story.use(home)
    boot = _boot_with_wrong_clock if with_wrong_clocks else _boot
    boot(story, home, "four years ahead", "2030-05-01T00:00:00")
    print(home.ssh("uname -r; systemctl --version | head -1; systemd-creds has-tpm2; true"))
    _seal(story, home)
    own = tpm.with_name("tpm of the first machine")
    with story.step("the disk in another machine: nothing starts, and it is said why"):
        home.switch_off()
        tpm.rename(own)
        home.rtc = "utc"
        home.start()
        _demand_closed(home)
        home.switch_off()
        shutil.rmtree(tpm)
        own.rename(tpm)
    boot(story, home, "in 2001, the disk back in its own machine", "2001-01-01T00:00:00")
    with story.step("with sealed keys root is told the reasons of gaps"):
        said = home.ssh("edge-agent ring ls")
        print("   " + "\n   ".join(said.strip().splitlines()))
        if "gap unknown" in said or "is encrypted" in said:
            raise MachineError("root opens the sealed vault, and the reasons of gaps are not said")
    home.switch_off()
    tell_lost(story, home)


def tell_lost(story: Story, home: Qemu) -> None:
    """Boot a sealed disk without any TPM, and begin anew as docs/recovery.md says."""
    with story.step("no TPM at all: nothing starts, and it is said why"):
        home.tpm, home.rtc = None, "utc"
        home.start()
        _demand_closed(home)
    with story.step("docs/recovery.md, Sealed keys, typed as written: it records again"):
        asked = {
            " erase": (('Type "erase"', "erase"),),
            " init": (("owner's passphrase: ", PASSPHRASE), ("for the phones of your home", "n")),
        }
        for command in _read_recovery():
            story.typist.type(command, *(each for word, given in asked.items() if word in command for each in given))
        story.wait_recording()
        story.wait("it says how keys are kept now", "edge-agent status", "bare files", 120)
        home.switch_off()


def _seal(story: Story, home: Qemu) -> None:
    with story.step("--seal without libtss2: refused, named, and nothing is changed"):
        before = home.ssh("find /var/lib/edge-agent/keys /etc/systemd/system -type f | sort")
        said = home.ssh("edge-agent init --seal", check=False)
        print("   " + "\n   ".join(said.strip().splitlines()[-3:]))
        if not home.failed or "tpm2-tools" not in said:
            raise MachineError(said)
        if home.ssh("find /var/lib/edge-agent/keys /etc/systemd/system -type f | sort") != before:
            raise MachineError("something was changed")
        story.expect_active(*_UNITS.split())
    with story.step("--seal with libtss2: key files are gone, the services run on sealed keys"):
        home.ssh("dpkg -i /opt/tss/libtss2*.deb /opt/tss/tpm-udev*.deb")
        begun = time.monotonic()
        print("   " + "\n   ".join(home.ssh("edge-agent init --seal").strip().splitlines()[:4]))
        story.note("seal_s", round(time.monotonic() - begun, 1))
        left = home.ssh("find /var/lib/edge-agent/keys/recorder /var/lib/edge-agent/keys/releaser -name '*.pem'")
        if left:
            raise MachineError(f"left in the clear:\n{left}")
        home.ssh(f"systemctl restart {_UNITS}")
        story.wait_recording()
        story.wait("both say so", "edge-agent status", "sealed to this machine's TPM", 120)
    with story.step("check as root opens the sealed TLS key, and the broker takes it"):
        said = home.ssh("edge-agent check", check=False)
        found = [line for line in said.splitlines() if "keys of" in line or "takes our certificate" in line]
        print("   " + "\n   ".join(found))
        if len(found) < 4 or not all(line.startswith("ok") for line in found):
            raise MachineError(said)


def _boot(story: Story, home: Qemu, _name: str, _rtc: str) -> None:
    with story.step("the disk in its own machine: it records"):
        home.rtc = "utc"
        home.start()
        story.wait_recording()


def _boot_with_wrong_clock(story: Story, home: Qemu, name: str, rtc: str) -> None:
    """Boot with a hardware clock that is wrong, and at first no time server: it records, and decides nothing."""
    kept_ns = story.recorded_ns
    with story.step(f"a hardware clock {name}, and no time server: it records, and decides nothing"):
        story.town.tells_time.clear()
        home.rtc = rtc
        home.start()
        story.wait_recording()
        said = home.ssh("date -u; edge-agent clock", check=False)
        print("   " + "\n   ".join(said.strip().splitlines()))
        if not home.failed:
            raise MachineError("a clock that nothing disciplines is believed")
        story.town.tells_time.set()
        begun = time.monotonic()
        story.wait_clock()
        story.note(f"clock {name}: believed after", round(time.monotonic() - begun, 1))
    story.release("it releases once the time server answered")
    with story.step("what it had recorded before is there, and whole"):
        home.ssh("edge-agent ring check && edge-agent ledger verify")
        pictures, unreadable = story.export_until(kept_ns)
        if not pictures or unreadable:
            raise MachineError(f"{len(pictures)} pictures are left, {unreadable} are wrong")
        print(f"   {len(pictures)} pictures of before")


def _read_recovery() -> list[str]:
    """Return the commands by which a gateway that has lost its TPM begins anew."""
    text = (Path(__file__).parents[2] / "docs/recovery.md").read_text()
    return text.partition("## Sealed keys")[2].split("```")[1].strip().splitlines()


def _demand_closed(home: Qemu) -> None:
    """Demand that both services have stopped trying, and that each command names the sealed keys."""
    time.sleep(45)
    states = home.ssh(f"systemctl is-active {_UNITS}", check=False).split()
    facts = "NRestarts,ExecMainStatus"
    codes = home.ssh(f"for unit in {_UNITS}; do systemctl show -p {facts} $unit | sort; done").split()
    print(f"   {states} {codes}")
    if states != ["failed", "failed"] or codes != ["ExecMainStatus=243", "NRestarts=0"] * 2:
        raise MachineError(f"{states} {codes}")
    for command in ("check --offline", "status", "ring ls"):
        said = home.ssh(f"edge-agent {command}", check=False)
        found = [line for line in said.splitlines() if "seal" in line.lower() or "TPM" in line]
        print(f"   {command}: " + " | ".join(line.strip() for line in found[:3]))
        if "does not open" not in "".join(found):
            raise MachineError(f"edge-agent {command} does not name the sealed keys:\n{said}")
    if home.ssh("grep -rl 'PRIVATE KEY' /var/lib/edge-agent/keys/re*; true").strip():
        raise MachineError("a private key lies open")
