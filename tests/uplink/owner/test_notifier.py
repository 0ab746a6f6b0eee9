"""Messages to the owner through Apprise itself, to an HTTP sink on loopback."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from edge_agent.uplink.owner.notice_words import (
    Notice,
    ask_notice,
    grant_notice,
    refusal_notice,
    refusals_notice,
    release_notice,
    remind_notice,
    request_notice,
)
from edge_agent.uplink.owner.notifications import ToTell
from edge_agent.uplink.owner.notifier import Messenger
from tests.peers.wait import wait_until

NOTICE = ask_notice("17", "rtcc.example-city", "hit-and-run", ["door", "yard"], "21:30")
LATER = request_notice("18", "rtcc.a", "robbery", ["*"])


class Rows:
    """Has the same notices for every service, and each is told until it was taken."""

    def __init__(self, *notices: Notice) -> None:
        self.waiting: dict[str, list[Notice]] = {}
        self.noticed: dict[str, threading.Event] = {}
        self._first = notices

    def serve(self, services: dict[str, str]) -> None:
        self.waiting = {name: list(self._first) for name in services}
        self.noticed = {name: threading.Event() for name in services}

    def add(self, notice: Notice) -> None:
        for name, waiting in self.waiting.items():
            waiting.append(notice)
            self.noticed[name].set()

    def find_next(self, service: str) -> ToTell | None:
        waiting = self.waiting[service]
        return ToTell(waiting[0], (17,), 1) if waiting else None

    def mark_told(self, service: str, told: ToTell) -> None:
        self.waiting[service].remove(told.notice)


class Sink:
    """An HTTP service that keeps what it is sent and fails as often as it is told to."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.failures = 0
        self.hang: threading.Event | None = None
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if sink.hang:
                    sink.hang.wait(20)
                if sink.failures:
                    sink.failures -= 1
                    self.send_response(500)
                else:
                    sink.got.append(json.loads(body))
                    self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self._server.server_address[1]}/secret-token"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        if self.hang:
            self.hang.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    running = Sink()
    yield running
    running.close()


Make = Callable[..., Messenger]


@pytest.fixture
def make_messenger() -> Iterator[Make]:
    stop, made = threading.Event(), []

    def make(services: dict[str, str], rows: Rows, **options: Any) -> Messenger:
        rows.serve(services)
        messenger = Messenger(services, rows, rows.noticed, stop, **({"pauses_s": (0.05,)} | options))
        messenger.start()
        made.append(messenger)
        return messenger

    yield make
    stop.set()
    for messenger in made:
        messenger.join(15)


def test_a_notice_reaches_every_service(sink: Sink, make_messenger: Make) -> None:
    """Title and body arrive through Apprise, at each service once; what comes later is told without waiting."""
    rows = Rows(NOTICE)
    messenger = make_messenger({"phone": sink.url, "mail": sink.url}, rows)
    wait_until(lambda: messenger.counts().told == 2, 30)
    rows.add(LATER)
    wait_until(lambda: messenger.counts().told == 4, 30)
    assert [got["title"] for got in sink.got] == [NOTICE.title] * 2 + [LATER.title] * 2
    assert sink.got[0]["message"] == NOTICE.body


def test_a_service_that_fails_is_tried_again_alone(sink: Sink, make_messenger: Make) -> None:
    """What was taken is not sent twice; what failed is sent again until it is taken, and hides nothing elsewhere."""
    broken = Sink()
    broken.failures = 2
    dead = "json://127.0.0.1:1/"
    services = {"good": sink.url, "broken": broken.url, "dead": dead, "nonsense": "nonsense://x"}
    messenger = make_messenger(services, Rows(NOTICE))
    wait_until(lambda: messenger.counts().told == 2 and messenger.counts().failed >= 6, 60)
    assert (len(sink.got), len(broken.got)) == (1, 1)
    broken.close()


def test_a_service_that_hangs_holds_up_no_other(sink: Sink, make_messenger: Make) -> None:
    """While one service hangs on the first message, the others are told the first, and the second as well."""
    hanging = Sink()
    hanging.hang = threading.Event()
    rows = Rows(NOTICE, LATER)
    services = {"good": sink.url, "hanging": hanging.url + "?rto=40"}
    messenger = make_messenger(services, rows, timeout_s=40.0)
    wait_until(lambda: len(sink.got) == 2, 30)
    assert messenger.counts().failed == 0
    assert len(rows.waiting["hanging"]) == 2
    hanging.close()


def test_a_service_that_hangs_is_ended_at_its_time(make_messenger: Make) -> None:
    """The child ends with its time-out, and what it was to tell is tried again."""
    hanging = Sink()
    hanging.hang = threading.Event()
    messenger = make_messenger({"hanging": hanging.url + "?rto=40"}, Rows(NOTICE), timeout_s=5.0)
    wait_until(lambda: messenger.counts().failed == 2, 90)
    hanging.hang.set()
    hanging.hang = None
    wait_until(lambda: messenger.counts().told == 1, 90)
    hanging.close()


@contextmanager
def child_that(code: str) -> Iterator[tuple[str, ...]]:
    yield (sys.executable, "-c", code)


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "print('x' * 100000)", "import os; os.abort()"])
def test_a_child_that_breaks_is_a_failed_attempt(
    sink: Sink, make_messenger: Callable[..., Messenger], code: str
) -> None:
    """Nothing that the child does ends the thread."""
    with child_that(code) as child:
        messenger = make_messenger({"phone": sink.url}, Rows(NOTICE), child=child)
        wait_until(lambda: messenger.counts().failed == 2, 20)


NOTICES: dict[str, Notice] = {
    "ask": NOTICE,
    "reminder": remind_notice("1", "rtcc.a", ["door"], "2026-11-28 21:30:00"),
    "request": request_notice("1", "rtcc.a", "robbery", ["*"]),
    "grant": grant_notice("1", "rtcc.a", ["door"], "21:30"),
    "release": release_notice("1", "rtcc.a", ["door"]),
    "refusal": refusal_notice("1", "rtcc.a", [("outside-hours", "The clip lies outside this camera's hours.")]),
    "refusals": refusals_notice(list(map(str, range(100, 1100))), {"outside-hours": 990, "too-far": 10}),
}


@pytest.mark.parametrize("notice", NOTICES.values(), ids=NOTICES)
def test_every_notice_is_short_and_says_what_to_do(notice: Notice) -> None:
    """Plain words, no codes with hyphens but ids, nothing that is not in its arguments."""
    assert len(notice.title) <= 60
    assert len(notice.body) <= 300
    assert "outside-hours" not in notice.body
