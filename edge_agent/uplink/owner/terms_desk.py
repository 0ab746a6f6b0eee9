"""Terms at the desk: what they are, what a change would say, its draft, and what becomes of the signed one.

Owns the way from a form to ``consent.yaml`` and one camera's consent. The text is the owner's file with other values in
it. What the owner reads in the notice is made from the payload that will be signed.
"""

import hashlib
import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.base64url import encode_b64url
from edge_agent.consent import owner_order
from edge_agent.consent.meet import differences
from edge_agent.consent.owner_order import build_order
from edge_agent.consent.plain_words import describe, describe_camera, describe_house, notice
from edge_agent.consent.policy import Policy, Terms, encode_terms, parse_policy
from edge_agent.consent.signed_consent import TYP, build_consent, read_built
from edge_agent.custody.enrolment_file import load_enrolment
from edge_agent.errors import ConfigError, UsageError
from edge_agent.host.clock import Clock
from edge_agent.host.control_socket import Answer, Handler, Peer, read_texts
from edge_agent.host.page_socket import PushLimit
from edge_agent.host.regular_file import read_regular
from edge_agent.local_time import encode_local
from edge_agent.protocol.request import Category
from edge_agent.settings.gateway import Config
from edge_agent.settings.yaml_edit import edit_yaml
from edge_agent.texts import LANGUAGES, Language, Texts
from edge_agent.units import SECOND_NS, UtcNs
from edge_agent.uplink.inbound.consent_files import MAX_FILE_BYTES, Standing, load_facts
from edge_agent.uplink.owner import adoption
from edge_agent.uplink.owner.desk_codes import DeskDraft, ToSign
from edge_agent.uplink.store.requests import Store

log = logging.getLogger(__name__)

CAMERA_TERMS = ("mode", "hours", "categories", "distance_m", "window", "requests_per_day", "audio")
HOUSE_TERMS = ("agencies", "ask_timeout", "cooling_off", "expires_after")
"""What the desk's form can change; everything else stays as the file says."""
_READ_BURST, _READ_EVERY_S = 40, 0.5


class TermsDesk:
    """Drafts and handlers.

    Args:
        config: Cameras, and where the files lie.
        owner: Thumbprint of the owner's key.
        standing: What is signed and counts now.
        store: Versions.
        clock: When a signature begins.
        texts: The owner's language.
    """

    def __init__(
        self, config: Config, owner: str, standing: Standing, store: Store, clock: Clock, texts: Texts
    ) -> None:  # fmt: skip
        self._config, self._owner, self._standing = config, owner, standing
        self._store, self._clock, self._texts = store, clock, texts
        self._limit = PushLimit(_READ_BURST, _READ_EVERY_S, time.monotonic)

    @property
    def reads(self) -> Mapping[str, Handler]:
        """What the desk may ask without a signature."""
        return {"terms-form": self._show_form, "terms-preview": self._preview}

    @property
    def commands(self) -> Mapping[str, Handler]:
        """What carries a signed draft out; not for a socket."""
        return {"adopt-terms": self._adopt}

    def _show_form(self, members: Mapping[str, Any], _peer: Peer) -> Answer:
        self._limit.demand()
        camera = self._config.demand_camera(str(members.get("camera", ""))).id
        terms = self._load().terms(camera) or Terms()
        values = encode_terms(terms)
        issuer = load_enrolment(self._config.uplink.enrolment).iss
        return {
            "camera": {name: values["camera"][name] for name in CAMERA_TERMS},
            "house": {name: values["house"][name] for name in HOUSE_TERMS},
            "categories": [each.value for each in Category],
            "agencies": sorted({issuer, *values["house"]["agencies"]}),
            "is_named": self._load().terms(camera) is not None,
        }

    def _preview(self, members: Mapping[str, Any], _peer: Peer) -> Answer:
        self._limit.demand()
        language: Language = next((each for each in LANGUAGES if each == members.get("language")), "en")
        _, _, terms = self._change(members)
        return {"lines": [*describe_camera(terms, language), *describe_house(terms, language)]}

    # Draft

    def draft(self, members: Mapping[str, Any], gateway: str) -> DeskDraft:
        """Draft a camera's terms as the form says: the file's text, and the consent.

        Raises:
            UsageError: A value that no term takes, or a camera whose ring is not there yet.
        """
        camera, text, terms = self._change(members)
        config, now = self._config, UtcNs(self._clock.utc() // SECOND_NS * SECOND_NS)
        found = config.demand_camera(camera)
        facts = load_facts(config, load_enrolment(config.uplink.enrolment), found, self._store.read_id())
        if len(facts.streams) < len(found.qualities):
            raise UsageError(f"{camera}: its ring is not there yet, and the terms are bound to it")
        stored = self._store.find_consent(camera)
        version = (0 if stored is None else stored.version) + 1
        language: Language = config.gateway.language
        payload = build_consent(facts, found.title, terms, notice(language), version, now, self._owner)
        digest = encode_b64url(hashlib.sha256(text.encode()).digest())
        order_id = encode_b64url(secrets.token_bytes(16))
        order = build_order("adopt", {"file": "consent", "sha256": digest}, gateway, order_id, now)
        messages = (ToSign(owner_order.TYP, order), ToSign(TYP, payload))
        sentence = self._say(camera, payload, language)
        return DeskDraft(
            "sign", messages, sentence, "adopt-terms", {"camera": camera, "text": text}, {"camera": camera}
        )

    def _say(self, camera: str, payload: bytes, language: Language) -> str:
        """Say what is new since the last signature, from the bytes; of a first one, everything that the form has."""
        built = read_built(payload)
        earlier = self._standing.household(self._clock.utc()).cameras.get(camera)
        if earlier is not None and earlier.consent is not None:
            lines = [
                describe(each.path, each.file, language) for each in differences(earlier.consent.terms, built.terms)
            ]
        else:
            lines = [describe(f"camera.{name}", getattr(built.terms.camera, name), language) for name in CAMERA_TERMS]
            lines += [describe(f"house.{name}", getattr(built.terms.house, name), language) for name in HOUSE_TERMS]
        texts = self._texts
        until = encode_local(built.valid_until, ZoneInfo(self._config.gateway.time_zone))
        title = texts(
            "terms of {camera}, version {version}, until {until}", camera=camera, version=built.version, until=until
        )
        return " ".join((f"{title}.", *lines))

    def _load(self) -> Policy:
        return parse_policy(self._read(), str(self._config.consent.file))

    def _read(self) -> str:
        try:
            return read_regular(self._config.consent.file, MAX_FILE_BYTES, follow=True).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self._config.consent.file}: cannot be read") from error

    def _change(self, members: Mapping[str, Any]) -> tuple[str, str, Terms]:
        """Return the camera, the file's text with the form's values, and the terms that it says then."""
        camera = self._config.demand_camera(str(members.get("camera", ""))).id
        changes: dict[tuple[str, ...], Any] = {}
        for part, path, names in (
            ("terms", ("cameras", camera), CAMERA_TERMS), ("house", ("house",), HOUSE_TERMS),
        ):  # fmt: skip
            values = members.get(part, {})
            if not isinstance(values, Mapping) or not set(values) <= set(names):
                raise UsageError("the form has a term that the desk does not change")
            changes |= {(*path, name): values[name] for name in names if name in values}
        text = edit_yaml(self._read(), str(self._config.consent.file), changes)
        try:
            terms = parse_policy(text, "terms").terms(camera)
        except ConfigError as error:
            raise UsageError(f"these terms cannot be: {error}") from error
        if terms is None:
            raise UsageError("the form names no term")
        return camera, text, terms

    # Carry out

    def _adopt(self, members: Mapping[str, Any], _peer: Peer) -> Answer:
        """Take the consent in, and leave the text for root; write that as well if this user may (a trial)."""
        order, consent = (each.encode() for each in read_texts(members, "signed"))
        camera, text, now = str(members["camera"]), str(members["text"]), self._clock.utc()
        adoption.demand_order(self._config, order, text, now)
        with self._store.transaction() as connection:
            self._standing.take(connection, camera, consent, now)
        adoption.put_or_leave(self._config, order, text, now)
        log.info("terms signed at the desk camera=%s", camera)
        return {"state": "signed"}
