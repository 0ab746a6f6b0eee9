"""Why the gate refuses, trims or waits: every stable reason code, its check and its plain sentence.

Owns the closed list that documents, tests, ledger and commands share (PROTOCOL 4). A code never changes its meaning and
is never used again. Which reader gets which reason is not decided here: an outsider learns nothing from a code.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to be refused: its code, its check of PROTOCOL 4 (0: the trust bundle's own), and its sentence."""

    code: str
    check: int
    sentence: str
    """A template: the names in braces are filled by ``say``."""


_RULES = (
    # The trust bundle itself (PROTOCOL 5).
    Rule("trust-threshold", 0, "Fewer than {threshold} of the roots in use signed the trust bundle."),
    Rule("trust-new-roots-threshold", 0, "Fewer than {threshold} of the new roots signed the trust bundle."),
    Rule("trust-roots-invalid", 0, "The roots of the trust bundle are not a threshold of different keys."),
    Rule("trust-key-invalid", 0, "A key of the trust bundle is not what it says it is ({kid})."),
    Rule("trust-recipients", 0, "The trust bundle must name one evidence recipient and at most one for escrow."),
    Rule("trust-issuer-changed", 0, "The trust bundle is from another issuer than the one in use."),
    Rule("trust-rollback", 0, "The trust bundle is not newer than version {version}, which was accepted before."),
    Rule("trust-lifetime", 0, "The trust bundle lives longer than {limit}, or not at all."),
    Rule("trust-from-future", 0, "The trust bundle was issued in the future."),
    # Check 1: size.
    Rule("too-large", 1, "The message is larger than {limit} bytes."),
    # Check 2: strict JSON.
    Rule("json-malformed", 2, "The message is not strict JSON: {detail}."),
    Rule("json-too-deep", 2, "The message is nested deeper than {limit} levels."),
    Rule("json-duplicate-member", 2, "The member {member} stands twice in one object."),
    Rule("member-unknown", 2, "The member {member} is not known."),
    Rule("member-missing", 2, "The member {member} is missing."),
    Rule("member-invalid", 2, "The member {member} is not valid: {detail}."),
    # Check 3: the protected headers.
    Rule("jws-unprotected-header", 3, "A signature carries a header that it does not protect."),
    Rule("jws-header-missing", 3, "A protected header lacks {member}."),
    Rule("jws-header-unknown", 3, "A protected header carries {member}; exactly alg, kid and typ are allowed."),
    Rule("jws-crit", 3, "A protected header carries crit; no extension is understood here."),
    Rule("jws-key-in-header", 3, "A protected header brings a key or an address of one ({member})."),
    Rule("jws-typ", 3, "The message is of another type than {expected}."),
    Rule("jws-alg", 3, "The algorithm {alg} is not allowed; Ed25519 and ES256 are."),
    # Check 4: the keys.
    Rule("trust-missing", 4, "There is no trust bundle yet."),
    Rule("trust-expired", 4, "The trust bundle expired on {expires}."),
    Rule("key-unknown", 4, "A signature names a key that is not in the trust bundle."),
    Rule("key-revoked", 4, "A signature was made with a revoked key."),
    Rule("key-not-yet-valid", 4, "A signature was made with a key that is not valid yet."),
    Rule("key-expired", 4, "A signature was made with a key that is no longer valid."),
    Rule("key-alg-mismatch", 4, "A signature names an algorithm that is not its key's."),
    # Check 5: the signatures.
    Rule("signature-invalid", 5, "A signature does not verify."),
    # Check 6: two persons, two keys, two roles.
    Rule("signature-repeated", 6, "The same signature stands there twice."),
    Rule("same-key", 6, "Two signatures were made with one key."),
    Rule("same-person", 6, "Two signatures are from one person."),
    Rule("operator-missing", 6, "No operator signed."),
    Rule("supervisor-missing", 6, "No supervisor signed."),
    Rule("role-repeated", 6, "Two signatures are of one role."),
    # Check 7: from whom, for whom.
    Rule("issuer-unknown", 7, "The request is from another issuer than the one this gateway is enrolled with."),
    Rule("audience-mismatch", 7, "The request is for another gateway or another area."),
    # Check 8: replay.
    Rule("jti-reused", 8, "The request's id was used before, with another content."),
    # Check 9: time.
    Rule("clock-unsynchronised", 9, "The gateway's clock is not synchronised; nothing is decided until it is."),
    Rule("issued-in-future", 9, "The request was issued in the future."),
    Rule("issued-before-store", 9, "The request was issued before this gateway's memory began."),
    Rule("not-yet-valid", 9, "The request is not valid yet."),
    Rule("expired", 9, "The request arrived after its time."),
    Rule("validity-too-long", 9, "The request may arrive for longer than {limit} after it was issued."),
    Rule("validity-inverted", 9, "The request's times are not in order."),
    Rule("release-by-too-late", 9, "The request asks for release later than {limit} after it was issued."),
    Rule("release-by-passed", 9, "The time by which the clip had to be released has passed."),
    # Check 10: the incident.
    Rule("incident-window-too-long", 10, "The incident's window is longer than {limit}."),
    Rule("clip-outside-incident", 10, "The clip is not inside the incident's window."),
    Rule("incident-in-future", 10, "The incident's window ends in the future."),
    Rule("clip-in-future", 10, "The clip ends in the future."),
    Rule("incident-reported-late", 10, "The incident was reported after the request was issued."),
    Rule("incident-changed", 10, "The facts of this incident are others than when it was first seen."),
    # Check 11: consent, the whole house.
    Rule("consent-missing", 11, "No consent is signed for this camera."),
    Rule("consent-not-yet-valid", 11, "The consent signed for this camera is not valid before {date}."),
    Rule("consent-expired", 11, "The consent signed for this camera ended on {date}."),
    Rule("consent-revoked", 11, "The owner revoked the consent for this camera."),
    Rule("consent-superseded", 11, "A newer version of this camera's consent was signed before."),
    Rule("consent-facts-changed", 11, "What the consent leans on has changed ({facts}); it must be signed again."),
    Rule("consent-invalid", 11, "The consent of this camera does not verify: {detail}."),
    Rule("release-by-too-soon", 11, "The clip would have to be released before the owner's cooling-off ends."),
    Rule("release-paused", 11, "The owner has paused release."),
    Rule("agency-not-consented", 11, "The owner did not consent to requests from this agency."),
    Rule("dispatch-missing", 11, "The owner's terms ask for a dispatch signature as well."),
    Rule("reported-too-late", 11, "The incident was reported more than {limit} before the request."),
    Rule("blackout-date", 11, "The owner's terms exclude {date}."),
    # Check 11: consent, one camera.
    Rule("camera-unknown", 11, "There is no such camera here."),
    Rule("camera-paused", 11, "The owner has paused this camera."),
    Rule("mode-deny", 11, "The owner said no for this camera."),
    Rule("category-not-consented", 11, "The owner did not consent to requests for {category}."),
    Rule("place-missing", 11, "No place is configured for this camera; how far it is from the incident is unknown."),
    Rule("ring-unreadable", 11, "A ring of this camera cannot be read now."),
    Rule("consent-file-unreadable", 11, "The consent file is missing or cannot be read now."),
    Rule("too-far", 11, "The incident is farther than {limit} m from this camera."),
    Rule("window-too-long", 11, "The clip is longer than the {limit} that this camera allows."),
    Rule("footage-too-old", 11, "The clip begins more than {limit} ago."),
    Rule("outside-hours", 11, "The clip lies outside this camera's hours."),
    Rule("quality-not-consented", 11, "The owner consented to {allowed} quality only."),
    Rule("quota-day", 11, "The {limit} requests in 24 hours of this camera are used up."),
    Rule("quota-month", 11, "The {limit} requests in 30 days of this camera are used up."),
    Rule("quota-incident", 11, "The {limit} requests for one incident of this camera are used up."),
    Rule("quota-minutes", 11, "The {limit} minutes in 30 days of this camera are used up."),
    # Check 11: the owner's answer.
    Rule("approval-mismatch", 11, "The owner's approval is for another request."),
    Rule("approval-outside-ask", 11, "The owner's approval goes beyond what was offered."),
    Rule("offer-changed", 11, "What can leave has changed since the owner looked; they have to look again."),
    Rule("approval-missing", 11, "The owner would be asked about this camera now, and was not."),
    Rule("approval-narrowed", 11, "The owner approved less than was asked."),
    Rule("owner-denied", 11, "The owner said no to this request."),
    Rule("owner-silent", 11, "The owner did not answer in time."),
    Rule("owner-cancelled", 11, "The owner cancelled this release."),
    Rule("grant-narrowed", 11, "Less is granted now than when the clip was made, or to somebody else."),
    # Parts that a grant leaves out.
    Rule("hours-trimmed", 11, "Parts of the clip lie outside this camera's hours and are left out."),
    Rule("camera-not-granted", 11, "This camera is not among those granted."),
    Rule("audio-not-consented", 11, "The owner did not consent to sound; the clip is without."),
)

RULES: Mapping[str, Rule] = {rule.code: rule for rule in _RULES}
"""All rules by code, in the order of the checks."""

TRANSIENT = frozenset({"clock-unsynchronised", "trust-missing"})
"""Reasons that pass by themselves: the request waits, within its own times, and is judged again."""

UNKNOWN = TRANSIENT | {"ring-unreadable", "consent-file-unreadable"}
"""Reasons that say nothing against a camera but that it cannot be judged now: no step is taken, and nothing is lost.

At arrival the last two are a denial, because nothing was decided yet that could wait.
"""

TIMED = frozenset(
    {"release-by-passed", "consent-not-yet-valid", "consent-expired", "owner-silent"}
    | {"trust-expired", "key-not-yet-valid", "key-expired"}
)
"""Reasons that rest on the wall clock: while it is not believed, they are no reasons."""


def say(code: str, **values: object) -> str:
    """Return the sentence of a code with its values filled in."""
    return RULES[code].sentence.format(**values)


def main() -> None:
    """Print the table of PROTOCOL 4.1."""
    print("| check | code | sentence |\n|---|---|---|")
    for rule in RULES.values():
        print(f"| {rule.check} | `{rule.code}` | {rule.sentence.replace('{', '<').replace('}', '>')} |")


if __name__ == "__main__":
    main()
