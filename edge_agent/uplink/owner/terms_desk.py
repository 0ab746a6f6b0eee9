"""Terms at the desk: the terms in force, a change in plain words, its draft, and its adoption once it is signed.

Owns the way from a form to ``consent.yaml`` and one camera's consent. The text is the owner's file with other values in
it. The sentence of the notice is made from the payload that will be signed.
"""

import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.base64url import encode_b64url
from edge_agent.consent import owner_order
from edge_agent.consent.house_state import CameraInForce
from edge_agent.consent.meet import differences
from edge_agent.consent.owner_order import build_order
from edge_agent.consent.plain_words import WAIVER, describe, describe_camera, describe_house, notice
from edge_agent.consent.policy import Policy, Terms, encode_terms, parse_policy
from edge_agent.consent.signed_consent import TYP, ConsentEvent, build_consent, effective, read_built
from edge_agent.custody.enrolment_file import load_enrolment
from edge_agent.errors import ConfigError, EdgeAgentError, UsageError
from edge_agent.host.control_socket import Handler, Peer, Reply, read_texts
from edge_agent.host.page_socket import PushLimit
from edge_agent.host.regular_file import read_regular
from edge_agent.local_time import encode_local
from edge_agent.protocol.request import Category
from edge_agent.settings.gateway import Config
from edge_agent.settings.yaml_edit import edit_yaml
from edge_agent.texts import LANGUAGES, Language, Texts
from edge_agent.units import SECOND_NS, UtcNs
from edge_agent.uplink.inbound.consent_files import MAX_FILE_BYTES, HouseReader, load_facts
from edge_agent.uplink.owner import adoption
from edge_agent.uplink.owner.desk_codes import DeskDraft, ToSign
from edge_agent.uplink.owner.orders import OwnerOrders

log = logging.getLogger(__name__)

CAMERA_TERMS = ("mode", "hours", "categories", "distance_m", "window", "requests_per_day", "audio")
HOUSE_TERMS = ("agencies", "ask_timeout", "cooling_off", "expires_after")
"""The terms that the desk's form can change; everything else stays as the file says."""
_LATER = "change this later, or at the gateway: sudo edge-agent consent sign"
_READ_BURST, _READ_EVERY_S = 40, 0.5


class TermsDesk:
    """Drafts and handlers.

    Args:
        config: Cameras, and where the files lie.
        orders: The owner's key, versions, and the clock by which a signature begins.
        house_reader: The consents that count now.
        texts: The owner's language.
        hand_over: Asks the owner's ``take-consent``, which meets everything that is open with the new terms.
    """

    def __init__(
        self,
        config: Config,
        orders: OwnerOrders,
        house_reader: HouseReader,
        texts: Texts,
        hand_over: Callable[[str, Mapping[str, Any]], object],
    ) -> None:
        self._config, self._house_reader, self._hand_over = config, house_reader, hand_over
        self._orders, self._store, self._clock, self._texts = orders, orders.store, orders.clock, texts
        self._limit = PushLimit(_READ_BURST, _READ_EVERY_S, time.monotonic)

    @property
    def reads(self) -> Mapping[str, Handler]:
        """The commands without a signature."""
        return {"terms-form": self._show_form, "terms-preview": self._preview}

    @property
    def commands(self) -> Mapping[str, Handler]:
        """The commands that carry a signed draft out; not for a socket."""
        return {"adopt-terms": self._adopt}

    def _show_form(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
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

    def _preview(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        self._limit.demand()
        language: Language = next((each for each in LANGUAGES if each == members.get("language")), "en")
        _, _, terms = self._change(members, self._read())
        return {"lines": [*describe_camera(terms, language), *describe_house(terms, language)]}

    # Draft

    def draft(self, members: Mapping[str, Any], gateway: str) -> DeskDraft:
        """Draft a camera's terms as the form says: the file's text, and the consent.

        Raises:
            UsageError: A value that no term takes, or a camera whose ring is not there yet.
        """
        adoption.demand_free(self._config)
        before = self._read()
        camera, text, terms = self._change(members, before)
        config, now = self._config, UtcNs(self._clock.utc() // SECOND_NS * SECOND_NS)
        found = config.demand_camera(camera)
        facts = load_facts(config, load_enrolment(config.uplink.enrolment), found, self._store.read_id())
        if len(facts.streams) < len(found.qualities):
            raise UsageError(f"{camera}: its ring is not there yet, and the terms are bound to it")
        stored = self._store.consents.find(camera)
        version = (0 if stored is None else stored.version) + 1
        language: Language = config.gateway.language
        event = ConsentEvent(self._orders.thumbprint, now)
        payload = build_consent(facts, found.title, terms, notice(language), version, event)
        digest = encode_b64url(hashlib.sha256(text.encode()).digest())
        order_id = encode_b64url(secrets.token_bytes(16))
        was = encode_b64url(hashlib.sha256(before.encode()).digest())
        order = build_order("adopt", {"file": "consent", "sha256": digest, "was": was}, gateway, order_id, now)
        messages = (ToSign(owner_order.TYP, order), ToSign(TYP, payload))
        files = parse_policy(before, str(config.consent.file)), parse_policy(text, "terms")
        sentence = self._say(camera, payload, files, language)
        return DeskDraft(
            "sign", messages, sentence, "adopt-terms", {"camera": camera, "text": text}, {"camera": camera},
            " ".join(WAIVER[language].split("\n")),
        )  # fmt: skip

    def _say(self, camera: str, payload: bytes, files: tuple[Policy, Policy], language: Language) -> str:
        """Say, from the bytes, every term of any camera that counts otherwise than now once this is signed.

        Raises:
            UsageError: No consent of this camera is in force, so there is nothing to compare with: ring, sources and
                RTCC are shown by the terminal alone. Or another camera's file terms change, and its consent may come
                to count again, so that no sentence could say how much.
        """
        before, file = files
        built, now = read_built(payload), self._clock.utc()
        house = self._house_reader.read(now)
        lines = []
        for name, state in house.cameras.items():
            if not _counts(state, now):
                if name == camera:
                    raise UsageError(
                        f"{camera}: no consent is in force that could be changed",
                        "sign this one at the gateway, which shows all of it: sudo edge-agent consent sign",
                    )
                stored = self._store.consents.find(name)
                if stored is not None and not stored.is_revoked and before.terms(name) != file.terms(name):
                    raise UsageError(f"{name}: its consent cannot be read now, and this changes its terms too", _LATER)
                continue
            assert state.consent is not None
            assert state.terms is not None
            signed = built.terms if name == camera else state.consent.terms
            after = effective(signed, file.terms(name))
            said = [describe(each.path, each.file, language) for each in differences(state.terms, after)]
            lines += said if name == camera else [f"{name}: {each}" for each in said]
        until = encode_local(built.valid_until, ZoneInfo(self._config.gateway.time_zone))
        texts = self._texts
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

    def _change(self, members: Mapping[str, Any], before: str) -> tuple[str, str, Terms]:
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
        text = edit_yaml(before, str(self._config.consent.file), changes)
        try:
            terms = parse_policy(text, "terms").terms(camera)
        except ConfigError as error:
            raise UsageError(f"these terms cannot be: {error}") from error
        if terms is None:
            raise UsageError("the form names no term")
        return camera, text, terms

    # Carry out

    def _adopt(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        """Take the consent in, and leave the text for root; write that as well if this user may (a trial)."""
        with adoption.alone():
            return self._carry_out(members)

    def _carry_out(self, members: Mapping[str, Any]) -> Reply:
        order, consent = read_texts(members, "signed")
        camera, text, now = str(members["camera"]), str(members["text"]), self._clock.utc()
        path = adoption.demand_order(self._config, order.encode(), text, now)
        adoption.demand_free(self._config)
        before = adoption.expect(self._config, path, text)
        try:
            self._hand_over("take-consent", {"camera": camera, "jws": consent})
        except Exception:
            adoption.forget(self._config, before)
            raise
        log.info("terms signed at the desk camera=%s", camera)
        try:
            is_put = adoption.put_or_leave(self._config, order.encode(), text, now)
        except (EdgeAgentError, OSError) as error:  # the consent counts, and the note tells that the file does not
            log.error("terms signed at the desk do not reach their file camera=%s: %s", camera, error)
            return {"state": "lost"}
        return {"state": "signed" if is_put else "left"}


def _counts(state: CameraInForce, now: UtcNs) -> bool:
    """Tell whether a camera's consent is in force: a change is compared with its terms."""
    consent = state.consent
    if consent is None or state.terms is None or state.unknown is not None or state.revoked:
        return False
    return consent.valid_from <= now < consent.valid_until
