"""What the owner's answers to a request name."""

from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.commands.requests import asked_cameras
from edge_agent.consent.order import sign_order
from tests import gate

HOUSE = SimpleNamespace(cameras=[SimpleNamespace(id="door"), SimpleNamespace(id="yard")])


@pytest.mark.parametrize(
    ("asked", "named"), [(["*"], ["door", "yard"]), (["yard"], ["yard"]), (["yard", "cellar"], ["yard"])], ids=str
)
def test_an_approval_names_the_cameras_that_were_asked_for(asked, named):
    """A request for every camera is approved by naming each one: an order knows no ``*``."""
    cameras = asked_cameras(HOUSE, {"cameras": asked})
    assert cameras == named
    window = gate.request_payload()["clip"]["window"]
    members = {"jti": gate.JTI, "request_sha256": "A" * 43, "cameras": cameras, "window": window}
    assert sign_order("approve", members, gate.GATEWAY, gate.JTI, gate.NOW, Ed25519PrivateKey.generate())
