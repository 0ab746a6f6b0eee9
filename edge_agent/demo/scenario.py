"""The demonstration: every step of the promise on one machine, each with the outcome that it must have.

Two simulated cameras, an RTCC with a broker and a receiver, and the real recorder and releaser as processes of their
own. Each step prints its work and its outcome; one that ends otherwise than named fails the whole.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_agent.demo.broker import find_mosquitto
from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.city import City
from edge_agent.demo.home import LAT, LON, TrialCamera, TrialHome
from edge_agent.demo.source import LiveSettings
from edge_agent.errors import EdgeAgentError, EvidenceError
from edge_agent.host.clock import SystemClock
from edge_agent.host.terminal import Progress
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Status
from edge_agent.protocol.request import Category, Incident, Place, Role
from edge_agent.protocol.request_jws import TYP
from edge_agent.rtcc.deliveries import deliveries, open_delivery
from edge_agent.rtcc.office.keys import make_id
from edge_agent.rtcc.office.request import (
    RequestDraft,
    SignedRequest,
    build_payload,
    sign_request,
    to_gateway,
    topics_of,
)
from edge_agent.rtcc.session import RtccSession
from edge_agent.units import HOUR_NS, MINUTE_NS, SECOND_NS, UtcNs, Window

log = logging.getLogger(__name__)

RECORD_S = 20
CLIP_S = 10
_AUTO = {"mode": "auto", "categories": ["robbery"], "requests_per_day": 50, "requests_per_incident": 50}
_OPERATOR, _SUPERVISOR = "operator-1", "supervisor-1"


class StepFailedError(EdgeAgentError):
    """A step ended otherwise than it must."""


class Scenario:
    """The steps, in order.

    Args:
        folder: Keeps everything that the demonstration makes.
        record_s: How long to record before the first request.
    """

    def __init__(self, folder: Path, record_s: int = RECORD_S) -> None:
        self._folder = folder
        self._record_s = record_s
        self._clock = SystemClock()
        self._steps = 0
        self._incidents = 0
        self._place = Place(LAT, LON)

    def run(self) -> None:
        """Run all of it; raises if a step ends otherwise than named, and ends what was started in any case."""
        with self._step("find mosquitto: installed, else unpacked from the distribution's packages, without root"):
            print(f"   {find_mosquitto().path}")
        with ExitStack() as stack:
            cameras = [
                stack.enter_context(SimulatedCamera(CameraSettings(live=LiveSettings(label=name))))
                for name in ("front-door", "back-yard")
            ]
            with self._step("start the city: broker with mutual TLS, receiver, trust bundle"):
                self.city = stack.enter_context(City(self._folder / "city"))
            self.home = TrialHome(
                self._folder / "home",
                (
                    TrialCamera("front-door", cameras[0].url, _AUTO),
                    TrialCamera("back-yard", cameras[1].url, {**_AUTO, "mode": "deny"}),
                ),
            )
            stack.callback(self.home.stop)
            self._start_home()
            self._session = stack.enter_context(RtccSession(self.city.home, watch=True))
            self._record()
            self._release()
            self._refusals()
            with self._step("the owner's ledger shows all of it, and is whole"):
                print(self.home.run("ledger", "show"))
                print(self.home.run("ledger", "verify"))

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        self._steps += 1
        print(f"{self._steps:2} {what} …", flush=True)
        start_s = time.monotonic()
        yield
        print(f"   ok ({time.monotonic() - start_s:.1f} s)", flush=True)

    # Set up

    def _start_home(self) -> None:
        with self._step("set up the house: keys, configuration, enrolment (edge-agent init, enrol)"):
            self.home.create(self.city)
        with self._step("start the recorder (edge-agent record)"):
            self.home.start("record")
            self.home.wait_ready()
        with self._step("start the releaser (edge-agent release)"):
            self.home.start("release")
            self.home.wait_ready()
        with self._step("the owner signs: front-door by terms, back-yard never (edge-agent consent sign)"):
            self.home.sign()

    def _record(self) -> None:
        with self._step(f"record {self._record_s} s into the encrypted rings"):
            progress = Progress("   recording", self._record_s)
            start_s = time.monotonic()
            while (passed_s := time.monotonic() - start_s) < self._record_s:
                progress.update(int(passed_s))
                time.sleep(0.2)
            progress.update(self._record_s)
            progress.close()
            print(self.home.run("status"))

    # The one that is granted

    def _release(self) -> None:
        with self._step("the RTCC sends a request, signed by an operator and a supervisor"):
            self._good = self._sign(self._draft())
            self._session.send(self._good)
        with self._step("decision, clip, upload, key: the gateway's signed answers"):
            statuses = []
            for answer in self._session.answers(self._good.jti, 30.0):
                statuses.append(answer.status)
                print(f"   answer {answer.seq}: {answer.status.value}")
            if statuses[:1] != [Status.QUEUED] or statuses[-1:] != [Status.DELIVERED]:
                raise StepFailedError(f"answers are {[status.value for status in statuses]}, not queued … delivered")
        with self._step("the RTCC opens the bundle and verifies it"):
            delivery = next(each for each in deliveries(self.city.home) if each.jti == self._good.jti)
            findings = open_delivery(self.city.home, delivery, self._folder / "opened")
            print(findings.as_text())
            if not findings.ok:
                raise EvidenceError("the bundle does not verify")
            clips = sorted((self._folder / "opened" / "progressive").glob("*.mp4"))
            if not clips:
                raise StepFailedError("the bundle holds no clip")
            self.clip = clips[0]
            print(f"   playable clip: {self.clip}")

    # Those that are refused

    def _refusals(self) -> None:
        draft, other, third = self._draft(), self._draft(), self._draft()
        with self._step("a request with a forged signature is refused, unread"):
            self._refuse_unread(self._forge(draft), draft, "signature-invalid")
        with self._step("a request signed by one person is refused, unread"):
            key = self.city.home.people.load_key(_OPERATOR, Role.OPERATOR)
            single = jws.sign(TYP, self._payload(draft), [key])
            self._refuse_unread(single, draft, "supervisor-missing")
        with self._step("a replay of the good request gets the stored answer, and no new decision"):
            self._replay()
        # 0.02 degrees of latitude are 2.2 km.
        far = replace(draft, incident=replace(draft.incident, place=Place(LAT + 0.02, LON)))
        outside = replace(other, window=Window(UtcNs(other.incident.window.start - 30 * MINUTE_NS), other.window.end))
        for what, refused, reason in (
            ("an incident two kilometres away is refused", far, "too-far"),
            ("a clip outside of the incident's window is refused", outside, "clip-outside-incident"),
            ("a camera whose owner said no is refused", replace(third, cameras=("back-yard",)), "mode-deny"),
        ):
            with self._step(what):
                self._refuse(refused, reason)

    def _draft(self) -> RequestDraft:
        now = self._clock.utc()
        # It ends three seconds ago: a record spans two at most, so the last one of the clip is complete by now.
        window = Window(UtcNs(now - (CLIP_S + 3) * SECOND_NS), UtcNs(now - 3 * SECOND_NS))
        self._incidents += 1
        incident = Incident(f"D-{self._incidents}", Category.ROBBERY, UtcNs(now - SECOND_NS), self._place, window)
        return RequestDraft(
            to_gateway(self.home.gateway), incident, window, "demonstration", "desk 1", release_within_ns=HOUR_NS
        )

    def _sign(self, draft: RequestDraft) -> SignedRequest:
        return sign_request(self.city.home, draft, self._clock.utc(), operator=_OPERATOR, supervisor=_SUPERVISOR)

    def _payload(self, draft: RequestDraft) -> dict[str, Any]:
        return build_payload(draft, self.city.home.settings.iss, make_id(), self._clock.utc())

    def _forge(self, draft: RequestDraft) -> bytes:
        """Put the two signatures of the good request under other words."""
        forged = json.loads(self._good.raw)
        forged["payload"] = json.loads(self._sign(draft).raw)["payload"]
        return json.dumps(forged).encode()

    def _refuse_unread(self, raw: bytes, draft: RequestDraft, reason: str) -> None:
        before = self._counts().get(reason, 0)
        expires = UtcNs(self._clock.utc() + MINUTE_NS)
        self._session.send_raw(raw, topics_of(draft.audience), b"demo", expires)
        self.home.wait_for(reason, lambda: self._counts().get(reason, 0) > before)
        print(f"   refused: {reason}; the sender hears nothing")

    def _refuse(self, draft: RequestDraft, reason: str) -> None:
        signed = self._sign(draft)
        self._session.send(signed)
        found = self.home.wait_for(reason, lambda: self._find(signed.jti, "denied"))
        codes = [each["code"] for each in found["reasons"]]
        for each in found["reasons"]:
            print(f"   refused: {each['code']}" + (f" ({each['camera']})" if each["camera"] else ""))
        if reason not in codes:
            raise StepFailedError(f"refused for {codes}, not for {reason}")

    def _replay(self) -> None:
        before = self._decisions()
        expires = UtcNs(self._clock.utc() + MINUTE_NS)
        self._session.send_raw(self._good.raw, topics_of(to_gateway(self.home.gateway)), b"demo", expires)
        marker = self._sign(replace(self._draft(), cameras=("no-such-camera",)))
        self._session.send(marker)  # What is sent after the replay is decided after it.
        self.home.wait_for("the request after the replay", lambda: self._find(marker.jti, "denied"))
        if self._decisions() != before + 1:
            raise StepFailedError("the replay was decided again")
        print("   known: answered as before")

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.home.ask("releaser", "status")["refused_unread"]
        return counts

    def _decisions(self) -> int:
        return len(self.home.ask("releaser", "requests", last=500)["requests"])

    def _find(self, jti: str, state: str) -> dict[str, Any] | None:
        requests: list[dict[str, Any]] = self.home.ask("releaser", "requests", last=50)["requests"]
        return next((each for each in requests if each["jti"] == jti and each["state"] == state), None)


def tell_failure(error: EdgeAgentError, folder: Path) -> int:
    """Say why a demonstration failed, and where its logs are; return its exit code."""
    print(f"\nFAILED: {error}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    print(f"logs are in {folder}", file=sys.stderr)
    return 1


def run(folder: Path, record_s: int, say: Callable[[str], None] = print) -> int:
    """Run the demonstration; 0 only if every step had the outcome named."""
    start_s = time.monotonic()
    scenario = Scenario(folder, record_s)
    try:
        scenario.run()
    except EdgeAgentError as error:
        return tell_failure(error, folder)
    say(f"\nEvery step had its outcome, in {time.monotonic() - start_s:.0f} s.")
    say(f"The clip:   {scenario.clip}")
    say(f"Everything: {folder} (delete it when you are done)")
    return 0
