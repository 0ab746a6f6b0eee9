"""The life of one gateway, step by step, under user-mode Linux; each step prints its figures or ends the test."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av

from edge_agent.demo.picture import read_strip
from edge_agent.units import SECOND_NS
from tests.machine.releases import ReleaseOffice
from tests.machine.town import CAMERA_PORT, Town
from tests.machine.typist import Typist
from tests.machine.virtual import HERE, Machine, MachineError

PASSPHRASE = "correct horse battery staple"
_ASKED, _AGAIN = ("owner's passphrase: ", PASSPHRASE), ("the same once more: ", PASSPHRASE)
_SERVICES = ("edge-agent-recorder", "edge-agent-releaser")
_PATIENCE = 5
"""Limits are for an idle host; a busy one may take that many times as long."""
_README = Path(__file__).parents[2] / "README.md"
_AUTO = (
    "  door: {mode: auto, hours: always, categories: [robbery], requests_per_day: 90, requests_per_incident: 90, "
    "requests_per_month: 900, minutes_per_month: 43200}\n"
)


class Story:
    """What happens to one machine.

    Args:
        machine: It boots a plain Debian.
        town: The city that it will belong to.
        office: Its releases; the packages are made already.
        packages: By version; the household was given 0.1.0, and 0.3.0 does not start.
    """

    def __init__(self, machine: Machine, town: Town, office: ReleaseOffice, packages: Mapping[str, Path]) -> None:
        self.machine, self.town, self.office, self.packages = machine, town, office, packages
        self.package = packages["0.1.0"]
        self.typist = Typist(machine)
        self.gateway = ""
        self.figures: dict[str, Any] = {}
        self.recorded_ns = 0
        """A moment of which the ring has footage, with half a minute before it."""

    def use(self, machine: Machine) -> None:
        """Go on with another machine that has this one's disk."""
        self.machine, self.typist = machine, Typist(machine)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Print a step, and the time it took."""
        print(f"== {what}", flush=True)
        begun = time.monotonic()
        yield
        print(f"   ok ({time.monotonic() - begun:.1f} s)", flush=True)

    def note(self, name: str, value: Any) -> None:
        """Print and keep a figure."""
        self.figures[name] = value
        print(f"   {name}: {value}", flush=True)

    # --- From a plain Debian to the first second that is recorded

    def boot(self) -> None:
        """Boot a plain Debian, and lay the package into a resident's folder."""
        with self.step("a plain Debian boots"):
            self.note("boot_s", round(self.machine.start(), 1))
            self.machine.ssh(
                f"systemctl enable -q --now city@{self.town.ports[0]}.socket city@{self.town.ports[1]}.socket"
            )
            deb = f"/home/resident/dist/{self.package.name}"
            self.machine.ssh(f"mkdir -p /home/resident/dist && cat > {deb}", content=self.package.read_bytes())

    def install(self) -> None:
        """Type what README's "Install it" says, on a Debian that has booted."""
        begun = time.monotonic()
        with self.step("README, Install it: to the first recorded second"):
            said = self.typist.type(f"sudo apt install ./dist/{self.package.name}")
            if "sudo edge-agent init" not in said:
                raise MachineError(f"the package does not say the second command:\n{said[-800:]}")
            self.typist.type("sudo edge-agent init", _ASKED, _AGAIN, ("for the phones of your home", "n"))
            self.typist.edit(
                "/etc/edge-agent/edge-agent.yaml",
                {
                    "  # location: {lat: 32.29876, lon: -90.18481}": "  location: {lat: 32.29876, lon: -90.18481}",
                    "  size: 32GiB": "  size: 256MiB",
                    "\ncameras:\n": f"\ncameras:\n  - id: door\n    url: rtsp://{HERE}:{CAMERA_PORT}/cam\n",
                },
            )
            self.typist.type("sudo edge-agent check")
            self.typist.type("sudo systemctl enable --now edge-agent.target")
            self.wait_recording()
        self.note("to_first_second_s", round(time.monotonic() - begun, 1))
        self.note("commands", self.typist.commands)
        self.note("keystrokes", self.typist.keys)
        self.expect_active("edge-agent-update.timer")

    def admit(self) -> None:
        """Enrol, write terms, sign them, and let one clip out."""
        with self.step("enrolment, terms, signature"):
            self._enrol()
            self.typist.edit(
                "/etc/edge-agent/consent.yaml",
                {
                    "  agencies: []": "  agencies: [rtcc.example-city]",
                    "  cooling_off: 10m": "  cooling_off: 0s",
                    "\ncameras: {}\n": f"\ncameras:\n{_AUTO}",
                },
            )
            self.typist.type("sudo edge-agent consent sign", ('Type "yes"', "yes"), _ASKED)
            self.wait_clock()
            self.typist.type("sudo edge-agent status")
        self.release("a request, a clip, and what the RTCC makes of it")

    def _enrol(self) -> None:
        csr = self.machine.ssh("cat /etc/edge-agent/gateway.csr")
        enrolment = self.town.city.enrol(csr.encode())
        self.machine.ssh("cat > /home/resident/enrolment.json", content=enrolment.content)
        self.gateway = enrolment.gateway
        self.typist.type("sudo edge-agent enrol enrolment.json", ('Type "yes"', "yes"))

    def release(self, what: str) -> None:
        """One request to its end."""
        with self.step(what):
            self.wait("the broker is there", "edge-agent status", "broker: connected", 120)
            time.sleep(16)
            self.note("request_to_opened_clip_s", round(self.town.ask(self.gateway, "door", 180 * _PATIENCE), 1))

    def look_at_the_sandbox(self, *services: str) -> None:
        """What the units promise, asked of the running processes; recorder and releaser if none is named."""
        with self.step("the sandbox of the running services"):
            for service in services or _SERVICES:
                pid = self.machine.ssh(f"systemctl show -p MainPID --value {service}").strip()
                status = self.machine.ssh(f"cat /proc/{pid}/status")
                facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
                wanted = {"CapBnd": "0000000000000000", "CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}
                found = {name: facts.get(name, "").strip() for name in wanted}
                if found != wanted:
                    raise MachineError(f"{service}: {found}")
                said = self.machine.ssh(f"systemd-analyze security --no-pager {service}").splitlines()[-1]
                self.note(f"exposure of {service}", said.split(": ")[-1])

    # --- Reboots, power cuts

    def reboot(self) -> None:
        """An orderly reboot: both services come back by themselves and say READY."""
        with self.step("an orderly reboot"):
            self.recorded_ns = time.time_ns()
            self.note("shutdown_s", round(self.machine.switch_off(), 1))
            begun = time.monotonic()
            self.machine.start()
            self.wait("it records", "edge-agent status", "door.main: recording", 180)
            self.note("reboot_to_recording_s", round(time.monotonic() - begun, 1))
            self.expect_active(*_SERVICES)

    def cut(
        self,
        times: int,
        where: str = "",
        losses: Callable[[], object] | None = None,
        wait_moment: Callable[[], None] | None = None,
    ) -> None:
        """Cut the power while it records; nothing that was kept is wrong, little is lost.

        Args:
            times: How often.
            where: Told with each step and figure.
            losses: Asked after each cut what the disk had lost by it.
            wait_moment: Called before each, to choose the moment.
        """
        lost, wrong, pictures = [], 0, 0
        for number in range(1, times + 1):
            with self.step(f"power cut {number} of {times}{where}"):
                self.wait_recording()
                time.sleep(6 + 2.3 * (number % 5))
                if wait_moment is not None:
                    wait_moment()
                at_ns = time.time_ns()  # behind it connections are hung up, which takes a busy host a second
                self.machine.cut_power()
                if losses is not None:
                    print(f"   {losses()}", flush=True)
                self.machine.start()
                self.wait_recording()
                self.machine.ssh("edge-agent ring check && edge-agent ledger verify")
                times_ns, unreadable = self.export_until(at_ns)
                wrong += unreadable
                pictures += len(times_ns)
                lost.append(round((at_ns - max(times_ns)) / SECOND_NS, 2))
                print(f"   lost {lost[-1]} s of footage; {len(times_ns)} pictures before the cut are whole", flush=True)
        self.note(f"power cuts{where}", times)
        self.note(f"lost_s at most{where}", max(lost, default=0))
        self.note(f"pictures read back{where}", pictures)
        self.note(f"pictures that are wrong{where}", wrong)
        if wrong:
            raise MachineError(f"{wrong} pictures are not the camera's")

    def export_until(self, at_ns: int) -> tuple[list[int], int]:
        """Export the half minute before a moment; return the times in its pictures, and how many have none."""
        at = datetime.fromtimestamp(at_ns / SECOND_NS, UTC)
        start, end = ((at + timedelta(seconds=each)).strftime("%Y-%m-%dT%H:%M:%SZ") for each in (-30, 1))
        words = f"--from {start} --to {end} --out /root/x/cut.mp4 --passphrase-file /root/x/pass"
        self.machine.ssh(f"rm -rf /root/x; mkdir -p /root/x; umask 077; echo '{PASSPHRASE}' > /root/x/pass")
        self.machine.ssh(f"edge-agent export door {words}")
        names = self.machine.ssh("ls /root/x/*.mp4").split()
        found, unreadable = [], 0
        for name in names:
            path = self.town.folder / Path(name).name
            path.write_bytes(self.machine.fetch(name))
            with av.open(str(path)) as clip:
                for frame in clip.decode(video=0):
                    try:
                        found.append(int(read_strip(frame.to_ndarray(format="gray"))))
                    except ValueError:
                        unreadable += 1
        return [each for each in found if each <= at_ns], unreadable

    # --- Updates

    def update(self) -> None:
        """Upgrade, fail to upgrade, be cut off in the middle of one."""
        with self.step("nothing newer"):
            self.office.publish("0.1.0", self.package)
            self.machine.ssh("edge-agent update --check")
        with self.step("0.2.0 is there: the owner installs it"):
            self.office.publish("0.2.0", self.packages["0.2.0"])
            self.typist.type("sudo edge-agent update --check", code=10)
            said = self.typist.type("sudo edge-agent update")
            if "0.2.0 is installed and runs" not in said:
                raise MachineError(said)
            self.expect_version("0.2.0")
        self.release("it releases after the upgrade")
        with self.step("0.3.0 does not start: the way back"):
            self.office.publish("0.3.0", self.packages["0.3.0"])
            said = self.typist.type("sudo edge-agent update", code=1)
            print("   " + said.strip().splitlines()[-1])
            self.expect_version("0.2.0")
        with self.step("power cut in the middle of an upgrade"):
            self.office.publish("0.4.0", self.packages["0.4.0"])
            self.machine.ssh("systemd-run -q --unit=owner edge-agent update")
            self.wait("dpkg is at work", "pgrep -x dpkg-deb || pgrep -x dpkg || echo no", "no", 120, absent=True)
            time.sleep(1)
            self.machine.cut_power()
            self.machine.start()
            self.wait("the update has ended", "test -e /var/lib/edge-agent/update/journal.json && echo under way; true",
                      "under way", 300, absent=True)  # fmt: skip
            self.wait_recording()
            version = self.machine.ssh("edge-agent --version").strip()
            self.note("after the cut", version)
            if not version.endswith(("0.2.0", "0.4.0")):
                raise MachineError(version)
        with self.step("the ledger has all of it"):
            # Offered and installed, gone back, and how the one ended that the power cut had stopped.
            wanted = "4 updates are entered"
            self.wait(wanted, "echo $(edge-agent ledger show | grep -c ' update ') updates are entered", wanted, 120)
            shown = self.machine.ssh("edge-agent ledger show").splitlines()
            print("   " + "\n   ".join(line for line in shown if " update " in line))
            self.machine.ssh("edge-agent ledger verify")

    # --- The end

    def leave(self) -> None:
        """Backup, report, removal, purge, the program again, and the end of everything."""
        # A store that is closed in order has no write-ahead log beside it.
        kept = "find /var/lib/edge-agent /etc/edge-agent -type f -not -path '*/update*' -not -name '*.sqlite-*' | sort"
        with self.step("backup, and a report for somebody who helps"):
            self.typist.type("sudo edge-agent backup --out backup.age", _ASKED)
            self.typist.type("sudo edge-agent doctor --out report.json --yes")
            self.demand_readme()
        with self.step("remove and purge keep footage and keys"):
            before = self.machine.ssh(kept)
            self.typist.type("sudo apt remove edge-agent")
            if self.machine.ssh(kept) != before:
                raise MachineError(f"not the same files:\n{before}\n---\n{self.machine.ssh(kept)}")
            digests = f"{kept} | xargs -d '\\n' sha256sum"
            before = self.machine.ssh(digests)
            self.typist.type("sudo apt purge edge-agent")
            if self.machine.ssh(digests) != before:
                raise MachineError(f"not the same bytes:\n{before}\n---\n{self.machine.ssh(digests)}")
            print(f"   {len(before.splitlines())} files are as they were, byte for byte")
            left = self.machine.ssh("find / -xdev -name '*edge-agent*' -not -path '/proc/*' -not -path '/home/*' "
                                    "-not -path '/var/lib/edge-agent*' -not -path '/etc/edge-agent*'")  # fmt: skip
            if left.strip():
                raise MachineError(f"purge leaves: {left}")
        with self.step("the program again: it goes on with them"):
            self.typist.type(f"sudo apt install ./dist/{self.package.name}")
            self.typist.type("sudo systemctl enable --now edge-agent.target")
            self.wait_recording()
            self.machine.ssh("edge-agent ring check && edge-agent ledger verify")
        with self.step("erase everything: another key and another ring, and it records"):
            heads = "for each in keys/releaser/vault.pem rings/door.main.ring; do head -c 4096 $each | sha256sum; done"
            before = self.machine.ssh(f"cd /var/lib/edge-agent; {heads}").splitlines()
            self.typist.type("sudo edge-agent erase --everything", ('Type "erase"', "erase"))
            self.wait_recording()
            after = self.machine.ssh(f"cd /var/lib/edge-agent; {heads}").splitlines()
            if len({*before, *after}) != 4:
                raise MachineError(f"vault's key or ring are the old ones: {before} {after}")

    def restore(self) -> None:
        """The disk is lost, the backup is not: the same owner and rules, another gateway, a ledger that knows both."""
        with self.step("everything is lost but the backup: it records again, as the same owner's"):
            before = self.machine.ssh("cat /var/lib/edge-agent/keys/public/owner.pem")
            self.machine.ssh("systemctl disable -q --now edge-agent.target && systemctl stop 'edge-agent*'")
            self.machine.ssh("find /var/lib/edge-agent /etc/edge-agent -mindepth 1 -delete")
            self.typist.type(
                "sudo edge-agent init --from-backup backup.age", _ASKED, ("for the phones of your home", "n")
            )
            self.typist.type("sudo edge-agent check")
            self.typist.type("sudo systemctl enable --now edge-agent.target")
            self.wait_recording()
            if self.machine.ssh("cat /var/lib/edge-agent/keys/public/owner.pem") != before:
                raise MachineError("it is another owner's")
        with self.step("enrolled and signed anew; the terms are the backup's"):
            self._enrol()
            self.typist.type("sudo edge-agent consent sign", ('Type "yes"', "yes"), _ASKED)
            self.wait("the ledger begins with the old one's head", "edge-agent ledger show --all", " restored ", 60)
            archived = self.machine.ssh("cat /var/lib/edge-agent/ledger-archive/ledger.jsonl").splitlines()
            self.note("entries in the archive", len(archived))
            self.machine.ssh("edge-agent ledger verify && edge-agent ring check")
            self.wait_clock()
        self.release("it releases under the terms that were restored")

    def demand_readme(self) -> None:
        """Demand that each line of README's "Install it" was typed as it is written there."""
        block = _README.read_text().partition("## Install it")[2].split("```")[1]
        lines = [line.partition("#")[0].strip() for line in block.strip().splitlines()]
        lines = [re.sub(r"edge-agent_\S+\.deb", self.package.name, line) for line in lines]
        missing = [line for line in lines if line not in self.typist.typed]
        if missing:
            raise MachineError(f"README says what was not typed: {missing}")
        print(f"   the {len(lines)} commands of README were typed as written")

    # --- Waiting

    def wait(self, what: str, command: str, word: str, limit_s: float, *, absent: bool = False) -> None:
        """Wait until a word is (or is no more) in what a command prints."""
        begun, limit_s = time.monotonic(), limit_s * _PATIENCE
        while (word in (said := self.machine.ssh(command, check=False, timeout_s=300))) is absent:
            if time.monotonic() - begun > limit_s:
                raise MachineError(f"waited {limit_s:.0f} s until {what}; {command} says:\n{said}")
            time.sleep(0.5)

    def wait_recording(self) -> None:
        """Wait until the camera's footage reaches the ring, and both processes have said READY."""
        self.wait("it records", "edge-agent status", "door.main: recording", 180)
        self.expect_active(*_SERVICES)

    def wait_clock(self) -> None:
        """Wait until both processes believe the clock."""
        self.wait("the clock is believed", "edge-agent clock && echo both believe it", "both believe it", 180)

    def expect_active(self, *units: str) -> None:
        """Expect that units run, at once or as soon as they have said READY."""
        wanted = ["active"] * len(units)
        begun = time.monotonic()
        while (said := self.machine.ssh(f"systemctl is-active {' '.join(units)}", check=False).split()) != wanted:
            if time.monotonic() - begun > 120 * _PATIENCE or "failed" in said:
                raise MachineError(f"{units}: {said}")
            time.sleep(0.5)

    def expect_version(self, version: str) -> None:
        """Expect that this version is installed, and that both services run it and record."""
        said = self.machine.ssh("edge-agent --version")
        if version not in said:
            raise MachineError(f"{said.strip()} is installed, not {version}")
        self.wait_recording()
        if f"version: {version}" not in self.machine.ssh("edge-agent status"):
            raise MachineError("the running releaser is of another version")
