"""The releaser's answers to the resident's page: reads, and commands that tighten. Nothing loosens, no footage.

Owns the short list of the page's socket. Every act of the page is entered with the device that it came from, before it
is carried out. No order (a signature of the owner), no picture, no key and no erasure passes here: a page in wrong
hands can stop and read, and nothing else.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edge_agent.errors import UsageError
from edge_agent.host.clock import Clock
from edge_agent.host.control_socket import Handler, Peer, Reply, read_int
from edge_agent.host.page_socket import KeptAnswers, PushLimit, select_handlers
from edge_agent.ledger import entries
from edge_agent.ledger import table as ledger
from edge_agent.ledger.owner_kinds import PageEntry
from edge_agent.printable_text import check_line
from edge_agent.protocol import jws
from edge_agent.protocol.geohash import distance_m
from edge_agent.protocol.request_jws import TYP as REQUEST_TYP
from edge_agent.settings.gateway import Config
from edge_agent.uplink.owner.page_reads import PageReads
from edge_agent.uplink.store.database import Database

READS = ("status", "requests", "request", "ledger", "ledger-prove")
TIGHTENS = ("deny", "cancel", "pause", "revoke")
MAX_DEVICE_LETTERS = 60
MAX_LAST = 200
"""Entries of the ledger, or requests, that one read brings."""
_BURST, _EVERY_S = 20, 6.0
_READ_BURST, _READ_EVERY_S = 60, 0.5
KEPT_S = 1.0
"""For which an answer about the state is kept: each costs the interpreter, which the gate needs too."""
_PROOF_BURST, _PROOF_EVERY_S = 4, 3600.0
"""Proofs that need a new checkpoint: each pads the ledger, by up to 255 leaves or 60 KB."""
_TOO_MANY_PROOFS = (
    "this entry is too new to be proved now: the page has had the ledger signed too often",
    "try again in an hour; at the gateway `edge-agent ledger prove` works at once",
)
_POINTS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")


class PageCommands:
    """Handlers by command name: see ``handlers``.

    Args:
        config: Cameras, their names and places.
        store: Its ledger tells the page's acts.
        clock: The moment of each act.
        owner: The handlers of the owner's socket; ``READS`` and ``TIGHTENS`` of them are used.
        reads: The requests that only the page makes.
        now_s: A clock that no one sets.
    """

    def __init__(
        self, config: Config, store: Database, clock: Clock, owner: Mapping[str, Handler], reads: PageReads,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._config, self._store, self._clock = config, store, clock
        self._owner = select_handlers(owner, (*READS, *TIGHTENS))
        self._reads = reads
        self._limit = PushLimit(_BURST, _EVERY_S, now_s)
        self._read_limit = PushLimit(_READ_BURST, _READ_EVERY_S, now_s)
        self._proof_limit = PushLimit(_PROOF_BURST, _PROOF_EVERY_S, now_s, _TOO_MANY_PROOFS)
        self._kept = KeptAnswers(KEPT_S, now_s)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers for the page's socket."""
        return {
            "status": self._status,
            "requests": self._read_last(self._list, 20),
            "request": self._spare(self._show),
            "ledger": self._spare(self._read_last(self._owner["ledger"], MAX_LAST)),
            "ledger-prove": self._prove,
            **self._reads.handlers,
            "terms": self._spare(self._reads.handlers["terms"]),
            **{name: self._tighten(name) for name in TIGHTENS},
        }

    def _status(self, _members: Mapping[str, Any], peer: Peer) -> Reply:
        return self._keep("status", lambda: self._owner["status"]({}, peer))

    def _list(self, members: Mapping[str, Any], peer: Peer) -> Reply:
        """Cut one answer for all, so that asking for another number each time finds the kept one too."""
        most = self._keep("requests", lambda: self._owner["requests"]({"last": MAX_LAST}, peer))
        return {"requests": most["requests"][: members["last"]]}

    def _keep(self, name: str, make: Callable[[], Reply | Iterator[Reply]]) -> Reply:
        """Keep an answer until the ledger grows: each request and each act is entered, and so is seen at once."""
        return self._kept.find(name, self._store.read_ledger_size(), make)

    def _spare(self, handler: Handler) -> Handler:
        """Let a read that takes the disk or the processor through only so often."""

        def read(members: Mapping[str, Any], peer: Peer) -> Reply | Iterator[Reply]:
            self._read_limit.demand()
            return handler(members, peer)

        return read

    @staticmethod
    def _read_last(handler: Handler, usual: int) -> Handler:
        """Bound how much one read brings, whatever it asks for."""

        def read(members: Mapping[str, Any], peer: Peer) -> Reply | Iterator[Reply]:
            last = min(max(1, read_int(members, "last", usual)), MAX_LAST)
            return handler({**members, "last": last}, peer)

        return read

    def _prove(self, members: Mapping[str, Any], peer: Peer) -> Reply | Iterator[Reply]:
        """Bound as acts are; far more so if no checkpoint holds the entry yet: then the ledger is padded and signed."""
        self._limit.demand()
        index = read_int(members, "index")
        with self._store.reading() as connection:
            if ledger.newest_checkpoint(connection)[0] <= index < ledger.read_size(connection):
                self._proof_limit.demand()
        return self._owner["ledger-prove"](members, peer)

    def _show(self, members: Mapping[str, Any], peer: Peer) -> Reply:
        """Add how far away the incident was, which no other reader needs: they know where they live."""
        answer = self._owner["request"](members, peer)
        assert isinstance(answer, Mapping)
        request = dict(answer["request"])
        raw = request.pop("raw")
        request["distance"] = self._find_distance(jws.parse(raw.encode(), REQUEST_TYP).payload)
        return {"request": request}

    def _find_distance(self, payload: Mapping[str, Any]) -> dict[str, Any] | None:
        home, there = self._config.gateway.location, payload["incident"]["place"]
        if home is None:
            return None
        here, place = (home.lat, home.lon), (float(there["lat"]), float(there["lon"]))
        return {"metres": round(distance_m(here, place)), "direction": say_direction(here, place)}

    def _tighten(self, name: str) -> Handler:
        def carry_out(members: Mapping[str, Any], peer: Peer) -> Reply:
            by = _parse_device(members)
            self._limit.demand()
            subject = self._find_subject(name, members, peer)
            with self._store.transaction() as connection:
                entries.append(connection, PageEntry(name, by, **subject), self._clock.utc())
            answer = self._owner[name]({**members, **subject, "all": False}, peer)
            assert isinstance(answer, Mapping)
            return answer

        return carry_out

    def _find_subject(self, name: str, members: Mapping[str, Any], peer: Peer) -> dict[str, Any]:
        """Return what is acted on, as the ledger names it; UsageError if there is no such."""
        if name in ("deny", "cancel"):
            # Without a number `cancel` would stop everything: here that is no request, and an error.
            found = self._owner["request"]({"number": members.get("number")}, peer)
            assert isinstance(found, Mapping)
            return {"number": found["request"]["number"]}
        camera = str(members.get("camera", "*"))
        return {"camera": camera if camera == "*" else self._config.demand_camera(camera).id}


def say_direction(here: tuple[float, float], there: tuple[float, float]) -> str:
    """Return the point of the compass, of eight, in which another point (lat, lon) lies; empty for the same point."""
    north = there[0] - here[0]
    east = (there[1] - here[1]) * math.cos(math.radians(here[0]))
    if not (north or east):
        return ""
    return _POINTS[round(math.degrees(math.atan2(east, north)) / 45) % 8]


def _parse_device(members: Mapping[str, Any]) -> str:
    """Return who acts, as the ledger names it: ``page/kitchen tablet``, never to be taken for the owner's command."""
    try:
        device = check_line(str(members["by"]))
    except (KeyError, ValueError) as error:
        raise UsageError(f"an act of the page names its device: {error}") from error
    if len(device) > MAX_DEVICE_LETTERS:
        raise UsageError(f"a device's name has at most {MAX_DEVICE_LETTERS} letters")
    return f"page/{device}"
