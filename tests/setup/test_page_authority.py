"""The authority behind the page's certificate: it vouches for this gateway's names and addresses and for no other."""

import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from edge_agent.errors import UsageError
from edge_agent.host.clock import SystemClock
from edge_agent.settings.gateway import load_config
from edge_agent.setup import page_service
from edge_agent.setup.inspection import Level
from edge_agent.setup.page_authority import covers, issue, load_authority, make_authority, show_thumbprint
from edge_agent.setup.page_inspection import inspect_page
from edge_agent.units import DAY_NS, UtcNs
from edge_agent.uplink.owner.adoption import adoption_path
from tests.support.page_house import CONFIG

NAMES, ADDRESSES = ("edge-agent-1a2b3c.local", "gateway.lan"), ("192.168.1.5", "fd00::5")
NOW = SystemClock().utc()


def verify(tmp_path: Path, ca: bytes, chain: bytes, *words: str) -> str:
    """Have OpenSSL's own program judge a certificate, as a device would; returns what it says."""
    (tmp_path / "ca.pem").write_bytes(ca)
    (tmp_path / "leaf.pem").write_bytes(chain)
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", *words, "-CAfile", "ca.pem", "leaf.pem"],
        cwd=tmp_path, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.needs("openssl")
def test_certificate_is_good_for_each_name_and_address(tmp_path):
    """And for no other."""
    authority = make_authority(NAMES, ADDRESSES, NOW)
    chain = issue(authority, NAMES, ADDRESSES, NOW)
    for words in [("-verify_hostname", each) for each in NAMES] + [("-verify_ip", each) for each in ADDRESSES]:
        assert "leaf.pem: OK" in verify(tmp_path, authority.pem, chain, *words), words
    for words in (("-verify_hostname", "bank.example"), ("-verify_ip", "192.168.1.6")):
        assert "OK" not in verify(tmp_path, authority.pem, chain, *words), words


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    ("names", "addresses"),
    [
        (("bank.example",), ()),
        ((), ("8.8.8.8",)),
        (("lan",), ()),
        ((), ("2001:db8::1",)),
        ((*NAMES, "bank.example"), ()),
    ],
    ids=str,
)
def test_stolen_authority_vouches_for_nobody_else(tmp_path, names, addresses):
    """A thief of its key can sign for a bank; no device believes it."""
    authority = make_authority(NAMES, ADDRESSES, NOW)
    said = verify(tmp_path, authority.pem, issue(authority, names, addresses, NOW))
    assert "permitted subtree violation" in said


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    ("names", "addresses", "foreign"),
    {
        "no IPv6 address": (("a.lan",), ("10.0.0.1",), ((), ("fd00::1",))),
        "no address": (("a.lan",), (), ((), ("10.0.0.1",))),
        "no name": ((), ("10.0.0.1",), (("bank.example",), ())),
    }.values(),
)
def test_kind_that_is_not_used_is_excluded(tmp_path, names, addresses, foreign):
    """A kind of name that no constraint speaks of would be free (RFC 5280, 4.2.1.10)."""
    authority = make_authority(names, addresses, NOW)
    assert "violation" in verify(tmp_path, authority.pem, issue(authority, *foreign, NOW))
    assert "OK" in verify(tmp_path, authority.pem, issue(authority, names, addresses, NOW))


@pytest.fixture
def config(tmp_path):
    (tmp_path / "state" / "keys").mkdir(parents=True)
    path = tmp_path / "edge-agent.yaml"
    path.write_text(CONFIG.format(state=tmp_path / "state", run=tmp_path / "run"))
    return load_config(path)


def test_turning_on_again_keeps_the_authority_and_renews_the_certificate(config):
    """Devices that trust it go on; a new address needs a new one, and that is said."""
    settings = page_service.choose_settings(config, ["127.0.0.1"], ["Gateway.LAN."], None)
    first = page_service.turn_on(config, settings, NOW)
    assert first.is_new_authority
    again = page_service.choose_settings(config, ["127.0.0.1"], [], None)
    assert again.names == settings.names
    second = page_service.turn_on(config, again, NOW)
    assert (second.is_new_authority, second.thumbprint) == (False, first.thumbprint)
    third = page_service.turn_on(config, page_service.choose_settings(config, ["10.9.9.9"], [], None), NOW)
    assert third.is_new_authority
    assert third.thumbprint != first.thumbprint


def test_key_of_the_authority_is_for_root_and_not_in_the_pages_folder(config):
    """The page's process holds a certificate of 397 days and nothing that makes another."""
    settings = page_service.choose_settings(config, ["127.0.0.1"], [], None)
    page_service.turn_on(config, settings, NOW)
    path = page_service.authority_path(config)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    authority = load_authority(path.read_bytes())
    desk = page_service.settle_desk(config, settings)
    assert covers(authority, (*settings.names, *desk.names), settings.addresses)
    folder = page_service.page_dir(config)
    for each in (*folder.iterdir(), *page_service.desk_dir(config).iterdir()):
        assert each.stat().st_mode & 0o077 == 0
        assert authority.key_pem.split(b"-----")[2] not in each.read_bytes()
    (leaf, _) = x509.load_pem_x509_certificates((folder / "tls.pem").read_bytes())
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days == 397
    assert show_thumbprint((folder / "ca.pem").read_bytes()) == authority.thumbprint
    ssl.create_default_context(cafile=str(folder / "ca.pem"))


@pytest.mark.parametrize(
    ("addresses", "names", "port"),
    {
        "public address": (["8.8.8.8"], [], None),
        "every address": (["0.0.0.0"], [], None),
        "name instead of an address": (["home.lan"], [], None),
        "name with a path": (["127.0.0.1"], ["a/b"], None),
        "name with a blank": (["127.0.0.1"], ["a b"], None),
        "wildcard": (["127.0.0.1"], ["*.lan"], None),
        "port of root": (["127.0.0.1"], [], 443),
        "too many names": (["127.0.0.1"], [f"n{number}" for number in range(20)], None),
    }.values(),
    ids=str,
)
def test_wrong_words_are_refused_before_anything_is_made(config, addresses, names, port):
    """No certificate for a name that the page will not serve."""
    with pytest.raises(UsageError):
        page_service.choose_settings(config, addresses, names, port)
    assert not page_service.page_dir(config).exists()


def test_check_tells_where_the_page_is_and_what_ends_soon(config):
    """Nothing while it is off; its thumbprint while it is on; a warning before it ends, or if an address left."""
    assert list(inspect_page(config, NOW)) == []
    settings = page_service.choose_settings(config, ["127.0.0.1"], [], None)
    made = page_service.turn_on(config, settings, NOW)
    (found,) = inspect_page(config, NOW)
    assert (found.level, made.thumbprint in found.text) == (Level.OK, True)
    adoption_path(config).parent.mkdir(parents=True, exist_ok=True)
    adoption_path(config).write_text("{}")
    left, _ = inspect_page(config, NOW)
    assert (left.level, left.text) == (Level.WARNING, "what was signed at the desk is not in its file")
    adoption_path(config).unlink()
    warning, _ = inspect_page(config, UtcNs(NOW + 370 * DAY_NS))
    assert (warning.level, warning.text) == (Level.WARNING, "its certificate ends in 25 days")
    page_service.turn_on(config, page_service.choose_settings(config, ["10.255.255.1"], [], None), NOW)
    assert "no longer has 10.255.255.1" in next(inspect_page(config, NOW)).text
    (page_service.page_dir(config) / "tls.pem").write_text("torn")
    (fault,) = inspect_page(config, NOW)
    assert fault.level is Level.FAULT


def test_turning_off_keeps_devices_and_certificate(config):
    """The next `on` finds them."""
    settings = page_service.choose_settings(config, ["127.0.0.1"], [], 9443)
    page_service.turn_on(config, settings, NOW)
    page_service.turn_off(config)
    left = {each.name for each in page_service.page_dir(config).iterdir()}
    assert left == {"ca.pem", "tls.pem"}
    page_service.turn_off(config)
