"""``edge-agent check --compare``: one camera, both readers, side by side."""

import sys
from collections.abc import Iterator
from typing import Any

from edge_agent.capture.reasons import CaptureError
from edge_agent.host.clock import SystemClock
from edge_agent.host.terminal import print_json, print_table, print_text, working
from edge_agent.settings.gateway import Config
from edge_agent.setup.camera_stream import find_endpoint
from edge_agent.setup.reader_comparison import Comparison, Reading, compare_readers

COMPARE_S = 30.0
_NOTICE = f"""\
The camera gets two more sessions for {COMPARE_S:.0f} s; the recorder goes on. A camera that serves few viewers may
refuse one of them; one on battery stays awake for so long."""


def run_comparison(config: Config, name: str, *, is_json: bool, seconds: float = COMPARE_S) -> int:
    """Compare and print; 0 if both readers agree, 1 if not.

    Args:
        config: Of the gateway.
        name: The camera, or its substream.
        is_json: Print JSON, and the notice apart from it.
        seconds: For how long.
    """
    if is_json:
        print(_NOTICE, file=sys.stderr)
    else:
        print_text(_NOTICE + "\n")
    try:
        with find_endpoint(config, name) as endpoint, working(f"reading {name} twice"):
            found = compare_readers(endpoint, SystemClock(), seconds)
    except CaptureError as error:
        print(f"edge-agent: error: camera {name}: {error}", file=sys.stderr)
        return 1
    if is_json:
        figures = {"own": _figures(found.own), "ffmpeg": _figures(found.ffmpeg)}
        print_json(figures | {"differences": _differences(found), "is_alike": found.is_alike})
    else:
        _print(found)
    return 0 if found.is_alike else 1


def _figures(reading: Reading) -> dict[str, Any]:
    sizes = [picture.size for picture in reading.pictures]
    return {
        "opened_ms": _to_ms(reading.open_ns),
        "first_picture_ms": _to_ms(reading.first_ns),
        "pictures": len(sizes),
        "keyframes": sum(picture.is_keyframe for picture in reading.pictures),
        "bytes": sum(sizes),
        "largest_bytes": max(sizes, default=0),
        "distance_ms": None if reading.distance_ms is None else round(reading.distance_ms, 1),
        "damaged": reading.damaged,
        "lost_packets": reading.lost_packets,
        "ended": reading.fault or None,
    }


def _to_ms(duration_ns: int | None) -> int | None:
    return None if duration_ns is None else duration_ns // 1_000_000


def _differences(found: Comparison) -> dict[str, int]:
    return {
        "same_pictures": found.same,
        "only_own": found.only_own,
        "only_ffmpeg": found.only_ffmpeg,
        "other_keyframes": found.other_keyframes,
        "other_times": found.other_times,
    }


_LABELS = {
    "opened_ms": "opened after (ms)",
    "first_picture_ms": "first picture after (ms)",
    "pictures": "pictures",
    "keyframes": "keyframes",
    "bytes": "bytes",
    "largest_bytes": "largest picture (bytes)",
    "distance_ms": "usual distance (ms)",
    "damaged": "damaged, left out",
    "lost_packets": "packets lost",
    "ended": "ended early",
}


def _print(found: Comparison) -> None:
    own, ffmpeg = _figures(found.own), _figures(found.ffmpeg)
    print_table(("", "own", "ffmpeg"), [(label, _show(own[key]), _show(ffmpeg[key])) for key, label in _LABELS.items()])
    print_text("\n" + "\n".join(_tell(found)))


def _show(value: object) -> object:
    return "-" if value is None else value


def _tell(found: Comparison) -> Iterator[str]:
    if not found.same:
        yield "No picture is the same: one of them read none, or they read different bytes."
        return
    yield f"{found.same} pictures are the same, byte by byte. Between the first and the last of them:"
    for count, text in (
        (found.only_own, "pictures that our own reader alone has"),
        (found.only_ffmpeg, "pictures that FFmpeg alone has"),
        (found.other_keyframes, "pictures that are a keyframe for one of them alone"),
        (found.other_times, "pictures at another time"),
    ):
        yield f"  {count} {text}"
    if found.is_alike:
        yield "Both readers agree."
    else:
        yield "They differ: `reader: ffmpeg` may be better for this camera. `edge-agent camera record-tape` makes a"
        yield "file without pictures that helps to mend our own; please report it."
