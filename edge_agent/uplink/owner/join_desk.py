"""Joining an RTCC at the desk: the application that this gateway sends, and the file that the RTCC sends back.

The roots in that file decide who may ask for footage. Their thumbprints are in the sentence that the notice brings; the
owner compares them with those that the RTCC publishes.
"""

import hashlib
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from edge_agent.base64url import encode_b64url
from edge_agent.consent import owner_order
from edge_agent.consent.owner_order import build_order
from edge_agent.custody.enrolment_file import load_enrolment
from edge_agent.custody.keys import KeyStore
from edge_agent.errors import ConfigError, EdgeAgentError, UsageError
from edge_agent.host.clock import Clock
from edge_agent.host.control_socket import Handler, Peer, Reply
from edge_agent.host.regular_file import read_regular
from edge_agent.protocol.enrolment import MAX_ENROLMENT_BYTES, parse_enrolment
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.settings.gateway import Config
from edge_agent.texts import Texts
from edge_agent.uplink.owner import adoption
from edge_agent.uplink.owner.desk_codes import DeskDraft, ToSign

log = logging.getLogger(__name__)

CSR_FILE = "gateway.csr"
"""Beside the enrolment file, as ``edge-agent init`` wrote it."""


class JoinDesk:
    """A draft, and handlers.

    Args:
        config: Paths of the files.
        clock: When the order begins.
        texts: The owner's language.
    """

    def __init__(self, config: Config, clock: Clock, texts: Texts) -> None:
        self._config, self._clock, self._texts = config, clock, texts

    @property
    def reads(self) -> Mapping[str, Handler]:
        """The commands without a signature."""
        return {"join": self._show}

    @property
    def commands(self) -> Mapping[str, Handler]:
        """The commands that carry a signed draft out; not for a socket."""
        return {"adopt-enrolment": self._adopt}

    def _show(self, _members: Mapping[str, Any], _peer: Peer) -> Reply:
        path = self._config.uplink.enrolment
        try:
            csr = read_regular(path.with_name(CSR_FILE)).decode()
        except (OSError, UnicodeDecodeError):
            csr = ""
        try:
            issuer = load_enrolment(path).iss if path.exists() else ""
        except EdgeAgentError:
            issuer = ""
        key = KeyStore(self._config.state_dir, "releaser").load_public("gateway")
        return {"csr": csr, "issuer": issuer, "key": thumbprint(key)}

    def draft(self, members: Mapping[str, Any], gateway: str) -> DeskDraft:
        """Draft that an enrolment file is installed; UsageError for one that is none, or another gateway's."""
        adoption.demand_free(self._config)
        text = str(members.get("enrolment", ""))
        if len(text.encode()) > MAX_ENROLMENT_BYTES:
            raise UsageError("this is no enrolment file: it is too long")
        try:
            enrolment = parse_enrolment(text.encode(), "enrolment")
        except ConfigError as error:
            raise UsageError(f"this is no enrolment file: {error}") from error
        key = KeyStore(self._config.state_dir, "releaser").load_private("tls").public_key()
        if thumbprint(key) != enrolment.tls_thumbprint:
            raise UsageError("the certificate is for another gateway's key: send this one's own request to the RTCC")
        digest = encode_b64url(hashlib.sha256(text.encode()).digest())
        order_id = encode_b64url(secrets.token_bytes(16))
        was = encode_b64url(adoption.digest_file(self._config.uplink.enrolment))
        value = {"file": "enrolment", "sha256": digest, "was": was}
        order = build_order("adopt", value, gateway, order_id, self._clock.utc())
        texts = self._texts
        said = texts(
            "this gateway joins {agency}; who may ask is decided by {threshold} of: {roots}; "
            "footage goes to {uploads}; broker {broker}, authority {authority}",
            agency=enrolment.iss,
            threshold=enrolment.threshold,
            roots=", ".join(enrolment.root_thumbprints),
            uploads=", ".join(f"{name} {url}" for name, url in sorted(enrolment.uploads.items())),
            broker=", ".join(
                f"{host}:{port}"
                for host, port in ((enrolment.broker_host, enrolment.broker_port), *enrolment.more_brokers)
            ),
            authority=hashlib.sha256(enrolment.ca_pem.encode()).hexdigest()[:16],
        )
        return DeskDraft("join", (ToSign(owner_order.TYP, order),), said, "adopt-enrolment", {"text": text})

    def _adopt(self, members: Mapping[str, Any], _peer: Peer) -> Reply:
        order, text = str(members["jws"]).encode(), str(members["text"])
        now = self._clock.utc()
        with adoption.alone():
            path = adoption.demand_order(self._config, order, text, now)
            adoption.demand_free(self._config)
            # Before the text is left: a crash in between is then told as a file that did not
            # change.
            before = adoption.expect(self._config, path, text)
            try:
                is_put = adoption.put_or_leave(self._config, order, text, now)
            except Exception as error:
                adoption.forget(self._config, before)
                if isinstance(error, OSError):
                    raise ConfigError(f"the enrolment cannot be left for root: {error.strerror}") from error
                raise
        log.info("enrolment signed at the desk")
        return {"state": "signed" if is_put else "left"}
