"""``edge-agent.yaml``: what it means, and what a wrong one is told."""

import contextlib
import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from edge_agent.errors import ConfigError, UsageError
from edge_agent.settings.fields import DailyHours
from edge_agent.settings.gateway import Config, load_config, parse_config
from edge_agent.setup import schema
from edge_agent.units import HOUR_NS, SECOND_NS

FOLDER = Path("/etc/edge-agent")
DOOR = "cameras:\n  - id: door\n    url: rtsp://192.0.2.7/h264\n"


def parse(text: str) -> Config:
    return parse_config(text, "edge-agent.yaml", FOLDER)


def test_an_empty_file_means_the_documented_defaults() -> None:
    """Every key has a default, and the defaults are those of the shipped file."""
    config = parse("")
    assert config.cameras == ()
    assert config.buffer.size_bytes == 32 << 30
    assert config.buffer.keep_for_ns == 72 * HOUR_NS
    assert config.buffer.sync_every_ns == 3 * SECOND_NS
    assert config.clock.trust == "kernel"
    assert config.gateway.location is None
    assert config.consent.file == FOLDER / "consent.yaml"
    assert config.uplink.enrolment == FOLDER / "enrolment.json"
    assert config.credentials_file == FOLDER / "credentials.yaml"
    assert config.notify.file == FOLDER / "notify.yaml"
    assert config.ring_path("door", "main") == Path("/var/lib/edge-agent/rings/door.main.ring")
    assert config.store_path == Path("/var/lib/edge-agent/releaser/state.sqlite")
    assert config.control_path("recorder") == Path("/run/edge-agent/recorder/sock")


def test_relative_paths_start_from_the_files_folder(tmp_path: Path) -> None:
    """A trial keeps everything beside its configuration."""
    path = tmp_path / "edge-agent.yaml"
    path.write_text("gateway: {state_dir: state, run_dir: ./run}\nbuffer: {dir: /mnt/disk}\n")
    config = load_config(path)
    assert config.state_dir == tmp_path / "state"
    assert config.status_path == tmp_path / "run/recorder/status.json"
    assert config.ring_path("door", "sub") == Path("/mnt/disk/door.sub.ring")


def test_a_camera_overrides_what_the_buffer_says() -> None:
    """Size and age per camera; a substream gets an eighth unless it says otherwise."""
    config = parse(
        "cameras:\n"
        "  - {id: door, url: 'rtsp://a/', size: 2GiB, keep_for: 24h, sub: {url: 'rtsp://a/2'}}\n"
        "  - {id: yard, onvif: '192.0.2.7:8000', sub: {profile: sub, size: 1GiB}, enabled: false}\n"
    )
    door, yard = config.cameras
    assert config.ring_size_bytes(door, "main") == 2 << 30
    assert config.ring_size_bytes(door, "sub") == 256 << 20
    assert config.ring_size_bytes(yard, "main") == 32 << 30
    assert config.ring_size_bytes(yard, "sub") == 1 << 30
    assert (config.keep_for_ns(door), config.keep_for_ns(yard)) == (24 * HOUR_NS, 72 * HOUR_NS)
    assert [(camera.id, quality) for camera, quality in config.rings()] == [("door", "main"), ("door", "sub")]
    assert [yard.address(quality) for quality in yard.qualities] == [
        "onvif://192.0.2.7:8000/main",
        "onvif://192.0.2.7:8000/sub",
    ]
    assert [door.address(quality) for quality in door.qualities] == ["rtsp://a/", "rtsp://a/2"]


def test_an_address_over_https_is_another_one() -> None:
    """FORMAT 3.5: both streams of an ONVIF camera over HTTPS have one form of address."""
    (yard,) = parse("cameras:\n  - {id: yard, onvif: 'https://192.0.2.7', sub: {profile: low}}\n").cameras
    assert [yard.address(quality) for quality in yard.qualities] == [
        "onvif+https://192.0.2.7/main",
        "onvif+https://192.0.2.7/low",
    ]


def test_a_camera_that_a_person_names_is_there_or_those_are_told_that_are() -> None:
    """A camera that is switched off is one of the house; an unknown name is told with the known ones."""
    config = parse(DOOR + "  - {id: shed, enabled: false, url: rtsp://192.0.2.8/h264}\n")
    assert config.demand_camera("shed").id == "shed"
    with pytest.raises(UsageError, match=r"no such camera: gate \(known: door, shed\)"):
        config.demand_camera("gate")
    with pytest.raises(UsageError, match=r"known: none"):
        parse("").demand_camera("gate")


def test_an_event_camera_has_triggers() -> None:
    """Ring through a bridge: recorded from a trigger on."""
    config = parse(
        "home_broker: {host: 192.0.2.1, credentials: home}\n"
        "cameras:\n"
        "  - id: bell\n"
        "    url: rtsp://192.0.2.1:8554/bell\n"
        "    record: on_event\n"
        "    triggers:\n"
        "      - {kind: mqtt, topic: ring/1/camera/2/motion/state, for: 1m, per_hour: 20}\n"
    )
    trigger = config.cameras[0].triggers[0]
    assert (trigger.kind, trigger.for_ns, trigger.before_ns, trigger.per_hour) == ("mqtt", 60 * SECOND_NS, 0, 20)


WRONG = {
    "unknown key": ("bufer: {}\n", ":1: bufer: unknown key; did you mean `buffer`? allowed: buffer, cameras, clock,"),
    "unknown key deep": (
        DOOR + "    urll: x\n",
        ":4: cameras[0].urll: unknown key; did you mean `url`? allowed: audio, credentials,",
    ),
    "no source": ("cameras:\n  - id: door\n", ":2: cameras[0]: needs exactly one of url and onvif"),
    "two sources": (DOOR + "    onvif: 192.0.2.7\n", "needs exactly one of url and onvif"),
    "password in url": (
        "cameras:\n  - id: door\n    url: rtsp://admin:hunter2@192.0.2.7/\n",
        ":3: cameras[0].url: carries a user name or password;",
    ),
    "password with a slash": (
        "cameras:\n  - id: door\n    url: rtsp://admin:hun/ter2@192.0.2.7/\n",
        ":3: cameras[0].url: should be rtsp://",
    ),
    "password in query": (DOOR.replace("h264", "?user=a&password=hunter2"), "carries a user name or password"),
    "http": (DOOR.replace("rtsp:", "http:"), ":3: cameras[0].url: should be rtsp://HOST[:PORT]/PATH"),
    "port": (DOOR.replace("192.0.2.7", "192.0.2.7:99999"), "should be rtsp://HOST[:PORT]/PATH"),
    "twice": (DOOR + "  - id: door\n    url: rtsp://b/\n", ":1: cameras: has twice: door"),
    "id": (DOOR.replace("id: door", "id: ../door"), ":2: cameras[0].id: should be 1 to 32 of a-z"),
    "no unit": ("buffer: {size: 32}\n", ":1: buffer.size: should be a whole number with its unit, such as 32GiB"),
    "bad unit": (
        "buffer: {size: 32GB}\n",
        ":1: buffer.size: should be a whole number with its unit, such as 32GiB (8MiB",
    ),
    "sync too rare": ("buffer: {sync_every: 10s}\n", ":1: buffer.sync_every: 10s is outside 500ms to 4s"),
    "keep too long": ("buffer: {keep_for: 400d}\n", ":1: buffer.keep_for: 400d is outside 1m to 366d"),
    "reader": (
        DOOR + "    transport: udp\n    reader: own\n",
        ":2: cameras[0]: has `reader: own`, which takes tcp alone, and `transport: udp`",
    ),
    "transport": (DOOR + "    transport: sctp\n", ":4: cameras[0].transport: should be 'tcp' or 'udp', not 'sctp'"),
    "audio as text": (DOOR + "    audio: yes\n", ":4: cameras[0].audio: should be true or false; write true"),
    "latitude": ("gateway: {location: {lat: 91, lon: 0}}\n", ":1: gateway.location.lat: should be between -90 and 90"),
    "half a place": ("gateway: {location: {lat: 1}}\n", ":1: gateway.location.lon: missing key"),
    "time zone": ("gateway: {time_zone: Mars/Base}\n", ":1: gateway.time_zone: is no time zone of this system"),
    "time zone path": ("gateway: {time_zone: ../../etc/passwd}\n", "is no time zone of this system"),
    "tls on rtsp": (DOOR + "    tls: {ca_file: ca.pem}\n", "has tls, but its url is not rtsps://"),
    "tls both": (
        DOOR.replace("rtsp:", "rtsps:") + f"    tls: {{ca_file: a, pin: 'sha256:{'0' * 64}'}}\n",
        ":4: cameras[0].tls: needs exactly one of ca_file and pin",
    ),
    "pin": (DOOR.replace("rtsp:", "rtsps:") + "    tls: {pin: abc}\n", ":4: cameras[0].tls.pin: should be sha256:"),
    "events without triggers": (DOOR + "    record: on_event\n", "needs `record: on_event` and triggers together"),
    "trigger without broker": (
        DOOR + "    record: on_event\n    triggers: [{kind: mqtt, topic: a}]\n",
        "camera door has an mqtt trigger, but there is no home_broker",
    ),
    "wildcard": (DOOR + "    record: on_event\n    triggers: [{kind: mqtt, topic: '#'}]\n", "triggers[0]"),
    "onvif with a path": (
        "cameras:\n  - {id: door, onvif: 'https://h/x'}\n",
        ":2: cameras[0].onvif: should be HOST",
    ),
    "onvif host": ("cameras:\n  - {id: door, onvif: 'http://h/x'}\n", ":2: cameras[0].onvif: should be HOST"),
    "hours": ("uplink: {upload_hours: ['25:00-06:00']}\n", "uplink.upload_hours[0]: should be two times of day"),
    "bandwidth": ("uplink: {bandwidth: 1KiB/s}\n", "is below 16KiB/s"),
    "a list": ("- a\n", ":1: (file): "),
    "not yaml": ("a: [\n", "edge-agent.yaml:2: not YAML"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_told_line_key_and_what_is_allowed(case: tuple[str, str]) -> None:
    """Every complaint leads to its line; no password is ever repeated."""
    text, expected = case
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert expected in str(refused.value)
    assert str(refused.value).startswith("edge-agent.yaml:")
    assert "hunter2" not in str(refused.value)
    assert "ter2" not in str(refused.value)


def test_all_problems_are_told_at_once() -> None:
    """An installer mends a file in one round."""
    with pytest.raises(ConfigError) as refused:
        parse("buffer: {size: 1, keep_for: 1}\nclock: {trust: me}\n")
    assert len(str(refused.value).splitlines()) == 3


ADDRESSES = ("192.0.2.7", "192.0.2.7:8000", "camera.lan", "[2001:db8::7]", "[2001:db8::7]:80")


@pytest.mark.parametrize("onvif", [*ADDRESSES, *(f"https://{address}" for address in ADDRESSES)])
def test_onvif_addresses(onvif: str) -> None:
    """Host, host and port, both families."""
    assert parse(f"cameras: [{{id: door, onvif: '{onvif}'}}]\n").cameras[0].onvif == onvif


def test_a_missing_file_has_a_hint(tmp_path: Path) -> None:
    """The first command a newcomer forgets is named."""
    with pytest.raises(ConfigError, match="file is missing") as refused:
        load_config(tmp_path / "edge-agent.yaml")
    assert "edge-agent init" in refused.value.hint


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_hours_and_their_complement_share_no_minute(start: int, end: int, minute: int) -> None:
    """A minute is inside a span or inside what is left of the day, never both or neither."""
    if start != end:
        assert DailyHours(start, end).contains(minute) != DailyHours(end, start).contains(minute)


@settings(max_examples=150)
@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    """No input whatever ends in a traceback."""
    with contextlib.suppress(ConfigError):
        parse(text)


SHIPPED = Path(__file__).parents[2] / "config" / "edge-agent.yaml"


def _models(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    seen.add(model)
    for name in model.model_fields:
        for inner in _inner(get_type_hints(model)[name]):
            if inner not in seen:
                _models(inner, seen)
    return seen


def _inner(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _inner(argument)]


def test_the_shipped_file_says_the_defaults() -> None:
    """What an installer reads as the default is the default."""
    shipped = parse(SHIPPED.read_text())
    assert shipped == parse("")


def test_the_shipped_file_shows_every_key() -> None:
    """A key that the file does not show is a key that nobody finds."""
    words = set(re.findall(r"[a-z_]+", SHIPPED.read_text()))
    for model in _models(Config, set()):
        for name, field in model.model_fields.items():
            assert (field.alias or name) in words, (model, name)


def test_the_shipped_file_with_its_examples_is_valid() -> None:
    """The commented camera is one that can be pasted."""
    lines = SHIPPED.read_text().splitlines()
    start = lines.index("cameras:") + 1
    end = next(index for index, line in enumerate(lines) if line.startswith("# The home's own"))
    camera = [line.removeprefix("  # ") for line in lines[start:end] if line.startswith(("  #   ", "  # -"))]
    camera = [f"  {line}" for line in camera if not line.lstrip().startswith("#")]
    config = parse("\n".join(["cameras:", *camera]))
    assert config.cameras[0].id == "door"
    assert (
        config.cameras[0]
        == parse(
            "cameras:\n- {id: door, name: Front door, credentials: door, "
            "url: 'rtsp://192.168.1.40:554/h264Preview_01_main'}"
        ).cameras[0]
    )


@pytest.mark.parametrize(("name", "file"), [("config", "edge-agent"), ("consent", "consent")])
def test_the_schemas_are_in_step(name: str, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Editors check against what the program checks: renew with ``python -m edge_agent.setup.schema NAME > FILE``."""
    assert schema.main([name]) == 0
    assert capsys.readouterr().out == SHIPPED.with_name(f"{file}.schema.json").read_text()
