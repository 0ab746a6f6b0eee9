"""Joining a crime center at the desk: the sentence names everybody to whom something goes, and who decides."""

import json

import pytest

from edge_agent.commands import enrol
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import UsageError
from edge_agent.protocol.enrolment import parse_enrolment
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.rtcc.office.authority import issue_client
from edge_agent.settings.gateway import load_config
from edge_agent.setup.provision import create_state
from edge_agent.texts import ENGLISH
from edge_agent.uplink.owner import adoption
from edge_agent.uplink.owner.join_desk import JoinDesk
from tests.protocol.test_enrolment import CA_KEY, GATEWAY, NOW, ROOTS, make_ca, make_file, pem
from tests.support.fakes import FakeClock
from tests.support.releaser import PEER

MORE = [{"host": "b.example", "port": 8884}, {"host": "c.example", "port": 443}]


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    folder = tmp_path_factory.mktemp("state")
    create_state(folder, "correct horse battery staple")
    return folder


@pytest.fixture
def config(tmp_path, state):
    path = tmp_path / "edge-agent.yaml"
    path.write_text(f"gateway: {{state_dir: {json.dumps(str(state))}}}\n")
    return load_config(path)


@pytest.fixture
def file(state) -> dict:
    """An answer to this gateway's own request."""
    key = KeyStore(state, "releaser").load_private("tls").public_key()
    certificate = issue_client(make_ca(CA_KEY, "RTCC", NOW), CA_KEY, key, GATEWAY, NOW)
    return make_file() | {"certificate": pem(certificate), "more_brokers": MORE}


def draft(config, file):
    return JoinDesk(config, FakeClock(), ENGLISH).draft({"enrolment": json.dumps(file)}, GATEWAY)


def test_sentence_names_every_broker_root_and_upload(config, file):
    """One that it left out could be the one that matters."""
    said = draft(config, file).sentence
    for each in ("127.0.0.1:8883", "b.example:8884", "c.example:443", "2 of: ", "https://127.0.0.1:8443/files/"):
        assert each in said
    assert all(thumbprint(root) in said for root in ROOTS)


def test_terminal_shows_every_broker(file, capsys):
    """`edge-agent enrol` shows no less than the desk."""
    enrol._show(parse_enrolment(json.dumps(file).encode(), "enrolment"))
    shown = capsys.readouterr().out
    for each in ("127.0.0.1:8883", "b.example:8884", "c.example:443"):
        assert f"broker:    {each}" in shown


def test_another_gateways_certificate_is_refused(config, file):
    """What was issued for another key would leave this gateway without a connection."""
    with pytest.raises(UsageError, match="another gateway"):
        draft(config, file | {"certificate": make_file()["certificate"]})


def test_nothing_is_drafted_while_another_text_waits_for_root(config, file):
    """Two that lie in one place would be one."""
    adoption.adoption_path(config).write_text("{}")
    with pytest.raises(UsageError, match="not in its file yet"):
        draft(config, file)
    adoption.adoption_path(config).unlink()


def test_desk_shows_what_is_sent_and_to_whom_the_gateway_belongs(config):
    """Before it belongs to anybody, nobody is named; without a request on the disk the text is empty."""
    shown = JoinDesk(config, FakeClock(), ENGLISH).reads["join"]({}, PEER)
    assert (shown["csr"], shown["issuer"]) == ("", "")
    assert len(shown["key"]) == 43
