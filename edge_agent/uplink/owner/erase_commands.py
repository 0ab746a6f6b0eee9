"""The releaser's part of an erasure by the owner: holds, staged bundles, releases under way.

The rings themselves are the recorder's, which is told first: nothing of them can be held anew afterwards. Needs no
signature, because it only takes away.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge_agent.consent.bound import NOTHING
from edge_agent.errors import UsageError
from edge_agent.host.clock import Clock
from edge_agent.host.control_socket import Handler, Peer, Reply
from edge_agent.ledger import entries
from edge_agent.ledger.owner_kinds import ErasedEntry
from edge_agent.protocol.request import EVERY_CAMERA
from edge_agent.units import UtcNs, Window
from edge_agent.uplink.bundle.rings import Footage
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.requests import RequestState, StoredRequest

log = logging.getLogger(__name__)

MAX_WINDOWS = 8192
"""The most blocks that one erasure names; a ring of the program's own making has half as many."""
_CODE = "owner-cancelled"


class ErasureCommands:
    """The handler of ``erase``.

    Args:
        store: Requests under way, and the ledger.
        footage: Holds.
        withdraw: Ends a granted request with a reason code, its staged bytes included (``RequestCommands.withdraw``).
        clock: The moment of each command.
    """

    def __init__(
        self,
        store: Database,
        footage: Footage,
        withdraw: Callable[[StoredRequest, str], object],
        clock: Clock,
    ) -> None:
        self._store, self._footage = store, footage
        self._withdraw, self._clock = withdraw, clock

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers for the control socket."""
        return {"erase": self._erase}

    def _erase(self, members: Mapping[str, Any], peer: Peer) -> Reply:
        camera = str(members.get("camera", EVERY_CAMERA))[:32]
        windows = _parse_windows(members.get("windows"))
        now = self._clock.utc()
        # Before the releases: a bundle that is built anew must not find the footage in a hold.
        holds = self._footage.erase_holds(None if camera == EVERY_CAMERA else camera, windows)
        stopped = [each for each in self._under_way(camera, windows) if self._withdraw(each, _CODE)]
        erased = ("all",) if windows is None else tuple(map(str, windows))
        with self._store.transaction() as connection:
            numbers = tuple(each.id for each in stopped)
            entries.append(connection, ErasedEntry(camera, erased, len(holds), numbers), now)
        log.warning("footage erased camera=%s holds=%d stopped=%d uid=%d", camera, len(holds), len(stopped), peer.uid)
        return {"holds": len(holds), "stopped": [each.id for each in stopped]}

    def _under_way(self, camera: str, windows: Sequence[Window] | None) -> list[StoredRequest]:
        """Return the requests whose bundle holds, or may be getting at this moment, any erased footage."""
        states = (RequestState.GRANTED, RequestState.UPLOADING)
        requests = {request.id: request for request in self._store.requests.list_newest(states)}
        # Delivered ones whose key has not left: without it their clip stays closed.
        requests |= {each: self._store.requests.read(each) for each in self._store.outbox.list_waiting_keys()}
        return [request for request in requests.values() if _touches(request, camera, windows)]


def _touches(request: StoredRequest, camera: str, windows: Sequence[Window] | None) -> bool:
    """Tell whether the part that may still leave for a request holds any erased footage."""
    return any(
        windows is None or any(mine.intersect(window) for mine in each.windows for window in windows)
        for each in (request.bound or NOTHING).cameras
        if camera in (EVERY_CAMERA, each.camera)
    )


def _parse_windows(found: object) -> tuple[Window, ...] | None:
    if found is None:
        return None
    try:
        if not isinstance(found, list) or len(found) > MAX_WINDOWS:
            raise UsageError("windows is not a list, or too long")
        return _join([Window.parse(each["start"], each["end"]) for each in found])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"not a window: {error}") from error


def _join(windows: Sequence[Window]) -> tuple[Window, ...]:
    """Return the same spans as few windows: those that overlap or adjoin are one."""
    joined: list[Window] = []
    for window in sorted(windows):
        if joined and window.start <= joined[-1].end:
            joined[-1] = Window(joined[-1].start, UtcNs(max(joined[-1].end, window.end)))
        else:
            joined.append(window)
    return tuple(joined)
