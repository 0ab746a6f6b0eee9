"""Requests that wait for two persons, unsigned, until each has signed at a machine of their own.

Owns the documents of each draft in a home's state, which may lie on a share that holds no person's key, or on a server:
``draft.json``; ``payload-SECONDS.json``, with the times that were set when the second person opened it;
``SECONDS-PERSON.jws``, one signature each. No document is written twice, so two machines cannot spoil each other's.
The signed payload is the one that was shown, byte for byte.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import ConfigError, CustodyError, DenialError, EvidenceError
from edge_agent.protocol import jws
from edge_agent.protocol.request import Role
from edge_agent.protocol.request_jws import TYP, check_payload
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.keys import SigningKey, encode_json, kid_of, load_signing_key, make_id
from edge_agent.rtcc.office.people import Signatory
from edge_agent.rtcc.office.request import RequestDraft, SignedRequest, build_payload, load_request
from edge_agent.units import MINUTE_NS, SECOND_NS, UtcNs, encode_rfc3339, parse_rfc3339

if TYPE_CHECKING:
    from edge_agent.rtcc.state.drafts import DraftDocuments

SIGN_WITHIN_NS = 15 * MINUTE_NS
"""From the moment at which the second person opens a draft until the first one has signed as well."""
CLOCKS_DIFFER_NS = 5 * SECOND_NS
TIMES = ("iat", "nbf", "exp", "release_by")
_DRAFT = "draft.json"
_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_PAYLOAD = re.compile(r"payload-([0-9]{1,12})\.json")


@dataclass(frozen=True, slots=True)
class StoredDraft:
    """A request without times and signatures."""

    id: str
    """Of the draft; the request has the same."""
    drafted_by: str
    members: Mapping[str, Any]
    """Of the payload, but for its times."""
    valid_ns: int
    release_within_ns: int


@dataclass(frozen=True, slots=True)
class OpenedDraft:
    """The payload that a person sees and signs."""

    draft: StoredDraft
    payload: bytes
    opened_at: UtcNs
    signed_by: tuple[str, ...]
    """The people who have signed these very bytes."""

    @property
    def sign_until(self) -> UtcNs:
        """When it must be opened anew."""
        return UtcNs(self.opened_at + SIGN_WITHIN_NS)


class RequestDrafts:
    """The drafts of a home."""

    def __init__(self, home: RtccHome) -> None:
        self._home = home

    @property
    def _documents(self) -> "DraftDocuments":
        return self._home.state.drafts

    def add(self, draft: RequestDraft, drafted_by: str, now: UtcNs) -> StoredDraft:
        """Keep a draft, without a signature yet.

        Raises:
            CustodyError: No person of that name is known here.
        """
        _find_person(self._home, drafted_by)
        draft_id = make_id()
        payload = build_payload(draft, self._home.settings.iss, draft_id, now)
        content = {
            "drafted_by": drafted_by,
            "members": {name: value for name, value in payload.items() if name not in TIMES},
            "valid_ns": int(parse_rfc3339(payload["exp"]) - now),
            "release_within_ns": draft.release_within_ns,
        }
        self._documents.add(draft_id, _DRAFT, encode_json(content))
        return self.load(draft_id)

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all drafts that were not sent."""
        return tuple(each for each in self._documents.ids(_DRAFT) if not self._home.has_request(each))

    def load(self, draft_id: str) -> StoredDraft:
        """Read a draft.

        Raises:
            ConfigError: There is none; or no gateway would read it, so that it might not be shown as it is.
        """
        content = self._documents.read(draft_id, _DRAFT) if _ID.fullmatch(draft_id) else None
        if content is None:
            raise ConfigError(f"no such draft: {draft_id[:64]!r}", "`rtcc countersign` lists them")
        try:
            raw = json.loads(content)
            members, valid_ns, within_ns = dict(raw["members"]), int(raw["valid_ns"]), int(raw["release_within_ns"])
            stored = StoredDraft(draft_id, str(raw["drafted_by"]), members, valid_ns, within_ns)
            check_payload(jws.encode_json({**members, **_times(stored, UtcNs(0))}))
            if members["jti"] != draft_id:
                raise ValueError("its request has another id")
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError, DenialError) as error:
            raise ConfigError(f"not a draft of a request: id={draft_id}", "do not sign it; draft it anew") from error
        return stored

    def open(self, draft_id: str, person: str, now: UtcNs) -> OpenedDraft:
        """Return what a person is to sign, with its times.

        The second person's opening sets them; until ``sign_until`` everybody sees the same. The person who drafted it
        signs after the second one: before that there is nothing to sign.

        Raises:
            ConfigError: No such draft.
            EvidenceError: No second person has opened it yet, or not lately; or both have signed it already.
            CustodyError: The person is not known here.
        """
        _find_person(self._home, person)
        draft = self.load(draft_id)
        if self._home.has_request(draft_id):  # another payload under its id would be another request
            raise EvidenceError(f"both have signed it already: id={draft_id}", "to ask again, draft it anew")
        current = self._find_payload(draft, now)
        if current is None:
            if person == draft.drafted_by:
                raise EvidenceError(
                    f"draft waits for a second person: id={draft_id}", "they run `rtcc countersign`; then you sign"
                )
            current = self._set_times(draft, now)
        return current

    def sign(self, opened: OpenedDraft, person: str, key: SigningKey, now: UtcNs) -> SignedRequest | None:
        """Add a person's signature.

        Returns:
            The request, once everybody who is needed has signed; verified as a gateway would.

        Raises:
            CustodyError: The key is not this person's.
            EvidenceError: The time for it is over.
            DenialError: Every gateway would refuse the request.
        """
        if _find_person(self._home, person).kid != kid_of(key):
            raise CustodyError(f"key is not that person's: {person}")
        if now >= opened.sign_until:
            raise EvidenceError("the time for signing is over: open it again")
        name = f"{opened.opened_at // SECOND_NS}-{person}.jws"
        if self._documents.read(opened.draft.id, name) is None:
            self._documents.add(opened.draft.id, name, jws.sign_with(TYP, opened.payload, [key]))
        return self.find_signed(opened, now)

    def find_signed(self, opened: OpenedDraft, now: UtcNs) -> SignedRequest | None:
        """Return the request, if an operator and a supervisor have signed these very bytes."""
        persons = self._signed_by(opened.draft.id, opened.opened_at)
        roles = {_find_person(self._home, person).role for person in persons}
        if not {Role.OPERATOR, Role.SUPERVISOR} <= roles:
            return None
        try:
            names = [f"{opened.opened_at // SECOND_NS}-{person}.jws" for person in persons]
            messages = [json.loads(self._documents.read(opened.draft.id, name) or b"") for name in names]
            # RFC 7515, section 7.2.1: one payload, many signatures. Each was made alone, at a
            # machine of its own.
            general = {"payload": messages[0]["payload"], "signatures": [each["signatures"][0] for each in messages]}
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise EvidenceError(f"a signature of this draft cannot be read: id={opened.draft.id}") from error
        # Names of documents were all that counted so far: every signature is verified here, as a
        # gateway would.
        return load_request(self._home, jws.encode_json(general), now)

    def _set_times(self, draft: StoredDraft, now: UtcNs) -> OpenedDraft:
        payload = jws.encode_json({**draft.members, **_times(draft, now)})
        self._documents.add(draft.id, f"payload-{now // SECOND_NS}.json", payload)
        return OpenedDraft(draft, payload, now, ())

    def _find_payload(self, draft: StoredDraft, now: UtcNs) -> OpenedDraft | None:
        """Return the payload that was opened lately; times that do not follow from its name are not believed."""
        found = [int(match[1]) for name in self._documents.names(draft.id) if (match := _PAYLOAD.fullmatch(name))]
        # No opening lies ahead: two machines' clocks may differ by a little.
        moments = sorted(each for each in found if each * SECOND_NS <= now + CLOCKS_DIFFER_NS)
        if not moments or now >= moments[-1] * SECOND_NS + SIGN_WITHIN_NS:
            return None
        opened_at = UtcNs(moments[-1] * SECOND_NS)
        payload = self._documents.read(draft.id, f"payload-{moments[-1]}.json")
        if payload is None or payload != jws.encode_json({**draft.members, **_times(draft, opened_at)}):
            raise EvidenceError(f"draft and its payload differ: id={draft.id}", "do not sign it; draft it anew")
        return OpenedDraft(draft, payload, opened_at, self._signed_by(draft.id, opened_at))

    def _signed_by(self, draft_id: str, opened_at: UtcNs) -> tuple[str, ...]:
        """Return who has signed what was opened then."""
        start = f"{opened_at // SECOND_NS}-"
        names = [name for name in self._documents.names(draft_id) if name.startswith(start) and name.endswith(".jws")]
        return tuple(name.removeprefix(start).removesuffix(".jws") for name in names)


def _times(draft: StoredDraft, now: UtcNs) -> dict[str, str]:
    release_by = UtcNs(now + draft.release_within_ns)
    expires = UtcNs(min(now + draft.valid_ns, release_by))
    moments = {"iat": now, "nbf": now, "exp": expires, "release_by": release_by}
    return {name: encode_rfc3339(moment) for name, moment in moments.items()}


def _find_person(home: RtccHome, name: str) -> Signatory:
    person = home.people.find(name)
    if person is None:
        raise CustodyError(f"not a person of this home: {name[:64]!r}", "`rtcc keys show` lists them")
    return person


def load_person_key(home: RtccHome, name: str, path: Path | None) -> SigningKey:
    """Read a person's key from a file of their own, or from the home if it lies there."""
    if path is not None:
        return load_signing_key(path, home.passphrase)
    return home.people.load_key(name, *Role)
