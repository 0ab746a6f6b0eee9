"""The command `rtcc`: from an empty folder to a signed request, each command as typed, each mistake in words."""

import hashlib
import io
import json
import os

import pytest

from edge_agent.protocol.age_stream import seal_stream
from edge_agent.protocol.answer import Answer, DeliveredFile, Status, encode_answer, upload_name
from edge_agent.protocol.checkpoint import Checkpoint, encode_growth, ledger_origin, sign_checkpoint
from edge_agent.rtcc.cli import COMMANDS, build_parser, main
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.office.home import RtccHome

from .conftest import NOW, take

ASK = [
    "--incident", "2026-004711", "--category", "robbery", "--place", "40.7128,-74.006", "--reported-at", "20m-ago",
    "--incident-window", "60m-ago/5m-ago", "--clip", "50m-ago/+3m", "--purpose", "robbery", "--contact", "desk 4",
]  # fmt: skip


@pytest.fixture
def rtcc(tmp_path, monkeypatch, capsys):
    """Run a command in a folder of its own; return exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RTCC_HOME", "rtcc-home")

    def rtcc(*words):
        code = main(words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return rtcc


@pytest.fixture
def made(rtcc):
    assert rtcc("keys", "init", "rtcc-home", "--operator", "ada", "--operator", "alan", "--supervisor", "grace")[0] == 0
    assert rtcc("trust", "sign")[0] == 0
    return rtcc


def test_from_nothing_to_a_signed_request(made, applicant, tmp_path):
    """init, sign, enrol, request: what each writes is what the next one reads."""
    (tmp_path / "gateway.csr").write_bytes(applicant.csr)
    assert made("enrol", "gateway.csr", "--out", "enrolment.json")[0] == 0
    gateway = json.loads((tmp_path / "enrolment.json").read_text())["gateway"]
    words = ("request", "--gateway", gateway, "--operator", "ada", "--supervisor", "grace", *ASK)
    code, out, _ = made(*words, "--out", "request.jws", "--json")
    assert code == 0
    assert len(json.loads((tmp_path / "request.jws").read_text())["signatures"]) == 2
    assert len(json.loads(out)["jti"]) == 22


def test_two_persons_sign_at_two_machines(made, tmp_path):
    """A draft has one signature; the countersigned request has two over the same payload."""
    code, out, _ = made("request", "--area", "400m", "--operator", "alan", *ASK, "--out", "draft.jws")
    assert (code, "signed once" in out) == (0, True)
    assert made("request", "--countersign", "draft.jws", "--supervisor", "grace", "--out", "request.jws")[0] == 0
    draft, request = (json.loads((tmp_path / name).read_text()) for name in ("draft.jws", "request.jws"))
    assert draft["payload"] == request["payload"]
    assert (len(draft["signatures"]), len(request["signatures"])) == (1, 2)


def test_a_draft_from_a_dispatch_system_is_signed_by_two(made, tmp_path):
    """Drafted by nobody's signature, read in words, and signed by each; the second one makes it whole."""
    incident = {"no": "2026-004711", "type": "ROB", "lat": 40.7128, "lon": -74.006, "at": "20m-ago"}
    mapping = {
        "number": "/no",
        "category": {"at": "/type", "is": {"ROB": "robbery"}},
        "place": ["/lat", "/lon"],
        "reported_at": "/at",
    }
    (tmp_path / "incident.json").write_text(json.dumps(incident))
    (tmp_path / "mapping.json").write_text(json.dumps(mapping))
    words = ("--from-cad", "incident.json", "--mapping", "mapping.json", "--incident-window", "60m-ago/5m-ago")
    said = ("--purpose", "robbery", "--contact", "desk 4", "--operator", "ada", "--draft", "--json")
    code, out, _ = made("request", "--area", "400m", *words, *said)
    assert code == 0
    draft = json.loads(out)["draft"]
    assert draft in made("countersign")[1]
    assert made("countersign", draft, "--person", "ada", "--yes")[0] != 0
    code, out, _ = made("countersign", draft, "--person", "grace", "--yes", "--no-send")
    assert (code, "2026-004711, robbery" in out, "signed by grace" in out) == (0, True, True)
    code, out, _ = made("countersign", draft, "--person", "ada", "--yes", "--no-send")
    assert (code, f"signed by both: jti={draft}" in out) == (0, True)
    assert made("request", "--area", "400m", "--from-cad", "incident.json", *said)[0] == 64


def test_show_tells_a_person_and_a_script_the_same(made, tmp_path):
    """People, roots, trust: in tables and as JSON, and no private key in either."""
    _, table, _ = made("keys", "show")
    _, text, _ = made("keys", "show", "--json")
    shown = json.loads(text)
    assert [person["person"] for person in shown["people"]] == ["ada", "alan", "grace"]
    assert all(each["kid"] in table for each in shown["people"])
    assert shown["trust"]["version"] == 1
    assert "SECRET" not in table + text


def test_a_revoked_person_is_gone_with_the_next_bundle(made):
    """revoke and add, then sign: show says what is not published yet."""
    assert made("trust", "revoke", "alan")[0] == 0
    assert made("keys", "add", "--role", "operator", "--person", "alan")[0] == 0
    assert "not in it yet: alan" in made("keys", "show")[1]
    assert "1 revoked" in made("trust", "sign")[1]
    assert "not in it yet" not in made("keys", "show")[1]


def test_new_roots_are_made_once_per_hand_over(made):
    """A second set before the first was handed over to would be lost."""
    assert made("trust", "new-roots")[0] == 0
    code, _, err = made("trust", "new-roots")
    assert (code, "never handed over" in err) == (os.EX_NOPERM, True)
    assert made("trust", "sign")[0] == 0
    assert made("trust", "new-roots")[0] == 0


def test_a_server_gets_its_certificate(made, tmp_path):
    """The three paths that a broker's configuration needs are printed."""
    _, out, _ = made("enrol", "--server", "localhost", "--server", "127.0.0.1")
    assert all((tmp_path / line.split()[-1]).exists() for line in out.splitlines())


def test_watch_shows_what_is_stored(made):
    """Without a network, and without a request, nothing is shown and nothing fails."""
    assert made("watch", "--stored") == (0, "", "")


@pytest.fixture
def delivered(made, applicant, tmp_path):
    """One delivered upload, whose plaintext is no bundle."""
    home = RtccHome.load(tmp_path / "rtcc-home")
    jti, payload = "j" * 22, io.BytesIO()
    home.write_request(jti, b"{}")
    gateway = enrol(home, applicant.csr, NOW).gateway
    upload = upload_name(gateway, jti, "door")
    header = seal_stream(iter([b"no bundle"]), [home.recipients()["evidence"]], payload)
    sha256, size = hashlib.sha256(payload.getvalue()).digest(), len(payload.getvalue())
    files = (DeliveredFile("door", upload, sha256, size, header),)
    answer = Answer(gateway, home.settings.iss, jti, 0, NOW, Status.DELIVERED, files=files)
    take(home, f"rtcc/1/gw/{gateway}/res", encode_answer(answer, applicant.gateway))
    (home.received_dir / gateway).mkdir(parents=True)
    (home.received_dir / gateway / upload).write_bytes(payload.getvalue())
    return upload, jti, gateway


def test_open_lists_what_was_delivered(made, delivered):
    """Uploads, cameras and whether they are here: as a table and as JSON."""
    upload, jti, gateway = delivered
    assert all(word in made("open")[1] for word in (upload, jti, gateway, "door", "yes"))
    (row,) = json.loads(made("open", "--json")[1])
    assert (row["upload"], row["jti"], row["received"]) == (upload, jti, True)


def test_open_judges_what_it_decrypts(made, delivered, tmp_path):
    """By upload and by request, in words and as JSON; what is no bundle ends with 65."""
    for word in delivered[:2]:
        code, out, _ = made("open", word)
        assert (code, "FAILED" in out) == (os.EX_DATAERR, True)
    code, out, _ = made("open", delivered[0], "--json", "--out", "case")
    assert (code, json.loads(out)["ok"], (tmp_path / "case" / "findings.json").exists()) == (os.EX_DATAERR, False, True)


def test_open_joins_key_and_upload_for_other_programs(made, delivered, tmp_path):
    """The stock age file opens with --file as well, once it is said whose it is."""
    assert made("open", delivered[0], "--age", "bundle.age")[0] == 0
    assert (tmp_path / "bundle.age").read_bytes().startswith(b"age-encryption.org/v1\n")
    code, out, _ = made("open", "--file", "bundle.age", "--gateway", delivered[2])
    assert (code, "every byte of it arrived" in out) == (os.EX_DATAERR, True)


def test_stored_answers_are_shown(made, delivered):
    """watch --stored reads the signed answers again, in words and as JSON."""
    assert f"key handed over: door as {delivered[0]}" in made("watch", "--stored")[1]
    answer = json.loads(made("watch", "--stored", "--request", delivered[1], "--json")[1])
    assert (answer["status"], answer["final"], answer["files"][0]["upload"]) == ("delivered", True, delivered[0])


def test_keeper_of_a_checkpoint_checks_that_the_ledger_goes_on(made, applicant, tmp_path):
    """With the key from enrolment alone: a proof of growth holds, and one that leads elsewhere ends with 65."""
    (tmp_path / "gateway.csr").write_bytes(applicant.csr)
    assert made("enrol", "gateway.csr", "--out", "enrolment.json")[0] == 0
    origin = ledger_origin(json.loads((tmp_path / "enrolment.json").read_text())["gateway"])
    note = sign_checkpoint(Checkpoint(origin, 256, b"r" * 32), applicant.gateway)
    (tmp_path / "kept.txt").write_text(note)
    (tmp_path / "growth.json").write_text(json.dumps(encode_growth(256, [], note)))
    code, out, _ = made("ledger", "growth.json", "--remembered", "kept.txt")
    assert (code, "nothing of it was rewritten" in out) == (0, True)
    other = sign_checkpoint(Checkpoint(origin, 256, b"x" * 32), applicant.gateway)
    (tmp_path / "growth.json").write_text(json.dumps(encode_growth(256, [], other)))
    code, _, err = made("ledger", "growth.json", "--remembered", "kept.txt")
    assert (code, "differ" in err) == (os.EX_DATAERR, True)
    (tmp_path / "kept.txt").write_text(sign_checkpoint(Checkpoint("edge-agent/x", 256, b"r" * 32), applicant.gateway))
    assert "no gateway" in made("ledger", "growth.json", "--remembered", "kept.txt")[2]


MISTAKES = {
    "nothing of this name to open": (("open", "nothing"), os.EX_DATAERR, "no key was handed over"),
    "a file that is not there": (("open", "--file", "nothing.age"), os.EX_USAGE, "no such file"),
    "a receiver without a certificate": (("receive", "--name", "elsewhere"), os.EX_CONFIG, "rtcc enrol --server"),
    "a receiver without a port": (("receive", "--listen", "localhost"), os.EX_USAGE, "ADDRESS:PORT"),
    "a second init": (("keys", "init", "rtcc-home"), os.EX_NOPERM, "already"),
    "no such home": (("keys", "show", "--home", "elsewhere"), os.EX_CONFIG, "rtcc keys init"),
    "no address": (("request", "--operator", "ada", "--supervisor", "grace"), os.EX_USAGE, "--gateway or --area"),
    "no supervisor": (("request", "--area", "300m", "--operator", "ada", *ASK), os.EX_USAGE, "supervisor"),
    "a supervisor who is none": (
        ("request", "--area", "300m", "--operator", "ada", "--supervisor", "alan", *ASK, "--out", "x"),
        os.EX_NOPERM,
        "there is: grace",
    ),
    "a draft that is none": (
        ("request", "--countersign", "rtcc-home/rtcc.json", "--supervisor", "grace", "--out", "x"),
        os.EX_NOPERM,
        "not known",
    ),
    "a csr that is none": (("enrol", "rtcc-home/rtcc.json"), os.EX_DATAERR, "certificate request"),
    "a csr that is not there": (("enrol", "gateway.csr"), os.EX_DATAERR, "cannot be read"),
    "neither csr nor server": (("enrol",), os.EX_USAGE, "either"),
    "nobody to revoke": (("trust", "revoke", "mallory"), os.EX_NOPERM, "no such person"),
    "too many days": (("trust", "sign", "--days", "90"), os.EX_CONFIG, "1 to 30"),
    "no days at all": (("keys", "add", "--role", "operator", "--person", "x", "--days", "0"), os.EX_USAGE, "1 to"),
    "a broker without a port": (("keys", "init", "other", "--broker", "x"), os.EX_USAGE, "HOST:PORT"),
    "a broker to read without a port": (("intake", "--broker", "x"), os.EX_USAGE, "HOST:PORT"),
    "a broker to read at a port that is none": (("intake", "--broker", "x:65536"), os.EX_USAGE, "HOST:PORT"),
    "an upload without TLS": (("keys", "init", "other", "--upload", "a=http://x/"), os.EX_USAGE, "https"),
    "a request that was not sent": (("watch", "--request", "../../x"), os.EX_USAGE, "no such request"),
}


@pytest.mark.parametrize(("words", "code", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_ends_in_words(made, words, code, said):
    """An exit code of sysexits, one line of error, a hint where there is one; never a traceback."""
    got, _, err = made(*words)
    assert (got, said in err, err.startswith("rtcc: error: ")) == (code, True, True), err


def test_every_help_teaches_by_example(capsys):
    """Each command's help has words of its own, and the top level names the way."""
    for words in ([], *([name] for name in COMMANDS), ["keys", "init"]):
        with pytest.raises(SystemExit) as caught:
            build_parser().parse_args([*words, "--help"])
        assert caught.value.code == 0
        assert "rtcc " in capsys.readouterr().out
