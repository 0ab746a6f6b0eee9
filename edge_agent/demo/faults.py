"""The named misbehaviours of the simulated camera, and when each is on.

``frozen`` is on from the start, ``frozen@30s`` from thirty seconds after it, ``frozen@30s+5s`` for five seconds. A
fault's effect is written where the camera asks for it; this module owns the list of names and the times.
"""

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from edge_agent.units import MonoNs, parse_duration

FAULTS = {
    "frozen": "the session stays up and answers, but no access unit is sent",
    "frozen-video": "video stops, audio goes on",
    "burst": "access units are held back while this is on, then sent at once",
    "hesitate": "sending stops in the middle of an access unit while this is on (over TCP), then goes on with its rest",
    "drop": "every connection is closed without a word, once",
    "reboot": "connections are closed and new ones are closed at once",
    "mute": "requests are read and never answered",
    "loss": "one RTP packet in twenty is lost on the way",
    "garbage": "one RTP payload in ten is random bytes",
    "backwards-dts": "every tenth access unit carries the time of half a second ago",
    "jump": "RTP time stands an hour later",
    "drift": "RTP time runs 300 ppm fast",
    "slow-ticks": "RTP time goes 21 steps for 25: pictures are stamped for a rate that is not reached",
    "fast-ticks": "RTP time goes 27 steps for 25",
    "still-ticks": "RTP time stands still, of pictures and sound",
    "gop-ticks": "RTP time stands still from one keyframe to the next",
    "clock-off": "sender reports are an hour late",
    "zero-ntp": "the NTP time of sender reports is always 0",
    "foreign-reports": "the NTP time of sender reports is of a clock that is set back and forth by seconds",
    "no-reports": "no sender reports",
    "slices": "every picture is coded in four slices",
    "pps-only": "keyframes bring their PPS and no other parameter set; the description has them all",
    "sps-only": "keyframes bring their SPS and no other parameter set; the description has them all",
    "no-sets": "neither the description nor any keyframe has a parameter set",
    "no-keyframes": "the pictures between keyframes are sent, and no keyframe",
    "wrong-payload": "RTP packets carry another payload type than the description announces",
    "lost-sps": "the packet with the SPS of a keyframe is lost on the way",
    "new-ssrc": "every GOP begins an RTP source of its own: another SSRC, other sequence numbers",
    "new-parameters": "the encoder's settings, and so its parameter sets, change",
    "new-size": "the pictures become half as wide and high",
    "mid-gop": "a new client is not given a keyframe at once",
    "silent-audio": "audio is announced and never sent",
    "wrong-codec": "the description names a codec that nobody records",
    "unknown-codec": "the description names a codec that nobody knows",
    "unauthorized": "every password is wrong",
    "not-found": "the path does not exist (404)",
    "busy": "no bandwidth for another client (453)",
    "not-now": "SETUP is not valid in this state (455)",
    "no-tcp": "interleaved transport is refused (461)",
    "no-udp": "UDP transport is refused (461)",
    "sha256-only": "the Digest challenge offers SHA-256 and nothing else",
    "md5-then-sha256": "the Digest challenges offer MD5 first and SHA-256 last, and take both",
    "sha256-then-md5": "the Digest challenges offer SHA-256 first and MD5 last, and take both; Basic beside",
    "stale-nonce": "the nonce of a connection is stale at the first SETUP",
    "slow-open": "DESCRIBE is answered after twelve seconds",
    "other-transport": "SETUP is answered with another transport than the one that was asked for",
    "unknown-sound": "the description names a codec of sound that nobody records",
    "stale-session": "a session that ended without TEARDOWN blocks new ones (453) for as long as this is on",
    "no-teardown": "TEARDOWN is not answered",
    "black": "the pictures are black",
    "still": "the same picture is sent again and again",
}

# NAME, NAME@START or NAME@START+DURATION.
_FORM = re.compile(r"([a-z0-9-]+)(?:@([^+]+)(?:\+([^+]+))?)?")


@dataclass(frozen=True, slots=True)
class CameraFault:
    """One misbehaviour: on from ``start_ns`` after the camera's start, for ``duration_ns``; 0 is without end."""

    name: str
    start_ns: int = 0
    duration_ns: int = 0


def parse_fault(text: str) -> CameraFault:
    """Parse ``NAME``, ``NAME@30s`` or ``NAME@30s+5s``; ValueError for an unknown name or another form."""
    match = _FORM.fullmatch(text)
    if match is None or match[1] not in FAULTS:
        raise ValueError(f"not a fault: {text[:40]!r}, known: {', '.join(FAULTS)}")
    name, start, duration = match.groups()
    return CameraFault(name, parse_duration(start) if start else 0, parse_duration(duration) if duration else 0)


class FaultPlan:
    """The faults of one camera. Safe to ask and to change from any thread."""

    def __init__(self, faults: Iterable[CameraFault], started: MonoNs) -> None:
        self._started = started
        self._faults = tuple(faults)
        self._switched: dict[str, bool] = {}
        self._lock = threading.Lock()

    def is_on(self, name: str, now: MonoNs) -> bool:
        """Tell whether a fault is on: as switched by hand, else as planned."""
        with self._lock:
            if name in self._switched:
                return self._switched[name]
        elapsed = now - self._started
        return any(
            fault.name == name
            and fault.start_ns <= elapsed
            and (not fault.duration_ns or elapsed < fault.start_ns + fault.duration_ns)
            for fault in self._faults
        )

    def switch(self, name: str, on: bool) -> None:
        """Turn a fault on or off by hand, whatever the plan says."""
        if name not in FAULTS:
            raise ValueError(f"unknown fault: {name[:40]!r}")
        with self._lock:
            self._switched[name] = on
