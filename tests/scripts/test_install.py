"""``scripts/install`` and ``scripts/uninstall``, into a folder."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edge_agent.settings.gateway import parse_config
from edge_agent.setup.dropins import encode_dropin

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow
OFF = "  - {id: shed, enabled: false, url: 'rtsp://192.0.2.8/', sub: {url: 'rtsp://192.0.2.8/2'}}\n"


def script(name: str, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    command = [str(ROOT / "scripts" / name), *words]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=110, env=environment)


def install(root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return script("install", "--root", str(root), "--packages-of", sys.executable, *words)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    (root / "passphrase").write_text("correct horse battery\n")
    result = install(root, "--passphrase-file", str(root / "passphrase"))
    assert result.returncode == 0, result.stderr
    assert "Next:" in result.stdout
    return root


def keys_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in (root / "var/lib/edge-agent/keys").rglob("*.pem")
    }


def test_install_places_program_units_and_keys(installed: Path) -> None:
    """The wheel carries its data files; the installed program, not the checkout's, made configuration and keys."""
    link = installed / "opt/edge-agent"
    assert link.readlink() == installed / "opt/edge-agent-releases/0001"
    assert (link / "share/edge-agent/config/edge-agent.yaml").is_file()
    units = sorted(path.name for path in (installed / "usr/local/lib/systemd/system").iterdir())
    services = [f"edge-agent-{name}.service" for name in ("adopt", "desk", "page", "recorder", "releaser")]
    assert units == ["edge-agent-adopt.path", *services, "edge-agent.target"]
    assert len(keys_of(installed)) == 9
    where = subprocess.run(
        [link / "bin/python", "-I", "-c", "import edge_agent; print(edge_agent.__file__)"],
        capture_output=True, text=True, cwd="/", timeout=30,
    ).stdout  # fmt: skip
    assert where.startswith(str(installed))


def test_install_again_upgrades_and_keeps_everything(installed: Path) -> None:
    """A second run needs no passphrase, keeps keys and configuration, and the release before as the way back."""
    config = installed / "etc/edge-agent/edge-agent.yaml"
    config.write_text(config.read_text() + "\n# the installer's own line\n")
    before, text = keys_of(installed), config.read_text()
    result = install(installed)
    assert result.returncode == 0, result.stderr
    assert (keys_of(installed), config.read_text()) == (before, text)
    releases = sorted(path.name for path in (installed / "opt/edge-agent-releases").iterdir())
    assert len(releases) == 2
    assert (installed / "opt/edge-agent").readlink().name == releases[-1]


def test_an_upgrade_that_does_not_fit_changes_nothing(installed: Path) -> None:
    """A configuration that the new release refuses stops the upgrade before the switch."""
    config = installed / "etc/edge-agent/edge-agent.yaml"
    text, link = config.read_text(), (installed / "opt/edge-agent").readlink()
    releases = sorted((installed / "opt/edge-agent-releases").iterdir())
    config.write_text(text + "\nfrom_another_version: 1\n")
    try:
        result = install(installed)
    finally:
        config.write_text(text)
    assert result.returncode == 1
    assert "from_another_version: unknown key" in result.stderr
    assert (installed / "opt/edge-agent").readlink() == link
    assert sorted((installed / "opt/edge-agent-releases").iterdir()) == releases


def test_uninstall_keeps_then_erases(tmp_path: Path) -> None:
    """Without --erase keys and footage stay; with it nothing does, rings on another disk included; it asks first."""
    (tmp_path / "passphrase").write_text("correct horse battery\n")
    root = tmp_path / "root"
    assert install(root, "--passphrase-file", str(tmp_path / "passphrase")).returncode == 0
    config = root / "etc/edge-agent/edge-agent.yaml"
    disk, second = tmp_path / "mnt" / "disk", tmp_path / "mnt" / "second"
    disk.mkdir(parents=True)
    second.mkdir()
    config.write_text(
        config.read_text()
        .replace("  # dir: /mnt/footage", f"  dir: {disk}")
        .replace("  # mirror_dir: /mnt/nas/rings", f"  mirror_dir: {second}")
        .replace("\ncameras:\n", "\ncameras:\n  - {id: door, url: 'rtsp://192.0.2.7/'}\n" + OFF)
    )
    (disk / "door.main.ring").write_bytes(b"ring")
    (disk / "shed.sub.ring").write_bytes(b"ring")
    for name in ("door.main.ring", "shed.main.ring", f"shed.main.ring.{'0' * 32}", "shed.main.rings", "somebody-elses"):
        (second / name).write_bytes(b"ring")
    (disk / "somebody-elses").write_bytes(b"x")
    refused = script("uninstall", "--root", str(root), "--erase", stdin="yes\n")
    assert refused.returncode == 1
    assert keys_of(root)
    assert script("uninstall", "--root", str(root), "--erase", stdin="erase\n").returncode == 0
    assert not (root / "var/lib/edge-agent").exists()
    assert not config.parent.exists()
    assert not (root / "opt/edge-agent").exists()
    assert [path.name for path in disk.iterdir()] == ["somebody-elses"]
    assert sorted(path.name for path in second.iterdir()) == ["shed.main.rings", "somebody-elses"]


def test_uninstall_without_erase_keeps_keys(tmp_path: Path) -> None:
    """A new installation afterwards goes on with the same keys."""
    (tmp_path / "passphrase").write_text("correct horse battery\n")
    root = tmp_path / "root"
    assert install(root, "--passphrase-file", str(tmp_path / "passphrase")).returncode == 0
    before = keys_of(root)
    assert script("uninstall", "--root", str(root)).returncode == 0
    assert keys_of(root) == before
    assert not list((root / "usr/local/lib/systemd/system").iterdir())
    assert install(root).returncode == 0
    assert keys_of(root) == before


def test_dropins_open_what_lies_elsewhere(tmp_path: Path) -> None:
    """Rings on another disk are writable to the recorder and waited for; nothing special prints nothing."""
    plain = parse_config("", "x", tmp_path)
    assert encode_dropin(plain, "recorder", 252) == ""
    assert encode_dropin(plain, "releaser", 255) == "[Service]\nRestartSec=1\nRestartSteps=6\nRestartMaxDelaySec=60\n"
    moved = parse_config("buffer: {dir: /mnt/footage}\nuplink: {staging_dir: /mnt/staging}\n", "x", tmp_path)
    mounts = "[Unit]\nRequiresMountsFor="
    assert encode_dropin(moved, "recorder", 252) == f"{mounts}/mnt/footage\n[Service]\nReadWritePaths=/mnt/footage\n"
    assert encode_dropin(moved, "releaser", 252) == (
        f"{mounts}/mnt/footage /mnt/staging\n[Service]\nReadWritePaths=/mnt/staging\n"
    )


def test_dropins_hand_over_sealed_keys(tmp_path: Path) -> None:
    """Each service gets its own keys and no other's."""
    (tmp_path / "keys/public").mkdir(parents=True)
    (tmp_path / "keys/public/custody").write_text("tpm\n")
    config = parse_config(f"gateway: {{state_dir: {tmp_path}}}\n", "x", tmp_path)
    recorder, releaser = (encode_dropin(config, service, 252) for service in ("recorder", "releaser"))
    assert "LoadCredentialEncrypted=recorder:edge-agent.recorder\n" in recorder
    assert "vault" not in recorder
    for name in ("vault", "gateway", "tls"):
        assert f"LoadCredentialEncrypted={name}:edge-agent.{name}\n" in releaser


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as the installer has it")
def test_uninstall_follows_no_link_that_a_service_planted() -> None:
    """What lies in a service's folders is overwritten and removed with the service's own rights."""
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "etc").mkdir()
        foreign = {root / "etc" / each: f"root's {each}".encode() for each in ("shadow", "passwd", "fifo-reader")}
        for path, content in foreign.items():
            path.write_bytes(content)
            path.chmod(0o600)
        keys, state = root / "var/lib/edge-agent/keys/releaser", root / "var/lib/edge-agent"
        keys.mkdir(parents=True)
        (state / "rings").mkdir()
        for folder in (keys, state / "rings"):
            os.chown(folder, 61235, 61236)
        (keys / "vault.pem").symlink_to(root / "etc/shadow")
        os.link(root / "etc/passwd", keys / "tls.pem")
        os.mkfifo(keys / "gateway.pem")
        (state / "rings/foreign").symlink_to(root / "etc")
        result = script("uninstall", "--root", str(root), "--erase", "--yes")
        assert result.returncode == 0, result.stderr
        assert {path: path.read_bytes() for path in foreign} == foreign
        assert not state.exists()
