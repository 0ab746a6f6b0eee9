"""Why the gate refuses, trims or waits: every stable reason code, its check and its plain sentence.

Owns the closed list that documents, tests, ledger and commands share (PROTOCOL 4). A code never changes its meaning and
is never used again. Which reader gets which reason is not decided here: an outsider learns nothing from a code.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """One way to be refused: its code, its check of PROTOCOL 4 (0: the trust bundle's own), and its sentence."""

    code: str
    check: int
    sentence: str
    """A template: the names in braces are filled by ``say``."""


_CAUSES = (
    # The trust bundle itself (PROTOCOL 5).
    Cause("trust-threshold", 0, "Fewer than {threshold} of the roots in use signed the trust bundle."),
    Cause("trust-new-roots-threshold", 0, "Fewer than {threshold} of the new roots signed the trust bundle."),
    Cause("trust-roots-invalid", 0, "The roots of the trust bundle are not a threshold of different keys."),
    Cause("trust-key-invalid", 0, "A key of the trust bundle is not what it says it is ({kid})."),
    Cause("trust-recipients", 0, "The trust bundle must name one evidence recipient and at most one for escrow."),
    Cause("trust-issuer-changed", 0, "The trust bundle is from another issuer than the one in use."),
    Cause("trust-rollback", 0, "The trust bundle is not newer than version {version}, which was accepted before."),
    Cause("trust-lifetime", 0, "The trust bundle lives longer than {limit}, or not at all."),
    Cause("trust-from-future", 0, "The trust bundle was issued in the future."),
    # Check 1: size.
    Cause("too-large", 1, "The message is larger than {limit} bytes."),
    # Check 2: strict JSON.
    Cause("json-malformed", 2, "The message is not strict JSON: {detail}."),
    Cause("json-too-deep", 2, "The message is nested deeper than {limit} levels."),
    Cause("json-duplicate-member", 2, "The member {member} stands twice in one object."),
    Cause("member-unknown", 2, "The member {member} is not known."),
    Cause("member-missing", 2, "The member {member} is missing."),
    Cause("member-invalid", 2, "The member {member} is not valid: {detail}."),
    # Check 3: the protected headers.
    Cause("jws-unprotected-header", 3, "A signature carries a header that it does not protect."),
    Cause("jws-header-missing", 3, "A protected header lacks {member}."),
    Cause("jws-header-unknown", 3, "A protected header carries {member}; exactly alg, kid and typ are allowed."),
    Cause("jws-crit", 3, "A protected header carries crit; no extension is understood here."),
    Cause("jws-key-in-header", 3, "A protected header brings a key or an address of one ({member})."),
    Cause("jws-typ", 3, "The message is of another type than {expected}."),
    Cause("jws-alg", 3, "The algorithm {alg} is not allowed; Ed25519 and ES256 are."),
    # Check 4: the keys.
    Cause("trust-missing", 4, "There is no trust bundle yet."),
    Cause("trust-expired", 4, "The trust bundle expired on {expires}."),
    Cause("key-unknown", 4, "A signature names a key that is not in the trust bundle."),
    Cause("key-revoked", 4, "A signature was made with a revoked key."),
    Cause("key-not-yet-valid", 4, "A signature was made with a key that is not valid yet."),
    Cause("key-expired", 4, "A signature was made with a key that is no longer valid."),
    Cause("key-alg-mismatch", 4, "A signature names an algorithm that is not its key's."),
    # Check 5: the signatures.
    Cause("signature-invalid", 5, "A signature does not verify."),
    # Check 6: two persons, two keys, two roles.
    Cause("signature-repeated", 6, "The same signature stands there twice."),
    Cause("same-key", 6, "Two signatures were made with one key."),
    Cause("same-person", 6, "Two signatures are from one person."),
    Cause("operator-missing", 6, "No operator signed."),
    Cause("supervisor-missing", 6, "No supervisor signed."),
    Cause("role-repeated", 6, "Two signatures are of one role."),
    # Check 7: from whom, for whom.
    Cause("issuer-unknown", 7, "The request is from another issuer than the one this gateway is enrolled with."),
    Cause("audience-mismatch", 7, "The request is for another gateway or another area."),
    # Check 8: replay.
    Cause("jti-reused", 8, "The request's id was used before, with another content."),
    # Check 9: time.
    Cause("clock-unsynchronised", 9, "The gateway's clock is not synchronised; nothing is decided until it is."),
    Cause("issued-in-future", 9, "The request was issued in the future."),
    Cause("issued-before-store", 9, "The request was issued before this gateway's memory began."),
    Cause("not-yet-valid", 9, "The request is not valid yet."),
    Cause("expired", 9, "The request arrived after its time."),
    Cause("validity-too-long", 9, "The request may arrive for longer than {limit} after it was issued."),
    Cause("validity-inverted", 9, "The request's times are not in order."),
    Cause("release-by-too-late", 9, "The request asks for release later than {limit} after it was issued."),
    Cause("release-by-passed", 9, "The time by which the clip had to be released has passed."),
    # Check 10: the incident.
    Cause("incident-window-too-long", 10, "The incident's window is longer than {limit}."),
    Cause("clip-outside-incident", 10, "The clip is not inside the incident's window."),
    Cause("incident-in-future", 10, "The incident's window ends in the future."),
    Cause("clip-in-future", 10, "The clip ends in the future."),
    Cause("incident-reported-late", 10, "The incident was reported after the request was issued."),
    Cause("incident-changed", 10, "The facts of this incident are others than when it was first seen."),
    # Check 11: consent, the whole house.
    Cause("consent-missing", 11, "No consent is signed for this camera."),
    Cause("consent-not-yet-valid", 11, "The consent signed for this camera is not valid before {date}."),
    Cause("consent-expired", 11, "The consent signed for this camera ended on {date}."),
    Cause("consent-revoked", 11, "The owner revoked the consent for this camera."),
    Cause("consent-superseded", 11, "A newer version of this camera's consent was signed before."),
    Cause("consent-facts-changed", 11, "What the consent leans on has changed ({facts}); it must be signed again."),
    Cause("consent-invalid", 11, "The consent of this camera does not verify: {detail}."),
    Cause("release-by-too-soon", 11, "The clip would have to be released before the owner's cooling-off ends."),
    Cause("release-paused", 11, "The owner has paused release."),
    Cause("agency-not-consented", 11, "The owner did not consent to requests from this agency."),
    Cause("dispatch-missing", 11, "The owner's terms ask for a dispatch signature as well."),
    Cause("reported-too-late", 11, "The incident was reported more than {limit} before the request."),
    Cause("blackout-date", 11, "The owner's terms exclude {date}."),
    # Check 11: consent, one camera.
    Cause("camera-unknown", 11, "There is no such camera here."),
    Cause("camera-paused", 11, "The owner has paused this camera."),
    Cause("mode-deny", 11, "The owner said no for this camera."),
    Cause("category-not-consented", 11, "The owner did not consent to requests for {category}."),
    Cause("place-missing", 11, "No place is configured for this camera; how far it is from the incident is unknown."),
    Cause("ring-unreadable", 11, "A ring of this camera cannot be read now."),
    Cause("consent-file-unreadable", 11, "The consent file is missing or cannot be read now."),
    Cause("too-far", 11, "The incident is farther than {limit} m from this camera."),
    Cause("window-too-long", 11, "The clip is longer than the {limit} that this camera allows."),
    Cause("footage-too-old", 11, "The clip begins more than {limit} ago."),
    Cause("outside-hours", 11, "The clip lies outside this camera's hours."),
    Cause("quality-not-consented", 11, "The owner consented to {allowed} quality only."),
    Cause("quota-day", 11, "The {limit} requests in 24 hours of this camera are used up."),
    Cause("quota-month", 11, "The {limit} requests in 30 days of this camera are used up."),
    Cause("quota-incident", 11, "The {limit} requests for one incident of this camera are used up."),
    Cause("quota-minutes", 11, "The {limit} minutes in 30 days of this camera are used up."),
    # Check 11: the owner's answer.
    Cause("approval-mismatch", 11, "The owner's approval is for another request."),
    Cause("approval-outside-ask", 11, "The owner's approval goes beyond what was offered."),
    Cause("offer-changed", 11, "What can leave has changed since the owner looked; they have to look again."),
    Cause("approval-missing", 11, "The owner would be asked about this camera now, and was not."),
    Cause("approval-narrowed", 11, "The owner approved less than was asked."),
    Cause("owner-denied", 11, "The owner said no to this request."),
    Cause("owner-silent", 11, "The owner did not answer in time."),
    Cause("owner-cancelled", 11, "The owner cancelled this release."),
    Cause("grant-narrowed", 11, "Less is granted now than when the clip was made, or to somebody else."),
    # Parts that a grant leaves out.
    Cause("hours-trimmed", 11, "Parts of the clip lie outside this camera's hours and are left out."),
    Cause("camera-not-granted", 11, "This camera is not among those granted."),
    Cause("audio-not-consented", 11, "The owner did not consent to sound; the clip is without."),
)

CAUSES: Mapping[str, Cause] = {cause.code: cause for cause in _CAUSES}
"""All rules by code, in the order of the checks."""

TRANSIENT = frozenset({"clock-unsynchronised", "trust-missing"})
"""Reasons that pass by themselves: the request waits, within its own times, and is judged again."""

UNKNOWN = TRANSIENT | {"ring-unreadable", "consent-file-unreadable"}
"""Reasons for which a camera cannot be judged now, none of them against it: no step is taken, and nothing is lost.

At arrival the last two are a denial, because nothing was decided yet that could wait.
"""

TIMED = frozenset(
    {"release-by-passed", "consent-not-yet-valid", "consent-expired", "owner-silent"}
    | {"trust-expired", "key-not-yet-valid", "key-expired"}
)
"""Reasons that rest on the wall clock: while it is not believed, they are no reasons."""


def say(code: str, **values: object) -> str:
    """Return the sentence of a code with its values filled in."""
    return CAUSES[code].sentence.format(**values)


def say_code(code: str) -> str:
    """Return the sentence of a code; the code itself if it has none, or one with blanks to fill in."""
    try:
        return say(code)
    except KeyError:
        return code


def main() -> None:
    """Print the table of PROTOCOL 4.1."""
    print("| check | code | sentence |\n|---|---|---|")
    for rule in CAUSES.values():
        print(f"| {rule.check} | `{rule.code}` | {rule.sentence.replace('{', '<').replace('}', '>')} |")


if __name__ == "__main__":
    main()
