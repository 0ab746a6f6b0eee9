"""The container's files say what ``docs/containers.md`` promises; ``scripts/test-machine container`` runs them."""

import re
from pathlib import Path

import pytest
import yaml

from edge_agent.setup.provision import GROUP

FOLDER = Path(__file__).parents[2] / "container"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
IMAGE = (FOLDER / "Containerfile").read_text()


@pytest.mark.parametrize("service", ["recorder", "releaser"])
def test_a_process_may_nothing_but_its_own(service: str) -> None:
    """Another user than root, no capability, no way to gain one, a root that is not written."""
    found = COMPOSE["services"][service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert "cap_add" not in found
    assert "privileged" not in found
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert "./etc:/etc/edge-agent:ro" in found["volumes"]
    assert all("noexec" in each for each in found["tmpfs"])
    user, group = found["user"].split(":")
    assert f"--uid {user} --gid {group} --no-create-home --shell /usr/sbin/nologin edge-agent-{service}" in IMAGE
    assert f"--gid {group} {GROUP}" in IMAGE


def test_the_two_are_two_users() -> None:
    """Neither process can read the other's keys."""
    users = [COMPOSE["services"][each]["user"] for each in ("recorder", "releaser")]
    assert len(set(users)) == 2


def test_only_the_owners_commands_have_capabilities() -> None:
    """Those are of no network, and of a container that does not stay."""
    holders = {name for name, each in COMPOSE["services"].items() if each.get("cap_add")}
    assert holders == {"owner"}
    owner = COMPOSE["services"]["owner"]
    assert owner["network_mode"] == "none"
    assert owner["profiles"] == ["owner"]
    assert owner["restart"] == "no"


def test_the_image_starts_as_nobody() -> None:
    """Whoever runs it without compose gets no root."""
    assert re.findall(r"(?m)^USER (.*)$", IMAGE) == ["65534:65534"]
