"""What anybody finds in the owner's own export: that it is one, what it proves by which keys, and what was altered."""

import base64
import hashlib
import io
import json
import re
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest

from edge_agent.base64url import encode_b64url
from edge_agent.buffer.format.constants import Kind
from edge_agent.protocol import jws
from edge_agent.protocol import manifest as names
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.units import SECOND_NS
from edge_agent.verifier.findings import Proof
from edge_agent.verifier.open import open_bundle
from edge_agent.verifier.opened_bundle import Pins
from tests.support.footage import START, encode, read_numbers, records, window
from tests.support.opened import open_export, open_release
from tests.support.release import GATEWAY, House

COURT = pyrage.x25519.Identity.generate()
KEYS = ("gateway", "recorder", "owner")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    pieces = records(encode(60, bframes=2, audio="aac"), split=(13,))
    return open_export(folder, House(folder), window(0.5, 4.25), pieces, recipients=[str(COURT.to_public())])


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    return open_release(folder, House(folder), window(0.5, 4.25), records(encode(60)))


def parts_by(findings, verdict: Proof) -> set[str]:
    return {item.part for item in findings.items if item.verdict is verdict}


HELD = {
    "manifest", "kind", "files", "order", "ledger", "chain", "records", "windows", "pictures", "sound", "completeness",
}  # fmt: skip


def test_an_export_is_proved_by_pinned_keys(opened):
    """Who knows the house's keys finds all of it proved, and read out as what it is: no release."""
    path = opened.folder / "whole.age"
    path.write_bytes(opened.header + opened.payload)
    out = opened.folder / "whole"
    findings = open_bundle(path, b"", str(COURT), opened.house.known(), out)
    assert findings.ok, findings.as_text()
    assert parts_by(findings, Proof.PROVED) == HELD | {"envelope"}
    assert parts_by(findings, Proof.NOT_PROVED) >= {"camera", "gateway", "clock"}
    text = findings.as_text()
    assert "the owner's own export" in text
    assert "without a request" in text
    told = json.loads((out / "findings.json").read_text())
    assert (told["ok"], told["kind"], told["unpinned"]) == (True, "export", [])
    assert "without any request" in (out / "certificate.txt").read_text()
    assert read_numbers((out / "progressive/001.mp4").read_bytes()) == list(range(10, 41))
    readme = opened.parts[names.README].decode()
    assert "owner's own export" in readme
    assert "request.jws" not in readme


def test_a_stranger_is_told_that_nothing_ties_the_keys_to_a_house(opened):
    """With the keys in the bundle alone everything that rests on them holds, and nothing of it is called proved."""
    findings = opened.open(known=Pins())
    assert findings.ok, findings.as_text()
    assert parts_by(findings, Proof.PROVED) == {"envelope"}
    assert parts_by(findings, Proof.NOT_PINNED) == HELD
    assert findings.as_json()["unpinned"] == sorted(KEYS)
    assert "ATTESTED BY THE KEYS IN THE BUNDLE ONLY" in findings.as_text()
    assert all(prints(opened)[name] in findings.as_text() for name in KEYS)


def prints(opened) -> dict[str, str]:
    return {name: thumbprint(getattr(opened.house, name).public_key()) for name in KEYS}


PINNED = {
    "all": (KEYS, set()),
    "gateway": (("gateway",), {"order", "chain", "records", "pictures", "sound", "completeness"}),
    "recorder": (("recorder",), {"manifest", "kind", "files", "ledger", "windows", "order"}),
}


@pytest.mark.parametrize(("pinned", "not_pinned"), PINNED.values(), ids=PINNED.keys())
def test_a_pinned_thumbprint_proves_what_rests_on_its_key(opened, pinned, not_pinned):
    """Told over another way, a thumbprint turns what its key signed into proof, and nothing else."""
    findings = opened.open(known=Pins(frozenset(prints(opened)[name] for name in pinned)))
    assert findings.ok, findings.as_text()
    assert parts_by(findings, Proof.NOT_PINNED) == not_pinned
    assert parts_by(findings, Proof.PROVED) == (HELD | {"envelope"}) - not_pinned


def test_a_pinned_thumbprint_that_is_not_there_fails(opened):
    """A forger can sign everything with keys of his own, but not be that house."""
    findings = opened.open(known=Pins(frozenset({prints(opened)["gateway"], "x" * 43})))
    assert findings.failed_parts() == {"keys"}
    for name in KEYS:
        other = getattr(House(opened.folder), name).public_key()
        findings = opened.open(known=replace(opened.house.known(), **{name: other}))
        assert findings.failed_parts() == {"keys"}


@pytest.mark.parametrize("forged", ["recorder", "owner"])
def test_one_key_does_not_vouch_for_two_signers(tmp_path, forged):
    """A gateway that was taken over signs a ring, or an order, with its own key: its thumbprint proves neither."""
    house = House(tmp_path)
    setattr(house, forged, house.gateway)
    opened = open_export(tmp_path, house, window(0.5, 4.25), records(encode(60)), recipients=[str(COURT.to_public())])
    findings = opened.open(known=Pins(frozenset({thumbprint(house.gateway.public_key())})))
    assert findings.failed_parts() == {"keys"}


def test_an_export_is_not_the_release_of_a_request(opened):
    """Handed over in answer to a request, the owner's own export fails: no consent stands behind it."""
    findings = opened.open(known=replace(opened.house.known(), request=b"what was asked"))
    assert findings.failed_parts() == {"keys"}


def test_where_the_owners_key_is_not_known_the_order_is_not_proved(opened):
    """An RTCC that enrolled the gateway without its owner's key sees the order rest on the bundle's."""
    findings = opened.open(known=replace(opened.house.known(), owner=None))
    assert findings.ok
    assert parts_by(findings, Proof.NOT_PINNED) == {"order"}


def test_a_zip_that_age_made_is_verified_as_well(opened):
    """Whoever has another way to decrypt hands over what came of it."""
    plain = opened.folder / "plain.zip"
    plain.write_bytes(pyrage.decrypt(opened.header + opened.payload, [COURT]))
    findings = open_bundle(plain, b"", "", opened.house.known(), opened.folder / "plain")
    assert findings.ok, findings.as_text()
    assert parts_by(findings, Proof.PROVED) == HELD
    assert "envelope" in parts_by(findings, Proof.NOT_PROVED)


PARTS = [
    names.ORDER, "clips/001.mp4", names.RECORDS, names.BLOCKS, names.LEDGER, names.README, names.MANIFEST,
]  # fmt: skip


def test_an_export_holds_its_parts(opened):
    """An order where a release has request and consent; otherwise the same, in the same order."""
    assert list(opened.parts) == PARTS
    members = opened.manifest
    assert members["statement"] == names.OWN_EXPORT
    assert [each["role"] for each in members["recipients"]] == ["owner", "named"]
    assert not {"request", "consent", "trimmed"} & members.keys()


@pytest.mark.parametrize("known", ["pinned", "stranger"])
@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("where", [0.0, 0.15, 0.35, 0.5, 0.7, 0.85, 1.0])
def test_any_altered_byte_of_a_part_is_caught_and_named(opened, name, where, known):
    """Somebody who can decrypt and encrypt, but not sign for the gateway, changes one bit: also a stranger sees it."""
    data = bytearray(opened.parts[name])
    data[int((len(data) - 1) * where)] ^= 4
    keys = opened.house.known() if known == "pinned" else Pins()
    findings = opened.open(opened.parts | {name: bytes(data)}, keys)
    assert not findings.ok
    if name == names.MANIFEST:
        assert findings.failed_parts() <= {"manifest", "keys"}
    else:
        assert name in {item.name for item in findings.items if item.verdict is Proof.FAILED}


def test_any_altered_byte_of_the_file_is_caught(opened):
    """The envelope, header included, is authenticated: a byte anywhere, and nothing of it is taken."""
    whole = opened.header + opened.payload
    path = opened.folder / "flipped"
    for at in (0, 30, len(opened.header) - 10, len(opened.header) + 3, len(whole) // 2, len(whole) - 1):
        altered = bytearray(whole)
        altered[at] ^= 1
        path.write_bytes(bytes(altered))
        findings = open_bundle(path, b"", str(COURT), Pins(), opened.folder / "flip")
        assert findings.failed_parts() == {"envelope"}
    path.write_bytes(whole[:-100])
    findings = open_bundle(path, b"", str(COURT), Pins(), opened.folder / "flip")
    assert findings.failed_parts() == {"envelope"}
    assert not (opened.folder / "flip" / "bundle.zip").exists()


def test_an_export_cannot_pass_for_a_release(opened, release):
    """Whatever the gateway signs: without request and consent there is no release, whichever type it says."""
    renamed = {names.REQUEST if name == names.ORDER else name: data for name, data in opened.parts.items()}
    for parts in (opened.parts, renamed):
        signed = opened.sign(parts, released(opened, release), typ=names.TYP)
        assert opened.open(signed).failed_parts() == {"manifest"}
    both = {names.REQUEST: opened.parts[names.ORDER], names.CONSENT: opened.parts[names.ORDER]}
    rest = {name: data for name, data in opened.parts.items() if name != names.ORDER}
    findings = opened.open(opened.sign(both | rest, released(opened, release), typ=names.TYP))
    assert findings.kind == "release"
    assert {"request", "consent", "ledger"} <= findings.failed_parts()


def released(opened, release) -> dict:
    """The members of a release's manifest about an export's footage."""
    own, other = opened.manifest, release.manifest
    shared = {name: own[name] for name in own.keys() & other.keys() - {"recipients", "windows", "camera"}}
    camera = own["camera"] | {"quality_asked": "main"}
    windows = other["windows"] | {"delivered": own["windows"]["delivered"]}
    return other | shared | {"camera": camera, "windows": windows}


def test_a_release_cannot_pass_for_an_export(opened, release):
    """Without an order that the owner signed for a bundle there is no export, whichever type the gateway signs."""
    own = opened.manifest
    shared = {name: release.manifest[name] for name in ("gaps", "clips", "clocks")}
    delivered = {"windows": own["windows"] | {"delivered": release.manifest["windows"]["delivered"]}}
    keys = {name: encode_b64url(getattr(release.house, name).public_key().public_bytes_raw()) for name in KEYS}
    members = own | shared | delivered | {"keys": keys}
    signed = release.sign(release.parts, members, typ=names.EXPORT_TYP)
    assert release.open(signed).failed_parts() == {"manifest"}
    rest = {name: data for name, data in release.parts.items() if name not in (names.REQUEST, names.CONSENT)}
    findings = release.open(release.sign({names.ORDER: release.parts[names.CONSENT]} | rest, members,
                                         typ=names.EXPORT_TYP))  # fmt: skip
    assert findings.kind == "export"
    assert {"order", "ledger"} <= findings.failed_parts()


def test_a_manifest_is_of_the_type_that_was_signed(opened, release):
    """The type is under the signature: the members of the one under the type of the other are no manifest at all."""
    assert opened.open(retyped(opened, names.TYP)).failed_parts() == {"manifest"}
    assert release.open(retyped(release, names.EXPORT_TYP)).failed_parts() == {"manifest"}


def retyped(bundle, typ: str) -> dict[str, bytes]:
    return bundle.parts | {names.MANIFEST: jws.sign(typ, bundle.manifest, [bundle.house.gateway])}


def test_a_release_says_nothing_to_a_stranger(release):
    """Its keys are pinned at the crime center that asked for it, and nowhere else."""
    findings = release.open(known=Pins())
    assert findings.failed_parts() == {"keys"}


@pytest.mark.parametrize("extra", [names.REQUEST, names.CONSENT])
def test_an_export_holds_no_paper_of_a_release(opened, extra):
    """Nothing that looks like a request or a consent may stand beside the order."""
    parts = {extra: b"{}"} | opened.parts
    assert opened.open(opened.sign(parts)).failed_parts() == {"manifest"}


def orders(house: House) -> dict[str, bytes]:
    span = window(0.5, 4.25)
    court = [str(COURT.to_public())]
    return {
        "for a copy in the clear": house.order(span, recipients=None),
        "of another camera": house.order(span, camera="yard", recipients=court),
        "of the other stream": house.order(span, quality="sub", recipients=court),
        "of another window": house.order(window(0.5, 4.0), recipients=court),
        "for nobody else": house.order(span),
        "for one more": house.order(span, recipients=[*court, str(house.evidence.to_public())]),
        "of a stranger": house.order(span, key=house.operator, recipients=court),
        "to resume": jws.sign("owner-order+jws", resume_members(), [house.owner]),
        "that is a consent": house.consent(bytes(16)),
    }


def resume_members() -> dict:
    return {"gateway": GATEWAY, "order_id": "o" * 22, "iat": "2026-01-01T00:00:00Z", "order": "resume",
            "what": "release", "camera": "*"}  # fmt: skip


@pytest.mark.parametrize("which", orders(House(None)))
def test_a_gateway_cannot_swap_the_order(opened, which):
    """Signed anew by the gateway, the order still has to be the owner's, for just this."""
    raw = orders(opened.house)[which]
    about = opened.manifest["order"] | {"sha256": hashlib.sha256(raw).hexdigest()}
    payload = payload_of(raw)
    about |= {"order_id": payload.get("order_id", "o" * 22), "ordered_at": payload.get("iat", "2026-01-01T00:00:00Z")}
    findings = opened.open(opened.sign(opened.parts | {names.ORDER: raw}, opened.manifest | {"order": about}))
    assert "order" in findings.failed_parts(), findings.as_text()
    assert "malformed" not in findings.as_text()


def payload_of(raw: bytes) -> dict:
    return json.loads(base64.urlsafe_b64decode(json.loads(raw)["payload"] + "=="))


ENTRIES = {
    "of a look": ("export", {"what": "local look"}),
    "of a copy in the clear": ("export", {"what": "local export"}),
    "of another kind": ("grant", {}),
    "of another order": ("export", {"order_id": "x" * 22}),
    "of the same order, altered": ("export", {"order_sha256": "00" * 32}),
    "of another camera": ("export", {"camera": "yard"}),
    "of another window": ("export", {"window": "2026-01-01T00:00:00Z/2026-01-01T00:01:00Z"}),
}


@pytest.mark.parametrize(("kind", "change"), ENTRIES.values(), ids=ENTRIES.keys())
def test_a_gateway_cannot_swap_the_ledgers_entry(opened, kind, change):
    """The entry that is proved has to be of this very order."""
    entry = json.loads(json.loads(opened.parts[names.LEDGER])["leaf"])["entry"]
    proof = opened.house.prove(kind, entry | change, START)
    parts = opened.parts | {names.LEDGER: json.dumps(proof, sort_keys=True).encode()}
    assert opened.open(opened.sign(parts)).failed_parts() == {"ledger"}


def test_a_gateway_cannot_widen_what_was_ordered(opened):
    """Pictures outside the ordered window are found by their own times."""
    members = opened.manifest
    span = {"start": "2023-11-14T22:13:22Z", "end": "2023-11-14T22:13:24.25Z"}
    members["windows"], members["gaps"] = {"ordered": span, "delivered": [span]}, []
    assert {"pictures", "order"} <= opened.open(opened.sign(opened.parts, members)).failed_parts()


def test_an_export_holds_no_derivative(opened):
    """Nothing is masked in one: pictures that the gateway made are not passed off as such."""
    members = opened.manifest
    members["clips"][0]["derivative_of_sha256"] = "ab" * 32
    assert "pictures" in opened.open(opened.sign(opened.parts, members)).failed_parts()


def test_gaps_of_an_export_are_declared_and_checked(tmp_path):
    """Two runs make two clips, the hole between them is told with its reason, and the chain agrees."""
    later = records(encode(20, first=50), START + 5 * SECOND_NS)
    pieces = [*records(encode(20)), (Kind.GAP, 3 * SECOND_NS, b'{"reason":"camera-down"}'), *later]
    opened = open_export(tmp_path, House(tmp_path), window(0, 9), pieces)
    findings = opened.open()
    assert findings.ok, findings.as_text()
    assert [gap["reason"] for gap in opened.manifest["gaps"]] == ["camera-down", "no-footage"]
    assert read_numbers(opened.parts["clips/002.mp4"]) == list(range(50, 70))
    silent = opened.sign(opened.parts, opened.manifest | {"gaps": []})
    assert "windows" in opened.open(silent).failed_parts()


def test_two_runs_that_claim_the_same_time_are_both_exported(tmp_path):
    """Where the clock was set back the owner gets both runs, as they were written, and both are checked."""
    first, second = records(encode(30), START + SECOND_NS), records(encode(30, first=100))
    opened = open_export(tmp_path, House(tmp_path), window(0, 2.5), [*first, (Kind.RUN, 0, b"{}"), *second])
    findings = opened.open()
    assert findings.ok, findings.as_text()
    assert "pictures" in parts_by(findings, Proof.PROVED)
    assert read_numbers(opened.parts["clips/001.mp4"]) == list(range(15))
    assert read_numbers(opened.parts["clips/002.mp4"]) == list(range(100, 125))
    assert opened.manifest["gaps"] == []


@pytest.mark.peer
@pytest.mark.needs("age", "unzip", "jq", "openssl", "basenc")
def test_the_manual_way_works_as_it_is_written(opened, tmp_path):
    """docs/evidence.md, typed: stock programs find type, digests, thumbprints, both signatures, and an altered file."""
    text = (Path(__file__).parents[2] / "docs/evidence.md").read_text()
    (script,) = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "case.age").write_bytes(opened.header + opened.payload)
    (tmp_path / "key.txt").write_text(f"{COURT}\n")
    words = ["bash", "-euo", "pipefail", "-c", script]
    out = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, timeout=60).stdout.decode()
    assert names.EXPORT_TYP in out
    assert all(print_of in out for print_of in prints(opened).values())
    assert out.count("Signature Verified Successfully") == 2
    assert out.count(": OK\n") == len(PARTS) - 1
    assert names.OWN_EXPORT in out
    assert str(COURT.to_public()) in out
    altered = opened.parts | {names.README: b"another"}
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w") as bundle:
        for name, data in altered.items():
            bundle.writestr(name, data)
    (tmp_path / "again").mkdir()
    (tmp_path / "again/key.txt").write_text(f"{COURT}\n")
    (tmp_path / "again/case.age").write_bytes(pyrage.encrypt(plain.getvalue(), [COURT.to_public()]))
    assert subprocess.run(words, cwd=tmp_path / "again", check=False, capture_output=True, timeout=60).returncode
