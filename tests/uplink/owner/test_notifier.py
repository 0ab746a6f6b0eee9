"""Messages to the owner through Apprise itself, to an HTTP sink on loopback."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from edge_agent.consent.policy import Occasion
from edge_agent.uplink.owner.notice_words import (
    Notice,
    ask_notice,
    grant_notice,
    refusal_notice,
    release_notice,
    remind_notice,
    request_notice,
)
from edge_agent.uplink.owner.notifier import MAX_WAITING, Messenger
from tests.peers.wait import wait_until

ALL = frozenset(Occasion)
NOTICE = ask_notice("17", "rtcc.example-city", "hit-and-run", ["door", "yard"], "21:30")


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


@pytest.fixture
def make_messenger() -> Iterator[Callable[..., Messenger]]:
    stop, made = threading.Event(), []

    def make(services: dict[str, str], wanted: frozenset[Occasion] = ALL, **options: Any) -> Messenger:
        messenger = Messenger(services, wanted, stop, **({"pauses_s": (0.05, 0.05)} | options))
        messenger.start()
        made.append(messenger)
        return messenger

    yield make
    stop.set()
    for messenger in made:
        messenger.join(15)


def test_a_notice_reaches_every_service(sink: Sink, make_messenger: Callable[..., Messenger]) -> None:
    """Title and body arrive through Apprise, at each service once, in order."""
    messenger = make_messenger({"phone": sink.url, "mail": sink.url})
    assert messenger.tell(NOTICE)
    assert messenger.tell(request_notice("1", "rtcc.a", "robbery", ["*"]))
    wait_until(lambda: messenger.counts().told == 4, 30)
    assert [got["title"] for got in sink.got] == [NOTICE.title] * 2 + ["Request 1 for footage"] * 2
    assert sink.got[0]["message"] == NOTICE.body


def test_a_service_that_fails_is_tried_again_alone(sink: Sink, make_messenger: Callable[..., Messenger]) -> None:
    """What was taken is not sent twice; what failed is sent again, and given up in the end."""
    broken = Sink()
    broken.failures = 1
    dead = "json://127.0.0.1:1/"
    messenger = make_messenger({"good": sink.url, "broken": broken.url, "dead": dead, "nonsense": "nonsense://x"})
    messenger.tell(NOTICE)
    wait_until(lambda: messenger.counts().failed == 2, 30)
    assert (len(sink.got), len(broken.got), messenger.counts().told) == (1, 1, 2)
    broken.close()


def test_a_service_that_hangs_hides_no_other(sink: Sink, make_messenger: Callable[..., Messenger]) -> None:
    """The child is ended at its time-out; the others were told, and the next message follows."""
    hanging = Sink()
    hanging.hang = threading.Event()
    messenger = make_messenger({"good": sink.url, "hanging": hanging.url + "?rto=15"}, timeout_s=3.0, pauses_s=())
    messenger.tell(NOTICE)
    wait_until(lambda: messenger.counts().failed == 1, 30)
    assert len(sink.got) == 1
    hanging.close()


def test_a_fault_is_told_whatever_the_consents_say(sink: Sink, make_messenger: Callable[..., Messenger]) -> None:
    """No terms of requests can keep a dead camera from being told."""
    messenger = make_messenger({"phone": sink.url}, frozenset())
    assert messenger.tell(Notice(None, "Not recorded: Door", "The camera gives no footage."))
    wait_until(lambda: messenger.counts().told == 1, 30)


def test_only_what_is_wanted_is_told(sink: Sink, make_messenger: Callable[..., Messenger]) -> None:
    """The policy names the occasions; without services there is nobody to tell."""
    assert not make_messenger({"phone": sink.url}, frozenset({Occasion.RELEASE})).tell(NOTICE)
    assert not make_messenger({}).tell(NOTICE)


def test_too_many_messages_are_dropped_and_counted(sink: Sink) -> None:
    """The queue is bounded; the caller never waits."""
    messenger = Messenger({"phone": sink.url}, ALL, threading.Event())
    told = [messenger.tell(NOTICE) for _ in range(MAX_WAITING + 5)]
    assert told == [True] * MAX_WAITING + [False] * 5
    assert messenger.counts().dropped == 5


@contextmanager
def child_that(code: str) -> Iterator[tuple[str, ...]]:
    yield (sys.executable, "-c", code)


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "print('x' * 100000)", "import os; os.abort()"])
def test_a_child_that_breaks_is_a_failed_attempt(
    sink: Sink, make_messenger: Callable[..., Messenger], code: str
) -> None:
    """Nothing that the child does ends the thread."""
    with child_that(code) as child:
        messenger = make_messenger({"phone": sink.url}, child=child)
        messenger.tell(NOTICE)
        wait_until(lambda: messenger.counts().failed == 1, 20)


NOTICES: dict[str, Notice] = {
    "ask": NOTICE,
    "reminder": remind_notice("1", "rtcc.a", ["door"], "2026-11-28 21:30:00"),
    "request": request_notice("1", "rtcc.a", "robbery", ["*"]),
    "grant": grant_notice("1", "rtcc.a", ["door"], "21:30"),
    "release": release_notice("1", "rtcc.a", ["door"]),
    "refusal": refusal_notice("1", "rtcc.a", [("outside-hours", "The clip lies outside this camera's hours.")]),
}


@pytest.mark.parametrize("notice", NOTICES.values(), ids=NOTICES)
def test_every_notice_is_short_and_says_what_to_do(notice: Notice) -> None:
    """Plain words, no codes with hyphens but ids, nothing that is not in its arguments."""
    assert len(notice.title) <= 60
    assert len(notice.body) <= 300
    assert "outside-hours" not in notice.body
