"""One question to a camera's ONVIF service, in a process of its own: JSON on standard input, JSON on standard output.

Run by ``capture.onvif.query``. The login comes over standard input and goes to the configured host only.
"""

import json
import logging
import sys
from dataclasses import asdict
from typing import Any

from edge_agent.capture.onvif.device import Device
from edge_agent.capture.onvif.http_session import DeviceError, OnvifTls
from edge_agent.capture.onvif.profiles import choose_profile


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what ``request["ask"]`` says: ``stream`` or ``describe``."""
    tls = OnvifTls(request.get("ca_file", ""), request.get("pin", ""))
    device = Device(request["address"], request.get("username", ""), request.get("password", ""), tls)
    device.connect()
    offset_s = None if device.clock_offset is None else round(device.clock_offset.total_seconds())
    facts: dict[str, Any] = {"clock_offset_s": offset_s}
    if request["ask"] == "describe":
        profiles = device.read_profiles()
        maker, model = _identity_of(device)
        facts |= {"maker": maker, "model": model, "profiles": [asdict(profile) for profile in profiles]}
        return {**facts, "token": device.token}
    try:
        profile, why = choose_profile(device.read_profiles(), request["profile"])
    except LookupError as error:
        raise DeviceError("onvif-failed", str(error)) from None
    url = device.read_stream_url(profile.token, request["transport"])
    return {**facts, "url": url, "profile": asdict(profile), "why": why, "token": device.token}


def _identity_of(device: Device) -> tuple[str, str]:
    try:
        return device.read_identity()
    except DeviceError:
        return "", ""


def main() -> int:
    """Answer one request."""
    logging.disable(logging.CRITICAL)  # what the libraries log may hold a login
    request = json.load(sys.stdin)
    try:
        result: dict[str, Any] = {"result": answer(request)}
    except DeviceError as error:
        result = {"reason": error.reason, "detail": str(error)}
    except Exception as error:
        result = {"reason": "onvif-failed", "detail": f"unexpected {type(error).__name__}"}
    json.dump(result, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
