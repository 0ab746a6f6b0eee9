"""Two persons at two machines: a draft is signed by nobody until each has read it and signs with a key of their own."""

import json
import shutil

import pytest
from sqlalchemy import delete, insert

from edge_agent.errors import ConfigError, CustodyError, EvidenceError
from edge_agent.protocol.request_jws import verify_request
from edge_agent.rtcc.office.drafts import SIGN_WITHIN_NS, RequestDrafts, load_person_key
from edge_agent.rtcc.office.request import RequestDraft, to_area, to_gateway
from edge_agent.rtcc.office.trust import load_trust, sign_trust
from edge_agent.rtcc.state.tables import drafts as drafts_table
from edge_agent.units import MINUTE_NS, SECOND_NS, UtcNs

OPERATOR, SUPERVISOR = "operator-1", "supervisor-1"


@pytest.fixture
def now(now):
    return UtcNs((now // SECOND_NS + 1) * SECOND_NS)  # not before the keys of the home


@pytest.fixture
def keys(home, tmp_path):
    """Each person's key is on a medium of their own: the home, which may lie on a share, has none."""
    found = {}
    for name in (OPERATOR, SUPERVISOR, "dispatch-1"):
        path = tmp_path / f"{name}.pem"
        shutil.move(home.path / "people" / f"{name}.pem", path)
        path.chmod(0o600)
        found[name] = path
    return found


@pytest.fixture
def drafts(home, now):
    sign_trust(home, now)
    return RequestDrafts(home)


def spoil(home, draft_id, name, content):
    """Write what only a hostile share or server could: a document that is there already, or one of its own."""
    here = (drafts_table.c.draft == draft_id, drafts_table.c.name == name)
    with home.state.database.begin() as connection:
        connection.execute(delete(drafts_table).where(*here))
        connection.execute(insert(drafts_table).values(draft=draft_id, name=name, content=content))


def find_payload(home, draft_id):
    (name,) = [each for each in home.state.drafts.names(draft_id) if each.startswith("payload-")]
    return name


def make(incident):
    return RequestDraft(to_gateway("A" * 22), incident, incident.window, "robbery", "desk 4")


def sign(home, drafts, keys, draft_id, person, now):
    opened = drafts.open(draft_id, person, now)
    return drafts.sign(opened, person, load_person_key(home, person, keys[person]), now)


def test_two_persons_sign_the_very_same_bytes(home, drafts, keys, incident, now):
    """The second person's opening sets the times; the request is whole with both signatures, and verifies."""
    draft = drafts.add(make(incident), OPERATOR, now)
    assert not {"iat", "nbf", "exp", "release_by"} & set(draft.members)
    later = UtcNs(now + 20 * MINUTE_NS)
    assert sign(home, drafts, keys, draft.id, SUPERVISOR, later) is None
    both = UtcNs(later + 5 * MINUTE_NS)
    signed = sign(home, drafts, keys, draft.id, OPERATOR, both)
    request = verify_request(signed.raw, load_trust(home, both), both)
    assert (request.jti, request.iat, request.exp) == (draft.id, later, later + 15 * MINUTE_NS)
    assert {each.person for each in request.signers} == {OPERATOR, SUPERVISOR}


def test_the_person_who_drafted_it_does_not_open_it_first(home, drafts, keys, incident, now):
    """Before somebody else has read it there are no times, and nothing to sign."""
    draft = drafts.add(make(incident), OPERATOR, now)
    with pytest.raises(EvidenceError, match="second person"):
        drafts.open(draft.id, OPERATOR, now)


def test_a_signature_ends_after_a_quarter_of_an_hour(home, drafts, keys, incident, now):
    """Then it is opened anew, with new times, and both sign again."""
    draft = drafts.add(make(incident), OPERATOR, now)
    opened = drafts.open(draft.id, SUPERVISOR, now)
    late = UtcNs(now + SIGN_WITHIN_NS)
    with pytest.raises(EvidenceError, match="over"):
        drafts.sign(opened, SUPERVISOR, load_person_key(home, SUPERVISOR, keys[SUPERVISOR]), late)
    assert sign(home, drafts, keys, draft.id, SUPERVISOR, now) is None
    with pytest.raises(EvidenceError, match="second person"):
        drafts.open(draft.id, OPERATOR, late)
    again = drafts.open(draft.id, SUPERVISOR, late)
    assert again.payload != opened.payload
    assert again.signed_by == ()
    assert sign(home, drafts, keys, draft.id, SUPERVISOR, late) is None
    assert sign(home, drafts, keys, draft.id, OPERATOR, late).jti == draft.id


def test_who_signs_needs_their_own_key_and_the_right_roles(home, drafts, keys, incident, now):
    """Another's key, an unknown person, and two persons without a supervisor make no request."""
    draft = drafts.add(make(incident), OPERATOR, now)
    opened = drafts.open(draft.id, SUPERVISOR, now)
    with pytest.raises(CustodyError, match="not that person's"):
        drafts.sign(opened, SUPERVISOR, load_person_key(home, OPERATOR, keys[OPERATOR]), now)
    with pytest.raises(CustodyError):
        drafts.open(draft.id, "mallory", now)
    with pytest.raises(CustodyError):
        load_person_key(home, SUPERVISOR, None)  # no server holds it
    assert sign(home, drafts, keys, draft.id, "dispatch-1", now) is None
    assert sign(home, drafts, keys, draft.id, OPERATOR, now) is None
    assert sign(home, drafts, keys, draft.id, SUPERVISOR, now).jti == draft.id
    for wrong in ("x" * 22, "../people", ""):
        with pytest.raises(ConfigError):
            drafts.load(wrong)


def test_a_share_that_alters_a_draft_gets_no_signature(home, drafts, keys, incident, now):
    """The shown request is the signed one; a payload that is not the draft with its times is refused."""
    draft = drafts.add(make(incident), OPERATOR, now)
    drafts.open(draft.id, SUPERVISOR, now)
    name = find_payload(home, draft.id)
    members = json.loads(home.state.drafts.read(draft.id, name))
    spoil(home, draft.id, name, json.dumps(members | {"purpose": "another"}).encode())
    with pytest.raises(EvidenceError, match="differ"):
        drafts.open(draft.id, OPERATOR, now)


HOSTILE = {
    "a text that rewrites the screen": {"purpose": "robbery\x1b[2K\rmissing person"},
    "a text of two lines": {"contact": "desk 4\nasked of   one gateway"},
    "a member that is not shown": {"more": "every camera"},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_draft_that_would_not_be_shown_as_it_is_signed_is_refused(home, drafts, keys, incident, now, case):
    """The share may be in wrong hands: a person is shown nothing that a gateway would not read as it stands."""
    draft = drafts.add(make(incident), OPERATOR, now)
    content = json.loads(home.state.drafts.read(draft.id, "draft.json"))
    content["members"] |= HOSTILE[case]
    spoil(home, draft.id, "draft.json", json.dumps(content).encode())
    with pytest.raises(ConfigError, match="not a draft"):
        drafts.open(draft.id, SUPERVISOR, now)


@pytest.mark.parametrize("junk", [b"", b"[]", b'{"drafted_by": 1}', b"\xff"])
def test_junk_on_the_share_is_told(home, drafts, keys, incident, now, junk):
    """Neither a draft nor a signature that cannot be read ends in an error of the program."""
    draft = drafts.add(make(incident), OPERATOR, now)
    opened = drafts.open(draft.id, SUPERVISOR, now)
    for person in (OPERATOR, SUPERVISOR):
        spoil(home, draft.id, f"{opened.opened_at // SECOND_NS}-{person}.jws", junk)
    with pytest.raises(EvidenceError, match="cannot be read"):
        drafts.find_signed(opened, now)
    spoil(home, draft.id, "draft.json", junk)
    with pytest.raises(ConfigError, match="not a draft"):
        drafts.load(draft.id)


def test_an_area_is_drafted_alike(home, drafts, keys, incident, now):
    """It may arrive for a day; its drafters have a quarter of an hour all the same."""
    draft = drafts.add(RequestDraft(to_area(incident, 400), incident, incident.window, "p", "c"), OPERATOR, now)
    assert sign(home, drafts, keys, draft.id, SUPERVISOR, now) is None
    signed = sign(home, drafts, keys, draft.id, OPERATOR, now)
    assert signed.expires == now + 24 * 60 * MINUTE_NS
    assert drafts.ids() == (draft.id,)
    home.write_request(signed.jti, signed.raw)
    assert drafts.ids() == ()


def test_times_that_lie_ahead_are_not_shown_to_anybody(home, drafts, keys, incident, now):
    """A payload that a hostile share names by another moment sets no times: the second person's opening does."""
    draft = drafts.add(make(incident), OPERATOR, now)
    spoil(home, draft.id, "payload-999999999999.json", b"")
    ahead = now // SECOND_NS + 86_400
    spoil(home, draft.id, f"payload-{ahead}.json", b"{}")
    assert drafts.open(draft.id, SUPERVISOR, now).opened_at == now // SECOND_NS * SECOND_NS


def test_a_request_that_both_have_signed_is_opened_no_more(home, drafts, keys, incident, now):
    """Other times under the same id would be another request than the one that was sent and kept."""
    draft = drafts.add(make(incident), OPERATOR, now)
    home.write_request(draft.id, b"{}")
    with pytest.raises(EvidenceError, match="signed it already"):
        drafts.open(draft.id, SUPERVISOR, now)
