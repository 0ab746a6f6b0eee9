"""One ONVIF device by SOAP. Imported by child processes only: zeep, its parser and 50 MB must not live in the recorder.

Owns what is asked and how the answers are read: tokens, the camera's clock, and the addresses in its answers, which are
rewritten to the configured host (``capture.onvif.http_session`` lets nothing else out).
"""

# zeep is half typed.
# mypy: disable-error-code="no-untyped-call"

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit
from xml.sax.saxutils import escape

import requests
import zeep
import zeep.exceptions
import zeep.loader
from onvif.client import UsernameDigestTokenDtDiff
from onvif.definition import SERVICES
from requests.auth import HTTPDigestAuth
from zeep.wsse.username import UsernameToken

from edge_agent.capture.onvif.addresses import split_address
from edge_agent.capture.onvif.http_session import TIMEOUT_S, Border, DeviceError, OnvifTls, is_unauthorised
from edge_agent.capture.onvif.profiles import Profile, codec_name
from edge_agent.printable_text import show_line

MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"
MAX_URL_CHARACTERS = 2048
_SCHEMA = "http://www.onvif.org/ver10/schema"
_EVENTS = "http://www.onvif.org/ver10/events/wsdl"
_NOTIFICATION = "http://docs.oasis-open.org/wsn/b-2"
_SOAP = "http://www.w3.org/2003/05/soap-envelope"
# Not strict: many cameras leave out what the schema demands. Without DTDs no entity can grow or read a file.
_SETTINGS = zeep.Settings(strict=False, forbid_dtd=True)


@dataclass(frozen=True, slots=True)
class EventSubscription:
    """A pull point: a subscription to a camera's events, which we fetch."""

    url: str
    headers: list[Any]
    """Which the camera wants back with each request."""
    left_s: float | None
    """In how long it ends unless it is renewed; None if the camera does not say."""


class Device:
    """A camera's ONVIF services.

    Args:
        address: ``host[:port]`` or ``https://host[:port]``, as configured.
        username: Empty if the camera asks for none.
        password: Sent as a digest; as text only if the camera refuses the digest.
        tls: The trust in its certificate, for ``https``.

    Raises:
        DeviceError: The file of authorities cannot be used.
    """

    def __init__(self, address: str, username: str = "", password: str = "", tls: OnvifTls | None = None) -> None:
        self._base = urlsplit(f"{address if '://' in address else f'http://{address}'}/onvif/device_service")
        self._username, self._password = username, password
        self._border = Border(self._base, tls or OnvifTls())
        self._transport = self._border.transport
        self._clients: dict[str, zeep.Client] = {}
        self._services: dict[str, str] = {}
        self._sends_text = False
        self.clock_offset: dt.timedelta | None = None
        """How far the camera's clock is ahead of ours; None if it does not say without a login."""

    def connect(self) -> None:
        """Read the camera's clock without credentials, then ask where its services are."""
        self.clock_offset = self._read_clock()
        if self._username:
            # Answers a Digest challenge of HTTP itself, which some makers want instead of a token.
            self._border.session.auth = HTTPDigestAuth(self._username, self._password)
        try:
            answer = self._call("devicemgmt", "GetServices", IncludeCapability=False)
            self._services = {str(s.Namespace): str(s.XAddr) for s in answer if s.Namespace and s.XAddr}
        except DeviceError as error:
            if error.reason in ("unreachable", "no-answer"):
                raise
        if SERVICES["media"]["ns"] not in self._services and MEDIA2 not in self._services:
            self._services |= self._read_capabilities()

    @property
    def token(self) -> str:
        """The form in which the password is sent: ``none``, ``digest`` or ``text``."""
        return "none" if not self._username else "text" if self._sends_text else "digest"

    def read_identity(self) -> tuple[str, str]:
        """Return maker and model."""
        answer = self._call("devicemgmt", "GetDeviceInformation")
        maker, model = (str(text or "") for text in (answer.Manufacturer, answer.Model))
        return show_line(maker, 40), show_line(model, 40)

    def read_profiles(self) -> list[Profile]:
        """Return the profiles that have a video encoder; by Media2 if there is one (Media1 knows no H.265)."""
        if MEDIA2 in self._services:
            try:
                if found := self._read_profiles_media2():
                    return found
            except DeviceError as error:
                if error.reason != "onvif-failed":
                    raise
            # Announced and of no use: from here on this camera is asked by Media1.
            del self._services[MEDIA2]
        with self._border.translated():
            return list(_profiles_media1(self._call("media", "GetProfiles")))

    def read_stream_url(self, token: str, transport: str) -> str:
        """Return the URL of a profile's stream, with the configured host and without a login."""
        if MEDIA2 in self._services:
            protocol = "RtspUnicast" if transport == "udp" else "RTSP"
            body = f"<Protocol>{protocol}</Protocol><ProfileToken>{escape(token)}</ProfileToken>"
            answer = self._call_media2("GetStreamUri", body)
            uri = answer.findtext(f".//{{{MEDIA2}}}Uri") or ""
        else:
            protocol = "UDP" if transport == "udp" else "RTSP"
            setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": protocol}}
            answer = self._call("media", "GetStreamUri", StreamSetup=setup, ProfileToken=token)
            uri = str(getattr(answer, "Uri", "") or "")
        return self._own_stream(uri.strip())

    def subscribe(self, lifetime: str) -> "EventSubscription":
        """Make a pull point, with an address on the configured host."""
        answer = self._call("events", "CreatePullPointSubscription", InitialTerminationTime=lifetime)
        with self._border.translated():
            reference = answer.SubscriptionReference
            parameters = getattr(reference, "ReferenceParameters", None)
            headers = list(getattr(parameters, "_value_1", None) or [])
            address = str(getattr(reference.Address, "_value_1", None) or "").strip()
            if not address or address.endswith("/anonymous"):
                # WS-Addressing: the address of whoever answered.
                address = self._address_of("events")
            left_s = _between(getattr(answer, "CurrentTime", None), getattr(answer, "TerminationTime", None))
            return EventSubscription(self._own(address), headers, left_s)

    def pull(self, point: "EventSubscription", wait_s: float) -> tuple[list[tuple[str, Any]], float | None]:
        """Wait for events at a pull point.

        Returns:
            Topic and message of each, and in how many seconds the pull point ends, if the camera says so.
        """
        wait = dt.timedelta(seconds=wait_s)
        # zeep loses the topic where a camera leaves out the name of its dialect.
        client, _ = self._client("pullpoint")
        # The camera holds its answer back until something happens, for as long as we said.
        with self._transport.settings(timeout=wait_s + TIMEOUT_S), client.settings(raw_response=True):
            answer = self._call("pullpoint", "PullMessages", point.url, point.headers, Timeout=wait, MessageLimit=64)
        found = []
        for notification in answer.iter(f"{{{_NOTIFICATION}}}NotificationMessage"):
            topic = "".join(part for t in notification.iter(f"{{{_NOTIFICATION}}}Topic") for part in t.itertext())
            found += [(topic.strip(), message) for message in notification.iter(f"{{{_SCHEMA}}}Message")]
        now, end = (answer.findtext(f".//{{{_EVENTS}}}{name}") for name in ("CurrentTime", "TerminationTime"))
        return found, _between(_parse_time(now), _parse_time(end))

    def renew(self, point: "EventSubscription", lifetime: str) -> float | None:
        """Keep a pull point for longer; return for how many seconds, if the camera says so."""
        answer = self._call("subscription", "Renew", point.url, point.headers, TerminationTime=lifetime)
        return _between(getattr(answer, "CurrentTime", None), getattr(answer, "TerminationTime", None))

    def unsubscribe(self, point: "EventSubscription") -> None:
        """Give a pull point back: cameras have few."""
        self._call("subscription", "Unsubscribe", point.url, point.headers)

    # Requests

    def _call(
        self, service: str, operation: str, url: str = "", headers: list[Any] | None = None, **arguments: Any
    ) -> Any:
        """Call one operation, with the token that the camera takes."""

        def send(token: Any) -> Any:
            client, binding = self._client(service)
            client.wsse = token
            proxy = client.create_service(binding, url or self._address_of(service))
            answer = getattr(proxy, operation)(**arguments, **({"_soapheaders": headers} if headers else {}))
            return self._parse(answer) if isinstance(answer, requests.Response) else answer

        return self._authorised(send)

    def _authorised(self, send: Any) -> Any:
        with self._border.translated():
            if not self._username:
                return send(None)
            try:
                return send(self._token())
            except (zeep.exceptions.Fault, zeep.exceptions.TransportError) as error:
                if self._sends_text or not is_unauthorised(error):
                    raise
            answer = send(UsernameToken(self._username, self._password))
            self._sends_text = True
            return answer

    def _token(self) -> Any:
        if self._sends_text:
            return UsernameToken(self._username, self._password)
        # WS-UsernameToken: the digest holds a time, and cameras refuse one that is not theirs.
        offset = self.clock_offset or dt.timedelta()
        return UsernameDigestTokenDtDiff(
            self._username, self._password, dt_diff=offset, use_digest=True, zulu_timestamp=True
        )

    def _call_media2(self, operation: str, body: str) -> Any:
        # onvif-zeep has no description of Media2; two operations need none.
        text = (
            f'<s:Envelope xmlns:s="{_SOAP}"><s:Body><{operation} xmlns="{MEDIA2}">{body}</{operation}></s:Body>'
            "</s:Envelope>"
        )
        content_type = f'application/soap+xml; charset=utf-8; action="{MEDIA2}/{operation}"'

        def send(token: Any) -> Any:
            envelope = zeep.loader.parse_xml(text, self._transport, settings=_SETTINGS)
            http_headers = {"Content-Type": content_type}
            if token is not None:
                envelope, http_headers = token.apply(envelope, http_headers)
            response = self._transport.post_xml(self._own(self._services[MEDIA2]), envelope, http_headers)
            return self._parse(response)

        return self._authorised(send)

    def _parse(self, response: requests.Response) -> Any:
        content: Any = response.content  # bytes, so that the camera's own encoding counts
        answer: Any = zeep.loader.parse_xml(content, self._transport, settings=_SETTINGS)
        fault = answer.find(f".//{{{_SOAP}}}Fault")
        if response.status_code != 200 or fault is not None:
            words = " ".join(fault.itertext()) if fault is not None else f"HTTP {response.status_code}"
            raise zeep.exceptions.TransportError(" ".join(words.split()), response.status_code)
        return answer

    def _client(self, service: str) -> tuple[zeep.Client, str]:
        definition = SERVICES["events" if service == "subscription" else service]
        path = str(_wsdl_dir() / definition["wsdl"])
        if path not in self._clients:
            self._clients[path] = zeep.Client(path, transport=self._transport, settings=_SETTINGS)
        binding = "SubscriptionManagerBinding" if service == "subscription" else definition["binding"]
        return self._clients[path], f"{{{definition['ns']}}}{binding}"

    # Addresses

    def _address_of(self, service: str) -> str:
        if service == "devicemgmt":
            return urlunsplit(self._base)
        url = self._services.get(SERVICES[service]["ns"])
        if url is None:
            raise DeviceError("onvif-failed", f"it has no {service} service")
        return self._own(url)

    def _own(self, url: str) -> str:
        """Return a service's address on the configured host.

        A camera that names another host (behind NAT, on its other network) does not know its port either: then the
        configured one is taken as well. The same goes for one that names plain HTTP while we speak HTTPS.
        """
        parts = _split(url)
        if (parts.scheme, parts.hostname) == (self._base.scheme, self._base.hostname):
            return urlunsplit(parts._replace(netloc=_netloc(self._base.hostname or "", parts.port)))
        return urlunsplit(self._base._replace(path=parts.path, query=parts.query))

    def _own_stream(self, uri: str) -> str:
        if len(uri) > MAX_URL_CHARACTERS:
            raise DeviceError("onvif-failed", f"its stream's URL is longer than {MAX_URL_CHARACTERS} characters")
        parts = _split(uri)
        if parts.scheme not in ("rtsp", "rtsps") or not parts.hostname:
            raise DeviceError("onvif-failed", f"its stream is no rtsp URL, but {parts.scheme or 'nothing'}")
        return urlunsplit(parts._replace(netloc=_netloc(self._base.hostname or "", parts.port), fragment=""))

    # Answers

    def _read_clock(self) -> dt.timedelta | None:
        with self._border.translated():
            client, binding = self._client("devicemgmt")
            client.wsse = None
            proxy = client.create_service(binding, urlunsplit(self._base))
            try:
                utc = proxy.GetSystemDateAndTime().UTCDateTime
                day, time = utc.Date, utc.Time
                # The 60th second of a leap minute is no second of ours.
                seconds = min(int(time.Second), 59)
                now = dt.datetime(day.Year, day.Month, day.Day, time.Hour, time.Minute, seconds, tzinfo=dt.UTC)
            except (zeep.exceptions.Fault, zeep.exceptions.TransportError, AttributeError, TypeError, ValueError):
                return None  # it wants a login even for that (old Axis), or tells only local time
            return now - dt.datetime.now(dt.UTC)

    def _read_capabilities(self) -> dict[str, str]:
        answer = self._call("devicemgmt", "GetCapabilities", Category="All")
        found = {"media": getattr(answer, "Media", None), "events": getattr(answer, "Events", None)}
        return {SERVICES[name]["ns"]: str(part.XAddr) for name, part in found.items() if part and part.XAddr}

    def _read_profiles_media2(self) -> list[Profile]:
        answer = self._call_media2("GetProfiles", "<Type>VideoEncoder</Type>")
        found = []
        for profile in answer.iter(f"{{{MEDIA2}}}Profiles"):
            encoder = profile.find(f".//{{{MEDIA2}}}VideoEncoder")
            token = profile.get("token")
            if encoder is None or not token:
                continue
            told = {
                name: encoder.findtext(f".//{{{_SCHEMA}}}{name}") or ""
                for name in ("Encoding", "Width", "Height", "FrameRateLimit")
            }
            numbers = (_number(told[name]) for name in ("Width", "Height", "FrameRateLimit"))
            name = profile.findtext(f"{{{MEDIA2}}}Name") or ""
            found.append(Profile(token, name, codec_name(told["Encoding"]), *numbers))
        return found


def _profiles_media1(answer: Any) -> Iterator[Profile]:
    for profile in answer or ():
        encoder = profile.VideoEncoderConfiguration
        if encoder is None or not profile.token:
            continue
        size, rate = encoder.Resolution, encoder.RateControl
        yield Profile(
            str(profile.token),
            str(profile.Name or ""),
            codec_name(str(encoder.Encoding or "")),
            _number(size.Width) if size else 0,
            _number(size.Height) if size else 0,
            _number(rate.FrameRateLimit) if rate else 0,
        )


def _number(value: Any) -> int:
    try:
        return max(0, int(float(value or 0)))
    except (ValueError, OverflowError):
        # A camera may send a word, NaN or infinity for a number.
        return 0


def _split(url: str) -> SplitResult:
    try:
        return split_address(url)
    except ValueError:
        raise DeviceError("onvif-failed", "an address in its answer is none") from None


def _between(now: Any, end: Any) -> float | None:
    """Return the seconds between two times of a camera; None if it does not tell both."""
    try:
        return float((end - now).total_seconds())
    except (AttributeError, TypeError):
        # One of them is missing, or one has a time zone and the other none.
        return None


def _parse_time(text: str | None) -> dt.datetime | None:
    try:
        at = dt.datetime.fromisoformat((text or "").strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


def _netloc(host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" if port else name


def _wsdl_dir() -> Path:
    """Return the folder of onvif-zeep's descriptions; the package itself often looks in the wrong place."""
    spec = find_spec("onvif")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parents[1] / "wsdl"
