"""The two secret files."""

from pathlib import Path

import pytest

from edge_agent.custody.credentials import Login, find_login, load_logins, load_services, missing_names
from edge_agent.errors import ConfigError, CustodyError
from edge_agent.settings.gateway import parse_config

LOGINS = "door: {username: admin, password: 'hun#ter2:@/'}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "credentials.yaml"
    path.write_text(LOGINS)
    path.chmod(0o600)
    return path


def test_logins_by_name(path: Path) -> None:
    """Any character may be in a password, and none is in a repr."""
    logins = load_logins(path)
    assert logins["door"] == Login("admin", "hun#ter2:@/")
    assert "hun" not in repr(logins)
    assert find_login(logins, None) is None
    with pytest.raises(ConfigError, match="no such credentials: yard"):
        find_login(logins, "yard")


def test_a_missing_or_empty_file_holds_no_logins(path: Path) -> None:
    """Cameras without passwords need no file."""
    path.write_text("# nothing yet\n")
    assert load_logins(path) == {}
    path.unlink()
    assert load_logins(path) == {}


def test_an_open_file_is_refused(path: Path) -> None:
    """Passwords that everybody on the gateway can read are not used."""
    path.chmod(0o644)
    with pytest.raises(CustodyError, match="open to others"):
        load_logins(path)


@pytest.mark.parametrize("text", ["door: hunter2\n", "door: {username: a, pasword: hunter2}\n", "- hunter2\n"])
def test_a_wrong_file_never_repeats_a_password(path: Path, text: str) -> None:
    """The complaint names line and key, not the value."""
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_logins(path)
    assert "hunter2" not in str(refused.value)
    assert ":1: " in str(refused.value)


def test_a_systemd_credential_wins(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service reads what systemd handed to it alone; the file may then be root's."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "credentials.yaml").write_text("door: {username: other, password: x}\n")
    (folder / "credentials.yaml").chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert load_logins(path)["door"].username == "other"


def test_services_are_urls_by_name(tmp_path: Path) -> None:
    """What tells the owner; its URLs hold tokens and are secrets."""
    path = tmp_path / "notify.yaml"
    path.write_text("phone: ntfy://example.net/topic\n")
    path.chmod(0o600)
    assert load_services(path) == {"phone": "ntfy://example.net/topic"}


def test_missing_names_lead_to_the_camera(path: Path) -> None:
    """`check` says which camera names a login that is not there."""
    text = "cameras:\n- {id: a, url: 'rtsp://a/', credentials: door}\n- {id: b, url: 'rtsp://b/', credentials: nope}\n"
    config = parse_config(text, "edge-agent.yaml", path.parent)
    assert missing_names(config, load_logins(path)) == [("cameras[1].credentials", "nope")]
