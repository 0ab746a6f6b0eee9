"""What differs between Debian suites and architectures: the Python they ship, and the wheels that run there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from packaging.requirements import Requirement


@dataclass(frozen=True, slots=True)
class Suite:
    """One release of Debian or Ubuntu: minor versions of its Python 3 and glibc 2, and packages for a TPM."""

    python: int
    glibc: int
    tpm: str


SUITES: Mapping[str, Suite] = {
    "bookworm": Suite(11, 36, "libtss2-esys-3.0.2-0, libtss2-mu0, libtss2-rc0, libtss2-tcti-device0"),
    "noble": Suite(12, 39, "libtss2-esys-3.0.2-0t64, libtss2-mu-4.0.1-0t64, libtss2-rc0t64, libtss2-tcti-device0t64"),
    "trixie": Suite(13, 41, "libtss2-esys-3.0.2-0t64, libtss2-mu-4.0.1-0t64, libtss2-rc0t64, libtss2-tcti-device0t64"),
}
MACHINES: Mapping[str, str] = {"amd64": "x86_64", "arm64": "aarch64"}
_OLD_NAMES = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}


@dataclass(frozen=True, slots=True)
class Target:
    """A suite on an architecture."""

    suite: str
    arch: str

    @property
    def python(self) -> str:
        """``3.11``: the interpreter that the suite ships."""
        return f"3.{SUITES[self.suite].python}"

    def pip_options(self) -> list[str]:
        """Return what tells pip to choose wheels for this target and for nothing else (PEP 425, PEP 600)."""
        suite, machine = SUITES[self.suite], MACHINES[self.arch]
        words = ["--only-binary=:all:", "--implementation=cp", f"--python-version={self.python}"]
        words += [f"--abi={abi}" for abi in (f"cp3{suite.python}", "abi3", "none")]
        for minor in range(suite.glibc, 4, -1):
            words.append(f"--platform=manylinux_2_{minor}_{machine}")
            if minor in _OLD_NAMES:
                words.append(f"--platform={_OLD_NAMES[minor]}_{machine}")
        return words

    def markers(self) -> dict[str, str]:
        """Return the environment in which the markers of a lock are evaluated (PEP 508)."""
        return {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": MACHINES[self.arch],
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }


def parse_lock(text: str) -> Iterator[tuple[Requirement, list[str]]]:
    """Yield each requirement of a lock, with the options (``--hash=…``) that stand below it."""
    for block in text.replace("\\\n", " ").splitlines():
        if block.strip() and not block.startswith("#"):
            line, *hashes = block.split("--hash=")
            yield Requirement(line.strip()), [f"--hash={each.strip()}" for each in hashes]


def choose(text: str, target: Target) -> dict[str, str]:
    """Return name → line of a requirements file, of those of a lock that this target needs."""
    chosen = {}
    for requirement, hashes in parse_lock(text):
        if requirement.marker is None or requirement.marker.evaluate(target.markers()):
            chosen[requirement.name.lower()] = " ".join([f"{requirement.name}{requirement.specifier}", *hashes])
    return chosen
