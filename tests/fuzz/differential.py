"""Hold our own reader against FFmpeg on made-up streams, odd and broken ones in turn, for some time.

    python -m tests.fuzz.differential [SECONDS [FIRST-SEED]]

Prints each seed of which our own reader made something wrong; exit code 1 if there was one.
"""

import sys
import time

from tests.capture.rtsp.odd_streams import encode_pictures, judge

_PICTURES = 40


def main(seconds: float = 60.0, seed: int = 0) -> int:
    """Try one seed after the other, of each codec."""
    pictures = {codec: encode_pictures(codec, _PICTURES) for codec in ("h264", "hevc")}
    until, first, found = time.monotonic() + seconds, seed, 0
    while time.monotonic() < until:
        for codec, each in pictures.items():
            fault = judge(codec, each, seed)
            if fault:
                found += 1
                print(codec, fault, flush=True)
        seed += 1
    print(f"{seed - first} seeds from {first} on, of each codec: {found} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
