"""The control commands about recording and time: ``pause``, ``order`` and ``clock``.

Anybody at the gateway pauses; an ``order`` that the owner signed ends a pause or confirms the clock. Part of the
recorder process.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from edge_agent.custody.keys import KeyStore
from edge_agent.host.control_socket import Peer
from edge_agent.host.persistent_clock import KeptClock, describe_confirmed
from edge_agent.recording.owner_orders import ClockOrder, ResumeOrder, UsedOrders, verify_order
from edge_agent.recording.pauses import ALL, Pauses
from edge_agent.recording.ring_sink import RingSink
from edge_agent.settings.gateway import Config
from edge_agent.units import encode_rfc3339

log = logging.getLogger(__name__)


class RecordingCommands:
    """The handlers of these commands. Any thread.

    Args:
        config: Returns the configuration that counts now.
        keys: The public keys of the gateway and its owner.
        pauses: Those of recording.
        used_orders: Each order is good once.
        clock: The clock that the owner may confirm.
        sinks: Returns the rings that are recorded now, by stream: retention follows a confirmed clock.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        keys: KeyStore,
        pauses: Pauses,
        used_orders: UsedOrders,
        clock: KeptClock,
        sinks: Callable[[], Mapping[str, RingSink]],
    ) -> None:
        self._config, self._keys, self._pauses = config, keys, pauses
        self._used_orders, self._clock, self._sinks = used_orders, clock, sinks

    def pause(self, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        """Pause the recording of a camera, or of all, until a time or until the owner resumes it."""
        camera = str(request.get("camera", ALL))
        if camera != ALL:  # one that is switched off as well: somebody may switch it on
            self._config().demand_camera(camera)
        self._pauses.pause(camera, request.get("until"), self._clock.wall(), self._clock.boot())
        log.warning("recording paused camera=%s until=%s uid=%d", camera, request.get("until") or "resumed", peer.uid)
        return {}

    def order(self, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        """Carry out an order that the owner signed, once.

        Raises:
            DenialError: It is not the owner's, not for this gateway, not of just now, or was used before.
        """
        from edge_agent.custody.enrolment_file import find_gateway_name

        gateway = find_gateway_name(self._config().uplink.enrolment, self._keys.load_public("gateway"))
        owner = self._keys.load_public("owner")
        # By the wall clock as it is: a wrong floor must not keep the owner's word from being heard.
        order = verify_order(str(request.get("jws", "")).encode(), gateway, owner, self._clock.wall())
        match order:
            case ResumeOrder():
                self._used_orders.mark_used(order.order_id)
                return self._resume(order, peer)
            case ClockOrder():
                self._clock.demand_confirmable()
                self._used_orders.mark_used(order.order_id)
                return self._confirm_clock(peer)

    def describe_clock(self, _request: Mapping[str, Any], _peer: Peer) -> Mapping[str, Any]:
        """Return where the clock stands, and the streams whose retention waits for its confirmation."""
        rings = {name: sink.facts() for name, sink in self._sinks().items()}
        return {**self._clock.facts(), "held_back": [n for n, facts in rings.items() if facts.get("clock_held_back")]}

    def _resume(self, order: ResumeOrder, peer: Peer) -> Mapping[str, Any]:
        self._pauses.resume(order.camera)
        log.warning("recording resumed camera=%s uid=%d", order.camera, peer.uid)
        return {"state": "resumed", "paused": self._pauses.standing(self._clock.utc(), self._clock.boot())}

    def _confirm_clock(self, peer: Peer) -> Mapping[str, Any]:
        """Believe the wall clock, and let retention follow it: footage that is too old by it goes."""
        confirmed = self._clock.confirm()
        offset_ns = self._clock.confirmed_offset_ns
        assert offset_ns is not None
        for sink in self._sinks().values():
            sink.confirm_clock(offset_ns)
        log.warning("clock confirmed time=%s uid=%d", encode_rfc3339(confirmed.time), peer.uid)
        return describe_confirmed(confirmed)
