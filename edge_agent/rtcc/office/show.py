"""The content of an RTCC's home, for a person and for a script; public halves only."""

from typing import Any

from edge_agent.errors import ConfigError, DenialError
from edge_agent.host.terminal import print_table
from edge_agent.protocol.public_keys import load_jwk, thumbprint
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.trust import load_trust
from edge_agent.units import UtcNs, encode_rfc3339

PAGE = 500
"""Gateways that are listed at once."""


def describe_home(home: RtccHome, now: UtcNs, after: str = "", limit: int = PAGE) -> dict[str, Any]:
    """Return everything public that is in the home; of the gateways, ``limit`` of those after an id."""
    return {
        "iss": home.settings.iss,
        "broker": f"{home.settings.broker_host}:{home.settings.broker_port}",
        "uploads": dict(home.settings.uploads),
        "people": [
            {
                "person": person.name,
                "role": person.role.value,
                "kid": person.kid,
                "until": encode_rfc3339(person.valid_until),
            }
            for person in home.people.present()
        ],
        "revoked": list(home.people.revoked()),
        "roots": [
            {
                "set": root_set.number,
                "threshold": root_set.threshold,
                "thumbprints": [thumbprint(load_jwk(jwk)) for jwk in root_set.jwks],
            }
            for root_set in home.roots.sets()
        ],
        "recipients": home.recipients(),
        "trust": _describe_trust(home, now),
        "gateways": [
            {
                "gateway": record["gateway"],
                "enrolled_at": record["enrolled_at"],
                "note": record["note"],
                "revoked": is_revoked,
            }
            for record, is_revoked in home.state.gateways.page(after, limit)
        ],
    }


def print_home(description: dict[str, Any]) -> None:
    """Print a description as tables."""
    print(f"{description['iss']}  broker {description['broker']}")
    for name, url in sorted(description["uploads"].items()):
        print(f"uploads to {name}: {url}")
    trust = description["trust"]
    print(f"trust bundle: version {trust['version']}, {trust['state']}" if trust else "trust bundle: none signed yet")
    print()
    rows = [(each["person"], each["role"], each["until"][:10], each["kid"]) for each in description["people"]]
    print_table(("PERSON", "ROLE", "UNTIL", "KID"), rows)
    print()
    print_table(
        ("ROOT SET", "SIGN", "THUMBPRINT"),
        [
            (each["set"], f"{each['threshold']} of {len(each['thumbprints'])}", print_of)
            for each in description["roots"]
            for print_of in each["thumbprints"]
        ],
    )
    print()
    print_table(("AGE RECIPIENT", "FOR"), [(age, role) for role, age in sorted(description["recipients"].items())])
    if description["gateways"]:
        print()
        gateways = [
            (each["gateway"], "REVOKED" if each["revoked"] else each["enrolled_at"], each["note"])
            for each in description["gateways"]
        ]
        print_table(("GATEWAY", "ENROLLED", "NOTE"), gateways)


def _describe_trust(home: RtccHome, now: UtcNs) -> dict[str, Any] | None:
    if home.find_bundle() is None:
        return None
    try:
        bundle = load_trust(home, now)
    except (ConfigError, DenialError) as error:
        return {"version": home.bundle_versions()[-1], "state": f"does not verify: {error}", "expires": None}
    named = set(bundle.keys)
    waiting = [person.name for person in home.people.present() if person.kid not in named]
    state = f"expires {encode_rfc3339(bundle.expires)}" if now < bundle.expires else "EXPIRED"
    if waiting:
        state += f"; not in it yet: {', '.join(waiting)}"
    return {"version": bundle.version, "state": state, "expires": encode_rfc3339(bundle.expires)}
