"""The owner's hand on it: ask, approve, deny, cancel, pause, revoke; what was uploaded before stays closed."""

import io
import json
import signal
import zipfile

import av
import pytest

from edge_agent.custody.owner_identity import identity_path
from edge_agent.demo.picture import read_strip
from edge_agent.errors import EdgeAgentError
from edge_agent.protocol import manifest as names
from edge_agent.protocol.answer import Status
from edge_agent.protocol.manifest import verify_manifest
from edge_agent.rtcc.deliveries import assemble, deliveries
from edge_agent.rtcc.office.enrol import gateway_key
from edge_agent.units import SECOND_NS, UtcNs, encode_rfc3339, parse_rfc3339
from tests.end_to_end.conftest import passphrase, read_pictures
from tests.peers import age

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SLOW_UPLOAD = "uplink:\n  bandwidth: 16KiB/s\n"


def assert_nothing_can_be_opened(world, jti: str) -> None:
    """The RTCC has no age header of this request, in no answer and in no file."""
    assert [each for each in deliveries(world.city.home) if each.jti == jti] == []
    received = [path for path in world.city.home.received_dir.rglob("*") if path.is_file()]
    assert all(b"age-encryption.org" not in path.read_bytes() for path in received)


def test_asked_owner_approves_less_and_no_more_is_delivered(make_world):
    """An approval with the passphrase releases what it names; without it, nothing leaves."""
    world = make_world(terms={"mode": "ask"})
    world.wait_recorded(8)
    signed = world.send(world.draft(7, 1))
    asked = world.wait_state(signed.jti, "asked")
    with pytest.raises(EdgeAgentError):
        world.home.run("requests", "approve", world.number(signed.jti), "--yes", "--passphrase-file", "/dev/null")
    end = asked["window"]["end"]
    start = UtcNs(parse_rfc3339(asked["window"]["start"]) + 3 * SECOND_NS)
    world.home.run(
        "requests", "approve", world.number(signed.jti), "--yes", "--from", encode_rfc3339(start), *passphrase(world)
    )
    answers = world.answers(signed.jti)
    assert [answers[0].status, answers[-1].status] == [Status.QUEUED, Status.DELIVERED]
    assert world.open(signed.jti).ok
    pictures = read_pictures(world.folder / signed.jti)
    assert all(start <= picture.ring < parse_rfc3339(end) for picture in pictures)
    kinds = [each["kind"] for each in world.entries()]
    assert kinds.count("approval") == 1


def test_owner_opens_with_stock_age_what_the_rtcc_was_sent(world):
    """The delivered file opens by the passphrase and Debian's program alone; the manifest says for whom it is."""
    world.wait_recorded(6)
    signed = world.send(world.draft(5, 1))
    assert world.answers(signed.jti)[-1].status is Status.DELIVERED
    (delivery,) = [each for each in deliveries(world.city.home) if each.jti == signed.jti]
    sealed = assemble(world.city.home, delivery, world.folder / "bundle.age")
    secret = world.home.passphrase_path.read_text().strip()
    plain = age.decrypt(sealed, identity=identity_path(world.home.config.state_dir), passphrase=secret)
    with zipfile.ZipFile(io.BytesIO(plain)) as bundle:
        manifest = verify_manifest(bundle.read(names.MANIFEST), gateway_key(world.city.home, delivery.gateway))
    assert [each.role for each in manifest.recipients] == ["evidence", "owner"]
    # The camera and the gateway share a clock here; what is left is the camera's delay.
    low, high = manifest.clocks.rtcp_offset_min_ns, manifest.clocks.rtcp_offset_max_ns
    assert low is None or -SECOND_NS < low <= high < SECOND_NS


def test_owner_looks_at_what_is_asked_for_and_at_what_a_mask_covers(make_world, tmp_path):
    """Pictures of the held window before the answer, and one for masks: by the passphrase, in files of the owner."""
    world = make_world(terms={"mode": "ask", "masks": [[[0, 0], [350, 0], [350, 1000], [0, 1000]]]})
    world.wait_recorded(8)
    signed = world.send(world.draft(7, 1))
    asked = world.wait_state(signed.jti, "asked")
    stills, mask = tmp_path / "stills", tmp_path / "mask.png"
    for words in (
        ("requests", "show", world.number(signed.jti), "--stills", str(stills)),
        ("masks", "show", "front-door", "--out", str(mask)),
    ):
        with pytest.raises(EdgeAgentError):
            world.home.run(*words, "--passphrase-file", "/dev/null")
        world.home.run(*words, *passphrase(world))
    pictures = sorted(stills.iterdir())
    assert 3 <= len(pictures) <= 6
    for path in pictures:
        with av.open(str(path)) as container:
            (frame,) = container.decode(video=0)
        assert frame.width <= 640
    assert mask.read_bytes().startswith(b"\x89PNG")
    assert all(path.stat().st_mode & 0o077 == 0 for path in (mask, stills, *pictures))
    entries = [each["entry"] for each in world.entries("export")]
    assert [each["what"] for each in entries] == ["local look", "local look"]
    assert entries[0]["window"] == "{start}/{end}".format(**asked["window"])
    assert world.wait_state(signed.jti, "asked")


def test_denied_request_leaves_nothing_but_its_ledger_entry(make_world):
    """No is instant and needs no passphrase; holds and staging are empty afterwards."""
    world = make_world(terms={"mode": "ask"})
    world.wait_recorded(3)
    signed = world.send(world.draft(2, 1))
    world.wait_state(signed.jti, "asked")
    world.home.run("requests", "deny", world.number(signed.jti))
    denied = world.wait_state(signed.jti, "denied")
    assert [each["code"] for each in denied["reasons"]] == ["owner-denied"]
    config = world.home.config
    assert list(config.staging_dir.iterdir()) == []
    world.home.wait_for("the hold to go", lambda: not list(config.holds_dir.glob("*.ring")) or None)


@pytest.mark.parametrize("how", ["cancel", "pause", "revoke", "pause one camera"])
def test_upload_under_way_is_stopped_and_what_was_sent_stays_closed(make_world, how):
    """Whatever the owner does during an upload, the RTCC is left with bytes that nobody can open."""
    world = make_world(house={"cooling_off": "0s"}, extra_config=SLOW_UPLOAD)
    world.wait_recorded(16)
    signed = world.send(world.draft(15, 6))
    world.wait_state(signed.jti, "uploading")
    words = {
        "cancel": ("requests", "cancel", world.number(signed.jti)),
        "pause": ("pause",),
        "revoke": ("revoke",),
        "pause one camera": ("pause", "--camera", "front-door", "--for", "1h"),
    }[how]
    world.home.run(*words)
    assert world.answers(signed.jti)[-1].status is Status.CANCELLED
    world.wait_state(signed.jti, "cancelled")
    assert_nothing_can_be_opened(world, signed.jti)
    assert list(world.home.config.staging_dir.iterdir()) == []
    assert world.entries("delivery") == []
    again = world.send(world.draft(8, 6))
    if how == "cancel":
        world.wait_state(again.jti, "uploading", "delivered")
    else:
        world.wait_state(again.jti, "denied")


def test_pause_ends_by_the_owners_signature_alone(world):
    """Resuming without the passphrase fails; with it, requests are granted again."""
    world.wait_recorded(9)
    world.home.run("pause")
    refused = world.send(world.draft(8, 6))
    assert world.wait_state(refused.jti, "denied")["reasons"][0]["code"] == "release-paused"
    with pytest.raises(EdgeAgentError):
        world.home.run("resume", "--passphrase-file", "/dev/null")
    world.home.run("resume", *passphrase(world))
    granted = world.send(world.draft(8, 6))
    world.wait_state(granted.jti, "delivered")


def test_revocation_survives_a_kill_and_ends_by_a_new_signature(world):
    """What was revoked stays revoked after kill -9; signing anew gives consent again."""
    world.home.run("revoke")
    world.home.stop("release", how=signal.SIGKILL)
    world.home.start("release")
    world.home.wait_ready()
    world.wait_recorded(9)
    refused = world.send(world.draft(8, 6))
    codes = [each["code"] for each in world.wait_state(refused.jti, "denied")["reasons"]]
    assert "consent-revoked" in codes
    world.home.sign()
    granted = world.send(world.draft(8, 6))
    world.wait_state(granted.jti, "delivered")


def test_owner_exports_own_footage_with_the_passphrase_and_the_ledger_tells_it(world, tmp_path):
    """An export is a copy for the owner: exact, entered, and impossible without the owner's key."""
    world.wait_recorded(6)
    window = world.draft(5, 1).window
    words = ("export", "back-yard", "--from", encode_rfc3339(window.start), "--to", encode_rfc3339(window.end))
    out = tmp_path / "own.mp4"
    with pytest.raises(EdgeAgentError):
        world.home.run(*words, "--out", str(out), "--passphrase-file", "/dev/null")
    world.home.run(*words, "--out", str(out), *passphrase(world))
    with av.open(str(out)) as container:
        times = [read_strip(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]
    assert len(times) > 30
    assert all(window.start - SECOND_NS <= time < window.end for time in times)
    assert out.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["own.mp4"]
    (entry,) = world.entries("export")
    assert entry["entry"]["camera"] == "back-yard"


def test_explain_names_the_check_or_the_rule_that_refuses(world, tmp_path):
    """A dry run says what the gate says, and remembers nothing."""
    world.wait_recorded(3)
    file = tmp_path / "request.jws"
    for changes, verdict, reason in (
        ({}, "grant", None),
        ({"cameras": ("back-yard",)}, "denial", "mode-deny"),
    ):
        file.write_bytes(world.sign(world.draft(2, 1, **changes)).raw)
        told = json.loads(world.home.run("explain", str(file), "--json", check=False))
        assert told["verdict"] == verdict
        refusing = [step["reason"] for step in told["steps"] if step["verdict"] == "refuse"]
        assert refusing == ([reason] if reason else [])
    assert world.entries("request") == []
