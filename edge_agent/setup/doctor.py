"""The report of ``edge-agent doctor``: how a gateway does, for somebody who helps, and nothing of the household.

An allow-list. A value gets in as a number, as a word of a closed list, or as a short word of letters, digits and dots
that the operating system made up (a version). No text of the configuration, of a log or of an error does: those hold
addresses, tokens, places and incident numbers. Cameras have numbers, not names. A line of the journal gets in by the
phrase that this program's own sources hold for it, without what stood behind it.
"""

import ast
import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from edge_agent import __version__
from edge_agent.capture.reasons import REASONS
from edge_agent.custody.keys import custody_note_path
from edge_agent.host.build_id import digest_sources
from edge_agent.host.clock import SystemClock, read_kernel_time
from edge_agent.settings.gateway import Config
from edge_agent.setup.inspection import Inspected, find_filesystem

UNITS = (
    "edge-agent.target",
    "edge-agent-recorder.service",
    "edge-agent-releaser.service",
    "edge-agent-page.service",
    "edge-agent-desk.service",
    "edge-agent-adopt.path",
    "edge-agent-adopt.service",
    "edge-agent-update.timer",
    "edge-agent-update.service",
    "edge-agent-update-resume.service",
)
TIME_SERVICES = ("systemd-timesyncd.service", "chrony.service", "ntpsec.service", "ntp.service")
_UNIT_FIELDS = ("LoadState", "ActiveState", "SubState", "Result", "UnitFileState", "NRestarts", "ExecMainStatus")
_UNIT_STATES = (
    "active inactive failed activating deactivating reloading loaded not-found masked error bad-setting running dead "
    "exited start-pre start start-post stop auto-restart waiting elapsed success exit-code signal core-dump watchdog "
    "start-limit-hit timeout resources oom-kill protocol enabled disabled static linked indirect generated"
)
_OWN_WORDS = (
    "recording not-stored connecting idle down paused preparing off unknown ok warning fault synchronised floor-only "
    "kernel timesyncd configuration bare tpm passphrase none h264 hevc h265 mjpeg"
)
_FILESYSTEMS = "ext4 ext3 xfs btrfs f2fs vfat exfat ntfs3 fuseblk nfs nfs4 cifs overlay tmpfs zfs 9p"
_WORDS = frozenset(" ".join((_UNIT_STATES, _OWN_WORDS, _FILESYSTEMS)).split())
_CHECKED = "cameras place credentials notify consent enrolment clock disk page broker configuration"
_TOPICS = frozenset(_CHECKED.split())
_LONGER_TOPICS = ("keys of the recorder", "keys of the releaser", "owner's key")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+~-]{0,39}")
_TIMEOUT_S = 20.0
_JOURNAL_LINES = 5000
_ODD = (OSError, ValueError, KeyError, TypeError, AttributeError)

RunProgram = Callable[[Sequence[str]], str]


def run_program(words: Sequence[str]) -> str:
    """Return what a program prints; nothing if it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def word(value: object) -> str:
    """Return a word of the closed list; ``other`` for any other."""
    text = str(value).strip().lower()
    return text if text in _WORDS else "other"


def version(value: object) -> str:
    """Return a version as programs write them; ``other`` for anything else."""
    text = str(value).strip()
    return text if _VERSION.fullmatch(text) else "other"


def number(value: object) -> int | float | None:
    """Return a number, or None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def make_report(
    config: Config | None,
    findings: Iterable[Inspected],
    status: Mapping[str, Mapping[str, Any]],
    run: RunProgram = run_program,
) -> dict[str, object]:
    """Return the report, as JSON values.

    Args:
        config: For counts, sizes and folders; None if it cannot be read: what it leads to is left out.
        findings: Of ``edge-agent check``; their level and topic get in, their texts do not.
        status: The answers of both processes; empty or ``error`` if one did not answer.
        run: Asks the system.
    """
    names = {} if config is None else {camera.id: f"camera {n}" for n, camera in enumerate(config.cameras, 1)}
    report: dict[str, object] = {
        "program": {"version": version(__version__), "sources": digest_sources().hex()[:16]},
        "machine": describe_machine(run),
        "units": {unit: describe_unit(unit, run) for unit in UNITS},
        "check": [{"level": each.level.value, "topic": _topic(each.topic, names)} for each in findings],
    }
    if config is not None:
        report |= {
            "cameras": describe_cameras(status.get("recorder", {}), names),
            "releaser": describe_releaser(status.get("releaser", {})),
            "clock": describe_clock(config, run),
            "disk": describe_disk(config),
            "custody": describe_custody(config),
        }
    return report | {"listening": list_listening(Path("/proc/net")), "journal": count_journal(run)}


def describe_machine(run: RunProgram) -> dict[str, object]:
    """Kernel, distribution, Python, memory, load: versions and numbers."""
    release: dict[str, str] = {}
    with contextlib.suppress(*_ODD):
        release = platform.freedesktop_os_release()
    memory = re.search(r"MemTotal: +([0-9]+) kB", _read(Path("/proc/meminfo")))
    uptime = _read(Path("/proc/uptime")).partition(".")[0]
    known = {"debian", "ubuntu", "raspbian"}
    systemd = re.match(r"systemd ([0-9]+)", run(("systemctl", "--version")))
    return {
        "system": release.get("ID", "") if release.get("ID") in known else "other",
        "release": version(release.get("VERSION_ID", "")),
        "kernel": version(platform.release()),
        "architecture": platform.machine() if platform.machine() in ("x86_64", "aarch64") else "other",
        "python": version(platform.python_version()),
        "systemd": int(systemd[1]) if systemd else None,
        "processors": os.cpu_count(),
        "memory_mib": int(memory[1]) // 1024 if memory else None,
        "uptime_s": int(uptime) if uptime.isdigit() else None,
        "load": [round(each, 2) for each in os.getloadavg()],
        "is_packaged": sys.prefix == "/opt/edge-agent",
    }


def describe_unit(unit: str, run: RunProgram) -> dict[str, object]:
    """How systemd sees a unit."""
    said = run(("systemctl", "show", unit, f"--property={','.join(_UNIT_FIELDS)}"))
    facts = dict(line.partition("=")[::2] for line in said.splitlines())
    return {
        name: int(facts[name]) if facts[name].isdigit() else word(facts[name]) for name in _UNIT_FIELDS if name in facts
    }


def describe_cameras(recorder: Mapping[str, Any], names: Mapping[str, str]) -> list[dict[str, object]]:
    """Each stream's state, reason and figures, under a number in place of its name."""
    reported = recorder.get("cameras", {})
    found: list[dict[str, object]] = []
    for key, facts in sorted(reported.items()) if isinstance(reported, Mapping) else []:
        reason = str(facts.get("reason", ""))
        found.append(
            {
                "name": names.get(str(key).partition(".")[0], "another camera"),
                "state": word(facts.get("state", "unknown")),
                "reason": reason if reason in REASONS else "" if not reason else "other",
                "codec": word(facts.get("codec", "none") or "none"),
                **{
                    name: number(facts[name])
                    for name in ("bitrate", "gop_ns", "clock_offset_ns", "lost_percent", "lost_packets", "held_back_s")
                    if name in facts
                },
            }
        )
    return found


def describe_releaser(releaser: Mapping[str, Any]) -> dict[str, object]:
    """Whether it answers, whether its broker does, and how much waits."""
    if not releaser or "error" in releaser:
        return {"answers": False}
    return {
        "answers": True,
        "broker": "connected" if releaser.get("broker") == "connected" else "not connected",
        "clock": word(str(releaser.get("clock", "")).partition(":")[0]),
        "trust_bundle": "none" if releaser.get("trust_bundle") == "none" else "there",
        "custody": word(releaser.get("custody", "unknown")),
        "waiting": len(releaser.get("waiting_for_you", ())),
        "releasing": len(releaser.get("releasing", ())),
    }


def describe_clock(config: Config, run: RunProgram) -> dict[str, object]:
    """The service that keeps the clock, and whether the kernel confirms it."""
    source, kernel = SystemClock().source(), read_kernel_time()
    return {
        "state": source.state.value,
        "by": word(source.by),
        "kernel": kernel.state.value,
        "max_error_us": kernel.max_error_us,
        "trust": "kernel" if config.clock.trust == "kernel" else "wall-clock",
        "services": {unit: word(run(("systemctl", "is-active", unit))) for unit in TIME_SERVICES},
    }


def describe_disk(config: Config) -> dict[str, object]:
    """Filesystem, room and rings, by size and number."""
    folder = config.rings_dir
    readable = [each for each in config.ring_folders if each.is_dir() and os.access(each, os.R_OK | os.X_OK)]
    rings = sorted(path for each in readable for path in each.glob("*.ring"))
    if not folder.is_dir():
        return {"rings_folder": "missing", "configured_rings": len(list(config.rings()))}
    usage = shutil.disk_usage(folder)
    return {
        "filesystem": word(find_filesystem(folder)),
        "total_mib": usage.total >> 20,
        "free_mib": usage.free >> 20,
        "configured_rings": len(list(config.rings())),
        "ring_mib": [path.stat().st_size >> 20 for path in rings],
    }


def describe_custody(config: Config) -> dict[str, object]:
    """Whether there is a TPM, and the installer's note."""
    return {
        "tpm_device": any(Path("/dev").glob("tpmrm*")),
        "sealed": custody_note_path(config.state_dir).exists(),
        "sealed_files": len(list(Path("/etc/credstore.encrypted").glob("edge-agent.*"))) if os.geteuid() == 0 else None,
    }


def list_listening(folder: Path) -> list[dict[str, int]]:
    """TCP ports that something on this machine listens on: number, and whether other machines reach it."""
    found = set()
    for name in ("tcp", "tcp6"):
        for line in _read(folder / name).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 3 and fields[3] == "0A":
                address, _, port = fields[1].partition(":")
                is_local = address in ("0100007F", "0" * 24 + "01000000")
                found.add((int(port, 16), is_local))
    return [{"port": port, "loopback_only": is_local} for port, is_local in sorted(found)][:64]


def count_journal(run: RunProgram) -> list[dict[str, object]]:
    """Our own log of a day: how often each phrase of this program's sources came, at which priority."""
    words = ["journalctl", "--quiet", "--output=json", "--since=-24h", f"--lines={_JOURNAL_LINES}"]
    words += ["--output-fields=MESSAGE,PRIORITY", *(f"--unit={unit}" for unit in UNITS[1:3])]
    counts: Counter[tuple[str, int]] = Counter()
    for line in run(words).splitlines():
        with contextlib.suppress(*_ODD):
            entry = json.loads(line)
            priority = int(entry.get("PRIORITY", 6))
            if isinstance(entry["MESSAGE"], str):
                counts[find_phrase(entry["MESSAGE"]), priority] += 1
    return [{"phrase": phrase, "priority": priority, "count": n} for (phrase, priority), n in counts.most_common(64)]


def find_phrase(message: str) -> str:
    """Return the longest phrase of our own sources that a message holds; ``other`` if it holds none."""
    return next((phrase for phrase in known_phrases() if phrase in message), "other")


@cache
def known_phrases() -> tuple[str, ...]:
    """Return the fixed beginnings of all messages that this program logs, the longest first."""
    root = Path(__file__).parents[1]
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(re.split(r" ?[A-Za-z_]*[=:]? ?%| [A-Za-z_]+=", str(node.args[0].value))[0].strip())
    return tuple(sorted((each for each in found if len(each) >= 8), key=lambda each: (-len(each), each)))


def _topic(topic: str, names: Mapping[str, str]) -> str:
    kind, _, name = topic.partition(" ")
    if kind == "camera":
        return names.get(name, "another camera")
    return topic if topic in _LONGER_TOPICS or topic in _TOPICS else "other"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
