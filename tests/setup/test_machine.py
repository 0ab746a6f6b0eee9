"""What depends on this machine: sealing is tried, and nothing is destroyed that does not come back."""

import os
import stat
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.custody.keys import custody_note_path, locate_private
from edge_agent.errors import CustodyError
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.office.home import HomeSettings, RtccHome
from edge_agent.settings.gateway import load_config, parse_config
from edge_agent.setup import inspection, machine
from edge_agent.setup.inspection import Level
from edge_agent.setup.provision import create_state, write_csr
from edge_agent.units import UtcNs

SEALED = ("recorder", "vault", "gateway", "tls")
FAKES = {
    # `encrypt --with-key= --name= FROM TO` and `decrypt --name= FROM TO`
    "works": '[ "$1" = encrypt ] && { [ "$5" = - ] && cat || cat > "$5"; exit; }; [ "$3" = - ] && cat || cat "$3"',
    "gives back other bytes": '[ "$1" = encrypt ] && { [ "$5" = - ] && cat || cat > "$5"; exit; }; echo other',
    "no TPM": 'echo "No TPM2 device found" >&2; exit 1',
    "no library, systemd 252": 'echo "TPM2 support not installed: Operation not supported" >&2; exit 1',
    "no library, systemd 257": 'echo "TPM device not usable (AES-128-CFB missing?)." >&2; exit 1',
    "another fault": 'echo "the TPM is locked out" >&2; exit 1',
}


@pytest.fixture
def sealer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def place(behaviour: str) -> None:
        program = tmp_path / "bin/systemd-creds"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{FAKES[behaviour]}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return place


def test_keys_go_once_they_came_back(tmp_path: Path, sealer: Callable[[str], None]) -> None:
    """After sealing, no private key of a service lies on the disk in the clear, and each has its credential."""
    sealer("works")
    machine.try_sealing()
    create_state(tmp_path / "state", "correct horse battery")
    pems = {name: locate_private(tmp_path / "state", name).read_bytes() for name in SEALED}
    assert set(machine.seal_keys(tmp_path / "state", tmp_path / "store")) == set(SEALED)
    for name in SEALED:
        assert not locate_private(tmp_path / "state", name).exists()
        assert (tmp_path / f"store/edge-agent.{name}").read_bytes() == pems[name]
    assert custody_note_path(tmp_path / "state").read_text() == "tpm\n"
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700
    assert locate_private(tmp_path / "state", "owner").exists()
    assert machine.seal_keys(tmp_path / "state", tmp_path / "store") == ()


HINTS = {
    "no TPM": (False, (), "there is no TPM 2.0"),
    "no library, systemd 252": (
        True,
        ("libtss2-esys.so.0",),
        "(libtss2-esys.so.0 is missing): apt-get install",
    ),
    "no library, systemd 257": (True, ("libtss2-rc.so.0",), "(libtss2-rc.so.0 is missing): apt-get install"),
    "another fault": (True, (), "systemd-creds says: the TPM is locked out"),
}


@pytest.mark.parametrize("behaviour", HINTS)
def test_the_missing_part_is_named(behaviour: str, sealer: Callable[[str], None], monkeypatch) -> None:
    """For any of systemd's words for it, which differ by version and blame the TPM."""
    has_tpm, missing, hint = HINTS[behaviour]
    monkeypatch.setattr(machine, "_has_tpm", lambda: has_tpm)
    monkeypatch.setattr(machine, "_is_loadable", lambda library: library not in missing)
    sealer(behaviour)
    with pytest.raises(CustodyError, match="nothing was changed") as error:
        machine.try_sealing()
    assert hint in error.value.hint


def test_a_library_is_looked_for_on_the_machine() -> None:
    """As the loader finds it, not by a name in a folder."""
    assert machine._is_loadable("libc.so.6")
    assert not machine._is_loadable("libtss2-nothing.so.0")


@pytest.mark.parametrize("behaviour", ["gives back other bytes", "no TPM"])
def test_a_tpm_that_fails_costs_nothing(tmp_path: Path, behaviour: str, sealer: Callable[[str], None]) -> None:
    """A fault of the TPM is found by trying; every key is still there, and no custody note lies."""
    sealer(behaviour)
    with pytest.raises(CustodyError, match="nothing was changed"):
        machine.try_sealing()
    create_state(tmp_path / "state", "correct horse battery")
    with pytest.raises(CustodyError, match="nothing was destroyed"):
        machine.seal_keys(tmp_path / "state", tmp_path / "store")
    assert all(locate_private(tmp_path / "state", name).exists() for name in SEALED)
    assert not custody_note_path(tmp_path / "state").exists()


def test_a_lost_tpm_is_found_by_check(
    tmp_path: Path, sealer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that this machine does not open any more is a fault that names it; one that opens is in order."""
    create_state(tmp_path / "state", "correct horse battery")
    sealer("works")
    store = tmp_path / "store"
    machine.seal_keys(tmp_path / "state", store)
    config = parse_config(f"gateway: {{state_dir: {tmp_path / 'state'}}}\n", "x", tmp_path)
    monkeypatch.setattr(inspection, "open_sealed", partial(machine.open_sealed, store=store))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    levels = {each.topic: each.level for each in inspection.inspect_keys(config)}
    assert levels["keys of the releaser"] is Level.OK
    public = tmp_path / "state/keys/public/vault.pem"
    kept = public.read_bytes()
    public.write_bytes((tmp_path / "state/keys/public/gateway.pem").read_bytes())
    assert {each.topic: each.level for each in inspection.inspect_keys(config)}["keys of the releaser"] is Level.FAULT
    public.write_bytes(kept)
    sealer("no TPM")
    found = {each.topic: each for each in inspection.inspect_keys(config)}
    assert found["keys of the releaser"].level is Level.FAULT
    assert "vault" in found["keys of the releaser"].text
    assert "recovery.md" in found["keys of the recorder"].hint


def test_a_sealed_tls_key_is_compared_with_the_certificate(
    tmp_path: Path, sealer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``enrol`` and ``check`` refuse another gateway's certificate, and one without our key; sealed too."""
    sealer("works")
    now, answers, configs = UtcNs(time.time_ns()), {}, {}
    for name in ("ours", "other"):
        state = tmp_path / name / "state"
        create_state(state, "correct horse battery")
        write_csr(state, tmp_path / name / "gateway.csr")
        configs[name] = tmp_path / name / "edge-agent.yaml"
        configs[name].write_text(f"gateway: {{state_dir: {state}}}\ncameras:\n")
    settings = HomeSettings("rtcc.example-city", "127.0.0.1", 1, 2, {"evidence": "https://127.0.0.1:2/files/"})
    home = RtccHome.create(tmp_path / "home", settings, now)
    for name in ("ours", "other"):
        answers[name] = tmp_path / f"{name}.json"
        answers[name].write_bytes(enrol(home, (tmp_path / name / "gateway.csr").read_bytes(), now).content)
    store = tmp_path / "store"
    machine.seal_keys(tmp_path / "ours/state", store)
    monkeypatch.setattr(inspection, "open_sealed", partial(machine.open_sealed, store=store))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    command = ["enrol", "--yes", "--config", str(configs["ours"])]
    assert main([*command, str(answers["other"])]) == CustodyError.exit_code
    assert main([*command, str(answers["ours"])]) == 0
    config = load_config(configs["ours"])
    assert inspection.inspect_enrolment(config)[0][0].level is Level.OK
    config.uplink.enrolment.write_bytes(answers["other"].read_bytes())
    assert "another TLS key" in inspection.inspect_enrolment(config)[0][0].text
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert inspection.inspect_enrolment(config)[0][0].level is Level.OK  # whoever may not open it cannot tell
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    sealer("no TPM")
    assert main([*command, str(answers["ours"])]) == CustodyError.exit_code
    assert "does not open" in inspection.inspect_enrolment(config)[0][0].text
