"""The systemd units: valid, tight, and not too tight for what the processes do."""

import ipaddress
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.settings.gateway import parse_config
from edge_agent.setup.provision import DESK_USER, GROUP, PAGE_USER, RECORDER_USER, RELEASER_USER, TREE
from tests.peers.seccomp_run import allowed_calls, read_unit

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
SERVICES = ("edge-agent-recorder.service", "edge-agent-releaser.service")
ADOPT = "edge-agent-adopt.service"
PAGE, DESK = "edge-agent-page.service", "edge-agent-desk.service"

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


@pytest.mark.parametrize("name", [*SERVICES, PAGE, DESK])
def test_exposure_is_at_most_1_5(name: str) -> None:
    """`systemd-analyze security` agrees, and the figure in the unit is the one it prints."""
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", str(UNITS / name)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout
    printed = re.search(r"Overall exposure level for \S+: (\d+\.\d)", result.stdout)
    assert printed is not None
    assert f"security`: {printed[1]}." in (UNITS / name).read_text()


@pytest.mark.parametrize("name", [*SERVICES, PAGE, DESK])
def test_no_memory_goes_to_the_disk(name: str) -> None:
    """Keys and pictures lie in the clear in memory alone: neither swap nor a core file has any of it."""
    unit = read_unit(UNITS / name)
    assert (unit["MemorySwapMax"], unit["LimitCORE"]) == (["0"], ["0"])


def test_units_verify(tmp_path: Path) -> None:
    """No unknown key, no wrong value; the program's path is replaced by one that is there."""
    for path in UNITS.iterdir():
        text = path.read_text().replace("/opt/edge-agent/bin/edge-agent", sys.executable)
        (tmp_path / path.name).write_text(text)
    units = [
        str(tmp_path / name) for name in (*SERVICES, PAGE, DESK, ADOPT, "edge-agent-adopt.path", "edge-agent.target")
    ]
    words = ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", *units]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", [*SERVICES, PAGE, DESK])
def test_every_hardening_line_has_its_reason(name: str) -> None:
    """A restriction without a reason is the first that somebody removes: a comment stands above each group of lines."""
    reason = False
    for line in (UNITS / name).read_text().partition("[Service]")[2].splitlines():
        if not line.strip():
            reason = False
        elif line.startswith("#"):
            reason = True
        elif line.startswith("["):
            break
        else:
            assert reason, line


def test_each_process_has_its_own_user_and_the_group_joins_them() -> None:
    """Neither user can read the other's keys; rings go from one to the other by the group."""
    users = {name: read_unit(UNITS / name)["User"][-1] for name in SERVICES}
    assert list(users.values()) == [RECORDER_USER, RELEASER_USER]
    sysusers = (UNITS / "edge-agent.sysusers").read_text()
    for user in users.values():
        assert f"m {user} {GROUP}" in sysusers


def test_tmpfiles_and_init_make_the_same_folders() -> None:
    """One table of owners and modes, told twice: to systemd and to `init`."""
    listed = (UNITS / "edge-agent.tmpfiles").read_text().splitlines()
    lines = [line.split() for line in listed if line.startswith("d ")]
    made = {path: (int(mode, 8), user, group) for _, path, mode, user, group, _ in lines}
    users = {"root": "root", "recorder": RECORDER_USER, "releaser": RELEASER_USER, "page": PAGE_USER, "desk": DESK_USER}
    for folder in TREE:
        path = str(Path("/var/lib/edge-agent") / folder.path)
        assert made[path] == (folder.mode, users[folder.holder], GROUP)


def test_neither_process_sees_the_others_secrets() -> None:
    """What the modes forbid, the units hide as well; nobody but root writes configuration, pins or programs."""
    recorder, releaser = (read_unit(UNITS / name) for name in SERVICES)
    hidden = " ".join(recorder["InaccessiblePaths"])
    assert "/var/lib/edge-agent/keys/releaser" in hidden
    assert "/var/lib/edge-agent/keys/owner.pem" in hidden
    assert "/var/lib/edge-agent/keys/recorder" in " ".join(releaser["InaccessiblePaths"])
    for unit in (recorder, releaser):
        assert "-/var/lib/edge-agent/keys/owner.age" in " ".join(unit["InaccessiblePaths"]).split()
    assert "/var/lib/edge-agent/rings" not in " ".join(releaser["ReadWritePaths"])
    for unit in (recorder, releaser):
        assert "keys" not in " ".join(unit["ReadWritePaths"])
        assert unit["ProtectSystem"] == ["strict"]


def test_each_process_has_a_run_folder_of_its_own() -> None:
    """Only root can say whose a name in the run folder is: neither process can bind the other's socket."""
    listed = (UNITS / "edge-agent.tmpfiles").read_text().splitlines()
    lines = [line.split() for line in listed if line.startswith("d ")]
    assert [line[2:5] for line in lines if line[1] == "/run/edge-agent"] == [["0755", "root", "root"]]
    config = parse_config("", "x", Path("/etc/edge-agent"))
    for name, process in zip(SERVICES, ("recorder", "releaser"), strict=True):
        unit = read_unit(UNITS / name)
        assert f"/run/{unit['RuntimeDirectory'][0]}" == str(config.run_dir(process))  # type: ignore[arg-type]
        assert unit["RuntimeDirectoryMode"] == ["0750"]
        written = [each for line in unit["ReadWritePaths"] for each in line.split() if "/run" in each]
        desk = [f"-{config.desk_path.parent}"] if process == "releaser" else []
        assert written == [f"-{config.page_path(process).parent}", *desk]  # type: ignore[arg-type]


def test_page_is_in_no_group_but_its_own_and_reaches_two_sockets() -> None:
    """The page connects at the two folders that carry its group, and sees neither keys, rings, state nor settings."""
    assert f"m {PAGE_USER}" not in (UNITS / "edge-agent.sysusers").read_text()
    listed = (UNITS / "edge-agent.tmpfiles").read_text().splitlines()
    lines = [line.split() for line in listed if line.startswith("d ")]
    for user in (RECORDER_USER, RELEASER_USER):
        path = f"/run/edge-agent/{user.removeprefix('edge-agent-')}-page"
        assert [line[2:5] for line in lines if line[1] == path] == [["2750", user, PAGE_USER]]
    unit = read_unit(UNITS / PAGE)
    hidden = {each.lstrip("-") for line in unit["InaccessiblePaths"] for each in line.split()}
    own = {"page", "."}
    for folder in TREE:
        path = Path("/var/lib/edge-agent") / folder.path
        assert folder.path in own or {str(path), *map(str, path.parents)} & hidden, path
    assert {"/etc/edge-agent", "/run/edge-agent/recorder", "/run/edge-agent/releaser"} <= hidden
    assert unit["ReadWritePaths"] == ["-/var/lib/edge-agent/page"]
    assert unit["Group"] == [PAGE_USER]
    assert "SupplementaryGroups" not in unit


def test_desk_reaches_the_releaser_alone_and_sees_the_owners_key_through_systemd_alone() -> None:
    """Its socket carries its group alone; the keys are hidden from it, and the owner's comes as a credential."""
    assert f"m {DESK_USER}" not in (UNITS / "edge-agent.sysusers").read_text()
    listed = (UNITS / "edge-agent.tmpfiles").read_text().splitlines()
    lines = [line.split() for line in listed if line.startswith("d ") and DESK_USER in line]
    assert [line[1:5] for line in lines] == [
        ["/run/edge-agent/releaser-desk", "2750", RELEASER_USER, DESK_USER],
        ["/var/lib/edge-agent/desk", "0700", DESK_USER, GROUP],
    ]
    unit = read_unit(UNITS / DESK)
    hidden = {each.lstrip("-") for line in unit["InaccessiblePaths"] for each in line.split()}
    for folder in TREE:
        path = Path("/var/lib/edge-agent") / folder.path
        assert folder.path in ("desk", ".") or {str(path), *map(str, path.parents)} & hidden, path
    runs = {"recorder", "releaser", "recorder-page", "releaser-page"}
    assert {"/etc/edge-agent", *(f"/run/edge-agent/{each}" for each in runs)} <= hidden
    assert unit["LoadCredential"] == ["owner.pem:/var/lib/edge-agent/keys/owner.pem"]
    assert unit["Group"] == [DESK_USER]
    assert "SupplementaryGroups" not in unit
    assert "-/run/edge-agent/releaser-desk" in " ".join(read_unit(UNITS / PAGE)["InaccessiblePaths"]).split()


def test_the_others_do_not_see_the_pages_key() -> None:
    """Its TLS key and its authority are hidden from the two other processes as well."""
    for name in SERVICES:
        hidden = " ".join(read_unit(UNITS / name)["InaccessiblePaths"]).split()
        assert {"-/var/lib/edge-agent/keys/page", "-/var/lib/edge-agent/page"} <= set(hidden)


def test_page_is_off_until_it_is_turned_on() -> None:
    """Nothing wants the page at boot, and it does not start without what `edge-agent page on` wrote."""
    assert PAGE not in (UNITS / "edge-agent.target").read_text()
    assert "ConditionPathExists=/var/lib/edge-agent/page/settings.json" in (UNITS / PAGE).read_text()


def test_recorder_reaches_no_public_address() -> None:
    """Wherever a camera sends FFmpeg, nothing goes to the internet: no range holds an address that is routed there."""
    for name in (SERVICES[0], PAGE, DESK):
        unit = read_unit(UNITS / name)
        assert unit["IPAddressDeny"] == ["any"]
        words = {word for line in unit["IPAddressAllow"] for word in line.split()}
        ranges = [ipaddress.ip_network(each) for each in words - {"localhost", "link-local", "multicast"}]
        assert not [each for each in ranges if each.is_global and not each.is_multicast]


@pytest.mark.parametrize("name", SERVICES)
def test_killed_child_does_not_stop_the_service(name: str) -> None:
    """What the kernel kills for its memory is one process: its parent knows, and systemd restarts the parent alone."""
    unit = read_unit(UNITS / name)
    assert (unit["OOMPolicy"], unit["Restart"]) == (["continue"], ["always"])


def test_the_filter_allows_asking_the_clock_and_not_setting_it_by_others() -> None:
    """`adjtimex` alone of the clock's calls."""
    child = allowed_calls(read_unit(UNITS / SERVICES[1])["SystemCallFilter"])
    assert {"landlock_create_ruleset", "landlock_restrict_self"} <= child
    for name in SERVICES:
        calls = allowed_calls(read_unit(UNITS / name)["SystemCallFilter"])
        assert {"adjtimex", "clock_adjtime", "prlimit64", "setitimer", "memfd_create", "fallocate"} <= calls
        assert not calls & {"clock_settime", "settimeofday", "mount", "ptrace", "bpf", "keyctl", "mlock", "setuid"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVICES)
def test_the_days_work_runs_under_the_units_filter(name: str) -> None:
    """Codecs, pictures, encryption, rings, SQLite, sockets, children work; mounts, raw packets and the like do not."""
    words = [sys.executable, str(ROOT / "tests/peers/seccomp_run.py"), str(UNITS / name), "--"]
    words += [sys.executable, str(ROOT / "tests/systemd/workload.py")]
    result = subprocess.run(words, capture_output=True, text=True, timeout=100, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    assert (result.returncode, result.stdout.splitlines()[-1:]) == (0, ["done"]), result.stderr
