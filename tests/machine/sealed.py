"""Keys sealed to a TPM: a reboot, the disk in another machine, a wrong clock. On Debian's own kernel, by QEMU."""

import shutil
import time
from pathlib import Path

from tests.machine.story import Story
from tests.machine.virtual import MachineError, Qemu

_UNITS = "edge-agent-recorder edge-agent-releaser"


def tell_sealed(story: Story, home: Qemu, tpm: Path) -> None:
    """Take the disk that the story installed and seal its keys; ``home`` boots it with its own TPM."""
    story.machine = home
    with story.step("Debian's own kernel boots the same disk"):
        story.note("boot_s (QEMU)", round(home.start(), 1))
        story.wait_recording()
        story.expect_active(*_UNITS.split())
        print(home.ssh("uname -r; systemctl --version | head -1; systemd-creds has-tpm2; true"))
    story.look_at_the_sandbox()
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
        home.ssh("dpkg -i /opt/tss/*.deb")
        begun = time.monotonic()
        print("   " + "\n   ".join(home.ssh("edge-agent init --seal").strip().splitlines()[:4]))
        story.note("seal_s", round(time.monotonic() - begun, 1))
        left = home.ssh("find /var/lib/edge-agent/keys/recorder /var/lib/edge-agent/keys/releaser -name '*.pem'")
        if left:
            raise MachineError(f"left in the clear:\n{left}")
        home.ssh(f"systemctl restart {_UNITS}")
        story.wait_recording()
        print("   " + home.ssh("edge-agent status | grep -i 'keys'").strip())
    with story.step("a reboot with sealed keys"):
        home.switch_off()
        home.start()
        story.wait_recording()
        story.expect_active(*_UNITS.split())
        home.ssh("edge-agent ring check")
        print("   " + "\n   ".join(home.ssh("edge-agent ring ls").strip().splitlines()))
    with story.step("the disk in another machine, whose clock is at 2020: nothing starts, and it is said why"):
        home.switch_off()
        shutil.rmtree(tpm)
        home.rtc = "2020-01-01T00:00:00"
        home.start()
        time.sleep(30)
        states = home.ssh(f"systemctl is-active {_UNITS}", check=False).split()
        restarts = home.ssh(f"systemctl show -p NRestarts,ExecMainStatus --value {_UNITS}").split()
        print(f"   {states} restarts and codes: {restarts}")
        if states != ["failed", "failed"]:
            raise MachineError(f"{states}")
        for command in ("check --offline", "status", "ring ls"):
            said = home.ssh(f"edge-agent {command}", check=False)
            found = [line for line in said.splitlines() if "seal" in line.lower() or "TPM" in line]
            print(f"   {command}: " + " | ".join(line.strip() for line in found[:3]))
            if command != "ring ls" and not found:
                raise MachineError(f"edge-agent {command} does not name the sealed keys:\n{said}")
        if "sealed" in home.ssh("grep -rl 'PRIVATE KEY' /var/lib/edge-agent/keys/recorder; true"):
            raise MachineError("a private key lies open")
