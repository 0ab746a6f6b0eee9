"""The words of the RTCC's command line, typed and read: times, windows, places, and answers in words.

Pure: text in, values out, and back. ``now`` is passed in.
"""

from collections.abc import Iterator, Mapping
from datetime import tzinfo
from typing import Any

from edge_agent.errors import UsageError
from edge_agent.host.time_arguments import read_window
from edge_agent.local_time import say_moment
from edge_agent.protocol.answer import Answer, Note, Status
from edge_agent.protocol.request import Place
from edge_agent.units import SECOND_NS, UtcNs, Window, encode_rfc3339, encode_size, parse_rfc3339


def parse_window(text: str, now: UtcNs, zone: tzinfo, name: str = "window") -> Window:
    """Read ``START/END``: two times as people write them (``local_time``), or END as ``+5m``, counted from START.

    Raises:
        UsageError: Not two times, or the end is not after the start.
    """
    start, slash, end = text.partition("/")
    if not slash:
        raise UsageError(f"not a window: {text[:60]!r}", "START/END, such as 20m-ago/+5m")
    return read_window(start, end, now, zone, (f"start of {name}", f"end of {name}"))


def parse_place(text: str) -> Place:
    """Read ``LAT,LON`` in degrees, such as ``40.7128,-74.006``.

    Raises:
        UsageError: Not two numbers in range.
    """
    lat, comma, lon = text.partition(",")
    try:
        place = Place(float(lat), float(lon))
    except ValueError:
        comma = ""
    if not comma or not (-90 <= place.lat <= 90 and -180 <= place.lon <= 180):
        raise UsageError(f"not a place: {text[:40]!r}", "LAT,LON in degrees, such as 40.7128,-74.006")
    return place


def parse_metres(text: str) -> float:
    """Read ``300m`` or ``2km``.

    Raises:
        UsageError: Neither.
    """
    for unit, factor in (("km", 1000.0), ("m", 1.0)):
        number = text.removesuffix(unit)
        if number != text and number.isdigit():
            return int(number) * factor
    raise UsageError(f"not a radius: {text[:40]!r}", "such as 300m or 2km")


def say_answer(answer: Answer) -> str:
    """Say in a line what an answer means."""
    match answer.status:
        case Status.QUEUED:
            waits = f", not before {say_time(answer.not_before)}" if answer.not_before is not None else ""
            return f"granted for {', '.join(answer.cameras)}{waits}{_say_notes('; left out: ', answer.trimmed)}"
        case Status.UPLOADING:
            sent, total = answer.sent_bytes or 0, answer.total_bytes or 0
            return f"{sent * 100 // max(1, total)} % of {encode_size(total)} uploaded"
        case Status.DELIVERED | Status.PARTIAL:
            files = ", ".join(f"{file.camera} as {file.upload}" for file in answer.files)
            left_out = _say_notes("; left out: ", answer.trimmed) + _say_notes("; missing: ", answer.missing)
            return f"key handed over: {files or 'nothing'}{left_out}"
        case Status.NO_FOOTAGE:
            return "nothing was recorded in this window" + _say_notes(": ", answer.missing)
        case Status.CANCELLED:
            return "withdrawn before delivery; what was uploaded cannot be opened"
        case Status.FAILED:
            return f"could not be delivered: {answer.reason}"
        case Status.DECLINED:
            return "declined; why is the owner's business"


def say_request(payload: Mapping[str, Any], zone: tzinfo) -> Iterator[str]:
    """Say in words what a request asks for; a person reads this before they sign it.

    Args:
        payload: Members of PROTOCOL 3.2.
        zone: The time zone of the local times beside UTC.
    """
    incident, clip, audience = payload["incident"], payload["clip"], payload["aud"]
    cameras = "every camera that consents" if clip["cameras"] == ["*"] else ", ".join(clip["cameras"])
    sound = "with sound" if clip["audio"] else "without sound"
    place = incident["place"]
    yield f"request {payload['jti']} of {payload['iss']}"
    reported = _say_local(incident["reported_at"], zone)
    yield f"incident   {incident['number']}, {incident['category']}, reported {reported}"
    yield f"place      {place['lat']}, {place['lon']}"
    yield f"happened   {_say_window(incident['window'], zone)}"
    yield f"clip       {_say_window(clip['window'], zone)}, {cameras}, {sound}, {clip['quality']} stream"
    yield f"asked of   {_say_audience(audience)}"
    yield f"purpose    {payload['purpose']}"
    yield f"contact    {payload['contact']}"
    yield f"delivered  to {payload['deliver']}, until {_say_local(payload['release_by'], zone)}"
    yield f"taken in   until {_say_local(payload['exp'], zone)}"


def _say_audience(audience: Mapping[str, Any]) -> str:
    if "gateway" in audience:
        return f"one gateway: {audience['gateway']}"
    return f"every gateway in {len(audience['cells'])} cells: {', '.join(audience['cells'])}"


def _say_local(text: str, zone: tzinfo) -> str:
    return say_moment(parse_rfc3339(text), zone)


def _say_window(window: Mapping[str, str], zone: tzinfo) -> str:
    return f"{_say_local(window['start'], zone)} to {_say_local(window['end'], zone)}"


def say_deadline(payload: Mapping[str, Any], now: UtcNs, *, is_answered: bool) -> str:
    """Say until when a request without a final answer may still get one.

    Args:
        payload: Of the request.
        now: UTC.
        is_answered: Some gateway has said something.
    """
    expires, release_by = parse_rfc3339(payload["exp"]), parse_rfc3339(payload["release_by"])
    if now >= release_by:
        return f"no final answer, and none will come: the time for it ended at {say_time(release_by)}"
    if is_answered or now >= expires:
        return f"no final answer yet; none comes after {say_time(release_by)}"
    return f"no answer yet; gateways take it in until {say_time(expires)}, and answer until {say_time(release_by)}"


def say_time(time: UtcNs) -> str:
    """Write a time in whole seconds: for people, not for evidence."""
    return encode_rfc3339(UtcNs(time // SECOND_NS * SECOND_NS))


def describe_answer(answer: Answer) -> dict[str, Any]:
    """Return an answer as JSON for scripts; the age headers are in the home, not here."""
    return {
        "gateway": answer.gateway,
        "jti": answer.jti,
        "seq": answer.seq,
        "at": encode_rfc3339(answer.at),
        "status": answer.status.value,
        "final": answer.status.is_final,
        "cameras": list(answer.cameras),
        "trimmed": [_describe_note(note) for note in answer.trimmed],
        "missing": [_describe_note(note) for note in answer.missing],
        "not_before": encode_rfc3339(answer.not_before) if answer.not_before is not None else None,
        "sent_bytes": answer.sent_bytes,
        "total_bytes": answer.total_bytes,
        "reason": answer.reason,
        "files": [
            {"camera": file.camera, "upload": file.upload, "sha256": file.sha256.hex(), "size": file.size}
            for file in answer.files
        ],
    }


def _say_notes(before: str, notes: tuple[Note, ...]) -> str:
    said = ", ".join(f"{note.camera}: {note.code}" if note.camera else note.code for note in notes)
    return before + said if said else ""


def _describe_note(note: Note) -> dict[str, str | None]:
    return {"code": note.code, "camera": note.camera}
