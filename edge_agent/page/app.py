"""The application: its addresses, and the act of each form.

Owns the routes and their users: a paired device, or a browser that is about to become one. Handlers run in the thread
pool, for they ask the processes over sockets that block. A GET changes nothing but the day on which its device was
seen, and one to the desk draws a ticket; every POST of a device carries its token (beside what ``guard`` demands).
"""

import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from edge_agent.errors import UsageError
from edge_agent.host.clock import Clock
from edge_agent.page.devices import Devices, PairedDevice, form_token, parse_name
from edge_agent.page.faults import find_words, make_exception_handlers
from edge_agent.page.forms import read_form
from edge_agent.page.guard import Guard
from edge_agent.page.languages import Words
from edge_agent.page.numbers import allow_numbers
from edge_agent.page.pairing import Pairing
from edge_agent.page.processes import Processes
from edge_agent.page.recordings import read_days
from edge_agent.page.rendering import STATIC, Templates
from edge_agent.page.settings import PageSettings
from edge_agent.page.views import Reader, say_house
from edge_agent.page.words import say_done, say_length
from edge_agent.printable_text import show_line
from edge_agent.units import HOUR_NS, SECOND_NS, UtcNs, encode_rfc3339

COOKIE = "__Host-edge-agent"
"""The prefix has browsers refuse it without ``Secure``, of another host or path (RFC 6265bis,
4.1.3.2)."""
_COOKIE_S = 400 * 86400
"""Browsers keep no cookie longer (RFC 6265bis, 5.5)."""
PAUSES: Mapping[str, int | None] = {"until-resumed": None, "1h": HOUR_NS, "8h": 8 * HOUR_NS, "24h": 24 * HOUR_NS}
_DESK_PATH = re.compile("approve/[1-9][0-9]{0,18}|resume|show|terms|join")
"""The pages of the desk that a link may name: the redirect must lead nowhere else."""
_DESK_QUERY = ("camera",)
LANGUAGES: Mapping[str, str] = {"en": "English", "es": "Español", "fr": "Français"}
ENTRIES = 200


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a paired device."""

    device: PairedDevice
    secret: str
    reader: Reader
    form: Mapping[str, str]
    query: Mapping[str, str]
    path: Mapping[str, Any]


Show = Callable[[Visit], Response]


@dataclass(frozen=True, slots=True)
class Desk:
    """The desk's address for links; empty if there is none."""

    url: str

    def link(self, path: str, **query: str) -> str:
        """Return the page's own address that leads there; empty if there is no desk."""
        return f"/desk/{path}{'?' if query else ''}{urlencode(query)}" if self.url else ""


class Pages:
    """The handlers.

    Args:
        processes: The source of everything that is shown.
        devices: The devices that may look.
        pairing: Makes a browser one of them.
        clock: The wall clock, for pauses.
        ca_pem: The authority's certificate, for a device that wants to trust it.
        desk: The address of the desk, for links to acts that loosen.
    """

    def __init__(
        self, processes: Processes, devices: Devices, pairing: Pairing, clock: Clock, ca_pem: bytes, desk: Desk
    ) -> None:
        self._processes, self._devices, self._pairing, self._clock = processes, devices, pairing, clock
        self._ca_pem = ca_pem
        self._desk = desk
        self._templates = Templates("edge_agent.page")
        # Before `routes`: Starlette looks the kind of `{number:request}` up as a route is made.
        allow_numbers()

    def routes(self) -> list[Route]:
        """Return every address of the page."""
        number = "{number:request}"
        return [
            Route("/", self._paired(self._home)),
            Route("/live", self._paired(self._live)),
            Route("/requests", self._paired(self._requests)),
            Route(f"/requests/{number}", self._paired(self._request)),
            Route(f"/requests/{number}/deny", self._acting(self._deny), methods=["POST"]),
            Route(f"/requests/{number}/cancel", self._acting(self._cancel), methods=["POST"]),
            Route("/pause", self._acting(self._pause), methods=["POST"]),
            Route("/recordings", self._paired(self._recordings)),
            Route("/ledger", self._paired(self._ledger)),
            Route(f"/ledger/{number}/proof", self._acting(self._prove), methods=["POST"]),
            Route("/terms", self._paired(self._terms)),
            Route("/terms/revoke", self._acting(self._revoke), methods=["POST"]),
            Route("/desk/{path:path}", self._paired(self._go_to_desk)),
            Route("/devices", self._paired(self._list_devices)),
            Route("/devices/forget", self._acting(self._forget), methods=["POST"]),
            Route("/authority.crt", self._paired(self._authority)),
            Route("/pair", self._pair, methods=["GET", "POST"]),
            Route("/static/{name:str}", self._file),
        ]

    # Users

    def _find_device(self, request: Request) -> tuple[PairedDevice, str] | None:
        secret = request.cookies.get(COOKIE, "")
        device = self._devices.note_visit(secret) if secret else None
        return None if device is None else (device, secret)

    def _paired(self, show: Show) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await run_in_threadpool(self._visit, request, {}, show)

        return answer

    def _acting(self, act: Show) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            form = await read_form(request)

            def demand_token(visit: Visit) -> Response:
                if not hmac.compare_digest(form.get("token", "").encode(), form_token(visit.secret).encode()):
                    raise HTTPException(403, "This form is old. Open the page anew and press the button there.")
                return act(visit)

            return await run_in_threadpool(self._visit, request, form, demand_token)

        return answer

    def _visit(self, request: Request, form: Mapping[str, str], show: Show) -> Response:
        found = self._find_device(request)
        if found is None:
            return RedirectResponse("/pair", 303)
        house = self._processes.look("releaser", "house")
        zone = ZoneInfo(str(house.members.get("time_zone", "UTC")))
        reader = Reader(house.members, zone, find_words(request))
        return show(Visit(*found, reader, form, request.query_params, request.path_params))

    def _render(self, visit: Visit, template: str, **values: Any) -> Response:
        words = visit.reader.words
        done = say_done(visit.query.get("done", ""), words)
        text = self._templates.render(
            template,
            words,
            device=visit.device,
            token=form_token(visit.secret),
            done=done,
            desk=self._desk.link,
            **values,
        )
        return HTMLResponse(text)

    def render_fault(self, status: int, message: str, hint: str, again: bool, words: Words) -> Response:
        """Return a page that names the fault."""
        text = self._templates.render("fault.html", words, message=message, hint=hint, again=again)
        return HTMLResponse(text, status)

    # Pages

    def _home(self, visit: Visit) -> Response:
        recorder, releaser = self._processes.look("recorder", "status"), self._processes.look("releaser", "status")
        cameras = visit.reader.read_cameras(recorder.members)
        paused = [visit.reader.title(each) for each in releaser.members.get("release_paused", ())]
        requests = [each for each in self._recent_requests(visit) if each.is_waiting]
        problems = [each for each in (recorder.problem, releaser.problem) if each]
        faults = [show_line(str(each), 300) for each in releaser.members.get("faults", ())]
        sentence, is_well = say_house(cameras, len(requests), paused, problems, visit.reader.words)
        return self._render(
            visit, "home.html", sentence=sentence, is_well=is_well and not faults, cameras=cameras, waiting=requests,
            paused=paused, problems=problems, faults=faults, broker=releaser.members.get("broker", ""), pauses=PAUSES,
            names=visit.reader.cameras, mark=self._mark(),
        )  # fmt: skip

    def _live(self, _visit: Visit) -> Response:
        return PlainTextResponse(self._mark())

    def _mark(self) -> str:
        """Return a digest of the home page and the requests: the browser loads the page anew if it changes."""
        cameras = self._processes.look("recorder", "status").members.get("cameras", {})
        status = self._processes.look("releaser", "status").members
        shown = [(name, each.get("state"), each.get("reason")) for name, each in sorted(cameras.items())]
        rest = [status.get(name) for name in ("waiting_for_you", "releasing", "release_paused", "broker", "faults")]
        return hashlib.sha256(repr((shown, rest)).encode()).hexdigest()[:16]

    def _recent_requests(self, visit: Visit) -> list[Any]:
        """Return the last 50 requests, whatever has come of them."""
        answer = self._processes.look("releaser", "requests", last=50)
        return [visit.reader.read_request(each) for each in answer.members.get("requests", ())]

    def _requests(self, visit: Visit) -> Response:
        requests = self._recent_requests(visit)
        requests.sort(key=lambda each: (not each.is_waiting, not each.can_stop))
        return self._render(visit, "requests.html", requests=requests, mark=self._mark())

    def _request(self, visit: Visit) -> Response:
        found = self._processes.ask("releaser", "request", number=visit.path["number"])["request"]
        return self._render(visit, "request.html", request=visit.reader.read_request(found), mark=self._mark())

    def _recordings(self, visit: Visit) -> Response:
        camera = visit.query.get("camera") or next(iter(visit.reader.cameras), "")
        days, answer = [], {}
        if camera:
            answer = self._processes.ask("releaser", "recordings", camera=camera)
            days = read_days(answer, visit.reader.zone, visit.reader.words)
        return self._render(
            visit, "recordings.html", camera=camera, names=visit.reader.cameras, days=days,
            oldest=visit.reader.moment(answer["oldest"]) if answer.get("oldest") else None,
        )  # fmt: skip

    def _ledger(self, visit: Visit) -> Response:
        entries = [visit.reader.read_entry(each) for each in reversed(self._processes.entries(ENTRIES))]
        return self._render(visit, "ledger.html", entries=entries, most=ENTRIES)

    def _prove(self, visit: Visit) -> Response:
        index = visit.path["number"]
        proof = self._processes.ask("releaser", "ledger-prove", index=index)["proof"]
        # `index` is a number of the route: no text of a stranger comes into a header.
        headers = {"Content-Disposition": f'attachment; filename="ledger-{index}-proof.json"'}
        return Response(json.dumps(proof, indent=1), media_type="application/json", headers=headers)

    def _terms(self, visit: Visit) -> Response:
        language = visit.query.get("language", visit.reader.language)
        language = language if language in LANGUAGES else "en"
        answer = self._processes.ask("releaser", "terms", language=language)
        return self._render(visit, "terms.html", cameras=answer["cameras"], language=language, languages=LANGUAGES)

    def _go_to_desk(self, visit: Visit) -> Response:
        """Send a browser on to the desk, with a ticket of this very moment."""
        path = str(visit.path["path"])
        if not self._desk.url or not _DESK_PATH.fullmatch(path):
            raise HTTPException(404, "There is no such page at your desk.")
        query = {name: visit.query[name] for name in _DESK_QUERY if name in visit.query}
        # Fetched at the click: a ticket in a page would lie in the browser's history before it was
        # wanted.
        ticket = self._processes.ask("releaser", "desk-ticket", device=visit.device.id)["ticket"]
        return RedirectResponse(f"{self._desk.url}{path}?{urlencode({**query, 'ticket': ticket})}", 303)

    def _list_devices(self, visit: Visit) -> Response:
        return self._render(visit, "devices.html", devices=self._devices.list())

    def _authority(self, _visit: Visit) -> Response:
        return Response(self._ca_pem, media_type="application/x-x509-ca-cert")

    async def _file(self, request: Request) -> Response:
        name = str(request.path_params["name"])
        if name not in STATIC:
            raise HTTPException(404, "There is no such file.")
        return Response(self._templates.files[name], media_type=STATIC[name])

    # Forms: they only tighten

    def _deny(self, visit: Visit) -> Response:
        self._processes.ask("releaser", "deny", number=visit.path["number"], by=visit.device.name)
        return _go(f"/requests/{visit.path['number']}", "deny")

    def _cancel(self, visit: Visit) -> Response:
        self._processes.ask("releaser", "cancel", number=visit.path["number"], by=visit.device.name)
        return _go(f"/requests/{visit.path['number']}", "cancel")

    def _pause(self, visit: Visit) -> Response:
        length = visit.form.get("for", "until-resumed")
        if length not in PAUSES:
            raise UsageError("a pause lasts until you resume it, or 1, 8 or 24 hours")
        length_ns = PAUSES[length]
        until = None
        if length_ns is not None:
            until = encode_rfc3339(UtcNs((self._clock.utc() + length_ns) // SECOND_NS * SECOND_NS))
        camera = visit.form.get("camera", "*")
        self._processes.ask("releaser", "pause", camera=camera, until=until, by=visit.device.name)
        return _go("/", "pause")

    def _revoke(self, visit: Visit) -> Response:
        if visit.form.get("sure") != "yes":
            raise UsageError(
                "tick the box first: withdrawing ends what you signed, and only a new signature gives it back"
            )
        if not visit.form.get("camera"):
            raise UsageError("the form does not say which camera's terms to withdraw")
        self._processes.ask("releaser", "revoke", camera=visit.form["camera"], by=visit.device.name)
        return _go("/terms", "revoke")

    def _forget(self, visit: Visit) -> Response:
        device_id = visit.form.get("device", "")
        self._devices.remove(device_id)
        if device_id != visit.device.id:
            return _go("/devices", "forget")
        answer = RedirectResponse("/pair", 303)
        answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return answer

    # How a browser becomes a device

    async def _pair(self, request: Request) -> Response:
        form = await read_form(request) if request.method == "POST" else {}
        return await run_in_threadpool(self._pair_now, request, form)

    def _pair_now(self, request: Request, form: Mapping[str, str]) -> Response:
        fault, name = "", form.get("name", "")
        if request.method == "POST":
            try:
                return self._redeem(form.get("code", ""), name, request.client.host if request.client else "")
            except UsageError as error:
                fault = str(error)
        text = self._templates.render("pair.html", find_words(request), fault=fault, name=name)
        return HTMLResponse(text, 403 if fault else 200)

    def _redeem(self, code: str, name: str, address: str) -> Response:
        """Turn a code into a device; UsageError, in words for the page, if it is none."""
        name = parse_name(name)  # first: a code is not used up by a name that cannot be one
        wait_s = self._pairing.wait_s(address)
        if wait_s > 0:
            raise UsageError(f"Too many wrong codes. Wait {say_length(int(wait_s) + 1)} and try again.")
        # One sentence for a wrong code and for one that is over: a guesser learns nothing of the
        # code in force.
        if not self._pairing.redeem(code, address):
            raise UsageError("This code is wrong or over. A new one comes from the gateway: edge-agent page pair")
        _, secret = self._devices.add(name)
        answer = _go("/", "paired")
        answer.set_cookie(
            COOKIE, secret, max_age=_COOKIE_S, path="/", secure=True, httponly=True, samesite="lax"
        )  # Lax: a link in a notice must open the page; what changes anything is a POST.
        return answer


def _go(path: str, done: str) -> Response:
    return RedirectResponse(f"{path}?{urlencode({'done': done})}", 303)


def build_app(pages: Pages, settings: PageSettings) -> Guard:
    """Return the ASGI application behind its guard."""
    handlers = make_exception_handlers(
        pages.render_fault, "Something is wrong with this page. The gateway works on without it."
    )
    return Guard(Starlette(routes=pages.routes(), exception_handlers=handlers), settings.hosts)
