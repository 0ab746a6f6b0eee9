"""``edge-agent backup``, ``init --from-backup``: the same owner, another gateway, a ledger that forgets nothing."""

import contextlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.custody.keys import KeyStore
from edge_agent.custody.owner_identity import encrypt_under_passphrase, load_recipient, open_identity
from edge_agent.errors import CustodyError, EvidenceError, UsageError
from edge_agent.host.atomic_file import write_new_file
from edge_agent.ledger import table as ledger
from edge_agent.protocol.checkpoint import ledger_origin
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.settings.gateway import Config, load_config
from edge_agent.setup import backup as backups
from edge_agent.setup.backup import make_backup, open_backup, restore
from edge_agent.units import UtcNs
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.ledger_archive import begin_from_archive

PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A gateway with a password, two entries under a signed head, and one after it."""
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "passphrase").write_text(f"{PASSPHRASE}\n")
    assert main(["init", "--config", str(folder), "--state", str(folder / "state"), "--passphrase-file", str(folder / "passphrase")]) == 0  # fmt: skip  # noqa: E501
    (folder / "credentials.yaml").write_text("door: {username: viewer, password: 's3cret'}\n")
    config = load_config(folder / "edge-agent.yaml")
    key = KeyStore(config.state_dir, "releaser").load_private("gateway")
    with Database(config.store_path) as store:
        with store.transaction() as connection:
            ledger.append(connection, "request", {"jti": "a"}, UtcNs(1))
            ledger.append(connection, "revoke", {"camera": "door"}, UtcNs(2))
            ledger.checkpoint(connection, ledger_origin("gw1"), key, UtcNs(3))
        with store.transaction() as connection:
            ledger.append(connection, "pause", {"camera": "*"}, UtcNs(4))
    return config


@pytest.fixture(scope="module")
def content(gateway: Config) -> bytes:
    return make_backup(gateway, gateway.state_dir.parent, PASSPHRASE)


def test_a_backup_holds_the_owner_and_nothing_that_opens_footage(gateway: Config, content: bytes) -> None:
    """No private key of a service is in it, under whatever name; no byte is readable without the passphrase."""
    found = open_backup(content, PASSPHRASE)
    together = b"\n".join(found.files.values())
    for name in ("recorder/recorder", "releaser/vault", "releaser/gateway", "releaser/tls"):
        assert (gateway.state_dir / f"keys/{name}.pem").read_bytes() not in together
    assert b"s3cret" in together
    assert found.entries == 257
    assert b"s3cret" not in content
    assert b"revoke" not in content
    with pytest.raises(CustodyError, match="passphrase"):
        open_backup(content, "another passphrase")
    with pytest.raises(CustodyError, match="passphrase"):
        open_backup(content[:-1], PASSPHRASE)


def test_another_passphrase_makes_no_backup(gateway: Config) -> None:
    """A backup under a passphrase that opens no key in it would be lost."""
    with pytest.raises(CustodyError):
        make_backup(gateway, gateway.state_dir.parent, "another passphrase")


@pytest.mark.needs("age")
@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 200_000])
def test_the_file_is_ages(size: int, tmp_path: Path) -> None:
    """The reference program's own key holder opens what was written, whatever the number of chunks."""
    import pyrage

    content = bytes(number % 251 for number in range(size))
    assert pyrage.passphrase.decrypt(encrypt_under_passphrase(content, PASSPHRASE), PASSPHRASE) == content


def test_a_restore_is_the_same_owner_and_a_new_gateway(
    gateway: Config, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The owner's keys and the configuration come back; every other key is new; the ledger is an archive to read."""
    (tmp_path / "backup.age").write_bytes(content)
    (tmp_path / "passphrase").write_text(f"{PASSPHRASE}\n")
    new, words = tmp_path / "new", ["--passphrase-file", str(tmp_path / "passphrase")]
    words += ["--config", str(new), "--from-backup", str(tmp_path / "backup.age")]
    assert main(["init", *words, "--state", str(new / "state")]) == UsageError.exit_code  # the backup's says otherwise
    assert not new.exists()
    shutil.copytree(gateway.state_dir.parent, tmp_path / "old")
    text = (gateway.state_dir.parent / "edge-agent.yaml").read_text()
    new.mkdir()
    (new / "edge-agent.yaml").write_text(text.replace(str(gateway.state_dir), str(new / "state")))
    assert main(["init", *words]) == 0
    state = new / "state"
    old, found = (KeyStore(each, "owner") for each in (gateway.state_dir, state))
    assert thumbprint(old.load_public("owner")) == thumbprint(found.load_public("owner"))
    assert found.load_private("owner", PASSPHRASE.encode())
    assert open_identity(state, PASSPHRASE) == load_recipient(gateway.state_dir)
    for name in ("vault", "recorder", "gateway"):
        assert thumbprint(old.load_public(name)) != thumbprint(found.load_public(name))  # type: ignore[call-overload]
    assert f"kept: {new / 'edge-agent.yaml'}" in capsys.readouterr().out.replace("\n", " ")
    assert "s3cret" in (new / "credentials.yaml").read_text()
    assert (new / "credentials.yaml").stat().st_mode & 0o777 == 0o600
    assert (state / "ledger-archive/ledger.jsonl").stat().st_mode & 0o227 == 0
    assert (state / "ledger-archive").stat().st_mode & 0o007 == 0
    assert not (state / "consent").exists() or not list((state / "consent").iterdir())
    assert main(["init", *words]) == UsageError.exit_code
    assert "already" in capsys.readouterr().err


@pytest.mark.parametrize("cut_at", range(12))
def test_a_restore_that_was_interrupted_is_done_again(cut_at: int, content: bytes, tmp_path: Path, monkeypatch) -> None:
    """Wherever the power goes, the same backup ends with what one go lays down; another backup does not."""
    found = open_backup(content, PASSPHRASE)
    restore(found, tmp_path / "whole", tmp_path / "whole/state")
    written: list[Path] = []

    def write(path: Path, data: bytes, mode: int) -> None:
        if len(written) == cut_at:
            raise InterruptedError("the power goes")
        write_new_file(path, data, mode)
        written.append(path)

    with monkeypatch.context() as patch, contextlib.suppress(CustodyError):
        patch.setattr(backups, "write_new_file", write)
        restore(found, tmp_path / "cut", tmp_path / "cut/state")
    other = replace(found, files={**found.files, "owner.pem": b"another owner's", "ledger.jsonl": b"another"})
    if len(written) > 1:
        with pytest.raises((CustodyError, UsageError)):
            restore(other, tmp_path / "cut", tmp_path / "cut/state")
    restore(found, tmp_path / "cut", tmp_path / "cut/state")
    trees = [{path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
             for root in (tmp_path / "whole", tmp_path / "cut")]  # fmt: skip
    assert trees[0] == trees[1]
    (tmp_path / "cut/state/keys/releaser").mkdir()
    (tmp_path / "cut/state/keys/releaser/vault.pem").write_bytes(b"a key of a gateway that lives")
    with pytest.raises(UsageError, match="already"):
        restore(found, tmp_path / "cut", tmp_path / "cut/state")


def test_a_gateway_that_lost_its_store_gets_the_archive(
    gateway: Config, content: bytes, tmp_path: Path, capsys
) -> None:
    """Keys and configuration stay as they are; while it has a store, or is another gateway, nothing is laid down."""
    (tmp_path / "backup.age").write_bytes(content)
    (tmp_path / "passphrase").write_text(f"{PASSPHRASE}\n")
    shutil.copytree(gateway.state_dir.parent, tmp_path / "home")
    text = (tmp_path / "home/edge-agent.yaml").read_text()
    (tmp_path / "home/edge-agent.yaml").write_text(text.replace(str(gateway.state_dir), str(tmp_path / "home/state")))
    state, words = tmp_path / "home/state", ["--passphrase-file", str(tmp_path / "passphrase")]
    words = ["init", *words, "--config", str(tmp_path / "home"), "--from-backup", str(tmp_path / "backup.age")]
    assert main(words) == UsageError.exit_code
    assert "its ledger already" in capsys.readouterr().err.replace("\n", " ")
    for path in state.glob("releaser/state.sqlite*"):
        path.unlink()
    public = state / "keys/public/gateway.pem"
    kept = public.read_bytes()
    public.write_bytes((state / "keys/public/recorder.pem").read_bytes())
    assert main(words) == UsageError.exit_code
    assert not (state / "ledger-archive").exists()
    public.write_bytes(kept)
    before = {path: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert main(words) == 0
    after = {path: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert {path.name for path in after.keys() - before.keys()} == {"gateway.pem", "ledger.jsonl", "checkpoint.txt"}
    assert {path: after[path] for path in before} == before
    with Database(load_config(tmp_path / "home/edge-agent.yaml").store_path) as store:
        begin_from_archive(store, state, UtcNs(5))
        with store.reading() as connection:
            assert [each.kind for each in ledger.entries(connection)] == ["restored"]


def test_what_a_service_lays_in_its_folder_holds_up_no_restore(content: bytes, tmp_path: Path) -> None:
    """A FIFO in the place of a key is another's key: root does not wait for its writer."""
    fifo = tmp_path / "state/keys/releaser/vault.pem"
    fifo.parent.mkdir(parents=True)
    os.mkfifo(fifo)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(restore, open_backup(content, PASSPHRASE), tmp_path / "etc", tmp_path / "state")
        try:
            with pytest.raises(UsageError, match="there are keys"):
                done.result(5)
        finally:
            os.close(os.open(fifo, os.O_RDWR | os.O_NONBLOCK))


def test_the_new_ledger_begins_with_the_old_ones_head(content: bytes, tmp_path: Path) -> None:
    """The first entry is the archive's signed head, once; without an archive nothing is entered."""
    found = open_backup(content, PASSPHRASE)
    restore(found, tmp_path / "config", tmp_path / "state")
    with Database(tmp_path / "store.db") as store:
        begin_from_archive(store, tmp_path / "nothing", UtcNs(5))
        for _ in range(2):
            begin_from_archive(store, tmp_path / "state", UtcNs(5))
        with store.reading() as connection:
            entries = list(ledger.entries(connection))
    assert [each.kind for each in entries] == ["restored"]
    assert entries[0].entry["checkpoint"] == found.checkpoint


FORGERIES = {
    "an entry left out": lambda lines: [*lines[:1], *lines[2:]],
    "two entries swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "the end cut off": lambda lines: lines[:-2],
    "a line that is none": lambda lines: [*lines, b"{}"],
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_ledger_that_was_changed_is_no_backup(content: bytes, name: str) -> None:
    """A person who knows the passphrase can still not drop a revocation from the signed ledger."""
    files = dict(open_backup(content, PASSPHRASE).files)
    files["ledger.jsonl"] = b"\n".join(FORGERIES[name](files["ledger.jsonl"].splitlines()))
    with pytest.raises(EvidenceError):
        open_backup(encrypt_under_passphrase(backups._pack(files), PASSPHRASE), PASSPHRASE)


def test_what_is_no_backup_is_said_to_be_none() -> None:
    """Another age file under the same passphrase is not taken for one."""
    for content in (b"", b"hello" * 300, backups._pack({"README.txt": b""})):
        with pytest.raises(CustodyError):
            open_backup(encrypt_under_passphrase(content, PASSPHRASE), PASSPHRASE)


def test_the_command_writes_one_new_file(gateway: Config, tmp_path: Path) -> None:
    """Mode 0600, never over another file; `age` itself lists it."""
    folder, out = gateway.state_dir.parent, tmp_path / "backup.age"
    words = ["backup", "--config", str(folder / "edge-agent.yaml"), "--out", str(out)]
    words += ["--passphrase-file", str(folder / "passphrase")]
    assert main(words) == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert open_backup(out.read_bytes(), PASSPHRASE).entries == 257
    assert main(words) == UsageError.exit_code
    assert subprocess.run(["head", "-c", "21", str(out)], capture_output=True).stdout == b"age-encryption.org/v1"
