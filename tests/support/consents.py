"""A signed consent in one step; the program shows what it builds before it signs that."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.consent.policy import Terms
from edge_agent.consent.signed_consent import ConsentEvent, Facts, PrivacyNotice, build_consent, sign_built
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.units import UtcNs


def sign_consent(
    facts: Facts,
    terms: Terms,
    notice: PrivacyNotice,
    version: int,
    signed_at: UtcNs,
    key: Ed25519PrivateKey,
    valid_from: UtcNs | None = None,
    valid_until: UtcNs | None = None,
) -> bytes:
    """Build and sign the owner's terms for one camera, under the camera's id as its name; see ``build_consent``."""
    owner = thumbprint(key.public_key())
    named = facts.camera
    event = ConsentEvent(owner, signed_at, valid_from, valid_until)
    return sign_built(build_consent(facts, named, terms, notice, version, event), key)
