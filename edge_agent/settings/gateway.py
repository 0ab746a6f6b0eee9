"""``edge-agent.yaml``: the installer's decisions, as values that cannot change.

Owns the names, limits and defaults of every key, and where each file of the state folder lies. Never holds a
password: those are in the credentials file (``edge_agent.custody.credentials``). The *owner's* decisions are in
``consent.yaml`` and not here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from edge_agent.errors import ConfigError, UsageError
from edge_agent.host.regular_file import read_regular
from edge_agent.printable_text import check_line
from edge_agent.settings.fields import (
    NONE_IS_EMPTY,
    CertificatePin,
    FilePath,
    Host,
    HoursText,
    Listed,
    NameText,
    OnvifAddress,
    Part,
    Rate,
    RtspUrl,
    SlugText,
    TimeZone,
    base_dir,
    check_latitude,
    duration,
    no_twice,
    size,
)
from edge_agent.settings.triggers import Trigger
from edge_agent.settings.yaml_lines import load_yaml, validate
from edge_agent.texts import Language
from edge_agent.units import HOUR_NS, MINUTE_NS, SECOND_NS

QualityName = Literal["main", "sub"]

GIB = 1 << 30
MAX_CAMERAS = 64
_MAX_CONFIG_BYTES = 1 << 20

CameraSlug = SlugText
CredentialName = NameText
DisplayText = Annotated[str, StringConstraints(min_length=1, max_length=80), AfterValidator(check_line)]

RingSize = Annotated[int, size("8MiB", "16TiB")]
KeepFor = Annotated[int, duration("1m", "366d")]
OpenTimeout = Annotated[int, duration("1s", "5m")]
DownAfter = Annotated[int, duration("10s", "366d")]


class Location(Part):
    """A point on WGS 84, in degrees; five decimals are a metre."""

    lat: Annotated[float, AfterValidator(check_latitude), Field(json_schema_extra={"minimum": -90, "maximum": 90})]
    lon: Annotated[float, Field(ge=-180, le=180)]


class Gateway(Part):
    """This machine: its folders, its place, its time zone."""

    state_dir: FilePath = Path("/var/lib/edge-agent")
    run_dir: FilePath = Path("/run/edge-agent")
    location: Location | None = None
    time_zone: TimeZone = "UTC"
    language: Language = "en"


class ClockSource(Part):
    """Whom to believe about the wall clock."""

    trust: Literal["kernel", "wall-clock"] = "kernel"


class Buffer(Part):
    """The rings: one preallocated file per camera and quality."""

    dir: FilePath | None = None
    mirror_dir: FilePath | None = None
    size_bytes: RingSize = Field(default=32 * GIB, alias="size")
    keep_for_ns: KeepFor = Field(default=72 * HOUR_NS, alias="keep_for")
    sync_every_ns: Annotated[int, duration("500ms", "4s")] = Field(default=3 * SECOND_NS, alias="sync_every")
    block_size_bytes: Annotated[int, size("64KiB", "64MiB")] | None = Field(default=None, alias="block_size")
    hold_size_bytes: Annotated[int, size("16MiB", "1TiB")] = Field(default=4 * GIB, alias="hold_size")
    keeps_size_bytes: Annotated[int, size("16MiB", "1TiB")] = Field(default=4 * GIB, alias="keeps_size")


class Tls(Part):
    """How a camera's certificate is verified, for ``rtsps`` and ONVIF over HTTPS: by a CA, or by one that is pinned."""

    ca_file: FilePath | None = None
    pin: CertificatePin | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.ca_file is None) == (self.pin is None):
            raise ValueError("needs exactly one of ca_file and pin")
        return self


class Substream(Part):
    """The camera's second, smaller stream; recorded into a ring of its own."""

    url: RtspUrl | None = None
    profile: DisplayText | None = None
    size_bytes: RingSize | None = Field(default=None, alias="size")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.url is None) == (self.profile is None):
            raise ValueError("needs exactly one of url and profile")
        return self


class Camera(Part):
    """One camera: its address, and the way it is recorded."""

    id: CameraSlug
    name: DisplayText = ""
    enabled: bool = True
    url: RtspUrl | None = None
    onvif: OnvifAddress | None = None
    profile: DisplayText = "main"
    credentials: CredentialName | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    reader: Literal["auto", "own", "ffmpeg"] = "auto"
    tls: Tls | None = None
    audio: bool = False
    sub: Substream | None = None
    record: Literal["always", "on_event"] = "always"
    open_timeout_ns: OpenTimeout | None = Field(default=None, alias="open_timeout")
    triggers: Annotated[tuple[Trigger, ...], Listed, Field(max_length=8)] = ()
    location: Location | None = None
    size_bytes: RingSize | None = Field(default=None, alias="size")
    keep_for_ns: KeepFor | None = Field(default=None, alias="keep_for")
    dir: FilePath | None = None
    hours: Annotated[tuple[HoursText, ...], Listed, Field(max_length=8)] = ()
    down_after_ns: DownAfter | None = Field(default=None, alias="down_after")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.url is None) == (self.onvif is None):
            raise ValueError("needs exactly one of url and onvif")
        if self.tls is not None and self.url is not None and not self.url.startswith("rtsps://"):
            raise ValueError("has tls, but its url is not rtsps://")
        if self.reader == "own" and self.transport == "udp":
            raise ValueError("has `reader: own`, which takes tcp alone, and `transport: udp`")
        if self.sub is not None and self.sub.profile is not None and self.onvif is None:
            raise ValueError("has sub.profile, which needs onvif; give sub.url")
        if (self.record == "on_event") != bool(self.triggers):
            raise ValueError("needs `record: on_event` and triggers together, or neither")
        if self.onvif is None and any(trigger.kind == "onvif" for trigger in self.triggers):
            raise ValueError("has an onvif trigger, but no onvif address")
        return self

    @property
    def title(self) -> str:
        """The name that people read; the id if none was given."""
        return self.name or self.id

    def address(self, quality: QualityName) -> str:
        """Return where a stream comes from, without credentials; the owner's consent is bound to it (FORMAT 3.5).

        As configured: an ONVIF camera may answer with another URL at every start.
        """
        url, profile = self.url, self.profile
        if quality == "sub" and self.sub is not None:
            url, profile = self.sub.url, self.sub.profile or ""
        if url is not None:
            return url
        # `onvif+https://…`: another scheme is another source, and the owner signs again.
        scheme = "onvif+" if (self.onvif or "").startswith("https://") else "onvif://"
        return f"{scheme}{self.onvif}/{profile}"

    @property
    def qualities(self) -> tuple[QualityName, ...]:
        """The streams that are recorded."""
        return ("main",) if self.sub is None else ("main", "sub")


class HomeBrokerPart(Part):
    """The home's own MQTT broker, for triggers and sensors; never the RTCC's."""

    host: Host
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    credentials: CredentialName | None = None
    ca_file: FilePath | None = None
    sensors: bool = False


class Uplink(Part):
    """The way to the RTCC."""

    enrolment: FilePath = Field(default=Path("enrolment.json"), validate_default=True)
    staging_dir: FilePath | None = None
    staging_size_bytes: Annotated[int, size("64MiB", "1TiB")] = Field(default=4 * GIB, alias="staging_size")
    bandwidth_bytes_per_s: Rate | None = Field(default=None, alias="bandwidth")
    upload_hours: Annotated[tuple[HoursText, ...], Listed, Field(max_length=8)] = ()
    keepalive_ns: Annotated[int, duration("5s", "5m")] = Field(default=30 * SECOND_NS, alias="keepalive")


class Consent(Part):
    """The owner's rules, and the copies of signatures."""

    file: FilePath = Field(default=Path("consent.yaml"), validate_default=True)
    waivers: FilePath | None = None


class Notify(Part):
    """Whom to tell: names in ``notify.yaml``, a secret file, that each stand for the URL of one Apprise service."""

    file: FilePath = Field(default=Path("notify.yaml"), validate_default=True)
    services: Annotated[tuple[CredentialName, ...], Listed, Field(max_length=16), no_twice(str)] = ()
    faults: bool = True
    down_after_ns: DownAfter = Field(default=5 * MINUTE_NS, alias="down_after")


class Config(Part):
    """The whole of ``edge-agent.yaml``."""

    gateway: Gateway = Gateway()
    clock: ClockSource = ClockSource()
    buffer: Buffer = Buffer()
    cameras: Annotated[
        tuple[Camera, ...], Listed, Field(max_length=MAX_CAMERAS), no_twice(lambda c: str(c.id)), NONE_IS_EMPTY
    ] = ()
    home_broker: HomeBrokerPart | None = None
    uplink: Uplink = Field(default_factory=Uplink)
    consent: Consent = Field(default_factory=Consent)
    notify: Notify = Field(default_factory=Notify)
    credentials_file: FilePath = Field(default=Path("credentials.yaml"), validate_default=True)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for camera in self.cameras:
            if self.home_broker is None and any(trigger.kind == "mqtt" for trigger in camera.triggers):
                raise ValueError(f"camera {camera.id} has an mqtt trigger, but there is no home_broker")
        return self

    def find_camera(self, camera_id: str) -> Camera | None:
        """Return the camera of that id, or None."""
        return next((camera for camera in self.cameras if camera.id == camera_id), None)

    def demand_camera(self, camera_id: str) -> Camera:
        """Return the camera that a person named, switched off or not; UsageError, with those there are, for no such."""
        camera = self.find_camera(camera_id)
        if camera is None:
            known = ", ".join(each.id for each in self.cameras)
            raise UsageError(f"no such camera: {camera_id[:32]} (known: {known or 'none'})")
        return camera

    def rings(self) -> Iterator[tuple[Camera, QualityName]]:
        """Yield every camera and quality that is recorded, in the file's order."""
        for camera in self.cameras:
            if camera.enabled:
                for quality in camera.qualities:
                    yield camera, quality

    def ring_size_bytes(self, camera: Camera, quality: QualityName) -> int:
        """Return the size of a ring; a substream has an eighth of its camera's unless it says otherwise."""
        main_bytes = camera.size_bytes or self.buffer.size_bytes
        if quality == "main" or camera.sub is None:
            return main_bytes
        # 8 MiB is the least that ``RingSize`` allows.
        return camera.sub.size_bytes or max(8 << 20, main_bytes // 8)

    def keep_for_ns(self, camera: Camera) -> int:
        """Return how long a camera's footage is kept at most."""
        return camera.keep_for_ns or self.buffer.keep_for_ns

    def down_after_ns(self, camera: Camera) -> int:
        """Return after how long the owner is told that a camera is not recorded."""
        return camera.down_after_ns or self.notify.down_after_ns

    def location_of(self, camera: Camera) -> Location | None:
        """Return where a camera is: its own place, or the gateway's."""
        return camera.location or self.gateway.location

    @property
    def state_dir(self) -> Path:
        """The folder of everything that must survive a restart."""
        return self.gateway.state_dir

    @property
    def rings_dir(self) -> Path:
        """The folder of the ring files."""
        return self.buffer.dir or self.state_dir / "rings"

    @property
    def ring_folders(self) -> tuple[Path, ...]:
        """Every folder that ring files lie in: that of the buffer first, then those of cameras that have their own."""
        return tuple(dict.fromkeys((self.rings_dir, *(each.dir for each in self.cameras if each.dir is not None))))

    def ring_path(self, camera_id: str, quality: QualityName) -> Path:
        """Return the file of one ring."""
        camera = self.find_camera(camera_id)
        folder = camera.dir if camera is not None else None
        return (folder or self.rings_dir) / f"{camera_id}.{quality}.ring"

    def mirror_path(self, camera_id: str, quality: QualityName) -> Path | None:
        """Return the file of a ring's mirror, or None if there is to be none."""
        folder = self.buffer.mirror_dir
        return None if folder is None else folder / f"{camera_id}.{quality}.ring"

    @property
    def holds_dir(self) -> Path:
        """The folder of the excerpts that pending requests hold."""
        return self.state_dir / "holds"

    @property
    def keeps_dir(self) -> Path:
        """The folder of the moments that the owner keeps beyond the rings' time."""
        return self.state_dir / "releaser" / "keeps"

    @property
    def staging_dir(self) -> Path:
        """The folder of bundles that wait for, or are in, upload."""
        return self.uplink.staging_dir or self.state_dir / "releaser" / "staging"

    @property
    def waivers_dir(self) -> Path:
        """The folder of the owner's copies of signed consents, one per camera; the store alone counts."""
        return self.consent.waivers or self.state_dir / "consent"

    @property
    def store_path(self) -> Path:
        """The releaser's SQLite file."""
        return self.state_dir / "releaser" / "state.sqlite"

    @property
    def recorder_state_dir(self) -> Path:
        """The recorder's own memory across restarts."""
        return self.state_dir / "recorder"

    @property
    def status_path(self) -> Path:
        """The small file by which the recorder tells how each camera does."""
        return self.run_dir("recorder") / "status.json"

    def run_dir(self, process: Literal["recorder", "releaser"]) -> Path:
        """Return the folder of a process's files for this boot; no other user may write there."""
        return self.gateway.run_dir / process

    def control_path(self, process: Literal["recorder", "releaser"]) -> Path:
        """Return the control socket of a process."""
        return self.run_dir(process) / "sock"

    def page_path(self, process: Literal["recorder", "releaser"]) -> Path:
        """Return the socket at which the resident's page reaches a process; its folder lets in the page's group."""
        return self.gateway.run_dir / f"{process}-page" / "sock"

    @property
    def desk_path(self) -> Path:
        """Return the socket at which the desk reaches the releaser; its folder lets in the desk's group."""
        return self.gateway.run_dir / "releaser-desk" / "sock"


def load_config(path: Path) -> Config:
    """Read and check ``edge-agent.yaml``; relative paths in it start from its own folder.

    Raises:
        ConfigError: Not readable, or wrong; one line for each problem, ``file:line: path: problem, allowed values``.
    """
    return parse_config(read_text(path), str(path), path.absolute().parent)


def parse_config(text: str, source: str, folder: Path) -> Config:
    """Check the text of an ``edge-agent.yaml`` that lies in ``folder``; see ``load_config``."""
    # Paths are made absolute while they are validated, deep inside pydantic: no argument reaches there.
    token = base_dir.set(folder)
    try:
        return validate(Config, load_yaml(text, source))
    finally:
        base_dir.reset(token)


def read_text(path: Path) -> str:
    """Read a configuration file; ConfigError if that fails."""
    try:
        return read_regular(path, _MAX_CONFIG_BYTES, follow=True).decode()
    except FileNotFoundError:
        raise ConfigError(f"{path}: file is missing", "`edge-agent init` writes a commented one") from None
    except OSError as error:
        raise ConfigError(f"{path}: file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: file is not UTF-8") from None
