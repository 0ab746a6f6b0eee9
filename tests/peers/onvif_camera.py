"""An ONVIF camera on loopback: real tokens, real clock skew, answers of its own or ones captured from real cameras.

It speaks of foreign hosts wherever it can, as cameras behind NAT do; nobody may dial them.
"""

import base64
import contextlib
import datetime as dt
import hashlib
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree

FOREIGN = "198.51.100.7"
"""Of TEST-NET-2: whatever dials it is wrong."""
CAPTURED = Path(__file__).parent / "onvif_answers" / "node_modules" / "onvif" / "test" / "serverMockup"
_SOAP = "http://www.w3.org/2003/05/soap-envelope"
_WSSE = "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd}"
_WSU = "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd}"
_NAMESPACES = {
    "s": _SOAP,
    "tt": "http://www.onvif.org/ver10/schema",
    "tds": "http://www.onvif.org/ver10/device/wsdl",
    "trt": "http://www.onvif.org/ver10/media/wsdl",
    "tr2": "http://www.onvif.org/ver20/media/wsdl",
    "tev": "http://www.onvif.org/ver10/events/wsdl",
    "wsnt": "http://docs.oasis-open.org/wsn/b-2",
    "wsa": "http://www.w3.org/2005/08/addressing",
    "ter": "http://www.onvif.org/ver10/error",
    "tns1": "http://www.onvif.org/ver10/topics",
}
_DECLARED = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in _NAMESPACES.items())
MOTION = "tns1:RuleEngine/CellMotionDetector/Motion"


@dataclass(frozen=True)
class Encoder:
    """A profile with its encoder."""

    token: str
    codec: str = "H264"
    width: int = 1920
    height: int = 1080
    fps: int = 25


@dataclass
class OnvifSettings:
    """What kind of camera it is."""

    stream: str = f"rtsp://{FOREIGN}:8554/cam"
    """The stream's URI; ``{token}`` becomes the profile's token."""
    encoders: tuple[Encoder, ...] = (Encoder("P0"), Encoder("P1", width=640, height=360))
    media2: bool = False
    media2_fails: bool = False
    services_at: str = f"http://{FOREIGN}"
    """Where it says that its services are."""
    services_known: bool = True
    """False: it knows no GetServices, only GetCapabilities."""
    takes: str = "digest"
    """How it wants to be asked: nothing, digest, text, http-digest."""
    username: str = "owner"
    password: str = 'p"<&@ss:w/rd'
    clock_ahead_s: int = 0
    skew_allowed_s: int = 5
    clock_hidden: bool = False
    redirect: str = ""
    garbage: str = ""
    hangs: bool = False
    waits_s: float = 5
    """How long a pull waits for an event."""
    chatters: bool = False
    """It has something to tell at every pull."""
    drips: bool = False
    """It answers a pull indefinitely, byte by byte."""
    grants_s: float = 0
    """A pull point lasts for so long, whatever is asked for; 0 indefinitely."""
    grants_truly: bool = True
    """It says so."""
    renews: bool = True
    """False: it knows no Renew, and a pull renews nothing."""
    reference: str = "http://{host}/onvif/pull/{number}"
    """The address that it gives a pull point."""
    captured: Path | None = None


@dataclass
class OnvifCamera:
    """The camera; a context manager."""

    settings: OnvifSettings = field(default_factory=OnvifSettings)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Operation and kind of token of every request."""
    hosts: set[str] = field(default_factory=set)
    """By which addresses it was asked."""
    refusals: list[str] = field(default_factory=list)
    pull_points: set[int] = field(default_factory=set)

    def __enter__(self) -> "OnvifCamera":
        self._events: list[str] = []
        self._ends: dict[int, float] = {}
        self._state = ""
        self._woken = threading.Condition()
        self._stopped = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                camera.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with self._woken:
            self._woken.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def tell(self, value: str = "true", topic: str = MOTION, operation: str = "Changed", more: str = "") -> None:
        """Hand an event to whoever pulls next; if pull points end, to nobody unless there is one."""
        with self._woken:
            self._forget_ended()
            self._state = value
            if self.settings.grants_s and not self.pull_points and operation == "Changed":
                return
            self._events.append(
                f"<wsnt:NotificationMessage><wsnt:Topic>{topic}</wsnt:Topic><wsnt:Message>"
                f'<tt:Message UtcTime="2026-01-01T00:00:00Z" PropertyOperation="{operation}">'
                '<tt:Source><tt:SimpleItem Name="Rule" Value="0"/></tt:Source>'
                f'<tt:Data><tt:SimpleItem Name="IsMotion" Value="{value}"/>{more}</tt:Data>'
                "</tt:Message></wsnt:Message></wsnt:NotificationMessage>"
            )
            self._woken.notify_all()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        text = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        envelope = ElementTree.fromstring(text)
        body = envelope.find(f"{{{_SOAP}}}Body")
        assert body is not None
        namespace, _, operation = body[0].tag[1:].partition("}")
        authorization = request.headers.get("Authorization", "")
        token = envelope.find(f".//{_WSSE}UsernameToken")
        self.asked.append((operation, self._kind(token, authorization)))
        self.hosts.add(request.headers.get("Host", ""))
        settings = self.settings
        if settings.hangs:
            self._stopped.wait(60)
        if settings.redirect:
            self._send(request, 307, "", {"Location": settings.redirect})
        elif settings.garbage:
            self._send(request, 200, settings.garbage)
        elif operation != "GetSystemDateAndTime" and (why := self._refusal(token, authorization)):
            self.refusals.append(why)
            if settings.takes == "http-digest":
                challenge = 'Digest realm="cam", nonce="0123456789abcdef", algorithm=MD5, qop="auth"'
                self._send(request, 401, "", {"WWW-Authenticate": challenge})
            else:
                self._send(request, 400, _fault("ter:NotAuthorized", "Sender not Authorized"))
        elif settings.drips and operation == "PullMessages":
            self._drip(request)
        else:
            self._send(request, *self._perform(operation, namespace, body[0], request.path))

    @staticmethod
    def _kind(token: ElementTree.Element | None, authorization: str) -> str:
        if token is None:
            return "http" if authorization else "none"
        return "digest" if token.find(f"{_WSSE}Nonce") is not None else "text"

    def _refusal(self, token: ElementTree.Element | None, authorization: str) -> str:
        settings = self.settings
        if settings.takes == "nothing":
            return ""
        if settings.takes == "http-digest":
            return "" if f'username="{settings.username}"' in authorization else "no digest"
        if token is None:
            return "no token"
        if token.findtext(f"{_WSSE}Username") != settings.username:
            return "username"
        password, nonce = token.findtext(f"{_WSSE}Password"), token.findtext(f"{_WSSE}Nonce")
        if settings.takes == "text":
            return "" if nonce is None and password == settings.password else "text"
        if nonce is None:
            return "no nonce"
        created = token.findtext(f"{_WSU}Created") or ""
        secret = base64.b64decode(nonce) + created.encode() + settings.password.encode()
        if password != base64.b64encode(hashlib.sha1(secret, usedforsecurity=False).digest()).decode():
            return "digest"
        at = dt.datetime.fromisoformat(created.replace("Z", "+00:00")).timestamp()
        return "skew" if abs(at - time.time() - settings.clock_ahead_s) > settings.skew_allowed_s else ""

    def _perform(self, operation: str, namespace: str, question: ElementTree.Element, path: str) -> tuple[int, str]:
        prefix = next((name for name, uri in _NAMESPACES.items() if uri == namespace), "tds")
        if self.settings.captured is not None and operation != "GetSystemDateAndTime":
            return 200, self._read_captured(operation, namespace)
        maker = getattr(self, f"_{prefix}_{operation}", None)
        content = maker(question, path) if maker else None
        if content is None:
            return 400, _fault("ter:ActionNotSupported", f"{operation} is not known")
        return 200, _envelope(f"<{prefix}:{operation}Response>{content}</{prefix}:{operation}Response>")

    def _read_captured(self, operation: str, namespace: str) -> str:
        room = re.sub(r".*/([a-z]+)/wsdl.*", r"\1", namespace)
        folder = self.settings.captured
        assert folder is not None
        names = [f"{room}.{operation}.xml", f"{operation}.xml", "Error.xml"]
        text = next((folder / name).read_text() for name in names if (folder / name).exists())
        # The mock-up's own place holders; the foreign addresses stay as they are.
        text = re.sub(
            r"\{\{=\s*it\.(hostname|port|pullPointUrl)\s*\}\}", lambda m: {"port": "80"}.get(m[1], "/x"), text
        )
        return re.sub(r"\{\{.*?\}\}", "", text)

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, text: str, headers: dict[str, str] | None = None
    ) -> None:
        content = text.encode()
        request.send_response(status)
        for name, value in {"Content-Type": "application/soap+xml; charset=utf-8", **(headers or {})}.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _drip(self, request: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):
            request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            while not self._stopped.wait(0.1):
                request.wfile.write(b"x")

    # Answers

    def _tds_GetSystemDateAndTime(self, *_: object) -> str | None:
        if self.settings.clock_hidden:
            return None
        at = time.gmtime(time.time() + self.settings.clock_ahead_s)
        return (
            "<tds:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType>"
            "<tt:DaylightSavings>false</tt:DaylightSavings><tt:UTCDateTime>"
            f"<tt:Time><tt:Hour>{at.tm_hour}</tt:Hour><tt:Minute>{at.tm_min}</tt:Minute>"
            f"<tt:Second>{at.tm_sec}</tt:Second></tt:Time><tt:Date><tt:Year>{at.tm_year}</tt:Year>"
            f"<tt:Month>{at.tm_mon}</tt:Month><tt:Day>{at.tm_mday}</tt:Day></tt:Date></tt:UTCDateTime>"
            "</tds:SystemDateAndTime>"
        )

    def _tds_GetServices(self, *_: object) -> str | None:
        if not self.settings.services_known:
            return None
        names = ["tds", "trt", "tev"] + ["tr2"] * (self.settings.media2 or self.settings.media2_fails)
        return "".join(
            f"<tds:Service><tds:Namespace>{_NAMESPACES[name]}</tds:Namespace><tds:XAddr>{self.settings.services_at}/onvif/"
            f"{name}"
            "</tds:XAddr><tds:Version><tt:Major>2</tt:Major><tt:Minor>60</tt:Minor></tds:Version></tds:Service>"
            for name in names
        )

    def _tds_GetCapabilities(self, *_: object) -> str:
        return (
            f"<tds:Capabilities><tt:Media><tt:XAddr>http://{FOREIGN}:8000/onvif/media</tt:XAddr>"
            "<tt:StreamingCapabilities/></tt:Media></tds:Capabilities>"
        )

    def _tds_GetDeviceInformation(self, *_: object) -> str:
        return (
            "<tds:Manufacturer>Maker</tds:Manufacturer><tds:Model>DomeX</tds:Model>"
            "<tds:FirmwareVersion>1</tds:FirmwareVersion><tds:SerialNumber>1</tds:SerialNumber>"
            "<tds:HardwareId>1</tds:HardwareId>"
        )

    def _trt_GetProfiles(self, *_: object) -> str:
        return '<trt:Profiles token="audio-only"><tt:Name>no video</tt:Name></trt:Profiles>' + "".join(
            f'<trt:Profiles token="{e.token}" fixed="true"><tt:Name>{e.token}</tt:Name>'
            f'<tt:VideoEncoderConfiguration token="e{e.token}"><tt:Name>e</tt:Name><tt:UseCount>1</tt:UseCount>'
            f"<tt:Encoding>{e.codec}</tt:Encoding><tt:Resolution><tt:Width>{e.width}</tt:Width>"
            f"<tt:Height>{e.height}</tt:Height></tt:Resolution><tt:Quality>4</tt:Quality><tt:RateControl>"
            f"<tt:FrameRateLimit>{e.fps}</tt:FrameRateLimit><tt:EncodingInterval>1</tt:EncodingInterval>"
            "<tt:BitrateLimit>4096</tt:BitrateLimit></tt:RateControl></tt:VideoEncoderConfiguration></trt:Profiles>"
            for e in self.settings.encoders
        )

    def _trt_GetStreamUri(self, question: ElementTree.Element, _path: str) -> str:
        token = question.findtext("{*}ProfileToken") or ""
        uri = self.settings.stream.replace("{token}", token)
        return (
            f"<trt:MediaUri><tt:Uri>{uri}</tt:Uri><tt:InvalidAfterConnect>false</tt:InvalidAfterConnect>"
            "<tt:InvalidAfterReboot>false</tt:InvalidAfterReboot><tt:Timeout>PT0S</tt:Timeout></trt:MediaUri>"
        )

    def _tr2_GetProfiles(self, *_: object) -> str | None:
        if self.settings.media2_fails:
            return None
        return "".join(
            f'<tr2:Profiles token="{e.token}" fixed="true"><tr2:Name>{e.token}</tr2:Name><tr2:Configurations>'
            f'<tr2:VideoEncoder token="e" GovLength="50"><tt:Name>e</tt:Name><tt:Encoding>{e.codec}</tt:Encoding>'
            f"<tt:Resolution><tt:Width>{e.width}</tt:Width><tt:Height>{e.height}</tt:Height></tt:Resolution>"
            f'<tt:RateControl ConstantBitRate="false"><tt:FrameRateLimit>{e.fps}.0</tt:FrameRateLimit>'
            "</tt:RateControl></tr2:VideoEncoder></tr2:Configurations></tr2:Profiles>"
            for e in self.settings.encoders
        )

    def _tr2_GetStreamUri(self, question: ElementTree.Element, _path: str) -> str:
        token = question.findtext("{*}ProfileToken") or ""
        return f"<tr2:Uri>{self.settings.stream.replace('{token}', token)}</tr2:Uri>"

    def _forget_ended(self) -> None:
        for number in [number for number, end in self._ends.items() if end <= time.monotonic()]:
            del self._ends[number]
            self.pull_points.discard(number)

    def _times(self, name: str, number: int) -> str:
        left_s = (
            self._ends.get(number, time.monotonic() + 120) - time.monotonic() if self.settings.grants_truly else 120
        )
        now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        end = now + dt.timedelta(seconds=left_s)
        return (
            f"<{name}:CurrentTime>{now.isoformat()}</{name}:CurrentTime>"
            f"<{name}:TerminationTime>{end.isoformat()}</{name}:TerminationTime>"
        )

    def _tev_CreatePullPointSubscription(self, *_: object) -> str:
        number = len(self.asked)
        self._forget_ended()
        self.pull_points.add(number)
        if self.settings.grants_s:
            self._ends[number] = time.monotonic() + self.settings.grants_s
            self.tell(self._state or "false", operation="Initialized")
        address = self.settings.reference.format(host=FOREIGN, number=number)
        return (
            f"<tev:SubscriptionReference><wsa:Address>{address}</wsa:Address></tev:SubscriptionReference>"
            f"{self._times('wsnt', number)}"
        )

    def _number(self, path: str) -> int:
        """Return the pull point of an address; of one without a number it is the last."""
        last = path.rpartition("/")[2]
        return int(last) if last.isdigit() else max(self.pull_points, default=-1) if last == "tev" else -1

    def _tev_PullMessages(self, _question: ElementTree.Element, path: str) -> str | None:
        number = self._number(path)
        self._forget_ended()
        if number not in self.pull_points:
            return None
        if self.settings.chatters:
            self.tell("false")
        wait = dt.timedelta(seconds=self.settings.waits_s).total_seconds()
        asked = re.fullmatch(r"PT([0-9.]+)S", _question.findtext("{*}Timeout") or "")
        with self._woken:
            self._woken.wait_for(
                lambda: self._events or self._stopped.is_set(), min(wait, float(asked[1])) if asked else wait
            )
            told, self._events = self._events, []
        return f"{self._times('tev', number)}{''.join(told)}"

    def _wsnt_Renew(self, _question: ElementTree.Element, path: str) -> str | None:
        number = self._number(path)
        if not self.settings.renews or number not in self.pull_points:
            return None
        self._ends[number] = time.monotonic() + (self.settings.grants_s or 120)
        return self._times("wsnt", number)

    def _wsnt_Unsubscribe(self, _question: ElementTree.Element, path: str) -> str:
        self.pull_points.discard(self._number(path))
        return ""


def _envelope(content: str) -> str:
    return f'<?xml version="1.0"?><s:Envelope {_DECLARED}><s:Body>{content}</s:Body></s:Envelope>'


def _fault(code: str, text: str) -> str:
    return _envelope(
        f"<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>{code}</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="en">{text}</s:Text></s:Reason></s:Fault>'
    )
