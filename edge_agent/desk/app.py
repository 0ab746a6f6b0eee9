"""The desk's application: choose an act, read its sentence, sign it with passphrase and code.

Owns the addresses. There is no cookie and no session: a ticket from the page lets a browser begin, and each form that
signs is good for one try. The signed bytes, their sentence and their code are the releaser's; this process draws,
carries and forgets.
"""

import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from edge_agent.desk.acts import Act, Acts
from edge_agent.desk.films import Film, FilmPart, Films
from edge_agent.desk.ranges import parse_range
from edge_agent.desk.signer import OwnerSigner
from edge_agent.desk.terms_form import CHOICES, read_terms, say_duration, show_hours
from edge_agent.errors import EdgeAgentError, UnavailableError, UsageError
from edge_agent.host.control_socket import stream
from edge_agent.page.faults import find_words, make_exception_handlers
from edge_agent.page.forms import read_form
from edge_agent.page.guard import HEADERS, Guard
from edge_agent.page.languages import Words
from edge_agent.page.numbers import allow_numbers
from edge_agent.page.processes import Processes, say_silence
from edge_agent.page.rendering import STATIC, Templates
from edge_agent.page.settings import PageSettings
from edge_agent.page.views import Reader
from edge_agent.printable_text import show_line
from edge_agent.units import MINUTE_NS, SECOND_NS, UtcNs, encode_rfc3339, parse_rfc3339

MAX_FIELDS = 80
"""A request names 64 cameras at most."""
MAX_BODY_BYTES = 128 * 1024
"""An enrolment file has 64 KiB at most, and more as a form."""
MAX_MARKS = 120
"""Moments to choose from."""
_DRAFT_TIMEOUT_S = 60.0
"""A notice service may take half a minute."""
_CARRY_OUT_TIMEOUT_S = 120.0
_PIECE_BYTES = 256 << 10
_MAX_RANGE_BYTES = 8 << 20
_NO_CODE = "The code has six digits. It is in the message, beside the same sentence."
SHOWS: Mapping[str, str] = {"look": "See a few pictures", "play": "Play it", "export": "Save a copy"}
LANGUAGES: Mapping[str, str] = {"en": "English", "es": "Español", "fr": "Français"}
LENGTHS: Mapping[str, int] = {"1": 1, "2": 2, "5": 5, "10": 10}
DESK_HEADERS: Mapping[str, str] = {
    **HEADERS,
    "Content-Security-Policy": HEADERS["Content-Security-Policy"] + "; media-src 'self'",
    # From the first visit without a warning on, the browser takes no other certificate for this name (RFC 6797).
    "Strict-Transport-Security": "max-age=31536000",
}
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Call:
    """One request that may begin: the house, and the data of the form."""

    reader: Reader
    fields: Mapping[str, str]
    path: Mapping[str, Any]

    @property
    def words(self) -> Words:
        """Of the browser's language."""
        return self.reader.words

    @property
    def ticket(self) -> str:
        """Carried on from form to form."""
        return self.fields.get("ticket", "")


class _NoAnswerError(UnavailableError):
    """The releaser was told, and did not answer: it may be done, or be done still."""


ShowDesk = Callable[[Call], Response]


class DeskPages:
    """The handlers.

    Args:
        processes: The releaser, as the desk may ask it.
        settings: The path of its socket.
        acts: The acts that wait for a signature.
        signer: Makes signatures.
        films: The footage that the owner looks at.
    """

    def __init__(
        self,
        processes: Processes,
        settings: PageSettings,
        acts: Acts,
        signer: OwnerSigner,
        films: Films,
    ) -> None:
        self._processes, self._settings = processes, settings
        self._acts, self._signer, self._films = acts, signer, films
        self._templates = Templates("edge_agent.desk", "edge_agent.page")
        allow_numbers()  # before `routes`: Starlette looks `{number:request}` up as a route is made

    def routes(self) -> list[Route]:
        """Every address of the desk."""
        approve = "/approve/{number:request}"
        return [
            Route("/", self._shown(self._home, free=True)),
            Route(approve, self._shown(self._choose_part)),
            Route(approve, self._posted(self._approve), methods=["POST"]),
            Route("/resume", self._shown(self._choose_resume)),
            Route("/resume", self._posted(self._resume), methods=["POST"]),
            Route("/show", self._shown(self._choose_show)),
            Route("/show", self._posted(self._show), methods=["POST"]),
            Route("/join", self._shown(self._choose_join)),
            Route("/join", self._posted(self._join), methods=["POST"]),
            Route("/terms", self._shown(self._choose_terms)),
            Route("/terms", self._posted(self._terms), methods=["POST"]),
            Route("/terms/preview", self._posted(self._preview), methods=["POST"]),
            Route("/sign", self._posted(self._sign, free=True), methods=["POST"]),
            Route("/film/{token:str}", self._shown(self._watch, free=True)),
            Route("/film/{token:str}/{part:request}", self._part),
            Route("/static/{name:str}", self._file),
        ]

    # Tickets

    def _shown(self, show: ShowDesk, *, free: bool = False) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await run_in_threadpool(self._answer, request, dict(request.query_params), show, free)

        return answer

    def _posted(self, act: ShowDesk, *, free: bool = False) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            form = await read_form(request, MAX_FIELDS, MAX_BODY_BYTES)
            return await run_in_threadpool(self._answer, request, form, act, free)

        return answer

    def _answer(self, request: Request, fields: Mapping[str, str], show: ShowDesk, free: bool) -> Response:
        if not free and not self._processes.ask("releaser", "ticket", ticket=fields.get("ticket", ""))["is_good"]:
            raise HTTPException(403, "Begin anew at your page: a link to this desk is good for an hour.")
        house = self._processes.look("releaser", "house").members
        zone = ZoneInfo(str(house.get("time_zone", "UTC")))
        return show(Call(Reader(house, zone, find_words(request)), fields, request.path_params))

    def _render(self, template: str, words: Words, status: int = 200, /, **values: Any) -> Response:
        return HTMLResponse(self._templates.render(template, words, **values), status)

    def render_fault(self, status: int, message: str, hint: str, again: bool, words: Words) -> Response:
        """Return a page that names the fault."""
        return self._render("fault.html", words, status, message=message, hint=hint, again=again)

    # Choose

    def _home(self, call: Call) -> Response:
        return self._render("desk.html", call.words)

    def _choose_part(self, call: Call) -> Response:
        found = self._processes.ask("releaser", "request", number=call.path["number"])["request"]
        request = call.reader.read_request(found)
        offered = [each["camera"] for each in found["offer"]["cameras"]]
        windows = [window for each in found["offer"]["cameras"] for window in each["windows"]]
        marks = list(list_marks(windows)) if windows else []
        return self._render(
            "approve.html", call.words, request=request, ticket=call.ticket,
            cameras=[(each, call.reader.title(each)) for each in dict.fromkeys(offered)],
            marks=[(each, call.reader.clock(each, marks[0])) for each in marks],
            look=find_look(windows, offered) | {"number": call.path["number"]} if windows else {},
        )  # fmt: skip

    def _choose_resume(self, call: Call) -> Response:
        paused = self._processes.ask("releaser", "status")["release_paused"]
        choices = [(str(each), call.reader.title(str(each))) for each in paused]
        return self._render("resume.html", call.words, choices=choices, ticket=call.ticket)

    def _choose_show(self, call: Call) -> Response:
        camera = call.fields.get("camera", "")
        usual = UtcNs((time.time_ns() // MINUTE_NS - 10) * MINUTE_NS)
        start = parse_rfc3339(call.fields["from"]) if "from" in call.fields else usual
        local = datetime.fromtimestamp(start // SECOND_NS, call.reader.zone)
        return self._render(
            "show.html", call.words, ticket=call.ticket, names=call.reader.cameras, camera=camera, shows=SHOWS,
            lengths=LENGTHS, start=f"{local:%Y-%m-%dT%H:%M}", minutes=call.fields.get("minutes", ""),
            number=call.fields.get("number", ""),
        )  # fmt: skip

    def _choose_terms(self, call: Call) -> Response:
        camera = call.fields.get("camera", "")
        form = self._processes.ask("releaser", "terms-form", camera=camera)
        return self._render(
            "terms-form.html", call.words, ticket=call.ticket, camera=camera, title=call.reader.title(camera),
            terms=form["camera"], house=form["house"], categories=form["categories"], agencies=form["agencies"],
            is_named=form["is_named"], hours=show_hours(form["camera"]["hours"]), languages=LANGUAGES,
            language=call.reader.language, say=say_duration, **CHOICES,
        )  # fmt: skip

    def _choose_join(self, call: Call) -> Response:
        found = self._processes.ask("releaser", "join")
        csr = str(found["csr"]).splitlines()
        return self._render("join.html", call.words, ticket=call.ticket, csr=csr, found=found)

    def _preview(self, call: Call) -> Response:
        wish = read_terms(call.fields)
        answer = self._processes.ask("releaser", "terms-preview", language=call.fields.get("language"), **wish)
        return PlainTextResponse("\n".join(show_line(str(each), 500) for each in answer["lines"]))

    # Draft: the releaser makes bytes, sentence and code

    def _approve(self, call: Call) -> Response:
        cameras = sorted(name.partition(".")[2] for name in call.fields if name.startswith("camera."))
        if not cameras:
            raise UsageError("No camera is left: to let nothing leave, say no on the page.")
        wish: dict[str, Any] = {"number": call.path["number"], "cameras": cameras}
        if "start" in call.fields:
            wish |= {"start": call.fields["start"], "end": call.fields.get("end", "")}
        return self._draft(call, "approve", wish)

    def _resume(self, call: Call) -> Response:
        return self._draft(call, "resume", {"camera": call.fields.get("camera", "*")})

    def _join(self, call: Call) -> Response:
        return self._draft(call, "join", {"enrolment": call.fields.get("enrolment", "")})

    def _terms(self, call: Call) -> Response:
        return self._draft(call, "sign", read_terms(call.fields))

    def _show(self, call: Call) -> Response:
        what, length = call.fields.get("what", ""), LENGTHS.get(call.fields.get("minutes", ""))
        if what not in SHOWS or length is None:
            raise UsageError("Choose what to see, and for how long.")
        start = parse_moment(call.fields.get("start", ""), call.reader.zone)
        wish: dict[str, Any] = {
            "camera": call.fields.get("camera", ""),
            "start": encode_rfc3339(start),
            "end": encode_rfc3339(UtcNs(start + length * MINUTE_NS)),
            "quality": "sub" if call.fields.get("quality") == "sub" else "main",
        }
        number = call.fields.get("number", "")
        if what == "look" and number:
            if not _NUMBER.fullmatch(number):
                raise UsageError("there is no such request")
            wish["number"] = int(number)
        return self._draft(call, what, wish)

    def _draft(self, call: Call, what: str, wish: Mapping[str, Any]) -> Response:
        path = self._settings.process_socket("releaser")
        try:
            *_, made = stream(path, "draft", timeout_s=_DRAFT_TIMEOUT_S, what=what, **wish)
        except UnavailableError as error:
            raise say_silence("releaser") from error
        act = Act(
            what, str(made["draft"]), tuple((str(each["typ"]), str(each["payload"])) for each in made["messages"]),
            str(made["sentence"]), ", ".join(map(str, made["told"])), time.monotonic() + float(made["life_s"]),
            str(made["beside"]),
        )  # fmt: skip
        return self._ask_signature(call, act)

    def _ask_signature(self, call: Call, act: Act, fault: str = "") -> Response:
        nonce = self._acts.add(act)
        return self._render("sign.html", call.words, 403 if fault else 200, act=act, nonce=nonce, fault=fault)

    # Sign

    def _sign(self, call: Call) -> Response:
        act = self._acts.take(call.fields.get("nonce", ""))
        code = "".join(call.fields.get("code", "").split())
        if not (len(code) == 6 and code.isascii() and code.isdigit()):
            return self._ask_signature(call, act, _NO_CODE)
        try:
            signed = self._signer.sign(act.messages, call.fields.get("passphrase", ""))
            return self._carry_out(call, act, {"draft": act.draft, "jws": signed, "proof": {"code": code}})
        except _NoAnswerError:
            return self._render("unknown.html", call.words, 504, act=act)
        except EdgeAgentError as error:
            return self._ask_signature(call, act, " ".join(filter(None, (str(error), error.hint))))

    def _carry_out(self, call: Call, act: Act, members: Mapping[str, Any]) -> Response:
        """Hand a signed act to the releaser.

        Raises:
            _NoAnswerError: It has the act, and did not tell its outcome.
            EdgeAgentError: It refuses, or was not reached.
        """
        path = self._settings.process_socket("releaser")

        def receive(descriptor: int | None = None) -> Iterator[Mapping[str, Any]]:
            try:
                yield from stream(path, "sign", timeout_s=_CARRY_OUT_TIMEOUT_S, fd=descriptor, **members)
            except UnavailableError as error:
                # Only a connection that was refused is a no: past it, the releaser may carry the act out still.
                if isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError | PermissionError):
                    raise say_silence("releaser") from error
                raise _NoAnswerError("The gateway did not say what came of it.") from error

        if act.what in SHOWS:
            return RedirectResponse(f"/film/{self._films.begin(act.what, act.sentence, receive).token}", 303)
        *_, answer = receive()
        paused = [str(each) for each in answer.get("paused", [])]
        return self._render("done.html", call.words, act=act, state=str(answer.get("state", "")), paused=paused)

    # Look

    def _watch(self, call: Call) -> Response:
        film = self._find(call.path["token"])
        spans = [self._say_at(part, call.reader) for part in film.parts]
        return self._render("film.html", call.words, film=film, parts=list(zip(film.parts, spans, strict=True)))

    @staticmethod
    def _say_at(part: FilmPart, reader: Reader) -> str:
        moments = [reader.moment(each).text for each in part.at.split("/")]
        return reader.words("{start} to {end}", start=moments[0], end=moments[1]) if len(moments) > 1 else moments[0]

    def _find(self, token: str) -> Film:
        film = self._films.find(token)
        if film is None:
            raise HTTPException(404, "This is over: what was shown is gone from the gateway's memory.")
        return film

    async def _part(self, request: Request) -> Response:
        film = self._find(request.path_params["token"])
        number = request.path_params["part"]
        if not 1 <= number <= len(film.parts):
            raise HTTPException(404, "There is no such part.")
        part = film.parts[number - 1]
        kind = "attachment" if film.what == "export" else "inline"
        headers = {"Accept-Ranges": "bytes", "Content-Disposition": f'{kind}; filename="{part.name}"'}
        wanted = parse_range(request.headers.get("range", ""), part.size)
        if wanted is None:
            headers["Content-Length"] = str(part.size)
            return StreamingResponse(self._pieces(film, part), media_type=part.media_type, headers=headers)
        start, end = wanted
        end = min(end, start + _MAX_RANGE_BYTES - 1)
        body = await run_in_threadpool(self._films.read, film, part.start + start, end - start + 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{part.size}"
        return Response(body, 206, headers, part.media_type)

    def _pieces(self, film: Film, part: FilmPart) -> Iterator[bytes]:
        for start in range(0, part.size, _PIECE_BYTES):
            yield self._films.read(film, part.start + start, min(_PIECE_BYTES, part.size - start))

    async def _file(self, request: Request) -> Response:
        name = str(request.path_params["name"])
        if name not in STATIC:
            raise HTTPException(404, "There is no such file.")
        return Response(self._templates.files[name], media_type=STATIC[name])


def find_look(windows: list[Mapping[str, str]], cameras: list[str]) -> dict[str, str]:
    """Return what the form of a look is filled with: the first camera of an offer, from its beginning, or nothing."""
    if not windows:
        return {}
    start, end = parse_rfc3339(windows[0]["start"]), parse_rfc3339(windows[0]["end"])
    fitting = [name for name, minutes in LENGTHS.items() if minutes * MINUTE_NS >= end - start // MINUTE_NS * MINUTE_NS]
    return {"camera": cameras[0], "from": windows[0]["start"], "minutes": (fitting or [max(LENGTHS, key=int)])[0]}


def list_marks(windows: list[Mapping[str, str]]) -> Iterator[str]:
    """Yield the moments at which a yes may begin and end: both ends, and whole minutes between them."""
    start = min(parse_rfc3339(each["start"]) for each in windows)
    end = max(parse_rfc3339(each["end"]) for each in windows)
    step_ns = MINUTE_NS * (1 + (end - start) // (MAX_MARKS * MINUTE_NS))
    yield encode_rfc3339(start)
    for moment in range((start // step_ns + 1) * step_ns, end, step_ns):
        yield encode_rfc3339(UtcNs(moment))
    yield encode_rfc3339(end)


def parse_moment(text: str, zone: tzinfo) -> UtcNs:
    """Read a time of the house as a browser's ``datetime-local`` writes it; UsageError for anything else."""
    try:
        local = datetime.fromisoformat(text[:19])
        if not 2000 <= local.year < 2200:
            raise ValueError("no time that footage can have")
        return UtcNs(int(local.replace(tzinfo=zone).timestamp()) * SECOND_NS)
    except ValueError as error:
        raise UsageError("Choose a day and a time.") from error


def build_app(pages: DeskPages, settings: PageSettings) -> Guard:
    """Return the ASGI application behind its guard, which answers to the desk's own name alone."""
    handlers = make_exception_handlers(
        pages.render_fault, "Something is wrong with this desk. At the gateway, the commands work."
    )
    mend = f"The desk answers to its own name alone, with the certificate of your gateway: {settings.urls[0]}"
    app = Starlette(routes=pages.routes(), exception_handlers=handlers)
    return Guard(app, settings.hosts, mend, DESK_HEADERS, MAX_BODY_BYTES)
