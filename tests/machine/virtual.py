"""Two ways to boot one disk: user-mode Linux, which is fast, and QEMU, which has Debian's own kernel and a TPM.

A user-mode Linux has a kernel and a page cache of its own, so that killing it is a power cut: what was not written
through is lost. QEMU is used with KVM if that works here, else it emulates, and everything takes ten times as long.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

HERE, THERE = "10.0.2.2", "10.0.2.15"
"""This side of the virtual cable and the machine's; QEMU's user network has the same two."""
_SSH_PORT = 2222
# One connection is kept for all commands of a user: an emulated machine on a busy host needs seconds for each new one.
_SSH = ("-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=120",
        "-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=20",
        "-o", "ControlMaster=auto", "-o", "ControlPersist=yes")  # fmt: skip
_NO_CONNECTION, _TRIES = 255, 3


class MachineError(Exception):
    """The machine did not do what it had to; the message has what it said."""


class Machine:
    """One gateway: a disk, and whatever runs on it."""

    address: tuple[str, int]
    boot_timeout_s = 600.0

    def __init__(self, images: Path, suite: str, disk: Path) -> None:
        self.images, self.suite, self.disk = images, suite, disk
        self.failed = False
        """Whether the last command there ended with another code than 0, or not in time."""
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """Return what boots the disk."""
        raise NotImplementedError

    def start(self) -> float:
        """Boot; return the seconds until it can be logged in to."""
        begun = time.monotonic()
        with self.disk.with_suffix(".console").open("ab") as console:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )
        self.failed = True
        while self.failed:
            self.ssh("true", check=False, timeout_s=60)
            if time.monotonic() - begun > self.boot_timeout_s or self._process.poll() is not None:
                raise MachineError(f"does not boot; see {self.disk.with_suffix('.console')}")
            time.sleep(0.2)
        return time.monotonic() - begun

    def cut_power(self) -> None:
        """End it as a power cut does: nothing is asked, nothing is written any more."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None
        self._hang_up()

    def switch_off(self) -> float:
        """Shut down in order; return the seconds that it took."""
        begun = time.monotonic()
        self.ssh("systemctl poweroff", check=False)
        assert self._process is not None
        self._process.wait(self.boot_timeout_s)
        self._process = None
        self._hang_up()
        return time.monotonic() - begun

    def ssh(self, command: str, *, check: bool = True, timeout_s: float = 1800, content: bytes = b"") -> str:
        """Run a shell command as root; return what it printed.

        Raises:
            MachineError: It ended with another code than 0, or not in time.
        """
        self.failed = True
        for tries_left in reversed(range(_TRIES if check else 1)):
            try:
                done = subprocess.run(
                    [*self.login(), command], input=content, capture_output=True, timeout=timeout_s, check=False
                )
            except subprocess.TimeoutExpired as error:
                if check:
                    raise MachineError(f"no end in {timeout_s:.0f} s: {command}") from error
                return ""
            if done.returncode != _NO_CONNECTION or done.stdout or not tries_left:
                break
            self._hang_up()
        self.failed = done.returncode != 0
        said = (done.stdout + done.stderr).decode(errors="replace")
        if check and self.failed:
            raise MachineError(f"{command}\nexit code {done.returncode}\n{said[-3000:]}")
        return said

    def fetch(self, path: str) -> bytes:
        """Return a file of the machine."""
        words = [*self.login(), f"cat {path}"]
        return subprocess.run(words, capture_output=True, check=True, timeout=900, stdin=subprocess.DEVNULL).stdout

    def login(self, user: str = "root", *, tty: bool = False) -> list[str]:
        """Return the words that open a shell there; a command may follow."""
        host, port = self.address
        key = ("-i", str(self.images / "id"), "-p", str(port), "-o", f"ControlPath={self.disk.with_suffix('')}-{user}")
        return ["ssh", *_SSH, *key, *(("-tt",) if tty else ()), f"{user}@{host}"]

    def _hang_up(self) -> None:
        """End the connections that were kept: their other end is gone."""
        for user in ("root", "resident"):
            words = self.login(user)
            subprocess.run([*words[:-1], "-O", "exit", words[-1]], capture_output=True, timeout=60, check=False)


class UserModeLinux(Machine):
    """Debian's user-mode-linux: native speed, a kernel that Debian builds for it."""

    address = (THERE, 22)

    def command(self) -> Sequence[str]:
        """See ``Machine``."""
        return (
            "linux.uml", f"ubd0={self.disk}", "root=/dev/ubda", "rw", "mem=1200M", "quiet", "con=null",
            "con0=null,fd:1", "ssl=null", "console=tty0", "vec0:transport=tap,ifname=tap0,depth=64",
        )  # fmt: skip


# The oldest processor that the packages' libraries run on: what it lacks need not be emulated.
_EMULATED = ("-accel", "tcg,tb-size=512", "-cpu", "Nehalem")


class Qemu(Machine):
    """Debian's own kernel on an emulated PC, with a TPM 2.0 if it has a folder for one."""

    address = ("127.0.0.1", _SSH_PORT)
    boot_timeout_s = 1800.0

    def __init__(self, images: Path, suite: str, disk: Path, tpm: Path | None = None, rtc: str = "utc") -> None:
        super().__init__(images, suite, disk)
        self.tpm, self.rtc = tpm, rtc
        self.nbd: Path | None = None
        """A socket that serves the disk instead of its file."""

    def command(self) -> Sequence[str]:
        """See ``Machine``."""
        kernel = self.images / self.suite
        disk = self.disk if self.nbd is None else f"nbd+unix:///?socket={self.nbd}"
        accelerate = ("-accel", "kvm", "-cpu", "host") if _kvm_works() else _EMULATED
        return (
            "qemu-system-x86_64", "-machine", "q35", *accelerate, "-smp", "2", "-m", "1536", "-nodefaults",
            "-display", "none", "-serial", "stdio", "-kernel", f"{kernel}.vmlinuz", "-initrd", f"{kernel}.initrd",
            "-append", "root=/dev/vda rw console=ttyS0 quiet mitigations=off", "-rtc", f"base={self.rtc}",
            "-drive", f"file={disk},if=virtio,format=raw,cache=writeback", "-device", "virtio-rng-pci",
            "-netdev", f"user,id=n,hostfwd=tcp:127.0.0.1:{_SSH_PORT}-:22", "-device", "virtio-net-pci,netdev=n",
            *self._tpm_words(),
        )  # fmt: skip

    def _tpm_words(self) -> Sequence[str]:
        """Start the TPM, whose state outlives the machine, and name it."""
        if self.tpm is None:
            return ()
        self.tpm.mkdir(exist_ok=True)
        socket = self.tpm / "socket"
        words = ("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.tpm}", "--ctrl", f"type=unixio,path={socket}")
        subprocess.run((*words, "--daemon", "--terminate", "--flags", "startup-clear"), check=True, timeout=30)
        device = ("-tpmdev", "emulator,id=t,chardev=c", "-device", "tpm-tis,tpmdev=t")
        return ("-chardev", f"socket,id=c,path={socket}", *device)


def _kvm_works() -> bool:
    """A host that is a guest itself may lend a KVM that starts no plain kernel (``kvm_pvm``)."""
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and not Path("/sys/module/kvm_pvm").exists()


def copy_disk(image: Path, disk: Path) -> None:
    """Copy a disk with its holes."""
    subprocess.run(["cp", "--sparse=always", image, disk], check=True, timeout=600)


def find_missing_programs(names: Sequence[str]) -> list[str]:
    """Return those that are not installed here."""
    return [name for name in names if shutil.which(name) is None]
