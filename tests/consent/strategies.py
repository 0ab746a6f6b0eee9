"""Random terms, requests and histories, close enough to each other that all verdicts occur."""

from dataclasses import replace
from datetime import date

from hypothesis import strategies as st

from edge_agent.consent.hours import WEEK_MINUTES, Hours
from edge_agent.consent.house_state import CameraHistory, CameraInForce, History
from edge_agent.consent.policy import Mode, Occasion, Refusal, Refusals, Signatures, Terms
from edge_agent.consent.signed_consent import effective
from edge_agent.protocol.request import Category, Quality, Role, Signer
from edge_agent.protocol.verdict import Mask
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, UtcNs, Window
from tests.support.gate import HOME, ISS, NEAR, NOW, admitted, house_state, standing
from tests.support.gate import terms as wide_terms

BASE = admitted()
CAMERAS = ("door", "yard", "shed")
DATES = [date(2026, 6, 30), date(2026, 7, 1), date(2026, 7, 2)]
MASKS = [Mask(((0, 0), (n, 0), (n, n))) for n in (10, 20, 30)]


def minutes(least, most):
    return st.integers(least, most).map(lambda count: count * MINUTE_NS)


hours = st.one_of(
    st.just(Hours.always()),
    st.lists(
        st.tuples(st.integers(0, WEEK_MINUTES - 1), st.integers(1, WEEK_MINUTES)).filter(
            lambda span: span[0] < span[1]
        ),
        max_size=4,
    ).map(Hours.of),
)
CAMERA_FIELDS = {
    "mode": st.sampled_from(Mode),
    "hours": hours,
    "categories": st.sets(st.sampled_from([Category.ROBBERY, Category.SHOOTING, Category.THEFT])).map(frozenset),
    "distance_m": st.integers(0, 650),
    "window": minutes(1, 40),
    "footage_age": minutes(60, 120),
    "requests_per_day": st.integers(0, 3),
    "requests_per_month": st.integers(0, 5),
    "requests_per_incident": st.integers(0, 3),
    "minutes_per_month": st.integers(0, 60),
    "quality": st.sampled_from(Quality),
    "masks": st.lists(st.sampled_from(MASKS), max_size=2, unique=True).map(tuple),
    "audio": st.booleans(),
}
HOUSE_FIELDS = {
    "agencies": st.sampled_from([frozenset(), frozenset({"other"}), frozenset({ISS, "other"})]),
    "signatures": st.sampled_from(Signatures),
    "reported_within": minutes(60, 120),
    "padding": minutes(0, 30),
    "ask_timeout": minutes(1, 120),
    "cooling_off": minutes(0, 400),
    "blackout_dates": st.sets(st.sampled_from(DATES)).map(frozenset),
    "escrow": st.booleans(),
    "refusals": st.builds(Refusals, area=st.sampled_from(Refusal), gateway=st.sampled_from(Refusal)),
    "notify": st.sets(st.sampled_from(Occasion)).map(frozenset),
    "expires_after": st.integers(1, 60).map(lambda days: days * DAY_NS),
}


@st.composite
def _terms(draw):
    """Wide terms with a few of them drawn: were all of them drawn, nearly everything would be refused."""
    camera, house = {"mode": draw(st.sampled_from([Mode.AUTO, Mode.AUTO, Mode.ASK]))}, {}
    for name in draw(st.lists(st.sampled_from([*CAMERA_FIELDS, *HOUSE_FIELDS]), max_size=4, unique=True)):
        if name in CAMERA_FIELDS:
            camera[name] = draw(CAMERA_FIELDS[name])
        else:
            house[name] = draw(HOUSE_FIELDS[name])
    return wide_terms({"cooling_off": 0, **house}, **{"distance_m": 650, "window": HOUR_NS, **camera})


def _canonical(terms):
    # model construction keeps masks as given; order them as the file's reading would
    camera = terms.camera.model_copy(
        update={"masks": tuple(sorted(set(terms.camera.masks), key=lambda mask: mask.points))}
    )
    return Terms(camera=camera, house=terms.house)


terms = _terms().map(_canonical)


def _admitted(category, cameras, start, length, pad_before, pad_after, audio, quality, dispatch, distance, reported):
    window = Window(UtcNs(NOW - start), UtcNs(min(NOW - start + length, NOW)))
    incident = replace(
        BASE.request.incident,
        category=category,
        window=Window(
            UtcNs(window.start + pad_before), UtcNs(max(window.end - pad_after, window.start + pad_before + 1))
        ),
        place=replace(NEAR, lat=NEAR.lat + distance * 1e-5),
        reported_at=UtcNs(BASE.request.iat - reported),
    )
    signers = BASE.request.signers
    if dispatch:
        signers = (*signers, Signer("C" * 43, "C" * 43, "cid", Role.DISPATCH))
    request = replace(
        BASE.request,
        incident=incident,
        cameras=cameras,
        window=window,
        audio=audio,
        quality=quality,
        signers=signers,
    )
    return replace(BASE, request=request)


requests = st.builds(
    _admitted,
    category=st.sampled_from(
        [Category.ROBBERY, Category.ROBBERY, Category.ROBBERY, Category.SHOOTING, Category.HOMICIDE]
    ),
    cameras=st.sampled_from([("door",), ("door", "yard"), ("*",), ("*",), ("nowhere", "door")]),
    start=minutes(30, 150),
    length=minutes(1, 30),
    pad_before=minutes(-40, 6),
    pad_after=minutes(-40, 6),
    audio=st.booleans(),
    quality=st.sampled_from(Quality),
    dispatch=st.booleans(),
    distance=st.integers(0, 600).map(lambda step: step if step > 550 else step // 10),
    reported=minutes(0, 130),
)
some_history = st.builds(
    CameraHistory,
    last_day=st.integers(0, 2),
    last_month=st.integers(0, 3),
    same_incident=st.integers(0, 2),
    last_month_ns=minutes(0, 40),
)
histories = st.lists(st.just(CameraHistory()) | some_history, min_size=3, max_size=3).map(
    lambda counts: History(dict(zip(CAMERAS, counts, strict=True)))
)
moments = st.integers(0, 8 * HOUR_NS).map(lambda later: UtcNs(NOW + later))
KNOWN = standing().consent
three_terms = st.tuples(terms, terms, terms)


def house_of(*signed, files=None):
    """Return a house of verified consents, without the signing: that is tested elsewhere."""
    cameras = {}
    for camera, ours, theirs in zip(CAMERAS, signed, files or signed, strict=True):
        consent = replace(KNOWN, camera=camera, terms=ours)
        cameras[camera] = CameraInForce(HOME, consent, None, effective(ours, theirs))
    return replace(house_state(), cameras=cameras)
