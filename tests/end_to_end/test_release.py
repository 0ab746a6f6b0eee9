"""The main job: what is delivered is exactly what was granted, seen from the pixels."""

from dataclasses import replace
from itertools import pairwise

import pytest

from edge_agent.demo.camera import CameraSettings
from edge_agent.demo.home import LAT, LON
from edge_agent.demo.source import LiveSettings
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Status
from edge_agent.protocol.request import Place, Quality, Role
from edge_agent.protocol.request_jws import TYP
from edge_agent.rtcc.office.keys import make_id
from edge_agent.rtcc.office.request import build_payload, to_area, topics_of
from edge_agent.units import HOUR_NS, MINUTE_NS, SECOND_NS, UtcNs, Window
from tests.end_to_end.conftest import read_pictures

pytestmark = [pytest.mark.peer, pytest.mark.slow]

FPS = LiveSettings().fps
MAX_DELAY_NS = SECOND_NS
"""From drawing a picture to its arrival: what the encoder holds back for B-frames, and loopback; one clock here."""


@pytest.mark.parametrize(
    "live",
    [LiveSettings(), LiveSettings(codec="hevc", bframes=2), LiveSettings(audio="aac")],
    ids=["h264", "h265 with B-frames", "h264 with AAC"],
)
def test_delivered_clip_is_exactly_the_granted_window(make_world, live):
    """Every picture of the window is there, none outside of it, none missing in between; and the RTCC can prove it."""
    world = make_world(settings=CameraSettings(live=live))
    world.wait_recorded(8)
    draft = world.draft(7, 1)
    signed = world.send(draft)
    statuses = [answer.status for answer in world.answers(signed.jti)]
    assert statuses[0] is Status.QUEUED
    assert statuses[-1] is Status.DELIVERED
    assert Status.UPLOADING in statuses
    findings = world.open(signed.jti)
    assert findings.ok, findings.as_text()
    pictures = read_pictures(world.folder / signed.jti)
    window, frame_ns = draft.window, SECOND_NS // FPS
    assert all(window.start <= picture.ring < window.end for picture in pictures)
    # The ring's clock is the camera's, later by the camera's own delay, and by the same delay for every picture.
    late = sorted(picture.ring - picture.pixels for picture in pictures)
    delay_ns = late[len(late) // 2]
    assert 0 <= delay_ns < MAX_DELAY_NS
    assert late[-1] - late[0] < frame_ns
    # So the pixels themselves lie inside the window, up to that delay and one picture.
    assert all(window.start <= picture.pixels + delay_ns + frame_ns for picture in pictures)
    assert all(picture.pixels + delay_ns - frame_ns < window.end for picture in pictures)
    # The clip begins with the first keyframe inside: at most one GOP late. It ends with the window's last picture.
    assert pictures[0].ring - window.start <= SECOND_NS + frame_ns
    # In decode order the first picture at or after the end may come before B-pictures that precede it: they go as well.
    assert window.end - pictures[-1].ring <= (2 + live.bframes) * frame_ns
    # None is missing: the pixels' times step by one picture.
    steps = [round((later.pixels - earlier.pixels) / frame_ns) for earlier, later in pairwise(pictures)]
    assert set(steps) == {1}


def test_area_request_reaches_the_house_in_its_cell(world):
    """A request to every cell around an incident is decided at home by the exact distance."""
    world.wait_recorded(6)
    draft = world.draft(5, 1)
    signed = world.send(replace(draft, audience=to_area(draft.incident, 400.0)))
    assert world.wait_state(signed.jti, "delivered")["releases"][0]["state"] == "delivered"


def test_window_before_the_recording_is_answered_with_no_footage(world):
    """A gateway that has nothing says so, after the grant and not before."""
    world.wait_recorded(2)
    draft = world.draft(HOUR_NS // SECOND_NS, HOUR_NS // SECOND_NS - 60)
    signed = world.send(draft)
    assert [answer.status for answer in world.answers(signed.jti)] == [Status.QUEUED, Status.NO_FOOTAGE]


def test_refusals_have_their_reasons_and_the_sender_hears_nothing(world):
    """Forged, single-signed, retained, oversize, malformed, replayed, too far, outside, not consented: all refused."""
    world.wait_recorded(4)
    draft = world.draft(3, 1)
    good = world.send(draft)
    world.wait_state(good.jti, "delivered")
    topics = topics_of(draft.audience)
    expires = UtcNs(world.clock.utc() + MINUTE_NS)
    operator = world.city.home.people.load_key("operator-1", Role.OPERATOR)
    payload = build_payload(draft, world.city.home.settings.iss, make_id(), world.clock.utc())
    unread = {
        "supervisor-missing": jws.sign(TYP, payload, [operator]),
        "json-malformed": b"{not json",
        "too-large": b"[" * 66_000,
        "jws-typ": jws.sign("rtcc-trust+jws", payload, [operator]),
    }
    for raw in unread.values():
        world.session.send_raw(raw, topics, b"x", expires)
    far = replace(draft, incident=replace(world.draft(3, 1).incident, place=Place(LAT + 0.02, LON)))
    outside = world.draft(3, 1)
    outside = replace(outside, window=Window(UtcNs(outside.window.start - HOUR_NS), outside.window.end))
    read = {
        "too-far": far,
        "clip-outside-incident": outside,
        "mode-deny": replace(world.draft(3, 1), cameras=("back-yard",)),
        "camera-unknown": replace(world.draft(3, 1), cameras=("attic",)),
        "incident-changed": replace(draft, incident=replace(draft.incident, place=Place(LAT, LON + 0.001))),
        "incident-in-future": world.draft(3, -30),
    }
    world.session.send_raw(good.raw, topics, b"x", expires)  # a replay
    for reason, refused in read.items():
        signed = world.send(refused)
        codes = [each["code"] for each in world.wait_state(signed.jti, "denied")["reasons"]]
        assert reason in codes
    assert {reason: world.refused_unread().get(reason) for reason in unread} == dict.fromkeys(unread, 1)
    decisions = [each["entry"]["outcome"] for each in world.entries("decision")]
    assert decisions == ["grant"] + ["denial"] * len(read)
    heard = {answer.jti for answer in world.session.answers(timeout_s=1.5)}
    assert heard <= {good.jti}


def test_retained_request_is_refused(world):
    """A request that somebody left at the broker is not acted on."""
    signed = world.sign(world.draft(3, 1))
    world.session._broker.publish(topics_of(world.draft(3, 1).audience)[0], signed.raw, retain=True)
    world.home.wait_for("the refusal", lambda: world.refused_unread().get("retained"))
    assert world.find(signed.jti) is None


def test_substream_that_is_not_recorded_is_said_so(world):
    """Asked for in a quality that only the terms know: granted, and answered with the reason why there is nothing."""
    world.wait_recorded(6)
    signed = world.send(world.draft(5, 1, quality=Quality.SUB))
    *_, last = world.answers(signed.jti)
    assert last.status is Status.NO_FOOTAGE
    assert [(note.code, note.camera) for note in last.missing] == [("quality-not-recorded", "front-door")]
