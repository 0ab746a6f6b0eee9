"""The trust bundle: the people whose keys count, the end of each, and the recipients of bundles (PROTOCOL 5).

Owns how a bundle is put together from an RTCC's home and signed by its offline roots. How a gateway judges one is said
by ``edge_agent.protocol.trust_bundle``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_agent.errors import ConfigError
from edge_agent.protocol import jws
from edge_agent.protocol.trust_bundle import TYP, Roots, TrustBundle, make_roots, verify_trust
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import SigningKey, kid_of
from edge_agent.rtcc.office.roots import RootSet
from edge_agent.units import DAY_NS, UtcNs, encode_rfc3339

MAX_VALIDITY_DAYS = 30
"""As a gateway accepts at most (PROTOCOL 5); a revoked signer counts no longer than that at a
gateway that is cut off."""
TOPIC = "rtcc/1/trust"


def sign_trust(home: RtccHome, now: UtcNs, *, days: int = MAX_VALIDITY_DAYS, root_files: Sequence[Path] = ()) -> bytes:
    """Sign the next version of the trust bundle and keep it in the home.

    The first bundle after new roots were made is a hand-over: it carries the new set and is signed by the threshold of
    both. A gateway that misses it does not accept the next one: give it the hand-over as a file first.

    Args:
        home: The RTCC's people, recipients and roots.
        now: Time of issue.
        days: Until when it counts; renew it well before.
        root_files: Root keys that are kept on other media.

    Raises:
        CustodyError: Too few root keys at hand.
        ConfigError: More days than a gateway accepts.
    """
    if not 1 <= days <= MAX_VALIDITY_DAYS:
        raise ConfigError(f"a trust bundle counts for 1 to {MAX_VALIDITY_DAYS} days: days={days}")
    version = (home.bundle_versions() or (0,))[-1] + 1
    keys: list[SigningKey] = []
    in_use = _set_in_use(home)
    # Both sets: a hand-over is signed by the threshold of the old and of the new one (PROTOCOL 5).
    for root_set in (in_use, home.roots.sets()[-1]):
        keys.extend(key for key in home.roots.load(root_set, root_files) if kid_of(key) not in map(kid_of, keys))
    raw = jws.sign(TYP, build_payload(home, version, now, UtcNs(now + days * DAY_NS)), keys)
    # As a gateway would: a bundle that it must refuse is not kept.
    verify_trust(raw, make_roots(in_use.threshold, in_use.jwks), None, now)
    home.write_bundle(version, raw)
    return raw


def roots_to_pin(home: RtccHome) -> Roots:
    """Return the roots that a gateway enrolled now must be given to verify the newest bundle.

    While a hand-over is the newest bundle, these are the old ones: it leads from them to the new set.
    """
    raw = home.find_bundle()
    signed = {header.kid for header in jws.parse(raw, TYP).signatures} if raw is not None else set()
    sets = [make_roots(root_set.threshold, root_set.jwks) for root_set in home.roots.sets()]
    return next((roots for roots in sets if len(signed & set(roots.keys)) >= roots.threshold), sets[-1])


def load_trust(home: RtccHome, now: UtcNs) -> TrustBundle:
    """Verify our own newest bundle as a gateway enrolled now would.

    Raises:
        ConfigError: None was signed yet.
        DenialError: It does not verify.
    """
    raw = home.find_bundle()
    if raw is None:
        raise ConfigError(f"no trust bundle was signed yet: {home.path}", "`rtcc trust sign` signs one")
    return verify_trust(raw, roots_to_pin(home), None, now)


def is_handed_over(home: RtccHome) -> bool:
    """Tell whether the last root set stands in the newest bundle."""
    return _set_in_use(home) == home.roots.sets()[-1]


def _set_in_use(home: RtccHome) -> RootSet:
    """Return the set that the newest bundle names; before the first bundle, the last set made."""
    raw = home.find_bundle()
    named = jws.parse(raw, TYP).payload["roots"]["keys"] if raw is not None else None
    sets = home.roots.sets()
    return next((root_set for root_set in sets if list(root_set.jwks) == named), sets[-1])


def build_payload(home: RtccHome, version: int, now: UtcNs, expires: UtcNs) -> dict[str, Any]:
    """Put the members of a trust bundle together: everybody who may sign, everything revoked, the newest roots."""
    roots = home.roots.sets()[-1]
    return {
        "iss": home.settings.iss,
        "version": version,
        "issued_at": encode_rfc3339(now),
        "expires": encode_rfc3339(expires),
        "keys": [
            {
                "kid": person.kid,
                "jwk": person.jwk,
                "person": person.name,
                "role": person.role.value,
                "from": encode_rfc3339(person.valid_from),
                "until": encode_rfc3339(person.valid_until),
            }
            for person in home.people.present()
        ],
        "revoked": list(home.people.revoked()),
        "recipients": [{"role": role, "age": age} for role, age in sorted(home.recipients().items())],
        "roots": {"threshold": roots.threshold, "keys": list(roots.jwks)},
    }
