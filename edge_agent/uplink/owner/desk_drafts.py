"""Drafts for the desk: the exact bytes of each act, and the sentence that these bytes come to.

Owns the sentences. The desk names its wish by number, camera and time. Bytes and sentence are made here, so that
the owner reads in the notice what the gate will read in the bytes, whatever the desk draws. Reads the request that
waits, through the owner's own command; changes nothing.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.base64url import encode_b64url
from edge_agent.consent.offer import Offer, Offers, digest_offers, parse_offers
from edge_agent.consent.owner_order import TYP, build_order, read_approval, window_members
from edge_agent.consent.shown_request import meet_approval
from edge_agent.errors import DenialError, UsageError
from edge_agent.host.control_socket import read_texts
from edge_agent.protocol.request import EVERY_CAMERA
from edge_agent.protocol.request_jws import read_request
from edge_agent.settings.gateway import Config
from edge_agent.texts import Texts
from edge_agent.units import MINUTE_NS, SECOND_NS, UtcNs, Window
from edge_agent.uplink.owner.desk_codes import DeskDraft, ToSign
from edge_agent.uplink.owner.join_desk import JoinDesk
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.owner.terms_desk import TermsDesk

LONGEST_PLAY_NS = 10 * MINUTE_NS
"""Of one camera: the footage that is shown lies in the desk's memory."""
MAX_STILLS = 12

AskOwner = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Asks one of the owner's commands that read."""


class Drafts:
    """Makes drafts.

    Args:
        orders: The gateway that an order names, the owner's key, and the clock by which an order begins.
        config: Cameras and time zone.
        ask: Asks the owner's ``request``.
        texts: The owner's language.
        terms: Drafts terms; None before there is an enrolment.
        join: Drafts an enrolment.
    """

    def __init__(
        self,
        orders: OwnerOrders,
        config: Config,
        ask: AskOwner,
        texts: Texts,
        terms: TermsDesk | None = None,
        join: JoinDesk | None = None,
    ) -> None:
        self._orders, self._config, self._ask, self._texts = orders, config, ask, texts
        self._terms, self._join = terms, join
        self._zone = ZoneInfo(config.gateway.time_zone)

    def draft(self, members: Mapping[str, Any]) -> DeskDraft:
        """Draft the desk's wish: the act (``what``), and its members.

        Raises:
            UsageError: Nothing that the desk may ask for, or nothing that can be.
        """
        what = members["what"]
        if what == "approve":
            return self._approve(members)
        if what == "resume":
            return self._resume(members)
        if what in ("look", "play", "export"):
            return self._show(str(what), members)
        if what == "sign" and self._terms is not None:
            return self._terms.draft(members, self._orders.gateway)
        if what == "join" and self._join is not None:
            return self._join.draft(members, self._orders.gateway)
        raise UsageError("the desk takes approve, resume, look, play, export, sign and join")

    def _approve(self, members: Mapping[str, Any]) -> DeskDraft:
        request = self._ask("request", {"number": members.get("number")})["request"]
        if request["state"] != "asked":
            raise UsageError(f"the request does not wait for you: it is {request['state']}")
        asked, offers = read_request(str(request["raw"]).encode()), parse_offers(request["offer"])
        wanted = read_texts(members, "cameras") or list(offers.names)
        # The desk may narrow an offer, and never widen it.
        if beyond := set(wanted) - set(offers.names):
            raise UsageError(f"nothing of what was asked can leave of: {', '.join(sorted(beyond))[:200]}")
        window = parse_window(members) if members.get("start") else asked.window
        payload = self._build(
            "approve",
            {
                "jti": asked.jti,
                "request_sha256": encode_b64url(asked.payload_sha256),
                "offer_sha256": encode_b64url(digest_offers(offers)),
                "cameras": wanted,
                "window": window_members(window),
            },
        )
        # From the payload, not from the wish: the sentence tells the footage that these very bytes let out.
        leaving = meet_approval(read_approval(payload.payload, self._orders.thumbprint), offers)
        if not leaving.cameras:
            raise UsageError("nothing of what was asked lies in the minutes and cameras that are left")
        said = say_approval(leaving, asked.iss, self._zone, self._texts)
        return DeskDraft("approve", (payload,), said, "order", subject={"number": int(request["number"])})

    def _resume(self, members: Mapping[str, Any]) -> DeskDraft:
        camera = str(members.get("camera", EVERY_CAMERA))
        camera = camera if camera == EVERY_CAMERA else self._config.demand_camera(camera).id
        payload = self._build("resume", {"what": "release", "camera": camera})
        paused = [str(each) for each in self._ask("status", {})["release_paused"]]
        said = say_resume(camera, paused, self._texts)
        return DeskDraft("resume", (payload,), said, "order", subject={"camera": camera})

    def _show(self, what: str, members: Mapping[str, Any]) -> DeskDraft:
        camera, window = self._config.demand_camera(str(members["camera"])).id, parse_window(members)
        quality = str(members.get("quality", "main"))
        # Before the order is built: the owner would sign it, and the desk could not show it.
        if window.duration_ns > LONGEST_PLAY_NS:
            raise UsageError("at most ten minutes at once", "longer ones, at the gateway: edge-agent export")
        payload = self._build("export", {"camera": camera, "quality": quality, "window": window_members(window)})
        texts = self._texts
        small = texts(", small picture") if quality == "sub" else ""
        said = say_show(what, f"{camera}, {say_span(window, self._zone)}{small}", texts)
        more: dict[str, Any] = {"stills": MAX_STILLS} if what == "look" else {}
        if what == "look" and "number" in members:  # a yes lets out the excerpt that is held, not today's ring
            more["jti"] = self._ask("request", {"number": members["number"]})["request"]["jti"]
        command = "look" if what == "look" else "export"
        return DeskDraft(what, (payload,), said, command, more, {"camera": camera})

    def _build(self, order: str, members: Mapping[str, object]) -> ToSign:
        order_id = encode_b64url(secrets.token_bytes(16))
        try:
            return ToSign(TYP, build_order(order, members, self._orders.gateway, order_id, self._orders.clock.utc()))
        except DenialError as error:
            raise UsageError(f"this cannot be signed: {error}") from error


def parse_window(members: Mapping[str, Any]) -> Window:
    """Read ``start`` and ``end``; UsageError if they are no window."""
    try:
        return Window.parse(str(members["start"]), str(members["end"]))
    except ValueError as error:
        raise UsageError(f"from when to when: {error}") from error


def say_approval(leaving: Offers, agency: str, zone: tzinfo, texts: Texts) -> str:
    """Tell the footage that leaves with a yes, and the RTCC: ``door, 2026-11-28 21:35–21:45, to rtcc.example-city``."""
    parts = [
        f"{offer.camera}, {say_span(window, zone)}{_say_form(offer, texts)}"
        for offer in leaving.cameras
        for window in offer.windows
    ]
    said = texts("{footage}, to {agency}", footage="; ".join(parts), agency=agency)
    return said + (texts(" and the key that it keeps in escrow") if leaving.escrow else "")


def _say_form(offer: Offer, texts: Texts) -> str:
    sound = texts(", with sound") if offer.audio else ""
    return sound + (texts(", areas blacked out: {count}", count=len(offer.masks)) if offer.masks else "")


def say_resume(camera: str, paused: Sequence[str], texts: Texts) -> str:
    """Tell which pause ends, and which ones are left: the pauses of all cameras and of single ones end one by one.

    Args:
        camera: The camera whose pause ends; ``*`` for that of all cameras.
        paused: The pauses before that.
        texts: The owner's language.
    """
    rest = [each for each in paused if each != camera]
    if EVERY_CAMERA in rest:
        return texts("the pause of {camera} ends; nothing can leave yet, for all cameras are paused", camera=camera)
    named = texts("all cameras") if camera == EVERY_CAMERA else camera
    still = texts("; still paused: {cameras}", cameras=", ".join(rest)) if rest else ""
    return texts("the pause of {camera} ends: clips can leave again", camera=named) + still


def say_show(what: str, footage: str, texts: Texts) -> str:
    """Tell which footage is shown."""
    if what == "look":
        return texts("the desk shows pictures of {footage}", footage=footage)
    if what == "play":
        return texts("the desk plays {footage}", footage=footage)
    return texts("the desk hands out a copy of {footage}", footage=footage)


def say_span(window: Window, zone: tzinfo) -> str:
    """Say a window in the time of the house: ``2026-11-28 21:35–21:45``; with seconds if it has any.

    If clocks are set on one of its days, with the offset from UTC: ``01:10 CDT (UTC-05:00)–01:20 CST (UTC-06:00)``.
    """
    start, end = _local(window.start, zone), _local(UtcNs(-(-window.end // SECOND_NS) * SECOND_NS), zone)
    clock = "%H:%M" if start.second == end.second == 0 else "%H:%M:%S"
    offset = _say_offset if _are_clocks_set(start, end) else lambda _: ""
    last = f"{end:{clock}}" if start.date() == end.date() else f"{end:%Y-%m-%d} {end:{clock}}"
    return f"{start:%Y-%m-%d} {start:{clock}}{offset(start)}–{last}{offset(end)}"


def _are_clocks_set(start: datetime, end: datetime) -> bool:
    """Return whether the offset from UTC changes between the midnights around a window: a time may be shown twice."""
    first = start.replace(hour=0, minute=0, second=0, fold=0)
    after = end.replace(hour=0, minute=0, second=0, fold=0) + timedelta(days=1)
    return len({each.utcoffset() for each in (first, start, end, after)}) > 1


def _say_offset(moment: datetime) -> str:
    return f" {moment:%Z} (UTC{moment.isoformat(timespec='minutes')[-6:]})"


def _local(moment: UtcNs, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(moment // SECOND_NS, UTC).astimezone(zone)
