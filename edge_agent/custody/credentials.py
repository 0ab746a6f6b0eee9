"""Passwords: read from files of mode 0600 or from systemd's credentials, never from ``edge-agent.yaml``.

Owns the two secret files. ``credentials.yaml`` (cameras, the home's broker) is the recorder's; ``notify.yaml`` (URLs of
the services that tell the owner) is the releaser's: neither process can read the other's. Must never log a value.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import RootModel, SecretStr, StringConstraints

from edge_agent.custody.keys import read_guarded
from edge_agent.errors import ConfigError
from edge_agent.settings.fields import Part
from edge_agent.settings.gateway import Config, CredentialName
from edge_agent.settings.yaml_lines import ModelT, load_yaml, validate


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and its password; the password is in no ``repr``."""

    username: str
    password: str = field(repr=False)


class _LoginText(Part):
    username: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    password: SecretStr


class _Logins(RootModel[dict[CredentialName, _LoginText]]):
    pass


class _Services(RootModel[dict[CredentialName, SecretStr]]):
    pass


def load_logins(path: Path) -> Mapping[str, Login]:
    """Read ``credentials.yaml``: name → user name and password.

    A systemd credential of the file's name wins over the file. A file that is missing is an empty one: a camera that
    needs a name from it says so.

    Raises:
        CustodyError: Others can read the file, or it is not ours.
        ConfigError: Its content is wrong; no value is repeated.
    """
    logins = _load(path, _Logins)
    if logins is None:
        return {}
    return {name: Login(text.username, text.password.get_secret_value()) for name, text in logins.root.items()}


def load_services(path: Path) -> Mapping[str, str]:
    """Read ``notify.yaml``: name → URL of an Apprise service; otherwise as ``load_logins``."""
    services = _load(path, _Services)
    return {} if services is None else {name: url.get_secret_value() for name, url in services.root.items()}


def find_login(logins: Mapping[str, Login], name: str | None) -> Login | None:
    """Return the login of that name; None if no name was given.

    Raises:
        ConfigError: A name was given and is not there.
    """
    if name is None:
        return None
    if name not in logins:
        raise ConfigError(f"no such credentials: {name}", f"add `{name}:` with username and password to the file")
    return logins[name]


def missing_names(config: Config, logins: Mapping[str, Login]) -> list[tuple[str, str]]:
    """List the members that name a missing login: (path in the configuration, name)."""
    used = [(f"cameras[{index}].credentials", camera.credentials) for index, camera in enumerate(config.cameras)]
    if config.home_broker is not None:
        used.append(("home_broker.credentials", config.home_broker.credentials))
    return [(where, name) for where, name in used if name is not None and name not in logins]


def _load(path: Path, model: type[ModelT]) -> ModelT | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is not None and (Path(folder) / path.name).is_file():
        # systemd may hand it to the service's user by an ACL, which shows as a group bit.
        path, forbidden = Path(folder) / path.name, 0o007
    elif path.exists() or path.is_symlink():
        forbidden = 0o077
    else:
        return None
    try:
        text = read_guarded(path, forbidden).decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: file is not UTF-8") from None
    return validate(model, load_yaml(text, str(path), is_secret=True))
