"""``edge-agent init`` and ``edge-agent enrol``: a new gateway up to the RTCC's answer."""

import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.consent.policy import parse_policy
from edge_agent.custody.enrolment_file import load_enrolment
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import ConfigError, CustodyError, EdgeAgentError, UsageError
from edge_agent.protocol.application import verify_csr
from edge_agent.rtcc.office.enrol import enrol as rtcc_enrol
from edge_agent.rtcc.office.home import HomeSettings, RtccHome
from edge_agent.settings.gateway import load_config
from edge_agent.setup.provision import TREE
from edge_agent.units import UtcNs, parse_rfc3339
from tests.commands import typed

NOW = parse_rfc3339("2026-03-01T00:00:00Z")
Command = Callable[..., int]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run a command's own parser and code, with a passphrase file at hand."""
    (tmp_path / "passphrase").write_text("correct horse battery\n")

    return typed.run


def run_init(command: Command, tmp_path: Path) -> int:
    words = ["--config", str(tmp_path / "etc"), "--state", str(tmp_path / "state")]
    return command("init", *words, "--passphrase-file", str(tmp_path / "passphrase"))


def snapshot(folder: Path) -> dict[Path, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_init_makes_a_gateway_that_loads(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Configuration, keys, folders and application, each with the right mode, and what comes next."""
    assert run_init(command, tmp_path) == 0
    config = load_config(tmp_path / "etc/edge-agent.yaml")
    assert config.state_dir == tmp_path / "state"
    assert config.gateway.run_dir.is_dir()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "etc").iterdir()}
    assert modes["credentials.yaml"] == modes["notify.yaml"] == 0o600
    assert modes["edge-agent.yaml"] == modes["consent.yaml"] == 0o644
    for folder in TREE:
        if folder.path != ".":
            assert stat.S_IMODE((tmp_path / "state" / folder.path).stat().st_mode) == folder.mode
    verify_csr((tmp_path / "etc/gateway.csr").read_bytes())
    said = capsys.readouterr().out
    assert f"edge-agent check --config {tmp_path}/etc/edge-agent.yaml" in said
    assert "new keys: recorder, vault, gateway, tls, owner" in said


def test_a_renewed_key_makes_a_new_application(command: Command, tmp_path: Path) -> None:
    """As docs/recovery.md tells it: a pair is removed, `init` makes another, and the application names it."""
    run_init(command, tmp_path)
    before = verify_csr((tmp_path / "etc/gateway.csr").read_bytes())
    for path in ("keys/releaser/gateway.pem", "keys/public/gateway.pem"):
        (tmp_path / "state" / path).unlink()
    assert run_init(command, tmp_path) == 0
    after = verify_csr((tmp_path / "etc/gateway.csr").read_bytes())
    assert after.gateway != before.gateway
    assert (after.owner, after.recorder) == (before.owner, before.recorder)


def test_a_kept_owner_key_goes_into_a_new_gateway(command: Command, tmp_path: Path) -> None:
    """As docs/recovery.md tells it: the copy of owner.pem is laid down before `init`, which asks for its passphrase."""
    run_init(command, tmp_path)
    kept = (tmp_path / "state/keys/owner.pem").read_bytes()
    (tmp_path / "new").mkdir()
    (tmp_path / "new/passphrase").write_text("correct horse battery\n")
    (tmp_path / "new/state/keys").mkdir(parents=True)
    (tmp_path / "new/state/keys/owner.pem").write_bytes(kept)
    (tmp_path / "new/state/keys/owner.pem").chmod(0o600)
    assert run_init(command, tmp_path / "new") == 0
    public = "state/keys/public/owner.pem"
    assert (tmp_path / "new" / public).read_bytes() == (tmp_path / public).read_bytes()


def test_the_shipped_consent_denies_everything(command: Command, tmp_path: Path) -> None:
    """Nothing leaves a new gateway."""
    run_init(command, tmp_path)
    policy = parse_policy((tmp_path / "etc/consent.yaml").read_text(), "consent.yaml")
    assert policy.cameras == {}


def test_a_second_init_changes_nothing(command: Command, tmp_path: Path) -> None:
    """Running it again never touches a key or what the installer wrote."""
    run_init(command, tmp_path)
    (tmp_path / "etc/edge-agent.yaml").write_text((tmp_path / "etc/edge-agent.yaml").read_text() + "\n# mine\n")
    before = snapshot(tmp_path)
    assert command("init", "--config", str(tmp_path / "etc")) == 0
    assert snapshot(tmp_path) == before


def test_init_mends_what_is_missing(command: Command, tmp_path: Path) -> None:
    """A public half, a folder or a file that is gone comes back; private keys do not change."""
    run_init(command, tmp_path)
    before = snapshot(tmp_path)
    (tmp_path / "state/keys/public/vault.pem").unlink()
    (tmp_path / "etc/credentials.yaml").unlink()
    (tmp_path / "state/holds").rmdir()
    assert run_init(command, tmp_path) == 0
    after = snapshot(tmp_path)
    assert {path: content for path, (content, _) in after.items()} == {
        path: content for path, (content, _) in before.items()
    }
    assert (tmp_path / "state/holds").is_dir()


REFUSED: dict[str, tuple[str, type[EdgeAgentError], str]] = {
    "weak": ("hunter2\n", CustodyError, "too weak"),
    "empty": ("", CustodyError, "too weak"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_init_refuses_a_weak_passphrase(
    command: Command, tmp_path: Path, case: tuple[str, type[EdgeAgentError], str]
) -> None:
    """No key is made under a passphrase that a thief would guess."""
    (tmp_path / "passphrase").write_text(case[0])
    with pytest.raises(case[1], match=case[2]):
        run_init(command, tmp_path)
    assert not (tmp_path / "state/keys").exists()


def test_init_needs_a_terminal_or_a_file(command: Command, tmp_path: Path) -> None:
    """Nothing waits for a passphrase that nobody can type."""
    with pytest.raises(UsageError, match="terminal"):
        command("init", "--config", str(tmp_path / "etc"), "--state", str(tmp_path / "state"))


def test_init_refuses_another_state_folder(command: Command, tmp_path: Path) -> None:
    """Two state folders under one configuration would be two gateways."""
    run_init(command, tmp_path)
    with pytest.raises(UsageError, match="is there already"):
        command("init", "--config", str(tmp_path / "etc"), "--state", str(tmp_path / "other"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> RtccHome:
    settings = HomeSettings(
        iss="rtcc.example-city",
        broker_host="127.0.0.1",
        broker_port=8883,
        rtcc_port=8884,
        uploads={"evidence": "https://127.0.0.1:8443/files/"},
    )
    return RtccHome.create(tmp_path_factory.mktemp("rtcc") / "home", settings, UtcNs(NOW))


def apply(command: Command, tmp_path: Path, home: RtccHome) -> tuple[list[str], Path]:
    run_init(command, tmp_path)
    answer = tmp_path / "answer.json"
    answer.write_bytes(rtcc_enrol(home, (tmp_path / "etc/gateway.csr").read_bytes(), UtcNs(NOW)).content)
    return ["enrol", str(answer), "--config", str(tmp_path / "etc/edge-agent.yaml")], answer


def test_enrol_installs_what_the_rtcc_made(
    command: Command, tmp_path: Path, home: RtccHome, capsys: pytest.CaptureFixture[str]
) -> None:
    """The roots are shown; with the expected thumbprints it is installed, readable by both processes."""
    words, _ = apply(command, tmp_path, home)
    capsys.readouterr()
    assert command(*words, "--yes") == 0
    said = capsys.readouterr().out
    path = tmp_path / "etc/enrolment.json"
    enrolment = load_enrolment(path)
    assert all(thumbprint in said for thumbprint in enrolment.root_thumbprints)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    expected = [f"--expect={thumbprint}" for thumbprint in enrolment.root_thumbprints]
    assert command(*words, *expected) == 0


def test_enrol_refuses_other_roots(command: Command, tmp_path: Path, home: RtccHome) -> None:
    """One thumbprint too few, too many or other: nothing is installed."""
    words, _ = apply(command, tmp_path, home)
    with pytest.raises(CustodyError, match="not those that were expected"):
        command(*words, "--expect", "x" * 43)
    with pytest.raises(UsageError, match="compare"):
        command(*words)
    assert not (tmp_path / "etc/enrolment.json").exists()


def test_enrol_refuses_anothers_certificate(command: Command, tmp_path: Path, home: RtccHome) -> None:
    """An answer to another gateway's application is told apart at once."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one/passphrase").write_text("correct horse battery\n")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/passphrase").write_text("correct horse battery\n")
    words, _ = apply(command, tmp_path / "one", home)
    run_init(command, tmp_path / "two")
    with pytest.raises(CustodyError, match="another TLS key"):
        command(*words[:-1], str(tmp_path / "two/etc/edge-agent.yaml"), "--yes")


def test_init_without_rights_says_so(command: Command, tmp_path: Path) -> None:
    """A folder that cannot be written is a sentence and a hint."""
    with pytest.raises(ConfigError, match="cannot be written"):
        command("init", "--config", "/proc/edge-agent", "--state", str(tmp_path / "state"))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A person at a terminal, who types these lines at the prompts for a passphrase; none more is the end of file."""
    typed_lines: list[str] = []

    def ask(_prompt: str) -> str:
        if not typed_lines:
            raise EOFError
        return typed_lines.pop(0)

    monkeypatch.setattr("edge_agent.commands.init.ask_secret", ask)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    return typed_lines


MISTYPED = {
    "weak, then good": ["short", "correct horse battery", "correct horse battery"],
    "two that differ, then good": ["correct horse battery", "correct horse", *["correct horse battery"] * 2],
}


@pytest.mark.parametrize("lines", MISTYPED.values(), ids=MISTYPED.keys())
def test_init_asks_again_for_a_mistyped_passphrase(command, tmp_path, terminal, lines) -> None:
    """Nobody has to begin anew, and the key opens by the passphrase that was typed last."""
    terminal += lines
    assert command("init", "--config", str(tmp_path / "etc"), "--state", str(tmp_path / "state")) == 0
    KeyStore(tmp_path / "state", "owner").load_private("owner", b"correct horse battery")


GIVEN_UP = {"never strong enough": ["short"] * 9, "the end of the input": ["correct horse battery"]}


@pytest.mark.parametrize("lines", GIVEN_UP.values(), ids=GIVEN_UP.keys())
def test_init_without_a_passphrase_leaves_nothing_behind(tmp_path, terminal, lines, capsys) -> None:
    """No folder, no configuration, no key; an error, and no traceback."""
    terminal += lines
    words = ["init", "--config", str(tmp_path / "etc"), "--state", str(tmp_path / "state")]
    assert main(words) != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == []
    assert "edge-agent: error: " in capsys.readouterr().err


def test_no_answer_about_the_page_is_a_no(command, tmp_path, terminal, monkeypatch) -> None:
    """The question comes when everything is made: the end of the input there is no failure."""

    def ask(_prompt: str) -> str:
        raise EOFError

    terminal += ["correct horse battery"] * 2
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", ask)
    assert command("init", "--config", str(tmp_path / "etc"), "--state", str(tmp_path / "state")) == 0
    assert not (tmp_path / "state" / "page" / "settings.json").exists()


def test_no_passphrase_is_read_where_it_would_be_shown(command, tmp_path, terminal) -> None:
    """Without a terminal it is an error with the option that a script takes, and nothing of Python's own."""
    terminal += ["correct horse battery"] * 2
    assert command("init", "--config", str(tmp_path / "etc"), "--state", str(tmp_path / "state")) == 0
    words = ["backup", "--out", str(tmp_path / "b.age"), "--config", str(tmp_path / "etc" / "edge-agent.yaml")]
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", *words],
        input="correct horse battery\n", capture_output=True, text=True, timeout=60, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 64
    assert done.stderr == (
        "edge-agent: error: owner's passphrase: asked for at a terminal only\n"
        "edge-agent: hint: in a script: --passphrase-file FILE\n"
    )


def test_config_names_the_file_or_its_folder_everywhere(command: Command, tmp_path: Path) -> None:
    """One meaning: what init was given, the other commands take, and the other way round."""
    etc = tmp_path / "etc"
    assert run_init(command, tmp_path) == 0
    before = snapshot(etc)
    for named in (etc, etc / "edge-agent.yaml"):
        words = ("--state", str(tmp_path / "state"), "--passphrase-file", str(tmp_path / "passphrase"))
        assert command("init", "--config", str(named), *words) == 0
        assert command("check", "--offline", "--config", str(named)) in (0, 1)
    assert snapshot(etc) == before
    with pytest.raises(UsageError, match="init writes "):
        command("init", "--config", str(etc / "mine.yaml"), "--state", str(tmp_path / "state"))
