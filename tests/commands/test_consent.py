"""``edge-agent consent``: read aloud, sign, and see what waits."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.buffer.ring import create_ring
from edge_agent.commands import consent_verbs
from edge_agent.consent.signed_consent import verify_consent
from edge_agent.custody.enrolment_file import load_enrolment
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import ConfigError, CustodyError, DenialError, EdgeAgentError, UnavailableError, UsageError
from edge_agent.host.control_socket import ControlServer, Handler
from edge_agent.protocol import jws
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.office.home import HomeSettings, RtccHome
from edge_agent.settings.gateway import load_config
from edge_agent.setup.provision import create_state, write_csr
from edge_agent.units import DAY_NS, HOUR_NS, UtcNs
from edge_agent.uplink.inbound.consent_files import HouseReader, load_facts
from edge_agent.uplink.inbound.consent_states import read_marks
from edge_agent.uplink.store.database import Database
from tests.commands import typed
from tests.support import gate

PASSPHRASE = "correct horse battery"
POLICY = """\
version: 1
house: {agencies: [rtcc.example-city]}
cameras:
  door: {mode: auto, categories: [robbery], window: 20m}
"""


@pytest.fixture(scope="module")
def enrolment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gateway")
    now = UtcNs(time.time_ns())
    settings = HomeSettings("rtcc.example-city", "127.0.0.1", 1, 2, {"evidence": "https://127.0.0.1:2/files/"})
    home = RtccHome.create(tmp_path_factory.mktemp("rtcc") / "home", settings, now)
    create_state(folder / "state", PASSPHRASE)
    write_csr(folder / "state", folder / "gateway.csr")
    (folder / "enrolment.json").write_bytes(enrol(home, (folder / "gateway.csr").read_bytes(), now).content)
    (folder / "enrolment.json").chmod(0o644)
    return folder


@pytest.fixture
def gateway(enrolment: Path, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "edge-agent.yaml"
    path.write_text(
        f"gateway: {{state_dir: {enrolment}/state, run_dir: run, location: {{lat: 1, lon: 2}}}}\n"
        "buffer: {dir: rings}\n"
        f"uplink: {{enrolment: {enrolment}/enrolment.json}}\nconsent: {{waivers: {tmp_path}/waivers}}\n"
        "cameras:\n  - {id: door, name: Front door, url: 'rtsp://127.0.0.1:1/live'}\n"
        "  - {id: yard, url: 'rtsp://127.0.0.1:1/yard'}\n"
    )
    (tmp_path / "consent.yaml").write_text(POLICY)
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    make_ring(path, "door")
    store = load_config(path).store_path
    store.parent.mkdir(exist_ok=True)
    store.unlink(missing_ok=True)
    Database(store).close()
    stop = threading.Event()
    server = ControlServer(load_config(path).control_path("releaser"), {"take-consent": taker(path)}, stop)
    server.start()
    yield path
    stop.set()
    server.join()


def taker(path: Path) -> Handler:
    """Take a signed consent in as the releaser does, with the configuration of now."""

    def take(members, _peer):
        config = load_config(path)
        owner = KeyStore(config.state_dir, "owner").load_public("owner")
        with Database(config.store_path) as store, store.transaction() as connection:
            standing = HouseReader(config, load_enrolment(config.uplink.enrolment), owner, store)
            taken = standing.take(connection, members["camera"], members["jws"].encode(), UtcNs(time.time_ns()))
        return {"version": taken.version, "stopped": []}

    return take


def make_ring(path: Path, camera: str, quality: str = "main") -> None:
    """Make a small ring, as the recorder does when it starts."""
    config = load_config(path)
    key = KeyStore(config.state_dir, "recorder").load_private("recorder")
    config.rings_dir.mkdir(parents=True, exist_ok=True)
    ring = config.ring_path(camera, quality)
    create_ring(ring, camera=camera, quality=quality, size_bytes=8 << 20, recorder_key=key, block_size=1 << 16)


def run(path: Path, verb: str, *words: str) -> int:
    return typed.run("consent", verb, "--config", str(path), *words)


def sign(path: Path, *words: str) -> int:
    return run(path, "sign", "--yes", "--passphrase-file", str(path.parent / "passphrase"), *words)


def signed(path: Path):
    config = load_config(path)
    camera = config.find_camera("door")
    assert camera is not None
    marks = read_marks(config)
    facts = load_facts(config, load_enrolment(config.uplink.enrolment), camera, marks.store_id)
    owner = KeyStore(config.state_dir, "owner").load_public("owner")
    raw = (config.waivers_dir / "door.jws").read_bytes()
    stored = marks.find("door")
    assert stored is None or stored.raw == raw
    return verify_consent(raw, owner, facts)


def signed_copy(path: Path) -> int:
    """Return the version of the copy that lies there."""
    raw = (load_config(path).waivers_dir / "door.jws").read_bytes()
    return int(jws.parse(raw, "owner-consent+jws").payload["version"])


def test_nothing_is_consented_to_before_it_is_signed(gateway, capsys):
    """The file alone denies, and both verbs say so."""
    assert run(gateway, "show") == 0
    said = capsys.readouterr().out
    assert "door: not signed: nothing leaves" in said
    assert "- No clip is longer than 20 minutes." in said
    assert run(gateway, "diff", "--camera", "door") == 1


def test_signing_shows_everything_and_names_the_end(gateway, capsys):
    """Terms, waiver, version and end; one signature per camera that the file names, and it verifies."""
    assert sign(gateway) == 0
    said = capsys.readouterr().out
    assert "Its name: Front door" in said
    assert "I can pause, cancel and revoke this at any time" in said
    assert "signed: door, version 1, until " in said
    assert not (gateway.parent / "waivers" / "yard.jws").exists()
    found = signed(gateway)
    assert found.valid_until - found.valid_from == 45 * DAY_NS
    assert run(gateway, "diff", "--camera", "door") == 0
    assert run(gateway, "show", "--language", "es") == 0
    assert "Ningún clip dura más de 20 minutos." in capsys.readouterr().out


def test_signing_shows_todays_recipient_and_the_store(gateway, capsys):
    """Whose key opens a clip today is shown, though a trust bundle may bring another; the store is what is signed."""
    with Database(load_config(gateway).store_path) as store:
        rtcc = gate.Rtcc()
        assert sign(gateway) == 0
        assert "opened by the evidence key ?" in capsys.readouterr().out
        store.trust.save(1, rtcc.sign_trust(rtcc.trust_payload()), {})
        assert sign(gateway) == 0
        said = capsys.readouterr().out
        assert f"opened by the evidence key {gate.EVIDENCE}" in said
        assert f"remembered by: {store.read_id()}" in said
        assert signed(gateway).facts["store"] == store.read_id()


def test_a_consent_is_void_with_another_store(gateway):
    """A store that was lost or restored has forgotten revocations: nothing counts until it is signed again."""
    assert sign(gateway) == 0
    store_path = load_config(gateway).store_path
    store_path.unlink()
    Database(store_path).close()
    with pytest.raises(DenialError, match="store"):
        signed(gateway)
    assert sign(gateway) == 0
    assert signed(gateway).version == 1


def test_nothing_is_signed_before_there_is_a_store(gateway):
    """The terms are bound to it; the error says what to start."""
    load_config(gateway).store_path.unlink()
    with pytest.raises(UsageError) as refused:
        sign(gateway)
    assert "start the releaser first" in refused.value.hint


def test_versions_only_rise_above_what_the_releaser_has(gateway):
    """Signing again is a new version, whatever became of the copies; without a readable store nothing is signed."""
    assert sign(gateway) == 0
    (gateway.parent / "waivers" / "door.jws").unlink()
    assert sign(gateway, "--for", "14d") == 0
    assert (signed(gateway).version, signed(gateway).valid_until - signed(gateway).valid_from) == (2, 14 * DAY_NS)
    store_path = load_config(gateway).store_path
    store_path.unlink()
    store_path.write_bytes(b"no database")
    with pytest.raises(EdgeAgentError):
        sign(gateway)
    assert signed_copy(gateway) == 2
    store_path.unlink()


def test_nothing_is_signed_while_the_releaser_is_down(gateway, monkeypatch, capsys):
    """Nobody would remember it: an earlier consent could be put in its place. The error says what to start."""

    def refuse(path: Path, command: str, **_: object) -> None:
        raise UnavailableError(f"nobody answers on {path}") from ConnectionRefusedError()

    monkeypatch.setattr(consent_verbs, "call", refuse)
    with pytest.raises(UnavailableError, match="door: not signed") as refused:
        sign(gateway)
    assert "start the releaser first" in refused.value.hint
    assert "signed: door" not in capsys.readouterr().out
    assert not (gateway.parent / "waivers").exists()


UNANSWERED: dict[str, Callable[[socket.socket], object]] = {
    "no answer in time": lambda _: None,
    "closed before the answer": lambda peer: peer.close(),
}


@pytest.mark.parametrize("what", UNANSWERED)
def test_a_lost_answer_is_never_told_as_not_signed(gateway, monkeypatch, capsys, what):
    """The releaser may have taken it in, or be about to: the owner is told where to ask."""
    path = gateway.parent / "run" / "releaser2" / "releaser.sock"
    path.parent.mkdir(mode=0o755)
    monkeypatch.setattr(consent_verbs, "_HAND_OVER_TIMEOUT_S", 0.2, raising=False)
    hand_over = consent_verbs.call
    monkeypatch.setattr(consent_verbs, "call", lambda _, *words, **members: hand_over(path, *words, **members))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        peers: list[socket.socket] = []

        def listen() -> None:
            peers.append(server.accept()[0])
            UNANSWERED[what](peers[0])

        listener = threading.Thread(target=listen)
        listener.start()
        with pytest.raises(UnavailableError, match="door: not known whether") as lost:
            sign(gateway)
        listener.join()
        for peer in peers:
            peer.close()
    assert "consent show" in lost.value.hint
    assert "signed: door" not in capsys.readouterr().out


def test_an_earlier_copy_that_is_put_back_is_read_by_nobody(gateway, capsys):
    """``show`` and ``diff`` tell what the releaser has."""
    assert sign(gateway) == 0
    earlier = (gateway.parent / "waivers" / "door.jws").read_bytes()
    (gateway.parent / "consent.yaml").write_text(POLICY.replace("20m", "10m"))
    assert sign(gateway) == 0
    (gateway.parent / "consent.yaml").write_text(POLICY)
    (gateway.parent / "waivers" / "door.jws").write_bytes(earlier)
    capsys.readouterr()
    assert run(gateway, "show", "--camera", "door", "--json") == 0
    shown = json.loads(capsys.readouterr().out)["door"]
    assert (shown["signed_version"], shown["terms"]["camera"]["window"]) == (2, "10m")


def test_a_changed_file_counts_where_tighter_and_waits_where_looser(gateway, capsys):
    """``diff`` says which, term by term; ``show`` reads what counts."""
    assert sign(gateway) == 0
    (gateway.parent / "consent.yaml").write_text(POLICY.replace("20m", "10m").replace("[robbery]", "[robbery, theft]"))
    capsys.readouterr()
    assert run(gateway, "diff", "--camera", "door") == 1
    said = capsys.readouterr().out
    assert "✓ camera.window: No clip is longer than 10 minutes. (counts at once)" in said
    assert "… camera.categories: Only for incidents of these kinds: robbery, theft. (waits for your signature" in said
    assert run(gateway, "show", "--camera", "door", "--json") == 0
    shown = json.loads(capsys.readouterr().out)["door"]
    assert (shown["terms"]["camera"]["window"], shown["terms"]["camera"]["categories"]) == ("10m", ["robbery"])
    (gateway.parent / "consent.yaml").write_text("version: 1\n")
    assert run(gateway, "diff", "--camera", "door", "--json") == 0
    assert json.loads(capsys.readouterr().out)["door"][0]["sentence"] == "The file does not name it: denied."


def test_a_moved_camera_must_be_signed_again(gateway, capsys):
    """What the terms lean on has changed."""
    assert sign(gateway) == 0
    gateway.write_text(gateway.read_text().replace("lat: 1", "lat: 1.5"))
    assert run(gateway, "show", "--camera", "door") == 0
    assert (
        "the signature does not count, nothing leaves: What the consent leans on has changed (place)"
        in capsys.readouterr().out
    )


def test_what_cannot_be_signed_is_said(gateway, monkeypatch, capsys):
    """An unknown camera, one that the file does not name, a bad duration, a wrong passphrase, and a no."""
    with pytest.raises(UsageError, match="no such camera: shed"):
        run(gateway, "show", "--camera", "shed")
    with pytest.raises(UsageError, match="names none of these cameras"):
        sign(gateway, "--camera", "yard")
    with pytest.raises(UsageError, match="--for"):
        sign(gateway, "--for", "soon")
    (gateway.parent / "passphrase").write_text("another horse battery\n")
    with pytest.raises(CustodyError, match="passphrase"):
        sign(gateway)
    monkeypatch.setattr("builtins.input", lambda _prompt: "no")
    assert run(gateway, "sign") == 1
    assert "not signed" in capsys.readouterr().out
    assert not (gateway.parent / "waivers").exists()


def test_the_prompt_is_made_from_the_bytes_that_are_signed(gateway, capsys):
    """Every fact of the payload stands in the prompt: another root, server, place or address is another prompt."""
    assert sign(gateway) == 0
    said = capsys.readouterr().out
    payload = jws.parse((gateway.parent / "waivers" / "door.jws").read_bytes(), "owner-consent+jws").payload
    assert payload["name"] == "Front door"
    for fact in (*payload["facts"]["roots"], *payload["facts"]["upload_origins"], payload["facts"]["issuer"]):
        assert fact in said
    assert "Recorded from: rtsp://127.0.0.1:1/live" in said
    assert "Its place: 1.0, 2.0" in said
    assert "These terms end: " in said
    assert f"({payload['event']['valid_until']})" in said


def test_what_differs_from_the_signed_version_is_marked(gateway, capsys):
    """The second prompt marks the lines that the first signature did not have, and no other."""
    assert sign(gateway) == 0
    assert "  * " not in capsys.readouterr().out
    (gateway.parent / "consent.yaml").write_text(POLICY.replace("20m", "25m"))
    assert sign(gateway) == 0
    marked = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  * ")]
    assert [line for line in marked if "No clip" in line] == ["  * No clip is longer than 25 minutes."]
    assert not [line for line in marked if "root" in line or "place" in line]


def test_what_is_new_to_a_second_camera_is_marked(gateway, capsys):
    """A line of the house that the first camera's signature had, and the second's had not."""
    make_ring(gateway, "yard")
    both = POLICY + "  yard: {mode: auto, categories: [robbery], window: 20m}\n"
    (gateway.parent / "consent.yaml").write_text(both)
    assert sign(gateway) == 0
    (gateway.parent / "consent.yaml").write_text(both.replace("city]", "city, rtcc.other-city]"))
    assert sign(gateway, "--camera", "door") == 0
    capsys.readouterr()
    assert sign(gateway) == 0
    marked = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  * ")]
    assert [line for line in marked if "rtcc.other-city" in line]


def test_older_footage_that_falls_out_is_told_and_marked(gateway, capsys, monkeypatch):
    """Before YES: what the ring holds of another source is in no grant by these terms (G12)."""
    assert sign(gateway) == 0
    monkeypatch.setattr(consent_verbs, "list_foreign_spans", lambda *_: [(UtcNs(0), UtcNs(HOUR_NS))])
    capsys.readouterr()
    assert sign(gateway) == 0
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "from elsewhere, is not released" in line]
    assert told.startswith("  * ")
    assert "1970-01-01" in told
    assert "(main)" in told


def test_a_camera_without_a_place_can_be_signed_and_it_is_said(gateway, capsys):
    """Nothing is granted by it."""
    gateway.write_text(gateway.read_text().replace(", location: {lat: 1, lon: 2}", ""))
    assert sign(gateway) == 0
    assert "- Its place: none" in capsys.readouterr().out


def test_a_name_that_could_deceive_is_refused(gateway):
    """The prompt shows the camera's name: one that holds a second line is refused where it stands."""
    gateway.write_text(gateway.read_text().replace("name: Front door", 'name: "Front door: nothing\\nBedroom"'))
    with pytest.raises(ConfigError, match=r"edge-agent.yaml:\d+: .*name.*U\+000A"):
        sign(gateway)


def test_nothing_is_signed_before_its_ring_is_there(gateway):
    """The terms are bound to the ring: a signature before it would be void as soon as the recorder runs."""
    load_config(gateway).ring_path("door", "main").unlink()
    with pytest.raises(UsageError, match="ring is not there yet"):
        sign(gateway)
    assert not (gateway.parent / "waivers").exists()
